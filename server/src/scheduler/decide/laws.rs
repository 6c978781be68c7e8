//! The laws of a decision, over random fleets.

use super::*;
use crate::scheduler::fleet::{container, manifest, node, node_id, snapshot, step, with_profile};
use crate::scheduler::snapshot::SessionState;
use ouro_common::device::{Accelerator, LinkTrust, PcieDevice};
use ouro_common::mfpi::LinkFactors;
use ouro_common::step::AdminState;
use proptest::prelude::*;
use std::sync::Arc;

prop_compose! {
    fn any_node(n: u32)(
        (kind, bandwidth, flops, disk) in (0usize..6, prop::option::of(1e9..1e12f64), prop::option::of(1e10..1e14f64), prop::option::of(1e7..1e10f64)),
        (loaded, present, stick) in (any::<bool>(), prop::bool::weighted(0.8), prop::option::of(1e7..1e10f64)),
        (srtt, rate) in (1e-3..0.5f64, 1e5..1e9f64),
        (load, cap, memory_mib) in (prop::option::of(0.0..1.0f64), prop::option::of(0.1..1.0f64), prop::option::of(0u64..4096)),
        (session, admin, gate, commits) in (0usize..8, 0usize..10, 0usize..10, 0u64..20),
        (ends, slots, together) in (prop::collection::vec(0u64..60_000, 0..4), 1u32..4, prop::option::of(1u32..6)),
    ) -> NodeState {
        let kinds = ["phone", "board", "laptop", "desktop", "server", "vm"];
        let mut node = with_profile(node(n), |p| {
            p.hardware.machine.kind = kinds[kind].into();
            (p.bandwidth_bytes_per_s, p.flops_per_s, p.disk_bytes_per_s) = (bandwidth, flops, disk);
        });
        if loaded { node.loaded.insert(container()); }
        if present { node.present.insert(container(), stick); } else { node.present.clear(); }
        node.link = Some(LinkFactors { srtt_s: srtt, rttvar_s: srtt / 4.0, down_bytes_per_s: rate, up_bytes_per_s: rate });
        (node.readings.foreign_load, node.readings.clock_cap) = (load, cap);
        node.readings.memory_available_bytes = memory_mib.map(|m| m << 20);
        node.session = [SessionState::Offline, SessionState::Suspect].get(session).copied().unwrap_or(SessionState::Online);
        node.admin = [AdminState::Draining, AdminState::Quarantined].get(admin).copied().unwrap_or(AdminState::Active);
        node.gate = [Gate::Refuse("too hot".into()), Gate::Light("warm".into())].get(gate).cloned().unwrap_or_default();
        (node.commits, node.ends, node.slots) = (commits, ends.into_iter().map(Instant).collect(), slots);
        if let (Some(count), false) = (together, node.ends.is_empty()) {
            node.batch = 4;
            node.together = BTreeMap::from([(other_container(), count)]);
        }
        node
    }
}

fn fleet() -> impl Strategy<Value = Vec<NodeState>> {
    (1usize..20).prop_flat_map(|n| (0..n as u32).map(any_node).collect::<Vec<_>>())
}

fn bytes_of(decision: &Decision) -> String {
    serde_json::to_string(decision).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_order_of_nodes_does_not_matter_and_the_same_gives_the_same(
        (nodes, shuffled) in fleet().prop_flat_map(|n| (Just(n.clone()), Just(n).prop_shuffle())), seed: u64, steps in 1u8..8,
    ) {
        let steps: Vec<_> = (0..steps).map(step).collect();
        let decision = decide(&snapshot(nodes.clone(), steps.clone()), Instant(1), seed);
        prop_assert_eq!(bytes_of(&decision), bytes_of(&decide(&snapshot(shuffled, steps.clone()), Instant(1), seed)));
        prop_assert_eq!(bytes_of(&decision), bytes_of(&decide(&snapshot(nodes, steps), Instant(1), seed)));
    }

    #[test]
    fn a_decision_replays_from_the_snapshot_as_it_was_written(nodes in fleet(), seed: u64) {
        let snapshot = snapshot(nodes, vec![step(1), step(2)]);
        let replayed: Snapshot = serde_json::from_str(&serde_json::to_string(&snapshot).unwrap()).unwrap();
        prop_assert_eq!(bytes_of(&decide(&snapshot, Instant(1), seed)), bytes_of(&decide(&replayed, Instant(1), seed)));
    }

    #[test]
    fn nobody_incompatible_is_chosen_and_everybody_is_accounted_for(nodes in fleet(), seed: u64) {
        let snapshot = snapshot(nodes, vec![step(1)]);
        let decision = decide(&snapshot, Instant(1), seed);
        let view = &decision.report[0].view;
        let refused: u32 = view.refusals.iter().map(|r| r.count).sum();
        prop_assert_eq!(view.candidates.len().min(17) + refused as usize, snapshot.nodes.len().min(17 + refused as usize));
        for candidate in &view.candidates {
            let node = snapshot.nodes.iter().find(|n| n.id == candidate.node).unwrap();
            prop_assert!(node.session == SessionState::Online && node.admin == AdminState::Active);
            prop_assert!(!matches!(node.gate, Gate::Refuse(_)));
            prop_assert!(node.present.contains_key(&container()));
            let free = node.readings.memory_available_bytes;
            prop_assert!(node.loaded.contains(&container()) || free.is_none_or(|f| f >= 512 << 20));
            prop_assert!(node.commits >= 5 || node.ends.is_empty());
        }
        if let Some(winner) = view.winner {
            let node = snapshot.nodes.iter().find(|n| n.id == winner).unwrap();
            prop_assert!(node.ends.len() <= node.slots as usize);
            let best = view.candidates.iter().map(|c| c.total_s).fold(f64::INFINITY, f64::min);
            prop_assert!(view.candidates[0].node == winner && view.candidates[0].total_s <= best * 1.05 + 1e-12);
        } else {
            prop_assert!(view.remedy.is_some(), "whoever waits is told why");
        }
    }

    #[test]
    fn the_index_ranks_as_the_seconds_do(nodes in fleet(), seed: u64) {
        let decision = decide(&snapshot(nodes, vec![step(1)]), Instant(1), seed);
        let candidates = &decision.report[0].view.candidates;
        for (a, b) in candidates.iter().zip(candidates.iter().skip(1)) {
            prop_assert_eq!(a.total_s < b.total_s, a.mfpi > b.mfpi);
        }
    }

    #[test]
    fn as_good_and_better_in_every_factor_is_never_later(nodes in fleet(), by in 1.2..5.0f64, seed: u64) {
        let mut best = with_profile(nodes[0].clone(), |p| {
            p.bandwidth_bytes_per_s = p.bandwidth_bytes_per_s.map(|b| b * by);
            p.flops_per_s = p.flops_per_s.map(|f| f * by);
            p.disk_bytes_per_s = p.disk_bytes_per_s.map(|d| d * by);
        });
        (best.id, best.name) = (node_id(999), "best".into());
        best.ends.iter_mut().for_each(|e| e.0 = (e.0 as f64 / by) as u64);
        best.readings.foreign_load = best.readings.foreign_load.map(|l| l / by);
        let (id, twin) = (best.id, nodes[0].id);
        let decision = decide(&snapshot([nodes, vec![best]].concat(), vec![step(1)]), Instant(1), seed);
        let at = |id| decision.report[0].view.candidates.iter().find(|c| c.node == id).map(|c| c.total_s);
        if let (Some(best), Some(twin)) = (at(id), at(twin)) {
            prop_assert!(best <= twin * (1.0 + 1e-9), "{best} {twin}");
        }
    }

    #[test]
    fn a_resident_model_does_not_care_about_lanes_and_a_cold_one_does(lanes in prop::sample::select(vec![1.0, 4.0, 16.0])) {
        let gpu = |n: u32, path: f64, loaded: bool| {
            let mut node = with_profile(node(n), |p| {
                let (address, kind) = (Some("0000:01:00.0".to_string()), "gpu".to_string());
                p.hardware.accelerators = vec![Accelerator { kind: kind.clone(), vendor: "nvidia".into(), name: None,
                    runtimes: vec!["cuda 8.6".into()], address: address.clone(), memory_bytes: None, integrated: Some(false), source: "nvml".into(), ..Accelerator::default() }];
                p.hardware.pcie = vec![PcieDevice { address: address.unwrap(), class: None, vendor: None, device: None, kind, numa_node: None,
                    current: None, max: None, path_bytes_per_s: Some(path), below_max: None, trust: LinkTrust::Measured, why: String::new() }];
            });
            if loaded { node.loaded.insert(container()); }
            node
        };
        let seconds = |loaded| {
            let mut s = snapshot(vec![gpu(1, 50e6, loaded), gpu(2, 50e6 * lanes, loaded)], vec![step(1)]);
            let mut cuda = manifest();
            cuda.needs.accelerators = vec!["cuda>=8.0".into()];
            s.containers.insert(container(), Arc::new(cuda));
            let decision = decide(&s, Instant(1), 0);
            let view = decision.report[0].view.clone();
            let of = |n| view.candidates.iter().find(|c| c.node == node_id(n)).unwrap().total_s;
            (of(1), of(2))
        };
        let ((narrow, wide), (narrow_cold, wide_cold)) = (seconds(true), seconds(false));
        prop_assert_eq!(narrow, wide);
        prop_assert_eq!(lanes > 1.0, wide_cold < narrow_cold);
    }
}

/// The same decision, every node looked at for itself.
fn plainly(snapshot: &Snapshot, seed: u64) -> Decision {
    let mut columns = Columns::new(snapshot.nodes.clone());
    let work = snapshot.work();
    columns.prepare(work.containers.iter());
    let mut run = Run::new(&columns, &work, Instant(1), seed);
    run.plainly = true;
    run.all()
}

prop_compose! {
    /// A node with everything that the filters and columns tell apart.
    fn wild_node(n: u32)(
        node in any_node(n),
        (owner, alone, off, no_profile) in (0u8..3, prop::bool::weighted(0.05), prop::bool::weighted(0.05), prop::bool::weighted(0.05)),
        (plug, pre, dec) in (-3.0..50.0f64, -3.0..3.0f64, -1.0..1.0f64), (learned, hash, gpu) in (any::<bool>(), prop::option::of(1e8..1e10f64), 0u8..4),
        (no_link, small) in (prop::bool::weighted(0.1), prop::bool::weighted(0.1)),
    ) -> NodeState {
        let mut node = with_profile(node, |p| {
            p.hash_bytes_per_s = hash;
            if small { p.hardware.memory.host_bytes = Some(256 << 20); }
            if gpu == 0 {
                let accelerator = Accelerator { kind: "gpu".into(), vendor: "nvidia".into(), runtimes: vec!["cuda 8.6".into()], integrated: Some(false), ..Accelerator::default() };
                p.hardware.accelerators = vec![accelerator];
            }
        });
        if owner > 0 { node.labels.insert("owner".into(), format!("o{owner}")); }
        if learned { node.residuals.insert(container(), ouro_common::mfpi::Residuals { plug, pre, dec }); }
        if off { node.switched_off.insert(container()); }
        if no_profile { node.profile = None; }
        if no_link { node.link = None; }
        node.runs_alone = alone;
        node
    }
}

prop_compose! {
    fn wild_step(n: u8)(
        owner in 0u8..8, alone in prop::bool::weighted(0.1), (failed, held) in (prop::collection::vec(0u32..60, 0..3), prop::collection::vec(0u32..60, 0..3)),
        size_bytes in 0u64..10_000_000, other in prop::bool::weighted(0.2),
    ) -> StepState {
        let mut step = step(n);
        step.private_owner = (1..3).contains(&owner).then(|| format!("o{owner}"));
        step.alone = alone;
        step.failed_on = failed.into_iter().map(node_id).collect();
        step.inputs.push(crate::scheduler::snapshot::InputState { size_bytes, holders: held.into_iter().map(node_id).collect() });
        if other { step.container = other_container(); }
        step
    }
}

/// A language model, or a container for a GPU: needs, runtime and plug path differ.
fn other_container() -> Digest {
    Digest::sha256([8; 32])
}

fn wild(nodes: Vec<NodeState>, steps: Vec<StepState>, language: bool) -> Snapshot {
    let mut snapshot = snapshot(nodes, steps);
    let mut other = manifest();
    if language {
        other.runtime = Runtime::Gguf;
        (other.cost.active_params, other.cost.output_tokens, other.cost.kv_bytes_per_token) = (1e9, 100.0, 1e5);
    } else {
        other.needs.accelerators = vec!["cuda>=8.0".into()];
    }
    snapshot.containers.insert(other_container(), Arc::new(other));
    snapshot.nodes.iter_mut().filter(|n| n.slots % 2 == 0).for_each(|n| {
        Arc::make_mut(n).present.insert(other_container(), None);
    });
    snapshot
}

fn wild_fleet() -> impl Strategy<Value = Vec<NodeState>> {
    (1usize..60).prop_flat_map(|n| (0..n as u32).map(wild_node).collect::<Vec<_>>())
}

fn wild_steps() -> impl Strategy<Value = Vec<StepState>> {
    (1usize..12).prop_flat_map(|n| (0..n as u8).map(wild_step).collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn columns_decide_as_looking_at_each_node_does(nodes in wild_fleet(), steps in wild_steps(), language: bool, seed: u64) {
        let snapshot = wild(nodes, steps, language);
        prop_assert_eq!(bytes_of(&decide(&snapshot, Instant(1), seed)), bytes_of(&plainly(&snapshot, seed)));
    }

    #[test]
    fn columns_that_are_kept_decide_as_new_ones_do(
        nodes in wild_fleet(), changed in prop::collection::vec((0u32..60).prop_flat_map(wild_node), 0..20), steps in wild_steps(), seed: u64,
    ) {
        let mut snapshot = wild(nodes, steps, true);
        let mut columns = Columns::new(snapshot.nodes.clone());
        decide_over(&mut columns, &snapshot.work(), Instant(1), seed);
        for node in changed.into_iter().map(Arc::new) {
            columns.put(node.clone());
            snapshot.nodes.retain(|n| n.id != node.id);
            snapshot.nodes.push(node);
        }
        let kept = decide_over(&mut columns, &snapshot.work(), Instant(1), seed);
        prop_assert_eq!(bytes_of(&kept), bytes_of(&decide(&snapshot, Instant(1), seed)));
    }
}
