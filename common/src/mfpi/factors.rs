//! What a node brings: rates it achieved, its link, its load. The reference node is fixed here for every input.

use crate::device::PcieLink;
use serde::{Deserialize, Serialize};

/// The link between the server and a node.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LinkFactors {
    /// Smoothed round-trip time, seconds.
    pub srtt_s: f64,
    /// Its mean deviation, seconds.
    pub rttvar_s: f64,
    /// Rate to the node, bytes per second.
    pub down_bytes_per_s: f64,
    /// Rate from the node, bytes per second.
    pub up_bytes_per_s: f64,
}

/// Everything about a node that a prediction uses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeFactors {
    /// Achieved memory bandwidth of the processor that computes, bytes per second (B).
    pub bandwidth_bytes_per_s: f64,
    /// Achieved compute, FLOP per second (F).
    pub flops_per_s: f64,
    /// Read speed of the medium that holds the weights, bytes per second (B_disk).
    pub disk_bytes_per_s: f64,
    /// Rate at which digests are checked, bytes per second (B_hash).
    pub hash_bytes_per_s: f64,
    /// The slowest hop to a discrete accelerator, bytes per second (B_pcie); `None` when the CPU computes.
    pub pcie_bytes_per_s: Option<f64>,
    /// The link to the server.
    pub link: LinkFactors,
    /// The policy or thermal cap on clocks, 0 exclusive to 1 (f).
    pub clock_cap: f64,
    /// The share used by others, 0 to 1 exclusive.
    pub foreign_load: f64,
    /// Seconds until a slot is free.
    pub free_in_s: f64,
    /// Mean time between losses of the node, seconds.
    pub mtbf_s: f64,
    /// What losing the step would cost, seconds: detection and a run elsewhere.
    pub retry_s: f64,
}

/// The node every index is a ratio to: 50 GB/s, 1 TFLOP/s, SRTT 20 ms, RTTVAR 5 ms, 100 Mbit/s both ways, PCIe gen 3 ×4,
/// disk and hash 2 GB/s, MTBF 30 days, idle, on mains. A loss costs it the 20 s in which it is noticed.
pub fn reference() -> NodeFactors {
    NodeFactors {
        bandwidth_bytes_per_s: 50e9,
        flops_per_s: 1e12,
        disk_bytes_per_s: 2e9,
        hash_bytes_per_s: 2e9,
        pcie_bytes_per_s: PcieLink::new(8.0, 4).map(|l| l.bytes_per_s),
        link: LinkFactors { srtt_s: 0.020, rttvar_s: 0.005, down_bytes_per_s: 12.5e6, up_bytes_per_s: 12.5e6 },
        clock_cap: 1.0,
        foreign_load: 0.0,
        free_in_s: 0.0,
        mtbf_s: 30.0 * 86_400.0,
        retry_s: 20.0,
    }
}
