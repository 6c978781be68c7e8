//! Survival: what was acknowledged is there when another process opens the same storage.

use super::Make;
use super::ground::{Ground, Node, chain, single};
use crate::store::{AcceptOutcome, CommitOutcome, LessonRecord, NodeChange};
use ouro_common::id::Digest;
use ouro_common::mfpi::Residuals;
use ouro_common::step::{NodeDeed, RequestState, StepState};
use std::time::Duration;

pub(crate) async fn what_was_acknowledged_is_there_after_a_restart(make: Make) {
    let ground = Ground::new(&make);
    let node = ground.node("host").await;
    let request = ground.request(&chain()).await;
    ground.run(request, "s1", &node, false).await;
    let running = ground.place(request, "s2", &node).await;
    let unplanned = ground.envelope("later");
    ground.store.accept_request(&unplanned).await.unwrap();
    let generation = ground.store.generation();

    let ground = ground.restart(&make);
    assert_eq!(ground.store.generation(), generation);
    assert_eq!(ground.store.unplanned(10).await.unwrap(), std::slice::from_ref(&unplanned));
    assert_eq!(ground.store.accept_request(&unplanned).await.unwrap(), AcceptOutcome::Same(unplanned.id));
    assert_eq!(ground.steps(request).await, [StepState::Done, StepState::Assigned, StepState::Blocked]);
    let live = ground.store.live_attempts(Some(node.id)).await.unwrap();
    assert_eq!(live[0].key, running, "the same epoch");
    let outcome = ground.commit(&running, &node, false).await;
    assert_eq!(outcome, CommitOutcome::Committed { now_ready: 1, request_done: false }, "results are not fenced by sessions");
    let back = Node { session_epoch: ground.online(node.id).await, ..node.clone() };
    assert!(back.session_epoch > node.session_epoch);
    ground.run(request, "s3", &back, false).await;
    assert_eq!(ground.state(request).await, RequestState::Done);
}

pub(crate) async fn the_clock_goes_on_after_a_restart(make: Make) {
    let ground = Ground::new(&make);
    ground.ticker.pass(Duration::from_secs(1000));
    let request = ground.request(&single()).await;
    ground.ticker.pass(Duration::from_secs(300));
    ground.store.create_token(token()).await.unwrap();
    let before = ground.store.now();
    let ground = ground.restart(&make);
    assert_eq!(ground.store.now(), before, "it stood still while nobody ran it");
    ground.ticker.pass(Duration::from_secs(299));
    assert!(ground.store.expire(10).await.unwrap().is_empty());
    ground.ticker.pass(Duration::from_secs(1));
    assert_eq!(ground.store.expire(10).await.unwrap()[0].request, request);
}

pub(crate) async fn what_was_learnt_is_there_after_a_restart(make: Make) {
    let ground = Ground::new(&make);
    let (node, other) = (ground.node("host").await, ground.node("other").await);
    let lesson =
        |node, n: u8, pre| LessonRecord { node, container: Digest::sha256([n; 32]), residuals: Residuals { plug: -0.5, pre, dec: 0.0 } };
    ground
        .store
        .keep_lessons(vec![lesson(node.id, 1, 1.0), lesson(node.id, 2, 2.0), lesson(other.id, 1, 3.0)])
        .await
        .unwrap();
    ground.store.keep_lessons(vec![lesson(node.id, 1, 1.5), lesson(node.id, 3, f64::NAN)]).await.unwrap();
    ground.store.change_node(other.id, NodeChange::Deed(NodeDeed::Remove), "ada").await.unwrap();
    ground.store.keep_lessons(vec![lesson(other.id, 1, 3.0)]).await.unwrap();
    let ground = ground.restart(&make);
    let kept = ground.store.lessons().await.unwrap();
    assert_eq!(kept, [lesson(node.id, 1, 1.5), lesson(node.id, 2, 2.0)], "the newest, and none of a node that was removed");
}

fn token() -> crate::store::NewToken {
    crate::store::NewToken {
        id: "t".into(),
        secret_hash: Digest::blake3(b"t"),
        role: crate::store::EnrolledAs::Client,
        labels: Default::default(),
        uses: 1,
        lifetime: Duration::from_secs(1),
        require_approval: false,
    }
}
