//! What dies in the middle: nodes, workers, the server. Every acknowledged request ends all the same, and results commit once.

use ouro_common::document::{AttemptView, ResultDocument, TraceDocument};
use ouro_common::envelope::Envelope;
use ouro_common::id::RequestId;
use ouro_common::step::{AdminState, AttemptState, RequestState};
use ouro_tests::{Asking, Client, Fleet, LONG, Node, NodeOptions, Relay, SHORT, assets, eventually, request, single_step};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// A request whose one step does nothing for a while.
fn sleeping(client: &Client, params: &Value, prompt: &str) -> Envelope {
    let asking = client.asking();
    let noop = client.wait_for(async { asking.container("noop").await }).unwrap();
    Envelope { approved_plan: Some(single_step(&noop, params.clone())), ..request(prompt, &[]) }
}

/// Waits until the only step of a request runs somewhere: the node's name, and how many attempts there were.
fn running_on(client: &mut Client, id: RequestId) -> (String, u32) {
    eventually("the step to be assigned", SHORT, || {
        let trace = client.trace(id);
        let step = trace.steps.first()?;
        let live = step.attempts.last().filter(|a| a.state == AttemptState::Assigned)?;
        Some((live.node_name.clone(), step.attempt))
    })
}

/// Waits until a worker of the node is busy with something.
fn working(fleet: &mut Fleet, node: &str) -> Vec<u32> {
    let node = fleet.node(node);
    eventually("a worker", SHORT, || Some(node.workers()).filter(|w| !w.is_empty()))
}

fn finished(client: &Client, id: RequestId) -> ResultDocument {
    let asking: Asking = client.asking();
    client
        .wait_for(async { tokio::time::timeout(LONG, asking.finished(id)).await })
        .unwrap_or_else(|_| panic!("{id} did not end"))
        .unwrap()
}

/// The step went through these ends, each under a higher epoch than the one before.
fn attempts(trace: &TraceDocument) -> Vec<AttemptView> {
    let list = trace.steps[0].attempts.clone();
    assert!(list.windows(2).all(|w| w[0].epoch < w[1].epoch), "epochs only grow: {list:?}");
    assert_eq!(list.iter().filter(|a| a.state == AttemptState::Committed).count(), 1, "one result is committed: {list:?}");
    list
}

#[test]
fn a_step_of_a_killed_node_is_placed_again_elsewhere() {
    let mut fleet = Fleet::of(&[NodeOptions::new("a", &[]), NodeOptions::new("b", &[])]);
    let mut client = fleet.client();
    let envelope = sleeping(&client, &json!({"sleep_ms": 4000, "output_bytes": 40}), "wait");
    let id = client.submit(&envelope, &[]).unwrap();
    let (victim, _) = running_on(&mut client, id);
    let workers = working(&mut fleet, &victim);
    fleet.node(&victim).process().kill();
    let result = finished(&client, id);
    assert_eq!(result.state, RequestState::Done, "{result:?}");
    let trace = client.trace(id);
    let list = attempts(&trace);
    assert_eq!(list.len(), 2, "{list:?}");
    assert_eq!((list[0].node_name.as_str(), list[0].state), (victim.as_str(), AttemptState::Lost));
    assert_ne!(list[1].node_name, victim);
    for worker in workers {
        eventually("the worker of a killed agent to end", SHORT, || {
            (!Path::new(&format!("/proc/{worker}")).exists()).then_some(())
        });
    }
}

#[test]
fn the_result_of_a_node_that_was_given_up_is_dropped() {
    let mut fleet = Fleet::of(&[NodeOptions::new("a", &[]), NodeOptions::new("b", &[])]);
    let mut client = fleet.client();
    let envelope = sleeping(&client, &json!({"sleep_ms": 1500, "output_bytes": 40}), "wait");
    let id = client.submit(&envelope, &[]).unwrap();
    let (victim, _) = running_on(&mut client, id);
    working(&mut fleet, &victim);
    fleet.node(&victim).process().freeze();
    assert_eq!(finished(&client, id).state, RequestState::Done);
    let before = client.trace(id);
    let list = attempts(&before);
    assert_ne!(list.last().unwrap().node_name, victim);
    fleet.node(&victim).process().thaw();
    fleet.wait_online(&victim);
    eventually("the late result to be answered", SHORT, || (fleet.node(&victim).unsettled() == Some((0, 0))).then_some(()));
    let after = client.trace(id);
    assert_eq!(after.steps[0].epoch, before.steps[0].epoch);
    assert_eq!(after.steps[0].node, before.steps[0].node);
    assert_eq!(after.result, before.result);
    assert_eq!(attempts(&after).len(), list.len());
}

#[test]
fn acknowledged_requests_survive_a_killed_server() {
    let mut fleet = Fleet::of(&[NodeOptions::new("a", &[]).slots(2), NodeOptions::new("b", &[]).slots(2)]);
    let mut client = fleet.client();
    // Some with a prompt too long to ride in a row: it lies on the server's disk before the acknowledgement.
    let prompts = (0..8).map(|n| if n % 2 == 0 { format!("wait {n}") } else { format!("{n} ").repeat(60_000) });
    let envelopes: Vec<Envelope> = prompts.map(|p| sleeping(&client, &json!({"sleep_ms": 400, "output_bytes": 9}), &p)).collect();
    let ids: Vec<RequestId> = envelopes.iter().map(|e| client.submit(e, &[]).unwrap()).collect();
    fleet.server.kill();
    fleet.server.restart();
    let mut client = fleet.client();
    for id in ids {
        let result = finished(&client, id);
        assert_eq!(result.state, RequestState::Done, "{result:?}");
        attempts(&client.trace(id));
    }
    // The same key and content sent again is the same request, also after the crash.
    let again = client.submit(&envelopes[0], &[]).unwrap();
    assert_eq!(again, envelopes[0].id);
}

#[test]
fn a_line_that_is_cut_for_less_than_the_grace_costs_nothing_and_for_longer_one_attempt() {
    let mut fleet = Fleet::of(&[NodeOptions::new("near", &[])]);
    let relay = Relay::to(fleet.server.address(), Duration::ZERO);
    let mut far = Node::prepare(&fleet.path("far"), &NodeOptions::new("far", &["keywords"]));
    far.join(&relay.address(), &fleet.server.join_token());
    far.start();
    fleet.nodes.push(far);
    fleet.wait_online("far");
    let mut client = fleet.client();
    // Both have it; the near one is kept out until the step runs on the far one.
    let _ = fleet.operator().run(&["node", "drain", "near"]).exits(0);
    for (cut_s, attempts_then) in [(1, 1), (8, 2)] {
        let envelope = sleeping(&client, &json!({"sleep_ms": 5000, "output_bytes": 40}), &format!("cut for {cut_s} s"));
        let id = client.submit(&envelope, &[]).unwrap();
        assert_eq!(running_on(&mut client, id).0, "far");
        working(&mut fleet, "far");
        let _ = fleet.operator().run(&["node", "undrain", "near"]).exits(0);
        relay.cut();
        std::thread::sleep(Duration::from_secs(cut_s));
        relay.mend();
        assert_eq!(finished(&client, id).state, RequestState::Done);
        let list = attempts(&client.trace(id));
        assert_eq!(list.len(), attempts_then, "a cut of {cut_s} s: {list:?}");
        fleet.wait_online("far");
        let _ = fleet.operator().run(&["node", "drain", "near"]).exits(0);
    }
}

#[test]
fn an_agent_that_is_killed_and_comes_back_does_its_step_again() {
    let mut fleet = Fleet::of(&[NodeOptions::new("a", &[])]);
    let mut client = fleet.client();
    let envelope = sleeping(&client, &json!({"sleep_ms": 2000}), "wait");
    let id = client.submit(&envelope, &[]).unwrap();
    running_on(&mut client, id);
    working(&mut fleet, "a");
    fleet.node("a").process().kill();
    fleet.node("a").start();
    let result = finished(&client, id);
    assert_eq!(result.state, RequestState::Done, "{result:?}");
    let list = attempts(&client.trace(id));
    assert!(list.len() >= 2 && list[0].why.contains("restarted"), "{list:?}");
    assert_eq!(fleet.wait_online("a").admin, AdminState::Active, "coming back is no guilt");
}

#[test]
fn a_killed_worker_costs_an_attempt_and_nobody_s_good_name() {
    let mut fleet = Fleet::of(&[NodeOptions::new("a", &[])]);
    let mut client = fleet.client();
    let envelope = sleeping(&client, &json!({"sleep_ms": 3000}), "wait");
    let id = client.submit(&envelope, &[]).unwrap();
    running_on(&mut client, id);
    for worker in working(&mut fleet, "a") {
        let pid = rustix::process::Pid::from_raw(i32::try_from(worker).unwrap()).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    let result = finished(&client, id);
    assert_eq!(result.state, RequestState::Done, "{result:?}");
    assert_eq!(attempts(&client.trace(id)).len(), 2);
    assert!(fleet.node("a").process().ended().is_none(), "the agent lives");
    assert_eq!(fleet.wait_online("a").admin, AdminState::Active);
}

#[test]
fn local_answers_are_remembered_by_an_agent_that_was_killed() {
    let mut fleet = Fleet::of(&[NodeOptions::new("here", &[]).with_model(assets::first_pass_model())]);
    let here = fleet.node("here").ouroctl();
    let result: ResultDocument = here.run(&["submit", "What is the capital of Italy?", "--output", "json"]).exits(0).json();
    fleet.node("here").process().kill();
    fleet.node("here").start();
    let trace: TraceDocument = here.run(&["trace", "last", "--output", "json"]).exits(0).json();
    assert_eq!((trace.request.id, trace.request.served_by.as_str()), (result.id, "local"));
    assert_eq!(trace.request.state, RequestState::Done);
}

#[test]
fn large_results_are_relayed_and_a_lost_holder_s_are_made_again() {
    // The first step's result is too large to ride in its row; the second step needs it on the other node.
    let mut fleet = Fleet::of(&[NodeOptions::new("a", &["keywords"]), NodeOptions::new("b", &["summarize"])]);
    fleet.wait_container("a", "keywords");
    fleet.wait_container("b", "summarize");
    let client = fleet.client();
    let asking = client.asking();
    let noop = client.wait_for(async { asking.container("noop").await }).unwrap();
    let mut plan = single_step(&noop, json!({"output_bytes": 3_000_000}));
    let mut second = plan.steps[0].clone();
    plan.steps[0].outputs.values_mut().for_each(|t| *t = "big".parse().unwrap());
    second.id = "s2".parse().unwrap();
    second.params = json!({"output_bytes": 7});
    second
        .inputs
        .values_mut()
        .for_each(|tags| *tags = ouro_common::plan::Tags::Many(vec!["big".parse().unwrap()]));
    plan.steps.push(second);
    let envelope = Envelope { approved_plan: Some(plan), ..request("big", &[]) };
    let mut client = fleet.client();
    let id = client.submit(&envelope, &[]).unwrap();
    let result = finished(&client, id);
    assert_eq!(result.state, RequestState::Done, "{result:?}");
    let trace = client.trace(id);
    assert_eq!(trace.result.unwrap().size_bytes, 7);
    drop(fleet.nodes.pop());
}
