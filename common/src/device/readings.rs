//! What a node tells the server: its profile once, its readings with every heartbeat that changes them.

use super::{AcceleratorProcess, HardwareReport, Pressure, Warning};
use crate::id::{BootId, Digest};
use serde::{Deserialize, Serialize};

/// What a machine runs on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PowerSource {
    /// Mains, or a charger with evidence for it.
    External,
    /// A system battery that discharges.
    Battery,
    /// No evidence either way.
    #[default]
    Unknown,
}

/// A container runtime a node has or lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeAvailability {
    /// `onnx`, `gguf`, `oci` or `builtin`.
    pub runtime: String,
    /// Whether steps of that runtime can run here.
    pub available: bool,
    /// Which library or program and version, or what to install.
    pub detail: String,
    /// Whether it is still being tried: what is not available may be in a moment.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pending: bool,
}

/// What a node is: sent when it changes, named by its digest otherwise. All of it are the node's claims.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeProfile {
    /// The hardware.
    pub hardware: HardwareReport,
    /// Whether the hardware was read from a recorded machine; its bandwidth and compute are then the real host's.
    pub recorded: bool,
    /// The host's name for people.
    pub hostname: String,
    /// The agent's version.
    pub agent_version: String,
    /// The kernel's boot id.
    pub boot: BootId,
    /// Runtimes and what they are.
    pub runtimes: Vec<RuntimeAvailability>,
    /// Achieved memory read bandwidth of all threads, bytes per second.
    pub bandwidth_bytes_per_s: Option<f64>,
    /// Achieved compute of all threads on a small f32 matrix product, FLOP per second.
    pub flops_per_s: Option<f64>,
    /// Achieved sequential read speed of the medium that holds the modules, bytes per second.
    pub disk_bytes_per_s: Option<f64>,
    /// Achieved rate of checking a blob's digest (SHA-256, one thread), bytes per second.
    #[serde(default)]
    pub hash_bytes_per_s: Option<f64>,
    /// How many steps may run at once.
    pub slots: u32,
    /// So many steps of one language model share a slot: they are computed together.
    #[serde(default = "one")]
    pub batch: u32,
    /// Keys and values that a language model may keep for all its requests, bytes; older agents do not say.
    #[serde(default)]
    pub cache_bytes: Option<u64>,
    /// The digest of the first-pass model, if there is one, and its file name.
    pub first_pass_model: Option<String>,
}

fn one() -> u32 {
    1
}

/// A container that is in memory now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadedContainer {
    /// Which.
    pub digest: Digest,
    /// Resident memory of its worker in bytes.
    pub memory_bytes: Option<u64>,
    /// Whether a step runs in it now.
    pub busy: bool,
}

/// What changes: sent with heartbeats.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Readings {
    /// Memory that can be used without swapping, bytes.
    pub memory_available_bytes: Option<u64>,
    /// Share of the processor used by others than this agent's steps, 0 to 1.
    pub foreign_load: Option<f64>,
    /// The policy or thermal cap on clocks, 0 to 1; an idle clock is no cap.
    pub clock_cap: Option<f64>,
    /// The share of the machine's processors that the agent's cgroups allow it, 0 to 1; null without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processor_share: Option<f64>,
    /// What the machine runs on.
    pub power: PowerSource,
    /// Charge of the system's batteries, 0 to 100.
    pub battery_percent: Option<f64>,
    /// Whether a battery charges.
    pub charging: Option<bool>,
    /// Hottest trusted sensor, °C.
    pub max_c: Option<f64>,
    /// Where the hardware throttles or shuts down, °C, if it says so.
    pub critical_c: Option<f64>,
    /// Smoothed round-trip time to the server as the agent measured it, ms.
    pub rtt_ema_ms: Option<f64>,
    /// Its mean deviation, ms.
    pub rtt_var_ms: Option<f64>,
    /// How long work waits for processor, memory and storage.
    #[serde(default)]
    pub pressure: Pressure,
    /// Why the node itself wants nothing new, if it does: its cable was pulled and `agent.toml` says to drain then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining: Option<String>,
    /// Sensors that do not answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// Containers in memory.
    pub loaded: Vec<LoadedContainer>,
    /// Who has memory on the GPUs; a matter of the node itself, and not told.
    #[serde(skip)]
    pub gpus: Vec<GpuMemory>,
}

/// A GPU's memory and who has some of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GpuMemory {
    /// All of it, bytes.
    pub memory_bytes: u64,
    /// The processes that have some.
    pub processes: Vec<AcceleratorProcess>,
}
