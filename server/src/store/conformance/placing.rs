//! Placing: who may decide about a step, and who may get it.

use super::Make;
use super::ground::{Ground, Node, single};
use crate::store::{AssignOutcome, RefusedStep, Take};
use futures::future::join_all;
use ouro_common::document::DecisionView;
use ouro_common::envelope::Envelope;
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::InstanceId;
use ouro_common::step::{LossReason, RequestState, StepState};
use std::time::Duration;

pub(crate) async fn priority_comes_before_age(make: Make) {
    let ground = Ground::new(&make);
    let mut ids = Vec::new();
    for priority in [5, 5, 9, 0] {
        let envelope = Envelope { priority, ..ground.envelope("hello") };
        ground.store.accept_request(&envelope).await.unwrap();
        ground.store.attach_plan(envelope.id, 1, &single()).await.unwrap();
        ids.push(envelope.id);
    }
    let order: Vec<_> = ground.take().await.iter().map(|step| step.request).collect();
    assert_eq!(order, [ids[2], ids[0], ids[1], ids[3]]);
    let first = ground.store.take_ready(ground.instance, 1, Duration::from_secs(9), Take::All).await.unwrap();
    assert_eq!(first[0].request, ids[2]);
    assert_eq!((first[0].priority, first[0].remaining_ms, first[0].inputs.len()), (9, 600_000, 1));
    assert_eq!(first[0].inputs[0].1.inline, None, "placing needs sizes, not bytes");
}

pub(crate) async fn a_lease_keeps_others_away(make: Make) {
    let ground = Ground::new(&make);
    let request = ground.request(&single()).await;
    let other = InstanceId::from_parts(8, [8; 10]);
    let lease = Duration::from_secs(10);
    let take = async |who| ground.store.take_ready(who, 10, lease, Take::All).await.unwrap().len();
    let take_new = async |who| ground.store.take_ready(who, 10, lease, Take::New).await.unwrap().len();
    assert_eq!(take_new(ground.instance).await, 1);
    assert_eq!(take_new(ground.instance).await, 0, "it knows it");
    assert_eq!(take(ground.instance).await, 1, "its own come again");
    ground.ticker.pass(Duration::from_secs(5));
    assert_eq!(take_new(ground.instance).await, 1, "half of the lease is over: it is time to look again");
    assert_eq!(take_new(ground.instance).await, 0);
    assert_eq!(take(other).await, 0);
    ground.ticker.pass(Duration::from_secs(10));
    assert_eq!(take(other).await, 1, "a lease ends by itself");
    assert_eq!(take(ground.instance).await, 0);
    assert_eq!(ground.store.view(request).await.unwrap().unwrap().waiting.len(), 1, "who looks sees it all the same");
}

pub(crate) async fn of_fifty_planners_one_assigns(make: Make) {
    let ground = Ground::new(&make);
    let request = ground.request(&single()).await;
    let (a, b) = (ground.node("a").await, ground.node("b").await);
    let ready = ground.take().await.remove(0);
    let outcomes = join_all((0..50).map(|i| ground.assign(&ready, if i % 2 == 0 { &a } else { &b }))).await;
    assert_eq!(outcomes.iter().filter(|o| matches!(o, AssignOutcome::Assigned { .. })).count(), 1);
    assert_eq!(outcomes.iter().filter(|o| **o == AssignOutcome::Raced).count(), 49);
    assert_eq!(ground.store.live_attempts(None).await.unwrap().len(), 1);
    let step = ground.step(request, "s1").await;
    assert_eq!((step.state, step.attempt), (StepState::Assigned, 1));
}

pub(crate) async fn a_node_takes_one_more_than_its_slots(make: Make) {
    let ground = Ground::new(&make);
    for _ in 0..3 {
        ground.request(&single()).await;
    }
    let node = ground.node("host").await;
    let items = ground.take().await.iter().map(|step| ground.assignment(step, &node)).collect();
    let outcomes = ground.store.assign(items).await.unwrap();
    assert!(
        matches!(outcomes[..], [AssignOutcome::Assigned { .. }, AssignOutcome::Assigned { .. }, AssignOutcome::NodeFull]),
        "{outcomes:?}"
    );
    let live = ground.store.live_attempts(Some(node.id)).await.unwrap();
    assert_eq!(live.len(), 2);
    ground.commit(&live[0].key, &node, false).await;
    let ready = ground.take().await.remove(0);
    assert!(matches!(ground.assign(&ready, &node).await, AssignOutcome::Assigned { .. }));
}

pub(crate) async fn who_refuses_too_late_changes_nothing(make: Make) {
    let ground = Ground::new(&make);
    let node = ground.node("host").await;
    let request = ground.request(&single()).await;
    let ready = ground.take().await.remove(0);
    let fault = Fault::new(FaultCode::CannotPlace, "nobody can");
    let refused = || RefusedStep { request, plan: ready.plan, step: ready.step.id.clone(), decision: DecisionView::default() };
    let key = ground.place(request, "s1", &node).await;
    let ended = ground.store.refuse_step(refused(), &fault).await.unwrap();
    assert_eq!((ended.state, ended.attempts.len()), (RequestState::Running, 0), "somebody runs it by now");
    ground.store.release_attempts(node.id, LossReason::Drained, &[]).await.unwrap();
    assert_eq!(ground.store.refuse_step(refused(), &fault).await.unwrap().state, RequestState::Failed);
    assert_eq!(ground.commit(&key, &node, false).await, crate::store::CommitOutcome::Stale);
}

pub(crate) async fn only_the_session_that_was_looked_at_gets_work(make: Make) {
    let ground = Ground::new(&make);
    ground.request(&single()).await;
    let before = ground.node("host").await;
    let now = Node { session_epoch: ground.online(before.id).await, ..before.clone() };
    let ready = ground.take().await.remove(0);
    assert_eq!(ground.assign(&ready, &before).await, AssignOutcome::NodeGone);
    ground.store.close_session(now.id, now.session_epoch, crate::store::SessionEnd::Left).await.unwrap();
    assert_eq!(ground.assign(&ready, &now).await, AssignOutcome::NodeGone);
    let back = Node { session_epoch: ground.online(now.id).await, ..now };
    assert!(matches!(ground.assign(&ready, &back).await, AssignOutcome::Assigned { .. }));
    assert_eq!(ground.assign(&ready, &back).await, AssignOutcome::Raced);
    ground.store.release_attempts(back.id, LossReason::Drained, &[]).await.unwrap();
    assert_eq!(
        ground.assign(&ready, &back).await,
        AssignOutcome::Raced,
        "it is ready again, but not the one that was looked at"
    );
}
