//! Decisions that can be taken again: everything the newest of them depended on, in a ring of bounded size.
//!
//! A bundle is kept as values, so keeping one costs a few pointers; the figures it took are its nodes as they were.

use super::decide::{Decision, decide};
use super::snapshot::{NodeState, Snapshot, WorkState};
use ouro_common::clock::Instant;
use ouro_common::document::ReplayDocument;
use ouro_common::id::{Digest, Name, RequestId};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Decisions that are kept.
const BUNDLES: usize = 256;
/// Nodes that all kept decisions may hold together; with more, the oldest are forgotten.
const NODES: usize = 1 << 20;

/// Everything a decision depended on.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The nodes.
    pub nodes: Arc<[Arc<NodeState>]>,
    /// What it was about.
    pub work: WorkState,
    /// When it was taken.
    pub now: Instant,
    /// What it drew its chance from.
    pub seed: u64,
}

/// A kept decision.
struct Kept {
    bundle: Bundle,
    digest: Digest,
}

/// The newest decisions.
#[derive(Default)]
pub struct Replays(Mutex<VecDeque<Kept>>);

fn digest(decision: &Decision) -> Digest {
    Digest::blake3(&serde_json::to_vec(decision).unwrap_or_default())
}

impl Replays {
    /// Keeps a decision that did something; one that changed nothing would only push out those that did.
    pub fn keep(&self, bundle: Bundle, decision: &Decision) {
        if decision.actions.is_empty() {
            return;
        }
        let kept = Kept { digest: digest(decision), bundle };
        let mut ring = self.ring();
        ring.push_back(kept);
        let held = |ring: &VecDeque<Kept>| ring.iter().map(|k| k.bundle.nodes.len()).sum::<usize>();
        while ring.len() > BUNDLES || (ring.len() > 1 && held(&ring) > NODES) {
            ring.pop_front();
        }
    }

    /// Takes the newest kept decision about a step again; `None` if it is gone. It was one about the step if it assigned it or
    /// ended its request.
    pub fn replay(&self, request: RequestId, step: Option<&Name>) -> Option<ReplayDocument> {
        let about = |k: &&Kept| k.bundle.work.steps.iter().any(|s| s.request == request && step.is_none_or(|name| s.step == *name));
        let (bundle, recorded) = self.ring().iter().rev().find(about).map(|k| (k.bundle.clone(), k.digest))?;
        let WorkState { steps, containers, module_labels } = bundle.work;
        let snapshot = Snapshot { nodes: bundle.nodes.to_vec(), steps, containers, module_labels };
        let decision = decide(&snapshot, bundle.now, bundle.seed);
        let replayed = digest(&decision);
        let report = decision.report.iter().find(|r| r.request == request && step.is_none_or(|name| r.step == *name))?;
        Some(ReplayDocument {
            schema: ReplayDocument::SCHEMA.into(),
            request,
            step: report.step.clone(),
            at_ms: bundle.now.0,
            seed: bundle.seed,
            nodes: snapshot.nodes.len(),
            steps: snapshot.steps.len(),
            same: replayed == recorded,
            recorded,
            replayed,
            decision: report.view.clone(),
        })
    }

    fn ring(&self) -> MutexGuard<'_, VecDeque<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::fleet::{node, snapshot, step};

    fn bundle(n: u8) -> Bundle {
        let s = snapshot((0..5).map(node).collect(), vec![step(n)]);
        Bundle { nodes: s.nodes.as_slice().into(), work: s.work(), now: Instant(7), seed: u64::from(n) }
    }

    fn decided(bundle: &Bundle) -> Decision {
        let WorkState { steps, containers, module_labels } = bundle.work.clone();
        decide(&Snapshot { nodes: bundle.nodes.to_vec(), steps, containers, module_labels }, bundle.now, bundle.seed)
    }

    #[test]
    fn a_decision_is_taken_again_byte_for_byte_until_it_is_gone() {
        let replays = Replays::default();
        let first = bundle(1);
        let decision = decided(&first);
        replays.keep(first.clone(), &decision);
        let again = replays.replay(step(1).request, Some(&step(1).step)).unwrap();
        assert!(again.same && again.recorded == again.replayed && again.nodes == 5);
        assert_eq!(again.decision, decision.report[0].view);
        assert!(replays.replay(step(2).request, None).is_none(), "nothing was decided about it");
        for _ in 0..BUNDLES {
            replays.keep(bundle(3), &decided(&bundle(3)));
        }
        assert!(replays.replay(step(1).request, None).is_none(), "the ring is full of newer ones");
    }

    #[test]
    fn another_outcome_is_told() {
        let replays = Replays::default();
        let decision = decided(&bundle(1));
        replays.keep(Bundle { seed: 2, ..bundle(1) }, &decision);
        let again = replays.replay(step(1).request, None).unwrap();
        assert!(!again.same && again.recorded != again.replayed);
    }
}
