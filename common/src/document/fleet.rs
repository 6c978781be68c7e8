//! `ouroboros.nodes/1` and `ouroboros.modules/1`: who is in the fleet and what is plugged in where.

use crate::container::Port;
use crate::device::{PcieLink, PowerSource, Pressure, RuntimeAvailability};
use crate::id::{ContainerRef, Digest, NodeId};
use crate::mfpi::Gate;
use crate::module::{KeyId, ModuleState, TrustedKey, Verdict};
use crate::step::AdminState;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What `ouroctl nodes` shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodesDocument {
    /// Always `ouroboros.nodes/1`.
    pub schema: String,
    /// By name.
    pub nodes: Vec<NodeView>,
}

/// A node as people see it. What is not known is null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeView {
    /// Its stable id.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// What the operators decided.
    pub admin: AdminState,
    /// `online`, `suspect` or `offline`.
    pub session: String,
    /// How long it has been so, ms.
    pub session_for_ms: Option<u64>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// `laptop`, `server`, `phone` …
    pub kind: String,
    /// Whether its hardware is read from a recorded machine.
    pub recorded: bool,
    /// Processor model.
    pub cpu: Option<String>,
    /// Hardware threads.
    pub logical_cpus: Option<u32>,
    /// Host memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Free memory in bytes.
    pub memory_available_bytes: Option<u64>,
    /// Achieved memory bandwidth, bytes per second.
    pub bandwidth_bytes_per_s: Option<f64>,
    /// Achieved compute, FLOP per second.
    pub flops_per_s: Option<f64>,
    /// Accelerators, a line each.
    pub accelerators: Vec<String>,
    /// What it runs on.
    pub power: PowerSource,
    /// Battery charge, 0 to 100.
    pub battery_percent: Option<f64>,
    /// Whether it charges.
    pub charging: Option<bool>,
    /// Hottest trusted sensor, °C.
    pub max_c: Option<f64>,
    /// What power, heat and others on the machine allow: `level` is `normal`, `light` or `refuse`, `why` says why.
    #[serde(default)]
    pub gate: Gate,
    /// How long work waits for processor, memory and storage.
    #[serde(default)]
    pub pressure: Pressure,
    /// Smoothed round trip to the server, ms.
    pub rtt_ms: Option<f64>,
    /// Mean deviation of the round trip, ms.
    #[serde(default)]
    pub rttvar_ms: Option<f64>,
    /// Rate from the server to the node, if the network and not the application ever set it, bytes per second.
    #[serde(default)]
    pub down_bytes_per_s: Option<f64>,
    /// Rate at which it checks digests, bytes per second.
    #[serde(default)]
    pub hash_bytes_per_s: Option<f64>,
    /// Sequential read speed of the medium that holds its models, bytes per second.
    #[serde(default)]
    pub disk_bytes_per_s: Option<f64>,
    /// The index over the three fixed tasks, for display.
    pub mfpi: Option<f64>,
    /// Steps it may run at once.
    pub slots: u32,
    /// Steps it runs now.
    pub busy: u32,
    /// Runtimes and what they are.
    pub runtimes: Vec<RuntimeAvailability>,
    /// Containers it can run now.
    pub containers: Vec<ContainerRef>,
    /// Its agent's version.
    pub agent_version: Option<String>,
    /// What could not be read on it.
    pub warnings: Vec<crate::device::Warning>,
}

/// What `ouroctl modules` shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModulesDocument {
    /// Always `ouroboros.modules/1`.
    pub schema: String,
    /// By node and slot.
    pub modules: Vec<ModuleView>,
}

/// A module in a slot of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModuleView {
    /// The module's identity.
    pub module: Digest,
    /// Its label.
    pub label: String,
    /// The node it sits in.
    pub node: NodeId,
    /// That node's name.
    pub node_name: String,
    /// Where on the node.
    pub slot: String,
    /// Where it is in its life.
    pub state: ModuleState,
    /// Why, where that is not evident.
    pub why: String,
    /// Read speed, bytes per second.
    pub read_bytes_per_s: Option<f64>,
    /// Its containers.
    pub containers: Vec<ContainerView>,
    /// What could not be used, and why.
    pub problems: Vec<String>,
    /// Who signed it; null of a plain folder.
    #[serde(default)]
    pub signature: Option<Verdict>,
    /// The slowest PCIe link on the way to it, bytes per second.
    #[serde(default)]
    pub link_bytes_per_s: Option<f64>,
    /// What the PCIe port it is in says it can carry; null of what is in none.
    #[serde(default)]
    pub port_link: Option<PcieLink>,
    /// From the kernel's event to the module being ready, ms; null of a plain folder.
    #[serde(default)]
    pub ready_after_ms: Option<f64>,
    /// How long it will take to wake, ms; null of one that is awake.
    #[serde(default)]
    pub wake_ms: Option<f64>,
    /// Steps that run from it now.
    #[serde(default)]
    pub in_use: u32,
}

/// What `ouroctl module trusted` shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrustedKeysDocument {
    /// Always `ouroboros.trusted-keys/1`.
    pub schema: String,
    /// By name.
    pub keys: Vec<TrustedKeyView>,
}

impl TrustedKeysDocument {
    /// The name and version of this document.
    pub const SCHEMA: &str = "ouroboros.trusted-keys/1";
}

/// A key whose signature makes a module trusted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrustedKeyView {
    /// What people call it.
    pub name: String,
    /// Its number, as minisign shows it.
    pub id: KeyId,
    /// The key.
    pub key: TrustedKey,
}

/// A container on a module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerView {
    /// Its name and version.
    pub container: ContainerRef,
    /// Its identity.
    pub digest: Digest,
    /// `onnx`, `gguf`, `oci` or `builtin`.
    pub runtime: String,
    /// What it does.
    pub summary: String,
    /// What it takes.
    pub inputs: Vec<Port>,
    /// What it gives.
    pub outputs: Vec<Port>,
}
