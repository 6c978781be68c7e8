//! The fleet as people see it: nodes and modules as documents.

use crate::reconcile::columns;
use crate::scheduler::predict::display_indexes;
use crate::scheduler::snapshot::{NodeState, SessionState};
use crate::store::{NodeRecord, StoreError};
use crate::world::World;
use ouro_common::device::{Accelerator, Pressure};
use ouro_common::document::{ContainerView, ModuleView, ModulesDocument, NodeView, NodesDocument};
use ouro_common::id::{ContainerRef, Digest, NodeId};
use ouro_common::mfpi::Gate;
use std::collections::{BTreeMap, BTreeSet};

/// `ouroboros.nodes/1`, by name.
pub(super) async fn nodes_document(world: &World) -> Result<NodesDocument, StoreError> {
    let rows = world.nodes().await?;
    let now = world.store.now();
    let states = columns(world, now).await?.shared();
    let indexes: BTreeMap<NodeId, Option<f64>> = display_indexes(&states).into_iter().collect();
    let states: BTreeMap<NodeId, &NodeState> = states.iter().map(|n| (n.id, n.as_ref())).collect();
    let mut nodes: Vec<NodeView> = Vec::with_capacity(rows.len());
    for row in rows.iter() {
        let Some(node) = states.get(&row.id) else { continue };
        let mut view = node_view(row);
        let session = world.fleet.session(row.id);
        view.session = match node.session {
            SessionState::Online => "online",
            SessionState::Suspect => "suspect",
            SessionState::Offline => "offline",
        }
        .into();
        let offline_since = row.session.as_ref().and_then(|s| s.offline_since);
        view.session_for_ms = match &session {
            Some(_) => None,
            None => offline_since.map(|since| u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX)),
        };
        let readings = &node.readings;
        view.memory_available_bytes = readings.memory_available_bytes.or(view.memory_available_bytes);
        if session.is_some() {
            view.power = readings.power;
            view.battery_percent = readings.battery_percent;
            view.charging = readings.charging;
            view.max_c = readings.max_c;
            view.gate = node.gate.clone();
            view.pressure = readings.pressure.clone();
            view.warnings.extend(readings.warnings.iter().cloned());
        }
        let link = session.as_ref().and_then(|s| s.link);
        view.rtt_ms = link.map(|l| l.srtt_s * 1e3);
        view.rttvar_ms = link.map(|l| l.rttvar_s * 1e3);
        view.down_bytes_per_s = session.and_then(|s| s.delivered_bytes_per_s);
        view.mfpi = indexes.get(&row.id).copied().flatten();
        view.busy = u32::try_from(node.ends.len()).unwrap_or(u32::MAX);
        nodes.push(view);
    }
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(NodesDocument { schema: "ouroboros.nodes/1".into(), nodes })
}

/// What the rows alone say of a node.
fn node_view(row: &NodeRecord) -> NodeView {
    let profile = row.profile.as_ref();
    let hardware = profile.map(|p| &p.hardware);
    let mut containers: Vec<_> = row.announcement.ready_containers().map(|c| c.manifest.reference()).collect();
    containers.sort();
    containers.dedup();
    NodeView {
        id: row.id,
        name: row.name.clone(),
        admin: row.admin,
        session: "offline".into(),
        session_for_ms: None,
        labels: row.labels.clone(),
        kind: hardware.map_or_else(|| "unknown".into(), |h| h.machine.kind.clone()),
        recorded: profile.is_some_and(|p| p.recorded),
        cpu: hardware.and_then(|h| h.machine.cpu.model.clone()),
        logical_cpus: hardware.and_then(|h| h.machine.cpu.logical),
        memory_bytes: hardware.and_then(|h| h.memory.host_bytes.or(h.memory.total_bytes)),
        memory_available_bytes: hardware.and_then(|h| h.memory.available_bytes),
        bandwidth_bytes_per_s: profile.and_then(|p| p.bandwidth_bytes_per_s),
        flops_per_s: profile.and_then(|p| p.flops_per_s),
        accelerators: hardware.map(|h| h.accelerators.iter().map(accelerator_line).collect()).unwrap_or_default(),
        power: hardware.map(|h| h.power.source).unwrap_or_default(),
        battery_percent: hardware.and_then(|h| h.power.battery_percent),
        charging: hardware.and_then(|h| h.power.charging),
        max_c: hardware.and_then(|h| h.thermal.max_c),
        gate: Gate::Normal,
        pressure: Pressure::default(),
        rtt_ms: None,
        rttvar_ms: None,
        down_bytes_per_s: None,
        hash_bytes_per_s: profile.and_then(|p| p.hash_bytes_per_s),
        disk_bytes_per_s: profile.and_then(|p| p.disk_bytes_per_s),
        mfpi: None,
        slots: profile.map_or(0, |p| p.slots),
        busy: 0,
        runtimes: profile.map(|p| p.runtimes.clone()).unwrap_or_default(),
        containers,
        agent_version: profile.map(|p| p.agent_version.clone()),
        warnings: hardware.map(|h| h.warnings.clone()).unwrap_or_default(),
    }
}

fn accelerator_line(accelerator: &Accelerator) -> String {
    let name = accelerator.name.as_deref().unwrap_or(&accelerator.vendor);
    match accelerator.memory_bytes {
        Some(bytes) => format!("{name} ({} GiB)", bytes >> 30),
        None => name.to_string(),
    }
}

/// `ouroboros.modules/1`, by node and slot.
pub(super) async fn modules_document(world: &World) -> Result<ModulesDocument, StoreError> {
    let rows = world.nodes().await?;
    let mut modules: Vec<ModuleView> = Vec::new();
    let running = world.live.running();
    for row in rows.iter() {
        for placement in &row.announcement.placements {
            let containers = placement.containers.iter().map(|c| ContainerView {
                container: c.manifest.reference(),
                digest: c.digest,
                runtime: c.manifest.runtime.name().into(),
                summary: c.manifest.summary.clone(),
                inputs: c.manifest.inputs.clone(),
                outputs: c.manifest.outputs.clone(),
            });
            modules.push(ModuleView {
                module: placement.module,
                label: placement.label.clone(),
                node: row.id,
                node_name: row.name.clone(),
                slot: placement.slot.clone(),
                state: placement.state,
                why: placement.why.clone(),
                read_bytes_per_s: placement.read_bytes_per_s,
                containers: containers.collect(),
                problems: placement.problems.clone(),
                signature: placement.origin.as_ref().map(|origin| origin.signature.clone()),
                link_bytes_per_s: placement.origin.as_ref().and_then(|origin| origin.link_bytes_per_s),
                port_link: placement.origin.as_ref().and_then(|origin| origin.port_link),
                ready_after_ms: placement.origin.as_ref().and_then(|origin| origin.ready_after_ms),
                wake_ms: placement.origin.as_ref().and_then(|origin| origin.wake_ms),
                in_use: placement.containers.iter().filter_map(|c| running.get(&(row.id, c.digest))).sum(),
            });
        }
    }
    name_conflicts(&mut modules);
    modules.sort_by(|a, b| (&a.node_name, &a.slot).cmp(&(&b.node_name, &b.slot)));
    Ok(ModulesDocument { schema: "ouroboros.modules/1".into(), modules })
}

/// Two containers of one name and version are used side by side, and plans take either: that is said on each module that has one.
fn name_conflicts(modules: &mut [ModuleView]) {
    let mut digests: BTreeMap<ContainerRef, BTreeSet<Digest>> = BTreeMap::new();
    for container in modules.iter().filter(|m| m.state.offers()).flat_map(|m| &m.containers) {
        digests.entry(container.container.clone()).or_default().insert(container.digest);
    }
    for module in modules.iter_mut().filter(|m| m.state.offers()) {
        let conflicts = module.containers.iter().filter(|c| digests.get(&c.container).is_some_and(|d| d.len() > 1));
        let problems =
            conflicts.map(|c| format!("{} is another container elsewhere in the fleet; give one a version of its own", c.container));
        module.problems.extend(problems.collect::<Vec<_>>());
    }
}
