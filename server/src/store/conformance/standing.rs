//! What is held against nodes and work: quarantine, pairs switched off, poison, and losses that speak against nobody.

use super::Make;
use super::ground::{Ground, Node, chain, single};
use crate::store::{AssignOutcome, CommitOutcome, FailOutcome, NodeChange, NodeChanged, OpenedSession, SessionEnd};
use ouro_common::id::{AgentRunId, BootId, RequestId};
use ouro_common::step::{AdminState, Evidence, FailureClass, NodeDeed, RequestState, StepState, StepVerdict};
use std::time::Duration;

const SEGV: Option<Evidence> = Some(Evidence::Signal { number: 11 });

impl Ground {
    async fn admin(&self, node: &Node) -> AdminState {
        self.store.nodes().await.unwrap().iter().find(|n| n.id == node.id).unwrap().admin
    }

    /// A step dies on `first` and is done by `second`.
    async fn die_and_finish(&self, first: &Node, second: &Node) {
        let request = self.request(&single()).await;
        let key = self.place(request, "s1", first).await;
        assert!(matches!(self.fail(&key, first, FailureClass::Crashed, SEGV).await, FailOutcome::Judged(StepVerdict::Ready)));
        self.run(request, "s1", second, false).await;
    }

    async fn kinds(&self) -> Vec<String> {
        self.store.changes_since(None, 100).await.unwrap().into_iter().map(|e| e.kind).collect()
    }
}

pub(crate) async fn deaths_of_steps_that_finish_elsewhere_quarantine(make: Make) {
    let ground = Ground::new(&make);
    let (bad, good) = (ground.node("bad").await, ground.node("good").await);
    for _ in 0..2 {
        ground.die_and_finish(&bad, &good).await;
    }
    ground.ticker.pass(Duration::from_secs(24 * 3600 + 1));
    for _ in 0..2 {
        ground.die_and_finish(&bad, &good).await;
        assert_eq!(ground.admin(&bad).await, AdminState::Active, "what is older than a day does not count");
    }
    ground.die_and_finish(&bad, &good).await;
    assert_eq!((ground.admin(&bad).await, ground.admin(&good).await), (AdminState::Quarantined, AdminState::Active));
    let request = ground.request(&single()).await;
    let ready = ground.take().await.remove(0);
    assert_eq!(ground.assign(&ready, &bad).await, AssignOutcome::NodeGone);
    ground.run(request, "s1", &good, false).await;
    assert!(ground.kinds().await.contains(&"quarantined".to_string()));
    ground.deed(&bad, NodeDeed::Approve).await;
    ground.ticker.pass(Duration::from_secs(1));
    ground.die_and_finish(&bad, &good).await;
    assert_eq!(ground.admin(&bad).await, AdminState::Active, "who was approved begins anew");
}

pub(crate) async fn a_container_that_keeps_failing_is_switched_off(make: Make) {
    let ground = Ground::new(&make);
    let (a, b) = (ground.node("a").await, ground.node("b").await);
    let off = async || ground.store.nodes().await.unwrap().into_iter().find(|n| n.id == a.id).unwrap().switched_off;
    let first = ground.request(&single()).await;
    for _ in 0..2 {
        let key = ground.place(first, "s1", &a).await;
        ground.fail(&key, &a, FailureClass::Error, None).await;
    }
    ground.run(first, "s1", &b, false).await;
    let fail_once = async || {
        let request = ground.request(&single()).await;
        let key = ground.place(request, "s1", &a).await;
        ground.fail(&key, &a, FailureClass::LoadFailed, None).await;
        ground.run(request, "s1", &b, false).await;
    };
    fail_once().await;
    assert!(off().await.is_empty(), "two steps, although three failures");
    fail_once().await;
    let until = off().await.remove(0).1;
    assert_eq!(until.since(ground.store.now()), Duration::from_secs(60));
    ground.ticker.pass(Duration::from_secs(60));
    assert!(off().await.is_empty(), "it gets another chance");
    fail_once().await;
    assert_eq!(off().await[0].1.since(ground.store.now()), Duration::from_secs(120));
    ground.ticker.pass(Duration::from_secs(120));
    let request = ground.request(&single()).await;
    ground.run(request, "s1", &a, false).await;
    fail_once().await;
    assert!(off().await.is_empty(), "a success ends the row");
}

pub(crate) async fn a_power_cut_is_no_evidence(make: Make) {
    let ground = Ground::new(&make);
    let mut nodes = Vec::new();
    for host in ["a", "b", "c", "d"] {
        nodes.push(ground.node(host).await);
    }
    let mut held = Vec::new();
    for node in &nodes {
        let request = ground.request(&single()).await;
        held.push((request, ground.place(request, "s1", node).await));
    }
    let rebooted = async |n: usize| ground.fail(&held[n].1, &nodes[n], FailureClass::Crashed, Some(Evidence::Rebooted)).await;
    let alone = async |request: RequestId| ground.take().await.iter().find(|r| r.request == request).unwrap().alone;
    for node in &nodes[..3] {
        let end = SessionEnd::Lost("no heartbeat for 20 s".into());
        ground.store.close_session(node.id, node.session_epoch, end).await.unwrap();
        ground.ticker.pass(Duration::from_secs(9));
    }
    rebooted(0).await;
    assert!(!alone(held[0].0).await, "three nodes within 30 s");
    ground.ticker.pass(Duration::from_secs(60));
    let end = SessionEnd::Lost("no heartbeat for 20 s".into());
    ground.store.close_session(nodes[3].id, nodes[3].session_epoch, end).await.unwrap();
    rebooted(3).await;
    assert!(alone(held[3].0).await, "this one went down alone");
}

pub(crate) async fn who_reboots_first_of_many_is_cleared_later(make: Make) {
    let ground = Ground::new(&make);
    let (a, b, c) = (ground.node("a").await, ground.node("b").await, ground.node("c").await);
    let request = ground.request(&single()).await;
    let key = ground.place(request, "s1", &a).await;
    assert!(matches!(ground.open_as(a.id, 2, 2, None).await, OpenedSession::Open { .. }), "back before it was missed");
    ground.fail(&key, &a, FailureClass::Crashed, Some(Evidence::Rebooted)).await;
    assert!(ground.take().await[0].alone);
    for node in [&b, &c] {
        let end = SessionEnd::Lost("no heartbeat for 20 s".into());
        ground.store.close_session(node.id, node.session_epoch, end).await.unwrap();
    }
    assert!(!ground.take().await[0].alone);
}

pub(crate) async fn poison_is_kept_away_until_it_is_released(make: Make) {
    let ground = Ground::new(&make);
    let (a, b) = (ground.node("a").await, ground.node("b").await);
    let request = ground.request(&single()).await;
    for node in [&a, &b] {
        let key = ground.place(request, "s1", node).await;
        ground.fail(&key, node, FailureClass::Crashed, SEGV).await;
    }
    let ground = ground.restart(&make);
    let entry = ground.store.poison().await.unwrap().remove(0);
    assert_eq!((entry.request, entry.deaths.len()), (request, 2));
    assert_eq!(entry.deaths.iter().map(|d| d.node).collect::<Vec<_>>(), [a.id, b.id]);
    let again = ground.request(&single()).await;
    assert_eq!(ground.step(again, "s1").await.state, StepState::Poisoned, "the same work");
    let fault = ground.store.view(again).await.unwrap().unwrap().trace.request.fault.unwrap();
    assert!(fault.problem.contains("on a and b") && fault.remedy.contains(&entry.id), "{fault}");
    let other = super::ground::plan(vec![super::ground::step("s1", "other work", &["prompt"], "answer")], "answer");
    let other = ground.request(&other).await;
    assert_eq!(ground.step(other, "s1").await.state, StepState::Ready);
    assert!(ground.store.release_poison("nothing", "ada").await.is_err());
    assert_eq!(ground.store.release_poison(&entry.id, "ada").await.unwrap(), entry);
    assert!(ground.store.release_poison(&entry.id, "ada").await.is_err(), "it is gone");
    let released = ground.request(&single()).await;
    assert_eq!(ground.step(released, "s1").await.state, StepState::Ready);
    let kinds = ground.kinds().await;
    assert!(kinds.contains(&"poisoned".to_string()) && kinds.contains(&"poison_released".to_string()), "{kinds:?}");
}

pub(crate) async fn a_suspect_step_runs_alone(make: Make) {
    let ground = Ground::new(&make);
    let (a, b) = (ground.node("a").await, ground.node("b").await);
    let suspect = ground.request(&single()).await;
    let key = ground.place(suspect, "s1", &a).await;
    ground.fail(&key, &a, FailureClass::Crashed, Some(Evidence::OomKill)).await;
    let (first, second) = (ground.request(&single()).await, ground.request(&single()).await);
    let busy = ground.place(first, "s1", &b).await;
    let ready = ground.take().await;
    let find = |request| ready.iter().find(|r| r.request == request).unwrap();
    assert_eq!(ground.assign(find(suspect), &b).await, AssignOutcome::NodeFull, "something runs there");
    ground.commit(&busy, &b, false).await;
    assert!(matches!(ground.assign(find(suspect), &b).await, AssignOutcome::Assigned { .. }));
    assert!(ground.store.live_attempts(Some(b.id)).await.unwrap()[0].alone);
    assert_eq!(ground.assign(find(second), &b).await, AssignOutcome::NodeFull, "nothing runs beside it");
}

pub(crate) async fn a_copy_is_told_from_a_restart(make: Make) {
    let ground = Ground::new(&make);
    let node = ground.node("host").await;
    let now = Some(node.session_epoch);
    assert_eq!(ground.open_as(node.id, 9, 4, now).await, OpenedSession::Cloned, "the old one answers");
    assert!(matches!(ground.open_as(node.id, 9, 4, None).await, OpenedSession::Open { .. }), "it does not");
    assert!(matches!(ground.open_as(node.id, 9, 4, now).await, OpenedSession::Open { .. }), "the same process dials again");
    let OpenedSession::Open { session_epoch, .. } = ground.open_as(node.id, 9, 4, None).await else {
        panic!("not open")
    };
    let stale = Some(session_epoch - 1);
    assert!(matches!(ground.open_as(node.id, 8, 4, stale).await, OpenedSession::Open { .. }), "another session answered");
    assert!(ground.kinds().await.contains(&"cloned".to_string()));
}

pub(crate) async fn operators_decide_about_nodes(make: Make) {
    let ground = Ground::new(&make);
    let (a, b) = (ground.node("a").await, ground.node("b").await);
    let request = ground.request(&single()).await;
    let key = ground.place(request, "s1", &a).await;
    assert!(matches!(
        ground.deed(&a, NodeDeed::Drain).await,
        NodeChanged::Done { admin: AdminState::Draining, changed: true, .. }
    ));
    assert!(matches!(ground.deed(&a, NodeDeed::Drain).await, NodeChanged::Done { changed: false, .. }), "a repeat");
    assert_eq!(ground.deed(&a, NodeDeed::Approve).await, NodeChanged::Refused(AdminState::Draining));
    let other = ground.request(&single()).await;
    let ready = ground.take().await.remove(0);
    assert_eq!(ground.assign(&ready, &a).await, AssignOutcome::NodeGone);
    assert!(matches!(ground.commit(&key, &a, true).await, CommitOutcome::Committed { .. }), "it finishes what it has");
    ground.deed(&a, NodeDeed::Undrain).await;
    let taken = ground.place(other, "s1", &a).await;
    let removed = ground.deed(&a, NodeDeed::Remove).await;
    assert_eq!(removed, NodeChanged::Done { admin: AdminState::Removed, changed: true, attempts: vec![taken] });
    assert_eq!(ground.steps(request).await, [StepState::Ready], "what only it held is made again");
    assert_eq!(ground.steps(other).await, [StepState::Ready]);
    assert_eq!(ground.deed(&a, NodeDeed::Undrain).await, NodeChanged::Refused(AdminState::Removed));
    ground.run(other, "s1", &b, false).await;
    assert_eq!(ground.state(other).await, RequestState::Done);
    let label = NodeChange::Labels { set: [("room".into(), "attic".into())].into(), unset: vec!["owner".into()] };
    for changed in [true, false] {
        let outcome = ground.store.change_node(b.id, label.clone(), "ada").await.unwrap();
        assert!(matches!(outcome, NodeChanged::Done { changed: now, .. } if now == changed), "{outcome:?}");
    }
    let labels = ground.store.nodes().await.unwrap().remove(0).labels;
    assert_eq!(labels, [("room".to_string(), "attic".to_string())].into());
}

pub(crate) async fn events_are_read_on_from_a_cursor(make: Make) {
    let ground = Ground::new(&make);
    let node = ground.node("host").await;
    let all = ground.store.changes_since(None, 100).await.unwrap();
    assert_eq!(all.iter().map(|e| e.kind.as_str()).collect::<Vec<_>>(), ["joined", "online"]);
    assert!(all.iter().all(|e| e.node == Some(node.id) && e.node_name.as_deref() == Some("host")));
    assert!(ground.store.changes_since(Some(all[1].seq), 100).await.unwrap().is_empty());
    let request = ground.request(&single()).await;
    ground.run(request, "s1", &node, false).await;
    let fresh = ground.store.changes_since(Some(all[1].seq), 100).await.unwrap();
    assert_eq!(fresh.iter().map(|e| e.kind.as_str()).collect::<Vec<_>>(), ["accepted", "done"]);
    assert!(fresh.iter().all(|e| e.request == Some(request)));
    assert_eq!(ground.store.changes_since(Some(0), 1).await.unwrap(), all[..1], "the oldest of those after the cursor");
    assert_eq!(ground.store.changes_since(None, 1).await.unwrap(), fresh[1..], "the newest");
}

impl Ground {
    pub(crate) async fn deed(&self, node: &Node, deed: NodeDeed) -> NodeChanged {
        self.store.change_node(node.id, NodeChange::Deed(deed), "ada").await.unwrap()
    }

    /// Opens a session of the agent's `run`th process in the machine's `boot`th boot.
    async fn open_as(&self, node: ouro_common::id::NodeId, run: u8, boot: u8, old_session_answers: Option<u64>) -> OpenedSession {
        let (run, boot) = (AgentRunId::from_parts(3, [run; 10]), BootId::from_parts(4, [boot; 10]));
        let arrival = crate::store::Arrival { instance: self.instance, run, boot, old_session_answers };
        self.store.open_session(node, arrival).await.unwrap()
    }
}

pub(crate) async fn a_gate_is_told_to_the_fleet_and_to_the_work_there(make: Make) {
    let ground = Ground::new(&make);
    let (here, there) = (ground.node("here").await, ground.node("there").await);
    let request = ground.request(&single()).await;
    ground.place(request, "s1", &here).await;
    ground.store.note_gate(here.id, "light", "on battery, at 80 %").await.unwrap();
    ground.store.note_gate(there.id, "refuse", "too hot").await.unwrap();
    let events = ground.store.changes_since(None, 100).await.unwrap();
    let light = events.iter().find(|e| e.kind == "light").unwrap();
    assert_eq!((light.node, light.text.as_str()), (Some(here.id), "on battery, at 80 %"));
    assert!(events.iter().any(|e| e.kind == "refuse" && e.node == Some(there.id)));
    let trace = ground.store.view(request).await.unwrap().unwrap().trace;
    let told: Vec<_> = trace.events.iter().filter(|e| ["light", "refuse"].contains(&e.kind.as_str())).collect();
    assert!(told.len() == 1 && told[0].text == "here is light: on battery, at 80 %", "{told:?}");
}

pub(crate) async fn what_a_leaving_node_holds_alone_is_known(make: Make) {
    let ground = Ground::new(&make);
    let (a, b) = (ground.node("a").await, ground.node("b").await);
    let request = ground.request(&chain()).await;
    let key = ground.place(request, "s1", &a).await;
    ground.commit(&key, &a, true).await;
    let alone = async |node: &Node| ground.store.held_alone(node.id, 10).await.unwrap();
    assert_eq!(alone(&a).await, [], "it stays");
    ground.deed(&a, NodeDeed::Drain).await;
    let output = Ground::output(&key, true);
    assert_eq!(alone(&a).await, [(output.digest, output.size_bytes)]);
    assert_eq!(alone(&b).await, []);
    ground.store.keep_on_server(output.digest).await.unwrap();
    assert_eq!(alone(&a).await, [], "the server has it");
    ground.store.note_drained(a.id).await.unwrap();
    let events = ground.store.changes_since(None, 1).await.unwrap();
    assert_eq!((events[0].kind.as_str(), events[0].node), ("drained", Some(a.id)));
    // What no step reads any more is nobody's loss.
    let second = ground.place(request, "s2", &b).await;
    ground.commit(&second, &b, false).await;
    assert_eq!(alone(&a).await, []);
}
