//! Nodes and modules.

use super::{name, node_id};
use ouro_common::container::{MediaType, Port};
use ouro_common::device::{PcieLink, PowerSource, Pressure, RuntimeAvailability, Stall, StallTime, Warning};
use ouro_common::document::{ContainerView, ModuleView, ModulesDocument, NodeView, NodesDocument};
use ouro_common::id::Digest;
use ouro_common::mfpi::Gate;
use ouro_common::module::{ModuleState, Verdict};
use ouro_common::step::AdminState;
use std::collections::BTreeMap;

/// A server, a laptop that charges, a recorded phone, and a node nothing is known of.
pub(crate) fn nodes() -> NodesDocument {
    let server = server();
    let laptop = NodeView {
        id: node_id(2),
        name: "lena".into(),
        session: "suspect".into(),
        kind: "laptop".into(),
        cpu: Some("12th Gen Intel(R) Core(TM) i7-1260P".into()),
        logical_cpus: Some(16),
        memory_bytes: Some(33_500_000_000),
        memory_available_bytes: Some(9_100_000_000),
        bandwidth_bytes_per_s: Some(38.1e9),
        accelerators: vec![],
        battery_percent: Some(67.0),
        charging: Some(true),
        gate: Gate::Light("others use 97 % of the processor".into()),
        rtt_ms: Some(12.4),
        rttvar_ms: None,
        down_bytes_per_s: None,
        hash_bytes_per_s: None,
        disk_bytes_per_s: None,
        mfpi: Some(0.82),
        warnings: (0..4)
            .map(|n| Warning {
                path: format!("class/thermal/thermal_zone{n}/temp"),
                problem: "reads 216 °C, which no sensor here can".into(),
            })
            .collect(),
        ..server.clone()
    };
    let waited = StallTime { avg10_percent: 4.5, avg60_percent: 2.25, avg300_percent: 0.5, total_us: 7_000_000 };
    let phone = NodeView {
        id: node_id(3),
        name: "pixel-of-the-living-room-with-a-long-name".into(),
        admin: AdminState::Quarantined,
        kind: "phone".into(),
        recorded: true,
        power: PowerSource::Battery,
        charging: Some(false),
        battery_percent: Some(12.0),
        gate: Gate::Refuse("battery at 12 % and not charging".into()),
        pressure: Pressure { cpu: Some(Stall { some: waited, full: None }), ..Pressure::default() },
        warnings: vec![],
        ..laptop.clone()
    };
    NodesDocument { schema: "ouroboros.nodes/1".into(), nodes: vec![unknown(), laptop, server, phone] }
}

fn server() -> NodeView {
    NodeView {
        id: node_id(1),
        name: "odin".into(),
        admin: AdminState::Active,
        session: "online".into(),
        session_for_ms: Some(7_500_000),
        labels: BTreeMap::from([("owner".into(), "ada".into())]),
        kind: "server".into(),
        recorded: false,
        cpu: Some("AMD EPYC 7543P 32-Core Processor".into()),
        logical_cpus: Some(64),
        memory_bytes: Some(270_000_000_000),
        memory_available_bytes: Some(201_000_000_000),
        bandwidth_bytes_per_s: Some(141e9),
        flops_per_s: Some(1.9e12),
        accelerators: vec!["NVIDIA L4, 22.5 GiB, PCIe 4.0 ×8 of ×16 (degraded)".into()],
        power: PowerSource::External,
        battery_percent: None,
        charging: None,
        max_c: Some(61.4),
        gate: Gate::Normal,
        pressure: Pressure::default(),
        rtt_ms: Some(0.62),
        rttvar_ms: None,
        down_bytes_per_s: None,
        hash_bytes_per_s: None,
        disk_bytes_per_s: None,
        mfpi: Some(2.314),
        slots: 4,
        busy: 1,
        runtimes: vec![
            RuntimeAvailability { runtime: "onnx".into(), available: true, detail: "ONNX Runtime 1.24".into(), pending: false },
            RuntimeAvailability {
                runtime: "oci".into(),
                available: false,
                detail: "install podman, crun or runc".into(),
                pending: false,
            },
        ],
        containers: vec!["langid:1.2.0".parse().unwrap(), "keypoints:1.0.0".parse().unwrap()],
        agent_version: Some("0.1.0".into()),
        warnings: vec![],
    }
}

fn unknown() -> NodeView {
    NodeView {
        id: node_id(4),
        name: "drawer".into(),
        session: "offline".into(),
        session_for_ms: None,
        labels: BTreeMap::new(),
        kind: "unknown".into(),
        recorded: false,
        cpu: None,
        logical_cpus: None,
        memory_bytes: None,
        memory_available_bytes: None,
        bandwidth_bytes_per_s: None,
        flops_per_s: None,
        power: PowerSource::Unknown,
        battery_percent: None,
        charging: None,
        max_c: None,
        gate: Gate::Normal,
        pressure: Pressure::default(),
        rtt_ms: None,
        rttvar_ms: None,
        down_bytes_per_s: None,
        hash_bytes_per_s: None,
        disk_bytes_per_s: None,
        mfpi: None,
        slots: 0,
        busy: 0,
        runtimes: vec![],
        containers: vec![],
        agent_version: None,
        accelerators: vec![],
        warnings: vec![],
        admin: AdminState::Active,
    }
}

pub(crate) fn modules() -> ModulesDocument {
    let port = |port: &str, media: MediaType| Port { port: name(port), media, max_bytes: None, many: false };
    let ready = ModuleView {
        module: Digest::sha256([0x3f; 32]),
        label: "LANG-TOOLS".into(),
        node: node_id(1),
        node_name: "odin".into(),
        slot: "nvme1n1".into(),
        state: ModuleState::Ready,
        why: String::new(),
        read_bytes_per_s: Some(3.41e9),
        containers: vec![ContainerView {
            container: "langid:1.2.0".parse().unwrap(),
            digest: Digest::sha256([0xa1; 32]),
            runtime: "onnx".into(),
            summary: "language of a text".into(),
            inputs: vec![port("text", MediaType::text())],
            outputs: vec![port("label", MediaType::json())],
        }],
        problems: vec![],
        signature: Some(Verdict::Trusted { key: "A48A72AE89DFF035".parse().unwrap(), comment: "spring release".into() }),
        link_bytes_per_s: Some(3.94e9),
        port_link: PcieLink::new(8.0, 4),
        ready_after_ms: Some(84.2),
        wake_ms: None,
        in_use: 2,
    };
    let asleep = ModuleView {
        label: "OURO-VOICES".into(),
        slot: "nvme2n1".into(),
        state: ModuleState::Asleep,
        why: "no step wanted it for 900 s; the next one wakes it".into(),
        wake_ms: Some(1240.0),
        in_use: 0,
        ..ready.clone()
    };
    let untrusted = ModuleView {
        label: "usb-gift".into(),
        slot: "sda1".into(),
        state: ModuleState::Untrusted,
        why: "signed by a key the fleet does not trust, RWQ3…".into(),
        read_bytes_per_s: None,
        containers: vec![],
        problems: vec!["blobs/sha256/77…: 12 bytes are missing".into()],
        signature: Some(Verdict::Untrusted { key: "1F".parse().unwrap() }),
        link_bytes_per_s: None,
        port_link: None,
        in_use: 0,
        ..ready.clone()
    };
    ModulesDocument { schema: "ouroboros.modules/1".into(), modules: vec![ready, asleep, untrusted] }
}
