//! From rows and sessions to the scheduler's snapshot.

use crate::fleet::SUSPECT_AFTER;
use crate::scheduler::class::Class;
use crate::scheduler::lessons::Lessons;
use crate::scheduler::replay::Bundle;
use crate::scheduler::snapshot::{InputState, NodeState, SessionState, StepState, WorkState};
use crate::scheduler::{Columns, Decision, decide_over};
use crate::store::{NodeRecord, ReadyStep, StoreError};
use crate::world::World;
use ouro_common::clock::Instant;
use ouro_common::device::Readings;
use ouro_common::envelope::{Envelope, Principal};
use ouro_common::id::{Digest, NodeId, RequestId};
use ouro_common::module::{ModuleState, Placement};
use ouro_common::plan::Plan;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard, PoisonError};

/// The label that says whose a node is.
const OWNER: &str = "owner";

/// More requests than this no node computes together, whatever it says.
const MOST_TOGETHER: u32 = 256;

/// Takes over what has changed of the nodes since the last decision, and hands out their columns.
pub async fn columns(world: &World, now: Instant) -> Result<MutexGuard<'_, Columns>, StoreError> {
    let rows = world.nodes().await?;
    let mut columns = world.columns.lock().unwrap_or_else(PoisonError::into_inner);
    let mut changed = world.fleet.take_touched();
    changed.append(&mut world.live.take_touched());
    let languages = world.languages();
    // The columns may not know a node yet.
    let batch_of = |node: NodeId| match columns.place(node) {
        Some(at) => columns.nodes()[at].batch,
        None => rows.iter().find(|row| row.id == node).map_or(1, |row| batch(row)),
    };
    let work = world.live.work(|node, container| if languages.contains(container) { batch_of(node) } else { 1 });
    let (mut work, alone) = (work, world.live.alone_on());
    let mut lessons = world.lessons.lock().unwrap_or_else(PoisonError::into_inner);
    changed.extend(who_learns_from_others(&mut lessons, &rows));
    let mut state = |row: &NodeRecord| {
        let mut state = node_state(world, row, now);
        (state.ends, state.together) = work.remove(&row.id).unwrap_or_default();
        state.runs_alone = alone.contains(&row.id);
        let offers = row.announcement.ready_containers().map(|c| (c.digest, c.manifest.runtime));
        state.residuals = lessons.of(row.id, Class::of(row.profile.as_deref()), offers);
        Arc::new(state)
    };
    match world.take_fresh() {
        None => *columns = Columns::new(rows.iter().map(|row| state(row)).collect()),
        Some(mut fresh) => {
            changed.append(&mut fresh);
            // A node that left has no row; columns cannot forget, so they are made anew.
            if columns.nodes().len() == rows.len() {
                rows.iter().filter(|row| changed.contains(&row.id)).for_each(|row| columns.put(state(row)));
            } else {
                *columns = Columns::new(rows.iter().map(|row| state(row)).collect());
            }
        }
    }
    Ok(columns)
}

/// How many attempts of a language model share a slot of a node.
fn batch(row: &NodeRecord) -> u32 {
    row.profile.as_ref().map_or(1, |p| p.batch.clamp(1, MOST_TOGETHER))
}

/// Nodes that have not run a container of which others of their class have shown something new.
fn who_learns_from_others(lessons: &mut Lessons, rows: &[Arc<NodeRecord>]) -> Vec<NodeId> {
    let moved = lessons.take_moved();
    let learns = |row: &&Arc<NodeRecord>| {
        let class = Class::of(row.profile.as_deref());
        let mut of_class = moved.iter().filter(|(c, _)| *c == class).map(|(_, container)| container);
        of_class
            .any(|container| !lessons.have_met(row.id, container) && row.announcement.ready_containers().any(|c| c.digest == *container))
    };
    if moved.is_empty() { vec![] } else { rows.iter().filter(learns).map(|row| row.id).collect() }
}

/// Decides about `steps` as the fleet stands now.
pub async fn decide_now(world: &World, steps: Vec<StepState>, now: Instant, seed: u64) -> Result<(Bundle, Decision), StoreError> {
    let wanted: BTreeSet<Digest> = steps.iter().map(|s| s.container).collect();
    let mut columns = columns(world, now).await?;
    let (containers, module_labels) = world.remembered(&wanted);
    let work = WorkState { steps, containers, module_labels };
    let decision = decide_over(&mut columns, &work, now, seed);
    Ok((Bundle { nodes: columns.shared(), work, now, seed }, decision))
}

fn node_state(world: &World, row: &NodeRecord, now: Instant) -> NodeState {
    let session = world.fleet.session(row.id);
    let session_state = match &session {
        None => SessionState::Offline,
        Some(s) if now.since(s.last_seen) >= SUSPECT_AFTER => SessionState::Suspect,
        Some(_) => SessionState::Online,
    };
    let ready = || row.announcement.placements.iter().filter(|p| p.state.offers());
    let present = ready().flat_map(|p| p.containers.iter().map(|c| (c.digest, p.read_bytes_per_s))).collect();
    let asleep = asleep(ready());
    let readings = session.as_ref().map_or_else(Readings::default, |s| s.readings.clone());
    NodeState {
        id: row.id,
        name: row.name.clone(),
        admin: row.admin,
        session: session_state,
        session_epoch: session.as_ref().map_or(0, |s| s.epoch),
        labels: row.labels.clone(),
        profile: row.profile.clone(),
        loaded: readings.loaded.iter().map(|l| l.digest).collect(),
        gate: session.as_ref().map_or_else(Default::default, |s| s.gate.gate.clone()),
        slots: row.profile.as_ref().map_or(1, |p| p.slots.max(1)),
        ends: Vec::new(),
        batch: batch(row),
        together: BTreeMap::new(),
        runs_alone: false,
        present,
        asleep,
        link: session.as_ref().and_then(|s| s.link),
        commits: row.commits,
        residuals: BTreeMap::new(),
        switched_off: row.switched_off.iter().filter(|(_, until)| now < *until).map(|(container, _)| *container).collect(),
        readings,
    }
}

/// The containers that are only on modules that sleep, with the seconds until the soonest of them is awake.
fn asleep<'a>(offered: impl Iterator<Item = &'a Placement>) -> BTreeMap<Digest, f64> {
    let mut soonest: BTreeMap<Digest, f64> = BTreeMap::new();
    for placement in offered {
        let wake_ms = placement.origin.as_ref().and_then(|origin| origin.wake_ms).unwrap_or(0.0);
        let wake_s = if placement.state == ModuleState::Asleep { wake_ms / 1e3 } else { 0.0 };
        for container in &placement.containers {
            let soonest = soonest.entry(container.digest).or_insert(wake_s);
            *soonest = soonest.min(wake_s);
        }
    }
    soonest.retain(|_, wake_s| *wake_s > 0.0);
    soonest
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
        too_large_for: step.too_large_for.clone(),
        alone: step.alone,
        private_owner: owner,
        remaining_s: step.remaining_ms as f64 / 1e3,
        waited: false,
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
        too_large_for: vec![],
        alone: false,
        private_owner: owner.clone(),
        remaining_s: envelope.budget_ms as f64 / 1e3,
        waited: false,
    };
    Ok(plan.steps.iter().map(step).collect())
}
