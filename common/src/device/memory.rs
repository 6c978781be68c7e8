//! Memory bandwidth: what was measured, and what the modules could carry.

use serde::{Deserialize, Serialize};

/// What memory and cores achieved, per second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Achieved {
    /// All hardware threads together.
    pub all_threads: MemoryRates,
    /// One thread alone.
    pub one_thread: MemoryRates,
    /// FLOP per second of f32 matrix products in cache, all threads.
    pub flops_per_s: f64,
    /// Hardware threads used.
    pub threads: u32,
    /// Share of the processor that others used or a hypervisor kept meanwhile, 0 to 1. A busy machine achieves less than it can.
    pub foreign_load: Option<f64>,
}

/// The kernels of STREAM (McCalpin), bytes per second, reads and writes counted once each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryRates {
    /// Reading.
    pub read_bytes_per_s: f64,
    /// Copying.
    pub copy_bytes_per_s: f64,
    /// `a = b + s·c`.
    pub triad_bytes_per_s: f64,
}

/// The sum of all memory channels at their configured speed, from the firmware's table (SMBIOS 3.7, type 17).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TheoreticalBandwidth {
    /// Bytes per second.
    pub bytes_per_s: Option<f64>,
    /// How it was found, or why it is not known.
    pub why: String,
}
