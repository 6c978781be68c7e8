//! Requests: accepted once, planned once, and gone when their time is over.

use super::Make;
use super::ground::{Ground, chain, name, plan, single, step};
use crate::store::{AcceptOutcome, CommitOutcome};
use ouro_common::envelope::{Envelope, INLINE_TAG_BYTES, Input, Privacy};
use ouro_common::id::{Digest, RequestId};
use ouro_common::step::{RequestState, StepState};
use std::time::Duration;

pub(crate) async fn the_same_key_is_the_same_request(make: Make) {
    let ground = Ground::new(&make);
    let first = ground.envelope("hello");
    let accept = async |envelope: &Envelope| ground.store.accept_request(envelope).await.unwrap();
    assert_eq!(accept(&first).await, AcceptOutcome::Accepted);
    assert_eq!(accept(&first).await, AcceptOutcome::Same(first.id));
    let key = first.idempotency_key.clone();
    let retry = Envelope { idempotency_key: key.clone(), ..ground.envelope("hello") };
    assert_eq!(accept(&retry).await, AcceptOutcome::Same(first.id));
    let other = Envelope { idempotency_key: key.clone(), ..ground.envelope("goodbye") };
    assert_eq!(accept(&other).await, AcceptOutcome::Conflict(first.id));
    let stranger = ouro_common::envelope::Principal::Client("bob".into());
    let theirs = Envelope { principal: stranger, idempotency_key: key, ..ground.envelope("goodbye") };
    assert_eq!(accept(&theirs).await, AcceptOutcome::Accepted, "a key is its owner's");
    ground.ticker.pass(Duration::from_secs(24 * 3600));
    assert_eq!(accept(&other).await, AcceptOutcome::Accepted, "a key stands for a day");
}

pub(crate) async fn what_comes_with_a_request_can_be_read(make: Make) {
    let ground = Ground::new(&make);
    let letter = Input {
        tag: name("letter"),
        media: "text/plain".into(),
        digest: Digest::blake3(b"dear"),
        size_bytes: 4,
        file_name: Some("letter.txt".into()),
    };
    let long = Envelope { inputs: vec![letter], ..ground.envelope(&"x".repeat(INLINE_TAG_BYTES + 1)) };
    ground.store.accept_request(&long).await.unwrap();
    let prompt = ground.store.tag(long.id, &name("prompt")).await.unwrap().unwrap();
    assert_eq!((prompt.inline, prompt.on_server, prompt.digest), (None, true, Digest::blake3(long.prompt.as_bytes())));
    let letter = ground.store.tag(long.id, &name("letter")).await.unwrap().unwrap();
    assert!(letter.on_server);
    assert_eq!(ground.store.tag_by_digest(letter.digest).await.unwrap(), Some(letter));
    assert_eq!(ground.store.unplanned(10).await.unwrap(), std::slice::from_ref(&long));
    let row = ground.store.requests(10).await.unwrap().remove(0);
    assert_eq!((row.id, row.state, row.submitted_unix_ms), (long.id, RequestState::Accepted, 1_700_000_000_000));
}

pub(crate) async fn a_plan_is_attached_once(make: Make) {
    let ground = Ground::new(&make);
    let envelope = ground.envelope("hello");
    ground.store.accept_request(&envelope).await.unwrap();
    assert_eq!(ground.store.attach_plan(envelope.id, 1, &chain()).await.unwrap(), 1);
    assert_eq!(ground.store.attach_plan(envelope.id, 1, &single()).await.unwrap(), 0, "plans are immutable");
    assert_eq!(ground.steps(envelope.id).await, [StepState::Ready, StepState::Blocked, StepState::Blocked]);
    assert_eq!(ground.state(envelope.id).await, RequestState::Running);
    assert!(ground.store.unplanned(10).await.unwrap().is_empty());
    assert!(ground.store.attach_plan(ground.envelope("x").id, 1, &chain()).await.is_err());
}

pub(crate) async fn its_progress_is_read_on_from_where_one_was(make: Make) {
    let ground = Ground::new(&make);
    let request = ground.request(&single()).await;
    let first = ground.store.progress(request, 0).await.unwrap().unwrap();
    let kinds: Vec<_> = first.events.iter().map(|e| e.kind.as_str()).collect();
    assert_eq!((first.state, kinds), (RequestState::Running, vec!["accepted", "planned"]));
    assert!(ground.store.progress(request, 2).await.unwrap().unwrap().events.is_empty());
    ground.store.cancel_request(request, "ada").await.unwrap();
    let then = ground.store.progress(request, 2).await.unwrap().unwrap();
    assert_eq!((then.state, then.events.len()), (RequestState::Cancelled, 1));
    assert_eq!(then.events[0].text, "cancelled by ada");
    let other = RequestId::from_parts(77, [7; 10]);
    assert!(ground.store.progress(other, 0).await.unwrap().is_none());
}

pub(crate) async fn a_later_plan_takes_over_what_is_done(make: Make) {
    let ground = Ground::new(&make);
    let node = ground.node("host").await;
    let request = ground.request(&chain()).await;
    ground.run(request, "s1", &node, false).await;
    ground.run(request, "s2", &node, true).await;
    let running = ground.place(request, "s3", &node).await;
    let steps = vec![
        step("first", "1", &["prompt"], "x"),
        step("second", "2", &["x"], "y"),
        step("third", "other work", &["y"], "answer"),
    ];
    assert_eq!(ground.store.attach_plan(request, 2, &plan(steps, "answer")).await.unwrap(), 1);
    assert_eq!(ground.steps(request).await, [StepState::Done, StepState::Done, StepState::Ready]);
    assert_eq!(ground.commit(&running, &node, false).await, CommitOutcome::Stale, "its plan is superseded");
    assert_eq!(
        ground.run(request, "third", &node, false).await,
        CommitOutcome::Committed { now_ready: 0, request_done: true }
    );
}

pub(crate) async fn plan_zero_is_work_and_not_the_answer(make: Make) {
    let ground = Ground::new(&make);
    let node = ground.node("host").await;
    let envelope = ground.envelope("hello");
    ground.store.accept_request(&envelope).await.unwrap();
    let interpret = plan(vec![step("interpret", "0", &["prompt"], "graph")], "graph");
    ground.store.attach_plan(envelope.id, 0, &interpret).await.unwrap();
    assert_eq!(ground.state(envelope.id).await, RequestState::Planning);
    assert!(ground.store.unplanned(10).await.unwrap().is_empty(), "somebody works on it");
    assert!(!ground.take().await[0].answers);
    let outcome = ground.run(envelope.id, "interpret", &node, false).await;
    assert_eq!(outcome, CommitOutcome::Committed { now_ready: 0, request_done: false });
    assert_eq!(ground.store.unplanned(10).await.unwrap().len(), 1, "the interpreter goes on from its output");
    assert!(ground.store.tag(envelope.id, &name("graph")).await.unwrap().is_some());
    ground.store.attach_plan(envelope.id, 1, &single()).await.unwrap();
    assert!(ground.take().await[0].answers);
    let outcome = ground.run(envelope.id, "s1", &node, false).await;
    assert_eq!(outcome, CommitOutcome::Committed { now_ready: 0, request_done: true });
    assert_eq!(ground.steps(envelope.id).await.len(), 2, "both plans are in the trace");
}

pub(crate) async fn bytes_go_when_their_time_is_over(make: Make) {
    let ground = Ground::new(&make);
    let node = ground.node("host").await;
    let hour = Duration::from_secs(3600);
    let week = hour * 24 * 7;
    let (done, open) = (ground.request(&single()).await, ground.request(&single()).await);
    ground.run(done, "s1", &node, false).await;
    let private = Envelope { privacy: Privacy::Private, ..ground.envelope("secret") };
    ground.store.accept_request(&private).await.unwrap();
    ground.store.cancel_request(private.id, "ada").await.unwrap();
    assert!(ground.store.collect(hour, week, 10).await.unwrap().is_empty());
    ground.ticker.pass(Duration::from_secs(61));
    assert_eq!(ground.store.collect(hour, week, 10).await.unwrap(), [Digest::blake3(b"secret")], "private bytes go first");
    assert_eq!(ground.store.view(private.id).await.unwrap().unwrap().envelope.prompt, "");
    ground.ticker.pass(hour);
    let answer = ground.store.view(done).await.unwrap().unwrap().answer.unwrap().digest;
    assert_eq!(ground.store.collect(hour, week, 10).await.unwrap(), [answer], "the prompt is still another request's");
    let view = ground.store.view(done).await.unwrap().unwrap();
    assert!(view.answer.is_none() && view.trace.steps.len() == 1, "the trace stays");
    ground.ticker.pass(week);
    ground.store.collect(hour, week, 10).await.unwrap();
    assert!(ground.store.view(done).await.unwrap().is_none());
    assert!(ground.store.view(open).await.unwrap().is_some(), "what has not ended stays");
}
