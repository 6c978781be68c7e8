//! From rows and sessions to the scheduler's snapshot.

use crate::fleet::SUSPECT_AFTER;
use crate::scheduler::snapshot::{InputState, NodeState, SessionState, Snapshot, StepState};
use crate::store::{NodeRecord, ReadyStep, StoreError};
use crate::world::World;
use ouro_common::clock::Instant;
use ouro_common::device::Readings;
use ouro_common::envelope::{Envelope, Principal};
use ouro_common::id::{Digest, NodeId, RequestId};
use ouro_common::module::ModuleState;
use ouro_common::plan::Plan;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

/// The label that says whose a node is.
const OWNER: &str = "owner";

/// The whole state a decision about `steps` depends on.
pub async fn snapshot(world: &World, steps: Vec<StepState>, now: Instant) -> Result<Snapshot, StoreError> {
    let rows = world.nodes().await?;
    let mut running = world.live.remaining_s(now);
    let residuals = world.residuals.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let wanted: BTreeSet<Digest> = steps.iter().map(|s| s.container).collect();
    let alone = world.live.alone_on();
    let mut nodes = Vec::with_capacity(rows.len());
    for row in rows.iter() {
        let mut state = node_state(world, row, now);
        state.running_s = running.remove(&row.id).unwrap_or_default();
        state.runs_alone = alone.contains(&row.id);
        state.residuals = residuals.iter().filter(|((node, _), _)| *node == row.id).map(|((_, c), r)| (*c, *r)).collect();
        nodes.push(state);
    }
    let (containers, module_labels) = world.remembered(&wanted);
    Ok(Snapshot { nodes, steps, containers, module_labels })
}

fn node_state(world: &World, row: &NodeRecord, now: Instant) -> NodeState {
    let session = world.fleet.session(row.id);
    let session_state = match &session {
        None => SessionState::Offline,
        Some(s) if now.since(s.last_seen) >= SUSPECT_AFTER => SessionState::Suspect,
        Some(_) => SessionState::Online,
    };
    let ready = row.announcement.placements.iter().filter(|p| p.state == ModuleState::Ready);
    let present = ready.flat_map(|p| p.containers.iter().map(|c| (c.digest, p.read_bytes_per_s))).collect();
    let readings = session.as_ref().map_or_else(Readings::default, |s| s.readings.clone());
    NodeState {
        id: row.id,
        name: row.name.clone(),
        admin: row.admin,
        session: session_state,
        session_epoch: session.as_ref().map_or(0, |s| s.epoch),
        labels: row.labels.clone(),
        profile: row.profile.clone().map(Arc::new),
        loaded: readings.loaded.iter().map(|l| l.digest).collect(),
        gate: session.as_ref().map_or_else(Default::default, |s| s.gate.gate.clone()),
        slots: row.profile.as_ref().map_or(1, |p| p.slots.max(1)),
        running_s: Vec::new(),
        runs_alone: false,
        present,
        link: session.as_ref().and_then(|s| s.link),
        commits: row.commits,
        residuals: BTreeMap::new(),
        switched_off: row.switched_off.iter().filter(|(_, until)| now < *until).map(|(container, _)| *container).collect(),
        readings,
    }
}

/// A claimed step as the scheduler sees it.
pub async fn step_state(world: &World, step: &ReadyStep) -> Result<StepState, StoreError> {
    let owner = if step.private { Some(owner_of(world, &step.principal).await?) } else { None };
    // What the server itself has still has to travel; only a node's own copy saves the transfer.
    let inputs = step.inputs.iter().map(|(_, tag)| InputState { size_bytes: tag.size_bytes, holders: tag.holders.clone() });
    Ok(StepState {
        request: step.request,
        plan: step.plan,
        step: step.step.id.clone(),
        container: step.step.digest,
        inputs: inputs.collect(),
        failed_on: step.failed_on.clone(),
        alone: step.alone,
        private_owner: owner,
        remaining_s: step.remaining_ms as f64 / 1e3,
    })
}

/// Whose a request is: the owner label of the node it came through, or the name of the person.
async fn owner_of(world: &World, principal: &Principal) -> Result<String, StoreError> {
    Ok(match principal {
        Principal::Operator(name) | Principal::Client(name) => name.clone(),
        Principal::Node { node, .. } => {
            let rows = world.nodes().await?;
            let label = |id: &NodeId| rows.iter().find(|r| r.id == *id).and_then(|r| r.labels.get(OWNER).cloned());
            label(node).unwrap_or_else(|| node.to_string())
        }
    })
}

/// The steps of a plan that nobody has accepted yet, as if all were ready: for showing where each would go.
pub async fn hypothetical_steps(world: &World, envelope: &Envelope, plan: &Plan) -> Result<Vec<StepState>, StoreError> {
    let private = envelope.privacy == ouro_common::envelope::Privacy::Private;
    let owner = if private { Some(owner_of(world, &envelope.principal).await?) } else { None };
    let size_of = |tag: &ouro_common::id::Name| {
        let given = envelope.inputs.iter().find(|i| &i.tag == tag).map(|i| i.size_bytes);
        given.unwrap_or(if tag.as_str() == ouro_common::envelope::PROMPT_TAG { envelope.prompt.len() as u64 } else { 1024 })
    };
    let step = |s: &ouro_common::plan::Step| StepState {
        request: RequestId(envelope.id.0),
        plan: 1,
        step: s.id.clone(),
        container: s.digest,
        inputs: s
            .inputs
            .values()
            .flat_map(|t| t.iter())
            .map(|t| InputState { size_bytes: size_of(t), holders: vec![] })
            .collect(),
        failed_on: vec![],
        alone: false,
        private_owner: owner.clone(),
        remaining_s: envelope.budget_ms as f64 / 1e3,
    };
    Ok(plan.steps.iter().map(step).collect())
}
