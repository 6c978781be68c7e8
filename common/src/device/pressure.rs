//! Pressure stall information: how long work waited for a resource (kernel document `accounting/psi`).

use serde::{Deserialize, Serialize};

/// Waiting for processor, memory and storage. What the kernel does not say is `None`, and `why` says why.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Pressure {
    /// For the processor.
    pub cpu: Option<Stall>,
    /// For memory: reclaim, swapping, refaults.
    pub memory: Option<Stall>,
    /// For storage.
    pub io: Option<Stall>,
    /// Where it was read, and what of it is not known for which reason.
    pub why: String,
}

/// Waiting for one resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Stall {
    /// At least one task waited.
    pub some: StallTime,
    /// All tasks that were not idle waited at once; `None` where the kernel does not count that.
    pub full: Option<StallTime>,
}

/// Shares of the time that was waited, over three windows and since boot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct StallTime {
    /// Over the last ten seconds, 0 to 100.
    pub avg10_percent: f64,
    /// Over the last minute, 0 to 100.
    pub avg60_percent: f64,
    /// Over the last five minutes, 0 to 100.
    pub avg300_percent: f64,
    /// Since boot, µs.
    pub total_us: u64,
}
