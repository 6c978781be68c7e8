//! Results: taken once, from their owner, and made again when they are lost.

use super::Make;
use super::ground::{Ground, chain, name, plan, single, step};
use crate::store::{CommitOutcome, FailOutcome, StoreError};
use ouro_common::envelope::{Principal, Privacy};
use ouro_common::id::{AttemptKey, Digest, Epoch};
use ouro_common::step::{AttemptState, FailureClass, LossReason, RequestState, StepState, StepVerdict};

const NOTHING_MORE: CommitOutcome = CommitOutcome::Committed { now_ready: 0, request_done: true };
const ONE_MORE: CommitOutcome = CommitOutcome::Committed { now_ready: 1, request_done: false };

pub(crate) async fn a_chain_runs_to_its_answer(make: Make) {
    let ground = Ground::new(&make);
    let node = ground.node("host").await;
    let request = ground.request(&chain()).await;
    assert_eq!(ground.run(request, "s1", &node, false).await, ONE_MORE);
    assert_eq!(ground.run(request, "s2", &node, true).await, ONE_MORE);
    ground.ticker.pass(std::time::Duration::from_millis(250));
    let key = ground.place(request, "s3", &node).await;
    ground.ticker.pass(std::time::Duration::from_millis(40));
    assert_eq!(ground.commit(&key, &node, false).await, NOTHING_MORE);
    let view = ground.store.view(request).await.unwrap().unwrap();
    assert_eq!((view.state, view.trace.request.elapsed_ms, view.waiting.len()), (RequestState::Done, 290, 0));
    let last = &view.trace.steps[2];
    assert_eq!(
        (last.actual_ms, last.node_name.as_deref(), last.attempts[0].phases_ms["run"]),
        (Some(40.0), Some("host"), 3.5)
    );
    assert_eq!(last.decision.as_ref().unwrap().winner, Some(node.id));
    let result = view.trace.result.unwrap();
    assert_eq!(result.text, Some(format!("result of s3 in {request}")));
    let kinds: Vec<_> = view.trace.events.iter().map(|e| e.kind.as_str()).collect();
    let hop = ["assigned", "committed"];
    assert_eq!(kinds, [&["accepted", "planned"][..], &hop, &hop, &hop, &["done"]].concat());
    assert_eq!(ground.store.nodes().await.unwrap()[0].commits, 3);
}

pub(crate) async fn a_diamond_waits_for_both_sides(make: Make) {
    let ground = Ground::new(&make);
    let node = ground.node("host").await;
    let steps = vec![
        step("top", "t", &["prompt"], "a"),
        step("left", "l", &["a"], "b"),
        step("right", "r", &["a", "prompt"], "c"),
        step("spare", "s", &["a"], "unused"),
        step("bottom", "b", &["b", "c"], "answer"),
    ];
    let request = ground.request(&plan(steps, "answer")).await;
    let done = ground.run(request, "top", &node, false).await;
    assert_eq!(done, CommitOutcome::Committed { now_ready: 3, request_done: false });
    let left = ground.run(request, "left", &node, false).await;
    assert_eq!(left, CommitOutcome::Committed { now_ready: 0, request_done: false });
    assert_eq!(ground.run(request, "right", &node, false).await, ONE_MORE);
    assert_eq!(ground.run(request, "bottom", &node, false).await, NOTHING_MORE);
    assert_eq!(ground.step(request, "spare").await.state, StepState::Cancelled, "nobody needs it any more");
}

pub(crate) async fn after_a_loss_the_same_work_is_not_done_twice(make: Make) {
    let ground = Ground::new(&make);
    let (a, b) = (ground.node("a").await, ground.node("b").await);
    let first = ground.request(&chain()).await;
    ground.run(first, "s1", &a, false).await;
    let second = ground.request(&chain()).await;
    assert_eq!(ground.step(second, "s1").await.state, StepState::Ready, "without a loss it is done for itself");
    let lost = ground.place(second, "s1", &b).await;
    ground.store.release_attempts(b.id, LossReason::NodeLost, &[]).await.unwrap();
    assert_eq!(
        ground.steps(second).await,
        [StepState::Done, StepState::Ready, StepState::Blocked],
        "the other's result is there"
    );
    assert_eq!(ground.commit(&lost, &b, false).await, CommitOutcome::Stale);
    let mut private = ground.envelope("hello");
    private.privacy = Privacy::Private;
    private.principal = Principal::Client("eve".into());
    ground.store.accept_request(&private).await.unwrap();
    ground.store.attach_plan(private.id, 1, &chain()).await.unwrap();
    ground.place(private.id, "s1", &b).await;
    ground.store.release_attempts(b.id, LossReason::NodeLost, &[]).await.unwrap();
    assert_eq!(ground.step(private.id, "s1").await.state, StepState::Ready, "private work is its own");
}

pub(crate) async fn a_result_is_taken_once_and_from_its_owner(make: Make) {
    let ground = Ground::new(&make);
    let (a, b) = (ground.node("a").await, ground.node("b").await);
    let request = ground.request(&chain()).await;
    let first = ground.place(request, "s1", &a).await;
    assert_eq!(ground.commit(&first, &b, false).await, CommitOutcome::NotYours);
    let unheard = AttemptKey { epoch: Epoch { generation: 9, n: 9 }, ..first.clone() };
    assert_eq!(ground.commit(&unheard, &a, false).await, CommitOutcome::NotYours);
    ground.store.release_attempts(a.id, LossReason::NodeLost, &[]).await.unwrap();
    let second = ground.place(request, "s1", &b).await;
    assert!(second.epoch > first.epoch);
    assert_eq!(ground.commit(&first, &a, false).await, CommitOutcome::Stale, "another attempt took its place");
    assert_eq!(ground.commit(&second, &b, false).await, ONE_MORE);
    assert_eq!(ground.commit(&second, &b, false).await, CommitOutcome::Repeat);
    assert_eq!(ground.commit(&first, &a, false).await, CommitOutcome::Stale);
    let states: Vec<_> = ground.step(request, "s1").await.attempts.iter().map(|a| a.state).collect();
    assert_eq!(states, [AttemptState::Lost, AttemptState::Committed]);
}

pub(crate) async fn a_node_given_up_may_still_deliver(make: Make) {
    let ground = Ground::new(&make);
    let node = ground.node("host").await;
    let request = ground.request(&chain()).await;
    let key = ground.place(request, "s1", &node).await;
    let kept = ground.store.release_attempts(node.id, LossReason::NodeLost, std::slice::from_ref(&key)).await.unwrap();
    assert!(kept.is_empty());
    assert_eq!(ground.store.release_attempts(node.id, LossReason::NodeLost, &[]).await.unwrap(), std::slice::from_ref(&key));
    assert_eq!(ground.step(request, "s1").await.state, StepState::Ready);
    let claimed = ground.take().await.remove(0);
    assert_eq!(ground.commit(&key, &node, false).await, ONE_MORE);
    assert_eq!(
        ground.assign(&claimed, &node).await,
        crate::store::AssignOutcome::Raced,
        "whoever had it claimed comes too late"
    );
}

pub(crate) async fn wrong_ports_are_named(make: Make) {
    let ground = Ground::new(&make);
    let node = ground.node("host").await;
    let request = ground.request(&single()).await;
    let key = ground.place(request, "s1", &node).await;
    let good = Ground::output(&key, false);
    let mut stray = good.clone();
    stray.port = name("stray");
    for outputs in [vec![], vec![stray.clone()], vec![good.clone(), stray], vec![good.clone(), good.clone()]] {
        let error = ground.try_commit(&key, &node, outputs).await.unwrap_err();
        assert!(matches!(&error, StoreError::NotFound { what: "output port", .. }), "{error}");
    }
    assert_eq!(ground.step(request, "s1").await.state, StepState::Assigned, "nothing of it took effect");
    assert_eq!(ground.commit(&key, &node, false).await, NOTHING_MORE);
}

pub(crate) async fn a_large_answer_is_done_on_the_server(make: Make) {
    let ground = Ground::new(&make);
    let node = ground.node("host").await;
    let request = ground.request(&single()).await;
    let key = ground.place(request, "s1", &node).await;
    let outcome = ground.commit(&key, &node, true).await;
    assert_eq!(outcome, CommitOutcome::Committed { now_ready: 0, request_done: false });
    assert_eq!(ground.state(request).await, RequestState::Running);
    let digest = Ground::output(&key, true).digest;
    assert_eq!(ground.store.keep_on_server(digest).await.unwrap(), [request]);
    assert_eq!(ground.state(request).await, RequestState::Done);
    assert!(ground.store.keep_on_server(digest).await.unwrap().is_empty(), "once");
}

pub(crate) async fn lost_results_are_made_again(make: Make) {
    let ground = Ground::new(&make);
    let (a, b) = (ground.node("a").await, ground.node("b").await);
    let request = ground.request(&chain()).await;
    let first = ground.place(request, "s1", &a).await;
    ground.commit(&first, &a, true).await;
    ground.run(request, "s2", &a, true).await;
    assert_eq!(ground.store.drop_holder(b.id, None).await.unwrap(), 0);
    assert_eq!(ground.store.drop_holder(a.id, None).await.unwrap(), 2, "s2 is needed, and so is what it reads");
    assert_eq!(ground.steps(request).await, [StepState::Ready, StepState::Blocked, StepState::Blocked]);
    assert_eq!(ground.step(request, "s1").await.attempts[0].state, AttemptState::Lost);
    assert!(ground.take().await[0].failed_on.is_empty(), "without blame");
    ground.run(request, "s1", &b, false).await;
    assert_eq!(ground.commit(&first, &a, true).await, CommitOutcome::Stale);
    let digest = {
        ground.run(request, "s2", &b, true).await;
        ground.store.tag(request, &name("b")).await.unwrap().unwrap().digest
    };
    assert_eq!(ground.store.tag_by_digest(digest).await.unwrap().unwrap().holders, [b.id]);
    assert_eq!(ground.store.drop_holder(b.id, Some(Digest::blake3(b"other"))).await.unwrap(), 0);
    ground.store.keep_on_server(digest).await.unwrap();
    assert_eq!(ground.store.drop_holder(b.id, Some(digest)).await.unwrap(), 0, "the server has it");
    assert_eq!(ground.run(request, "s3", &b, false).await, NOTHING_MORE);
}

pub(crate) async fn a_step_whose_input_is_gone_waits_for_it(make: Make) {
    let ground = Ground::new(&make);
    let (a, b) = (ground.node("a").await, ground.node("b").await);
    let request = ground.request(&chain()).await;
    ground.run(request, "s1", &a, true).await;
    let key = ground.place(request, "s2", &b).await;
    assert_eq!(ground.store.drop_holder(a.id, None).await.unwrap(), 0, "s2 runs and may have fetched it");
    let outcome = ground.fail(&key, &b, FailureClass::InputMissing, None).await;
    assert_eq!(outcome, FailOutcome::Judged(StepVerdict::Ready));
    assert_eq!(ground.steps(request).await, [StepState::Ready, StepState::Blocked, StepState::Blocked]);
    assert_eq!(ground.commit(&key, &b, false).await, CommitOutcome::Stale, "it said that it had failed, and its step waits");
    assert_eq!(ground.run(request, "s1", &b, false).await, ONE_MORE);
    assert_eq!(ground.run(request, "s2", &b, false).await, ONE_MORE);
}

pub(crate) async fn blobs_go_to_whom_they_concern(make: Make) {
    let ground = Ground::new(&make);
    let (a, b) = (ground.node("a").await, ground.node("b").await);
    let request = ground.request(&chain()).await;
    let key = ground.place(request, "s1", &a).await;
    let (prompt, result) = (Digest::blake3(b"hello"), Ground::output(&key, true).digest);
    let may = async |node: &super::ground::Node, digest| ground.store.may_get(node.id, digest).await.unwrap();
    assert!(may(&a, prompt).await && !may(&b, prompt).await);
    ground.commit(&key, &a, true).await;
    assert!(!may(&a, prompt).await, "its attempt is over");
    assert!(may(&a, result).await, "its own result");
    assert!(!may(&b, result).await);
    ground.place(request, "s2", &b).await;
    assert!(may(&b, result).await, "the input of its attempt");
}
