//! Blame: what ends a step, and what does not.

use super::Make;
use super::ground::{Ground, single};
use crate::store::{CommitOutcome, FailOutcome};
use ouro_common::error::FaultCode;
use ouro_common::step::{Evidence, FailureClass, LossReason, RequestState, StepState, StepVerdict};

const AGAIN: FailOutcome = FailOutcome::Judged(StepVerdict::Ready);

pub(crate) async fn two_nodes_poison(make: Make) {
    let ground = Ground::new(&make);
    let (a, b) = (ground.node("a").await, ground.node("b").await);
    let request = ground.request(&single()).await;
    let key = ground.place(request, "s1", &a).await;
    assert_eq!(ground.fail(&key, &b, FailureClass::Crashed, None).await, FailOutcome::NotYours);
    assert_eq!(ground.fail(&key, &a, FailureClass::Crashed, Evidence::from_signal(11)).await, AGAIN);
    assert_eq!(
        ground.fail(&key, &a, FailureClass::Crashed, Evidence::from_signal(11)).await,
        FailOutcome::Stale,
        "told twice"
    );
    let ready = ground.take().await.remove(0);
    assert!(ready.alone);
    assert_eq!(ready.failed_on, [a.id]);
    let key = ground.place(request, "s1", &b).await;
    let verdict = ground.fail(&key, &b, FailureClass::Crashed, Some(Evidence::OomKill)).await;
    assert_eq!(verdict, FailOutcome::Judged(StepVerdict::Poisoned));
    assert_eq!(ground.step(request, "s1").await.state, StepState::Poisoned);
    let fault = ground.store.view(request).await.unwrap().unwrap().trace.request.fault.unwrap();
    assert_eq!(fault.code, FaultCode::WorkFailed);
    for part in ["s1", "work:1.0.0", "two nodes", "on b", "CRASHED", "it broke"] {
        assert!(fault.problem.contains(part), "{part}: {fault}");
    }
    assert!(!fault.remedy.is_empty());
}

pub(crate) async fn three_nodes_fail(make: Make) {
    let ground = Ground::new(&make);
    let request = ground.request(&single()).await;
    for (host, verdict) in [("a", StepVerdict::Ready), ("b", StepVerdict::Ready), ("c", StepVerdict::Failed)] {
        let node = ground.node(host).await;
        let key = ground.place(request, "s1", &node).await;
        assert_eq!(ground.fail(&key, &node, FailureClass::Error, None).await, FailOutcome::Judged(verdict));
        if verdict == StepVerdict::Failed {
            assert_eq!(ground.commit(&key, &node, false).await, CommitOutcome::Stale);
        }
    }
    assert_eq!(ground.state(request).await, RequestState::Failed);
    assert_eq!(ground.step(request, "s1").await.attempts.len(), 3);
}

pub(crate) async fn a_bad_input_ends_at_once(make: Make) {
    let ground = Ground::new(&make);
    let node = ground.node("host").await;
    let request = ground.request(&single()).await;
    let key = ground.place(request, "s1", &node).await;
    let verdict = ground.fail(&key, &node, FailureClass::InvalidInput, None).await;
    assert_eq!(verdict, FailOutcome::Judged(StepVerdict::Failed));
    assert_eq!(ground.state(request).await, RequestState::Failed);
}

pub(crate) async fn loss_is_no_guilt_but_ends_at_ten(make: Make) {
    let ground = Ground::new(&make);
    let node = ground.node("host").await;
    let request = ground.request(&single()).await;
    let reasons = [
        LossReason::NodeLost,
        LossReason::AgentRestarted,
        LossReason::Rejected,
        LossReason::Drained,
        LossReason::ModuleRemoved,
    ];
    for reason in reasons.into_iter().chain([LossReason::NodeLost; 4]) {
        let key = ground.place(request, "s1", &node).await;
        assert_eq!(ground.store.release_attempts(node.id, reason, &[]).await.unwrap(), [key]);
        let ready = ground.take().await.remove(0);
        assert!(ready.failed_on.is_empty() && !ready.alone, "{reason}");
    }
    ground.place(request, "s1", &node).await;
    ground.store.release_attempts(node.id, LossReason::NodeLost, &[]).await.unwrap();
    assert_eq!(ground.step(request, "s1").await.state, StepState::Failed, "ten attempts of any kind");
    assert_eq!(ground.state(request).await, RequestState::Failed);
}

pub(crate) async fn evidence_may_come_late(make: Make) {
    let ground = Ground::new(&make);
    let (a, b) = (ground.node("a").await, ground.node("b").await);
    let request = ground.request(&single()).await;
    let first = ground.place(request, "s1", &a).await;
    ground.store.release_attempts(a.id, LossReason::NodeLost, &[]).await.unwrap();
    assert_eq!(ground.fail(&first, &a, FailureClass::Lost, None).await, FailOutcome::Stale, "it was lost before");
    assert_eq!(ground.fail(&first, &a, FailureClass::Crashed, Some(Evidence::Rebooted)).await, AGAIN);
    assert!(ground.take().await[0].alone);
    ground.place(request, "s1", &b).await;
    ground.store.release_attempts(b.id, LossReason::NodeLost, &[]).await.unwrap();
    let second = ground.step(request, "s1").await.epoch.unwrap();
    let third = ground.node("c").await;
    ground.place(request, "s1", &third).await;
    let key = ouro_common::id::AttemptKey { epoch: second, ..first };
    let verdict = ground.fail(&key, &b, FailureClass::Crashed, Some(Evidence::Rebooted)).await;
    assert_eq!(verdict, FailOutcome::Judged(StepVerdict::Poisoned), "although it runs elsewhere by now");
    assert!(ground.store.live_attempts(None).await.unwrap().is_empty());
}
