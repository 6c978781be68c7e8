//! Which steps go along with another one to its node: those that can only follow it, as long as the node is the best for them.
//!
//! What the step before leaves on the node costs no way there, and no word from the server is waited for. So a follower
//! goes along if the node, without its way there, is done with it at least as soon as the best node is with it.

use crate::scheduler::decide_over;
use crate::scheduler::snapshot::{InputState, StepState, WorkState};
use crate::store::{ChainLink, Follower, ReadyStep};
use crate::world::World;
use ouro_common::clock::Instant;
use ouro_common::id::{Digest, NodeId};
use ouro_common::mfpi::Terms;
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

/// The followers of the steps of one pass.
pub(super) struct Companions<'w> {
    /// Its columns are the fleet as it was before the pass gave anything away: when a follower begins, the step before it has
    /// ended.
    world: &'w World,
    work: WorkState,
    now: Instant,
}

impl<'w> Companions<'w> {
    /// In the fleet that the pass was decided with.
    pub(super) fn new(world: &'w World, ready: &[Arc<ReadyStep>], mut work: WorkState, now: Instant) -> Self {
        let wanted: BTreeSet<Digest> = ready.iter().flat_map(|step| step.followers.iter().map(|f| f.step.digest)).collect();
        if !wanted.is_empty() {
            let (containers, labels) = world.remembered(&wanted);
            work.containers.extend(containers);
            work.module_labels.extend(labels);
        }
        Self { world, work, now }
    }

    /// The steps that go along with `head` to `node`, where it will be done after `total_s`; with what is predicted for each.
    pub(super) fn of(&mut self, head: &ReadyStep, node: NodeId, total_s: f64) -> Vec<(ChainLink, Terms)> {
        let state = self.work.steps.iter().find(|s| s.request == head.request && s.plan == head.plan && s.step == head.step.id);
        let Some(head_state) = state.cloned() else { return vec![] };
        let mut chain = Vec::new();
        let (mut before, mut end_s) = (head.step.digest, total_s);
        let first = std::mem::take(&mut self.work.steps);
        for follower in &head.followers {
            self.work.steps = vec![self.state_of(&head_state, follower, before, node)];
            let mut columns = self.world.columns.lock().unwrap_or_else(PoisonError::into_inner);
            let report = decide_over(&mut columns, &self.work, self.now, 0).report.pop();
            drop(columns);
            let Some(view) = report.map(|report| report.view) else { break };
            let best_s = view.candidates.iter().map(|c| c.total_s).fold(f64::INFINITY, f64::min);
            let Some(here) = view.candidates.iter().find(|c| c.node == node).cloned() else {
                break;
            };
            let alone_s = here.total_s - here.terms.net_s;
            if alone_s > best_s {
                break;
            }
            end_s += alone_s;
            let mut decision = view;
            decision.winner = Some(node);
            let link = ChainLink {
                step: follower.step.id.clone(),
                expected_epoch: follower.expected_epoch,
                decision,
                predicted_ms: end_s * 1e3,
            };
            chain.push((link, Terms { net_s: 0.0, ..here.terms }));
            before = follower.step.digest;
        }
        self.work.steps = first;
        chain
    }

    /// A follower as it will be when the step before it, of the container `before`, has left its results on `node`.
    fn state_of(&self, head: &StepState, follower: &Follower, before: Digest, node: NodeId) -> StepState {
        let made = self.work.containers.get(&before).map_or(0, |manifest| manifest.cost.output_bytes);
        let known = follower.inputs.iter().map(|(_, tag)| InputState { size_bytes: tag.size_bytes, holders: tag.holders.clone() });
        let inputs = known.chain([InputState { size_bytes: made, holders: vec![node] }]).collect();
        StepState {
            step: follower.step.id.clone(),
            container: follower.step.digest,
            inputs,
            failed_on: vec![],
            too_large_for: vec![],
            alone: false,
            ..head.clone()
        }
    }
}
