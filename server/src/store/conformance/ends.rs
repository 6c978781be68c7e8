//! Ends: on somebody's word, by the deadline, by refusal; and none of them is taken back.

use super::Make;
use super::ground::{Ground, chain, single};
use crate::store::CommitOutcome;
use ouro_common::error::{Fault, FaultCode};
use ouro_common::plan::Refusal;
use ouro_common::step::{AttemptState, RequestState, StepState};
use std::time::Duration;

pub(crate) async fn a_cancelled_request_names_what_to_stop(make: Make) {
    let ground = Ground::new(&make);
    let node = ground.node("host").await;
    let request = ground.request(&chain()).await;
    let key = ground.place(request, "s1", &node).await;
    let ended = ground.store.cancel_request(request, "ada").await.unwrap();
    assert_eq!((ended.state, ended.attempts), (RequestState::Cancelled, vec![(node.id, key.clone())]));
    assert_eq!(ground.steps(request).await, [StepState::Cancelled; 3]);
    assert_eq!(ground.step(request, "s1").await.attempts[0].state, AttemptState::Cancelled);
    assert_eq!(ground.commit(&key, &node, false).await, CommitOutcome::Stale);
    assert!(ground.store.cancel_request(ground.envelope("x").id, "ada").await.is_err());
}

pub(crate) async fn a_deadline_ignores_the_wall_clock(make: Make) {
    let ground = Ground::new(&make);
    let node = ground.node("host").await;
    let (running, waiting) = (ground.request(&single()).await, ground.request(&single()).await);
    let key = ground.place(running, "s1", &node).await;
    ground.ticker.set_wall(1_700_003_600_000);
    assert!(ground.store.expire(10).await.unwrap().is_empty(), "an hour forward on the wall is no time at all");
    ground.ticker.pass(Duration::from_millis(599_999));
    ground.ticker.set_wall(1_699_996_400_000);
    assert!(ground.store.expire(10).await.unwrap().is_empty());
    ground.ticker.pass(Duration::from_millis(1));
    assert!(ground.take().await.is_empty(), "what is late is not placed");
    assert_eq!(ground.store.expire(1).await.unwrap().len(), 1);
    let mut ended = ground.store.expire(10).await.unwrap();
    assert!(ground.store.expire(10).await.unwrap().is_empty());
    ended.extend(ground.store.cancel_request(running, "ada").await);
    let late = ground.store.view(waiting).await.unwrap().unwrap();
    assert_eq!(late.state, RequestState::Expired);
    assert_eq!(late.trace.request.fault.unwrap().code, FaultCode::DeadlineExceeded);
    assert_eq!(ground.state(running).await, RequestState::Expired);
    assert_eq!(ground.commit(&key, &node, false).await, CommitOutcome::Stale);
}

pub(crate) async fn an_end_is_final(make: Make) {
    let ground = Ground::new(&make);
    let node = ground.node("host").await;
    let request = ground.request(&single()).await;
    ground.run(request, "s1", &node, false).await;
    let before = ground.store.view(request).await.unwrap().unwrap().trace;
    let ended = ground.store.cancel_request(request, "ada").await.unwrap();
    assert_eq!((ended.state, ended.attempts.len()), (RequestState::Done, 0));
    let fault = Fault::new(FaultCode::CannotPlace, "nobody can");
    assert_eq!(ground.store.fail_request(request, &fault).await.unwrap().state, RequestState::Done);
    assert_eq!(ground.store.attach_plan(request, 2, &single()).await.unwrap(), 0);
    ground.store.drop_holder(node.id, None).await.unwrap();
    ground.ticker.pass(Duration::from_secs(601));
    assert!(ground.store.expire(10).await.unwrap().is_empty());
    assert_eq!(ground.store.view(request).await.unwrap().unwrap().trace, before, "time stands still as well");
}

pub(crate) async fn a_refusal_says_why(make: Make) {
    let ground = Ground::new(&make);
    let envelope = ground.envelope("sing");
    ground.store.accept_request(&envelope).await.unwrap();
    let refusal = Refusal {
        planner: "rules-1".into(),
        reason: "no container sings".into(),
        remedy: "plug one that does".into(),
        nearest: vec![],
    };
    for _ in 0..2 {
        ground.store.refuse_request(envelope.id, &refusal).await.unwrap();
    }
    let trace = ground.store.view(envelope.id).await.unwrap().unwrap().trace;
    assert_eq!((trace.request.state, trace.refusal), (RequestState::Failed, Some(refusal)));
    assert_eq!(trace.request.fault.unwrap().code, FaultCode::PlanRefused);
    assert!(ground.store.unplanned(10).await.unwrap().is_empty());
}
