//! Ready steps are claimed, decided about, assigned, and the nodes are told.

use super::claims::{Claim, StepKey};
use super::companions::Companions;
use super::snapshot::{decide_now, step_state};
use crate::fleet::NodeCommand;
use crate::scheduler::Action;
use crate::store::{AssignOutcome, Assignment, Ended, ReadyStep, RefusedStep, StoreError, Take};
use crate::world::World;
use futures::future::try_join_all;
use ouro_common::clock::Instant;
use ouro_common::id::{AttemptKey, Epoch, Name, NodeId};
use ouro_common::mfpi::Terms;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Steps that are decided about in one pass.
const BATCH: usize = 512;
/// How long a claim lasts if this process dies over it.
const LEASE: Duration = Duration::from_secs(20);

/// Places what is ready. `afresh`: also what found no room the last time is looked at in full, since it may find none ever.
pub(super) async fn place_steps(world: &World, afresh: bool) -> Result<(), StoreError> {
    let now = world.store.now();
    let (ready, steps): (Vec<_>, Vec<_>) = claimed(world, now, afresh).await?.into_iter().map(|c| (c.step, c.state)).unzip();
    if ready.is_empty() {
        return Ok(());
    }
    let (bundle, decision) = decide_now(world, steps, now, rand::random()).await?;
    world.claims.mark_waiting();
    let mut companions = Companions::new(world, &ready, bundle.work.clone(), now);
    world.replays.keep(bundle, &decision);
    let by_key: BTreeMap<StepKey, &ReadyStep> = ready.iter().map(|s| ((s.request, s.plan, s.step.id.clone()), s.as_ref())).collect();
    let mut items = Vec::new();
    let (mut terms, mut behind) = (Vec::new(), Vec::new());
    for action in decision.actions {
        match action {
            Action::Assign { request, plan, step, node, session_epoch, slots, predicted, total_s, view } => {
                let Some(claimed) = by_key.get(&(request, plan, step.clone())) else {
                    continue;
                };
                let chain = if claimed.alone { vec![] } else { companions.of(claimed, node, total_s) };
                terms.push((predicted, claimed.alone));
                let (chain, chain_terms): (Vec<_>, Vec<_>) = chain.into_iter().unzip();
                behind.push(chain_terms);
                items.push(Assignment {
                    request,
                    plan,
                    step,
                    expected_epoch: claimed.expected_epoch,
                    node,
                    session_epoch,
                    // The scheduler counts this attempt too; the store's rule is "one more than slots".
                    slots: slots.saturating_sub(1),
                    decision: view,
                    predicted_ms: total_s * 1e3,
                    chain,
                });
            }
            Action::CannotPlace { request, plan, step, fault, view } => {
                world.claims.forget(&(request, plan, step.clone()));
                let refused = RefusedStep { request, plan, step, decision: view };
                let ended = world.store.refuse_step(refused, &fault).await?;
                stop_attempts(world, &ended);
            }
        }
    }
    if items.is_empty() {
        return Ok(());
    }
    let outcomes = world.store.assign(items.clone()).await?;
    let mut assigned: BTreeMap<AttemptKey, (Terms, bool)> = BTreeMap::new();
    let mut nodes = BTreeSet::new();
    for (n, (item, outcome)) in items.iter().zip(&outcomes).enumerate() {
        // A node that was gone or full is tried again; whoever else was faster has changed the step.
        if matches!(outcome, AssignOutcome::Assigned { .. } | AssignOutcome::Raced) {
            world.claims.forget(&(item.request, item.plan, item.step.clone()));
        }
        if let AssignOutcome::Assigned { epoch, chain } = outcome {
            let key = |step: &Name, epoch: Epoch| AttemptKey { request: item.request, plan: item.plan, step: step.clone(), epoch };
            assigned.insert(key(&item.step, *epoch), terms[n]);
            let links = chain.iter().zip(&behind[n]);
            assigned.extend(links.map(|((step, epoch), terms)| (key(step, *epoch), (*terms, false))));
            nodes.insert(item.node);
        }
    }
    tell_nodes(world, assigned, nodes).await
}

/// The steps that wait, those included that are new.
async fn claimed(world: &World, now: Instant, afresh: bool) -> Result<Vec<Claim>, StoreError> {
    let held = world.claims.keep_younger(now, LEASE / 2);
    if held < BATCH {
        let fresh = world.store.take_ready(world.instance, BATCH - held, LEASE, Take::New).await?;
        let states = try_join_all(fresh.iter().map(|step| step_state(world, step))).await?;
        let claim = |(step, state)| Claim { step: Arc::new(step), state, read: now };
        world.claims.add(fresh.into_iter().zip(states).map(claim).collect());
    }
    Ok(world.claims.all(now, afresh))
}

async fn tell_nodes(world: &World, mut assigned: BTreeMap<AttemptKey, (Terms, bool)>, nodes: BTreeSet<NodeId>) -> Result<(), StoreError> {
    let lists = try_join_all(nodes.into_iter().map(|node| world.store.live_attempts(Some(node)))).await?;
    for attempt in lists.into_iter().flatten() {
        let Some((terms, alone)) = assigned.remove(&attempt.key) else {
            continue;
        };
        world.live.begin(&attempt, terms, alone);
        world.watchers.ring(attempt.key.request);
        // A node that cannot be told now is told by the sweep.
        world.fleet.tell(attempt.node, NodeCommand::Assign(Box::new(attempt)));
    }
    Ok(())
}

/// Tells nodes to stop what runs for a request that has ended, and wakes those who watch it.
pub(crate) fn stop_attempts(world: &World, ended: &Ended) {
    world.claims.forget_request(ended.request);
    for (node, key) in &ended.attempts {
        world.live.end(key, world.store.now());
        world.fleet.tell(*node, NodeCommand::Cancel(key.clone(), format!("the request is {}", ended.state)));
        world.fleet.attempt_ended(*node, key);
    }
    world.watchers.ring(ended.request);
}
