//! A small fleet to decide about, for the tests: laptops with everything, and a container that they carry.

use super::snapshot::{Gate, InputState, NodeState, SessionState, Snapshot, StepState};
use ouro_common::container::Manifest;
use ouro_common::device::{
    HardwareReport, Machine, Memory, NodeProfile, Power, PowerSource, Pressure, Readings, RuntimeAvailability, Thermal,
};
use ouro_common::id::{BootId, Digest, NodeId, RequestId};
use ouro_common::mfpi::LinkFactors;
use ouro_common::step::AdminState;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(crate) const MIB: u64 = 1 << 20;

pub(crate) fn node_id(n: u32) -> NodeId {
    let mut random = [0; 10];
    random[6..].copy_from_slice(&n.to_be_bytes());
    NodeId::from_parts(0, random)
}

pub(crate) fn container() -> Digest {
    Digest::sha256([7; 32])
}

/// Needs 512 MiB, has 200 MB of weights, and takes a second of the reference node.
pub(crate) fn manifest() -> Manifest {
    Manifest::from_toml(
        r#"
        name = "summarize"
        version = "1.0.0"
        summary = "Key sentences of a text"
        runtime = "oci"
        inputs = [{ port = "text", media = "text/plain" }]
        outputs = [{ port = "summary", media = "text/plain" }]
        [needs]
        memory_bytes = 536870912
        [cost]
        weights_bytes = 200000000
        flops_fixed = 1e12
        output_bytes = 4096
        [oci]
        args = ["/summarize"]
    "#,
    )
    .unwrap()
}

fn profile(kind: &str) -> NodeProfile {
    let hardware = HardwareReport {
        schema: HardwareReport::SCHEMA.into(),
        root: "/".into(),
        machine: Machine { kind: kind.into(), ..Machine::default() },
        memory: Memory { host_bytes: Some(8192 * MIB), ..Memory::default() },
        numa: vec![],
        pcie: vec![],
        nvme: vec![],
        accelerators: vec![],
        power: Power::default(),
        thermal: Thermal::default(),
        pressure: Pressure::default(),
        warnings: vec![],
    };
    let runtime = |name: &str| RuntimeAvailability { runtime: name.into(), available: true, detail: String::new(), pending: false };
    NodeProfile {
        hardware,
        recorded: false,
        hostname: "host".into(),
        agent_version: "0.1.0".into(),
        boot: BootId::from_parts(0, [0; 10]),
        runtimes: ["onnx", "gguf", "oci", "builtin"].map(runtime).to_vec(),
        bandwidth_bytes_per_s: Some(30e9),
        flops_per_s: Some(500e9),
        disk_bytes_per_s: Some(1e9),
        hash_bytes_per_s: None,
        slots: 1,
        batch: 1,
        cache_bytes: None,
        first_pass_model: None,
    }
}

/// A laptop named `nN`: idle, on mains, with the container on a module, one slot.
pub(crate) fn node(n: u32) -> NodeState {
    NodeState {
        id: node_id(n),
        name: format!("n{n}"),
        admin: AdminState::Active,
        session: SessionState::Online,
        session_epoch: 1,
        labels: BTreeMap::new(),
        profile: Some(Arc::new(profile("laptop"))),
        readings: Readings {
            memory_available_bytes: Some(4096 * MIB),
            foreign_load: Some(0.1),
            clock_cap: Some(1.0),
            power: PowerSource::External,
            ..Readings::default()
        },
        gate: Gate::Normal,
        slots: 1,
        ends: vec![],
        batch: 1,
        together: BTreeMap::new(),
        runs_alone: false,
        present: BTreeMap::from([(container(), Some(500e6))]),
        asleep: BTreeMap::new(),
        loaded: BTreeSet::new(),
        link: Some(LinkFactors { srtt_s: 0.01, rttvar_s: 0.002, down_bytes_per_s: 12.5e6, up_bytes_per_s: 12.5e6 }),
        commits: 100,
        residuals: BTreeMap::new(),
        switched_off: BTreeSet::new(),
    }
}

/// Changes a node's profile.
pub(crate) fn with_profile(mut node: NodeState, change: impl FnOnce(&mut NodeProfile)) -> NodeState {
    let mut profile = node.profile.as_deref().cloned().unwrap();
    change(&mut profile);
    node.profile = Some(Arc::new(profile));
    node
}

/// The `n`th step, of its own request.
pub(crate) fn step(n: u8) -> StepState {
    StepState {
        request: RequestId::from_parts(0, [n; 10]),
        plan: 1,
        step: "summarize".parse().unwrap(),
        container: container(),
        inputs: vec![InputState { size_bytes: 10_000, holders: vec![] }],
        failed_on: vec![],
        too_large_for: vec![],
        alone: false,
        private_owner: None,
        remaining_s: 600.0,
        waited: false,
    }
}

pub(crate) fn snapshot(nodes: Vec<NodeState>, steps: Vec<StepState>) -> Snapshot {
    Snapshot {
        nodes: nodes.into_iter().map(Arc::new).collect(),
        steps,
        containers: BTreeMap::from([(container(), Arc::new(manifest()))]),
        module_labels: BTreeMap::from([(container(), "OURO-TEXT".to_string())]),
    }
}
