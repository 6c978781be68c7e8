//! The modelled fleet: what machines claim to be, and what they really are.
//!
//! Figures of a kind spread around its median; claims are measured with an error, and one machine in ten is half as fast as it
//! says. Load by others comes and goes. Nodes are lost more often than the priors of the scheduler say, so that losses show.

use super::trace::spread;
use crate::scheduler::snapshot::{Gate, NodeState, SessionState};
use ouro_common::device::{
    HardwareReport, Machine as Hardware, Memory, NodeProfile, Power, PowerSource, Pressure, Readings, RuntimeAvailability, Thermal,
};
use ouro_common::id::{BootId, Digest, NodeId};
use ouro_common::mfpi::{LinkFactors, NodeFactors, reference};
use ouro_common::step::AdminState;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Which machines there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum FleetKind {
    /// Phones, boards, laptops, desktops, servers and virtual machines.
    Mixed,
    /// Phones only.
    Phones,
}

/// A kind of machine: medians of its figures.
struct Kind {
    name: &'static str,
    /// How many of twenty-four.
    share: u32,
    bandwidth: f64,
    flops: f64,
    disk: f64,
    srtt_s: f64,
    link: f64,
    memory_gib: u64,
    /// Mean time between losses, hours.
    lost_every_h: f64,
}

const KINDS: [Kind; 6] = [
    kind("phone", 6, (25e9, 0.15e12, 1.0e9), (0.040, 5e6), 6, 1.0),
    kind("board", 3, (15e9, 0.10e12, 0.4e9), (0.005, 12e6), 6, 12.0),
    kind("laptop", 6, (40e9, 0.50e12, 2.0e9), (0.015, 12e6), 12, 3.0),
    kind("desktop", 5, (55e9, 1.20e12, 3.0e9), (0.004, 50e6), 24, 12.0),
    kind("vm", 2, (30e9, 0.60e12, 1.0e9), (0.020, 50e6), 12, 12.0),
    kind("server", 2, (200e9, 4.00e12, 4.0e9), (0.002, 125e6), 64, 48.0),
];

const fn kind(name: &'static str, share: u32, speed: (f64, f64, f64), net: (f64, f64), memory_gib: u64, lost_every_h: f64) -> Kind {
    Kind {
        name,
        share,
        bandwidth: speed.0,
        flops: speed.1,
        disk: speed.2,
        srtt_s: net.0,
        link: net.1,
        memory_gib,
        lost_every_h,
    }
}

/// Machines of one kind differ by so much, as the standard deviation of the logarithm.
const SPREAD: f64 = 0.25;
/// A measurement is wrong by so much, in the same measure.
const CLAIM_ERROR: f64 = 0.10;
/// One machine in so many is half as fast as it says.
const BOASTER: u32 = 10;

/// A modelled machine.
#[derive(Debug, Clone)]
pub struct Machine {
    /// What the scheduler is told.
    pub state: NodeState,
    /// What it really is.
    pub truth: NodeFactors,
    /// Memory for containers, bytes.
    pub memory_bytes: u64,
    /// Mean time between its losses, seconds.
    pub lost_every_s: f64,
}

/// The `n`th node's id.
pub(super) fn node_id(n: u32) -> NodeId {
    let mut random = [0; 10];
    random[6..].copy_from_slice(&n.to_be_bytes());
    NodeId::from_parts(0, random)
}

/// `count` machines, idle, trusted, each with every container of `present` on its disk.
pub fn fleet(kind: FleetKind, count: u32, present: &[Digest], rng: &mut ChaCha8Rng) -> Vec<Machine> {
    let deck: Vec<&Kind> = match kind {
        FleetKind::Mixed => KINDS.iter().flat_map(|k| (0..k.share).map(move |_| k)).collect(),
        FleetKind::Phones => vec![&KINDS[0]],
    };
    (0..count).map(|n| machine(n, deck[n as usize % deck.len()], present, rng)).collect()
}

fn machine(n: u32, kind: &Kind, present: &[Digest], rng: &mut ChaCha8Rng) -> Machine {
    let link = spread(kind.link, SPREAD, rng);
    let srtt_s = spread(kind.srtt_s, SPREAD, rng);
    let truth = NodeFactors {
        bandwidth_bytes_per_s: spread(kind.bandwidth, SPREAD, rng),
        flops_per_s: spread(kind.flops, SPREAD, rng),
        disk_bytes_per_s: spread(kind.disk, SPREAD, rng),
        hash_bytes_per_s: 1.2e9,
        pcie_bytes_per_s: None,
        link: LinkFactors { srtt_s, rttvar_s: srtt_s / 4.0, down_bytes_per_s: link, up_bytes_per_s: link / 2.0 },
        // Heat and power policies cap the clocks of one machine in four.
        clock_cap: if rng.random_ratio(1, 4) { rng.random_range(0.5..0.9) } else { 1.0 },
        ..reference()
    };
    let boast = if rng.random_ratio(1, BOASTER) { 2.0 } else { 1.0 };
    let mut claim = |figure: f64| Some(figure * boast * spread(1.0, CLAIM_ERROR, rng));
    let memory_bytes = kind.memory_gib << 30;
    let profile = NodeProfile {
        hardware: hardware(kind.name, memory_bytes),
        recorded: false,
        hostname: format!("{}-{n}", kind.name),
        agent_version: env!("CARGO_PKG_VERSION").into(),
        boot: BootId::from_parts(0, [0; 10]),
        runtimes: vec![RuntimeAvailability { runtime: "gguf".into(), available: true, detail: String::new(), pending: false }],
        bandwidth_bytes_per_s: claim(truth.bandwidth_bytes_per_s),
        flops_per_s: claim(truth.flops_per_s),
        disk_bytes_per_s: claim(truth.disk_bytes_per_s),
        hash_bytes_per_s: claim(truth.hash_bytes_per_s),
        slots: 1,
        batch: 1,
        cache_bytes: None,
        first_pass_model: None,
    };
    let state = NodeState {
        id: node_id(n),
        name: profile.hostname.clone(),
        admin: AdminState::Active,
        session: SessionState::Online,
        session_epoch: 1,
        labels: BTreeMap::new(),
        readings: Readings {
            memory_available_bytes: Some(memory_bytes),
            foreign_load: Some(0.0),
            clock_cap: Some(truth.clock_cap),
            power: PowerSource::External,
            ..Readings::default()
        },
        profile: Some(Arc::new(profile)),
        gate: Gate::Normal,
        slots: 1,
        ends: vec![],
        batch: 1,
        together: BTreeMap::new(),
        runs_alone: false,
        present: present.iter().map(|d| (*d, None)).collect(),
        asleep: BTreeMap::new(),
        loaded: BTreeSet::new(),
        link: Some(truth.link),
        commits: 100,
        residuals: BTreeMap::new(),
        switched_off: BTreeSet::new(),
    };
    Machine { state, truth, memory_bytes, lost_every_s: kind.lost_every_h * 3600.0 }
}

fn hardware(kind: &str, memory_bytes: u64) -> HardwareReport {
    HardwareReport {
        schema: HardwareReport::SCHEMA.into(),
        root: "/".into(),
        machine: Hardware { kind: kind.into(), ..Hardware::default() },
        memory: Memory { host_bytes: Some(memory_bytes), ..Memory::default() },
        numa: vec![],
        pcie: vec![],
        nvme: vec![],
        accelerators: vec![],
        power: Power::default(),
        thermal: Thermal::default(),
        pressure: Pressure::default(),
        warnings: vec![],
    }
}

/// The share that others use, drawn anew: mostly a little, now and then much.
pub(super) fn foreign_load(rng: &mut ChaCha8Rng) -> f64 {
    if rng.random_ratio(3, 10) { rng.random_range(0.2..0.8) } else { rng.random_range(0.0..0.1) }
}

/// What [`foreign_load`] is on average.
pub(super) const MEAN_FOREIGN_LOAD: f64 = 0.3 * 0.5 + 0.7 * 0.05;
