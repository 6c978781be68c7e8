//! Chains: one assignment for steps that follow each other, committed one by one, and given back when they break.

use super::Make;
use super::ground::{Ground, Node, chain, name, single};
use crate::store::{AssignOutcome, Assignment, ChainLink, CommitOutcome, FailOutcome, ReadyStep};
use ouro_common::document::DecisionView;
use ouro_common::error::FaultCode;
use ouro_common::id::{AttemptKey, RequestId};
use ouro_common::step::{Evidence, FailureClass, LossReason, RequestState, StepState, StepVerdict};

impl Ground {
    /// Gives a ready step and everything that can only follow it to a node; the attempts in their order.
    pub(crate) async fn place_chain(&self, request: RequestId, step: &str, node: &Node) -> Vec<AttemptKey> {
        let ready = self.take().await;
        let ready = ready.iter().find(|r| r.request == request && r.step.id == name(step)).unwrap();
        let keys = self.try_place_chain(ready, node).await;
        assert!(!keys.is_empty(), "{step} was not taken");
        keys
    }

    /// The same; nothing if the node does not take it.
    pub(crate) async fn try_place_chain(&self, ready: &ReadyStep, node: &Node) -> Vec<AttemptKey> {
        let links = ready.followers.iter().map(|follower| ChainLink {
            step: follower.step.id.clone(),
            expected_epoch: follower.expected_epoch,
            decision: DecisionView::default(),
            predicted_ms: 24.0,
        });
        let item = Assignment { chain: links.collect(), ..self.assignment(ready, node) };
        let AssignOutcome::Assigned { epoch, chain } = self.store.assign(vec![item]).await.unwrap().remove(0) else {
            return vec![];
        };
        let key = |step, epoch| AttemptKey { request: ready.request, plan: ready.plan, step, epoch };
        let links = chain.into_iter().map(|(step, epoch)| key(step, epoch));
        std::iter::once(key(ready.step.id.clone(), epoch)).chain(links).collect()
    }
}

const ASSIGNED: [StepState; 3] = [StepState::Assigned; 3];

pub(crate) async fn a_chain_is_one_assignment_and_is_committed_step_by_step(make: Make) {
    let ground = Ground::new(&make);
    let node = ground.node("host").await;
    let request = ground.request(&chain()).await;
    let keys = ground.place_chain(request, "s1", &node).await;
    assert_eq!((keys.len(), ground.steps(request).await), (3, ASSIGNED.to_vec()));
    let live = ground.store.live_attempts(Some(node.id)).await.unwrap();
    assert!(live[0].chain.is_none() && live[0].pending.is_empty());
    for (n, attempt) in live.iter().enumerate().skip(1) {
        assert_eq!(attempt.chain, Some(name("s1")));
        let pending = &attempt.pending[0];
        assert_eq!((&pending.made_by, pending.place, pending.made_port.as_str()), (&keys[n - 1], 0, "out"));
    }
    let (second, third) = (ground.request(&single()).await, ground.request(&single()).await);
    ground.place(second, "s1", &node).await;
    let ready = ground.take().await;
    let full = ground.assign(ready.iter().find(|r| r.request == third).unwrap(), &node).await;
    assert_eq!(full, AssignOutcome::NodeFull, "a chain counts as one, and one more may wait");
    for (n, key) in keys.iter().enumerate() {
        let outcome = ground.commit(key, &node, n == 0).await;
        assert_eq!(outcome, CommitOutcome::Committed { now_ready: 0, request_done: n == 2 });
    }
    assert_eq!(ground.state(request).await, RequestState::Done);
    let inputs = ground.store.live_attempts(Some(node.id)).await.unwrap();
    assert_eq!(inputs.len(), 1, "only the other request's step is left");
}

pub(crate) async fn a_chain_that_breaks_is_given_back_and_counts_for_nothing(make: Make) {
    let ground = Ground::new(&make);
    let (a, b) = (ground.node("a").await, ground.node("b").await);
    let request = ground.request(&chain()).await;
    let keys = ground.place_chain(request, "s1", &a).await;
    let verdict = ground.fail(&keys[0], &a, FailureClass::Error, None).await;
    assert_eq!(verdict, FailOutcome::Judged(StepVerdict::Ready));
    assert_eq!(ground.steps(request).await, [StepState::Ready, StepState::Blocked, StepState::Blocked]);
    assert!(ground.store.live_attempts(None).await.unwrap().is_empty());
    assert_eq!(ground.fail(&keys[1], &a, FailureClass::Rejected, None).await, FailOutcome::Stale, "it had been given back");
    assert_eq!(ground.commit(&keys[1], &a, false).await, CommitOutcome::Stale);
    ground.run(request, "s1", &b, false).await;
    let ready = ground.take().await.remove(0);
    assert!(ready.step.id == name("s2") && ready.failed_on.is_empty(), "nothing is held against it");
    assert_eq!(ready.expected_epoch, 1, "but its epoch was used");
    ground.run(request, "s2", &a, false).await;
    ground.run(request, "s3", &a, false).await;
    assert_eq!(ground.state(request).await, RequestState::Done);
}

pub(crate) async fn a_lost_node_takes_only_the_rest_of_its_chain_along(make: Make) {
    let ground = Ground::new(&make);
    let (a, b) = (ground.node("a").await, ground.node("b").await);
    let request = ground.request(&chain()).await;
    let keys = ground.place_chain(request, "s1", &a).await;
    ground.commit(&keys[0], &a, false).await;
    ground.store.release_attempts(a.id, LossReason::NodeLost, &[]).await.unwrap();
    assert_eq!(ground.steps(request).await, [StepState::Done, StepState::Ready, StepState::Blocked]);
    assert!(
        matches!(ground.commit(&keys[1], &a, true).await, CommitOutcome::Committed { now_ready: 1, .. }),
        "late, and still its own"
    );
    ground.store.drop_holder(a.id, None).await.unwrap();
    assert_eq!(
        ground.steps(request).await,
        [StepState::Done, StepState::Ready, StepState::Blocked],
        "its tag went with the node"
    );
    ground.run(request, "s2", &b, false).await;
    ground.run(request, "s3", &b, false).await;
    assert_eq!(ground.state(request).await, RequestState::Done);
}

pub(crate) async fn a_restarted_agent_keeps_what_it_has_done_of_a_chain(make: Make) {
    let ground = Ground::new(&make);
    let node = ground.node("host").await;
    let request = ground.request(&chain()).await;
    let keys = ground.place_chain(request, "s1", &node).await;
    let taken = ground.store.release_attempts(node.id, LossReason::AgentRestarted, &keys[..1]).await.unwrap();
    assert_eq!(taken, keys[1..]);
    assert_eq!(ground.steps(request).await, [StepState::Assigned, StepState::Blocked, StepState::Blocked]);
    assert!(matches!(ground.commit(&keys[0], &node, false).await, CommitOutcome::Committed { now_ready: 1, .. }));
    assert_eq!(ground.steps(request).await, [StepState::Done, StepState::Ready, StepState::Blocked]);
}

pub(crate) async fn poison_is_found_within_a_chain(make: Make) {
    let ground = Ground::new(&make);
    let (a, b) = (ground.node("a").await, ground.node("b").await);
    let first = ground.request(&chain()).await;
    // Equal results make equal keys, whichever request they are of.
    let equal = async |key: &AttemptKey, node: &Node| {
        let output = Ground::output(&AttemptKey { request: first, ..key.clone() }, false);
        ground.try_commit(key, node, vec![output]).await.unwrap()
    };
    let key = ground.place(first, "s1", &a).await;
    equal(&key, &a).await;
    for node in [&a, &b] {
        let key = ground.place(first, "s2", node).await;
        ground.fail(&key, node, FailureClass::Crashed, Some(Evidence::OomKill)).await;
    }
    let again = ground.request(&chain()).await;
    let keys = ground.place_chain(again, "s1", &a).await;
    assert_eq!(keys.len(), 3, "nobody can know before the first step is done");
    assert_eq!(equal(&keys[0], &a).await, CommitOutcome::Committed { now_ready: 0, request_done: true }, "it ended");
    assert_eq!(ground.steps(again).await, [StepState::Done, StepState::Poisoned, StepState::Cancelled]);
    let fault = ground.store.view(again).await.unwrap().unwrap().trace.request.fault.unwrap();
    assert_eq!(fault.code, FaultCode::WorkFailed);
    assert!(ground.store.live_attempts(None).await.unwrap().is_empty());
}
