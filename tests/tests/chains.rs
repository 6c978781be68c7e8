//! A chain on one node: one assignment, results that stay where they are, and what happens when it breaks.

use ouro_common::container::Port;
use ouro_common::document::{ContainerView, TraceDocument};
use ouro_common::envelope::Envelope;
use ouro_common::plan::{Plan, Tags};
use ouro_common::step::{AttemptState, RequestState};
use ouro_tests::{Client, Fleet, Node, NodeOptions, Relay, SHORT, eventually, request, single_step};
use serde_json::{Value, json};
use std::time::Duration;

fn noop(client: &Client) -> ContainerView {
    let asking = client.asking();
    client.wait_for(async { asking.container("noop").await }).unwrap()
}

/// `params.len()` steps, each of which reads what the one before it has made.
fn line(noop: &ContainerView, params: &[Value]) -> Plan {
    let mut plan = single_step(noop, params[0].clone());
    for (n, params) in params.iter().enumerate().skip(1) {
        let tag: ouro_common::id::Name = format!("t{n}").parse().unwrap();
        let last = plan.steps.last_mut().unwrap();
        last.outputs.values_mut().for_each(|out| *out = tag.clone());
        let mut next = single_step(noop, params.clone()).steps.remove(0);
        next.id = format!("s{}", n + 1).parse().unwrap();
        let many = noop.inputs.first().is_some_and(|port: &Port| port.many);
        next.inputs
            .values_mut()
            .for_each(|tags| *tags = if many { Tags::Many(vec![tag.clone()]) } else { Tags::One(tag.clone()) });
        plan.steps.push(next);
    }
    plan
}

fn ask(client: &mut Client, params: &[Value]) -> ouro_common::id::RequestId {
    let plan = line(&noop(client), params);
    client.submit(&Envelope { approved_plan: Some(plan), ..request("chain", &[]) }, &[]).unwrap()
}

/// How often the request's trace has an event of this kind before the first of that kind.
fn before(trace: &TraceDocument, kind: &str, other: &str) -> usize {
    trace.events.iter().take_while(|e| e.kind != other).filter(|e| e.kind == kind).count()
}

#[test]
fn a_chain_with_large_results_makes_two_round_trips_and_none_through_the_server() {
    let mut fleet = Fleet::new();
    let relay = Relay::to(fleet.server.address(), Duration::from_millis(50));
    let mut node = Node::prepare(&fleet.path("far"), &NodeOptions::new("far", &[]));
    node.join(&relay.address(), &fleet.server.join_token());
    node.start();
    fleet.nodes.push(node);
    fleet.wait_online("far");
    let mut client = fleet.client();
    // The first one loads the container.
    let warm = ask(&mut client, &[json!({"output_bytes": 7})]);
    assert_eq!(client.finished(warm).state, RequestState::Done);
    let (up, down) = relay.bytes();
    let first = json!({"sleep_ms": 1500, "output_bytes": 8 << 20});
    let id = ask(&mut client, &[first, json!({"output_bytes": 8 << 20}), json!({"output_bytes": 7})]);
    eventually("all three to be given out", SHORT, || {
        let trace = client.trace(id);
        (trace.steps.len() == 3 && trace.steps.iter().all(|s| s.attempts.len() == 1)).then_some(())
    });
    // They are on their way for 50 ms. Then the node hears nothing more: the first round trip, given out and brought in, is all it
    // needs; the second one is the server's thanks.
    std::thread::sleep(Duration::from_millis(300));
    relay.hold_down();
    let held = client.trace(id);
    assert_eq!(before(&held, "assigned", "committed"), 3, "all three were given before the first was done: {:?}", held.events);
    assert!(held.steps.iter().all(|s| s.attempts[0].state == AttemptState::Assigned), "{:?}", held.steps);
    assert_eq!(client.finished(id).state, RequestState::Done);
    let far = fleet.node("far");
    assert_eq!(far.unsettled(), Some((0, 3)), "its results are kept until the server has thanked for them");
    relay.release();
    eventually("the second round trip", SHORT, || (far.unsettled() == Some((0, 0))).then_some(()));
    let (up, down) = (relay.bytes().0 - up, relay.bytes().1 - down);
    assert!(up + down < 1 << 20, "{up} bytes up and {down} down for two results of 8 MiB that nobody else needs");
    let trace = client.trace(id);
    assert_eq!(trace.steps.iter().map(|s| s.attempts.len()).collect::<Vec<_>>(), [1, 1, 1]);
    assert!(trace.steps[1].attempts[0].predicted_ms > trace.steps[0].attempts[0].predicted_ms);
}

#[test]
fn a_broken_chain_goes_on_elsewhere_from_where_it_broke() {
    let mut fleet = Fleet::of(&[NodeOptions::new("a", &[]), NodeOptions::new("b", &[])]);
    let mut client = fleet.client();
    let id = ask(
        &mut client,
        &[json!({"output_bytes": 9}), json!({"sleep_ms": 2500, "output_bytes": 9}), json!({"output_bytes": 5})],
    );
    let victim = eventually("the second step to be the one that runs", SHORT, || {
        let trace = client.trace(id);
        let state = |n: usize| trace.steps.get(n).and_then(|s| s.attempts.last()).map(|a| a.state);
        let running = state(0) == Some(AttemptState::Committed) && state(1) == Some(AttemptState::Assigned);
        running.then(|| trace.steps[1].attempts[0].node_name.clone())
    });
    fleet.node(&victim).process().kill();
    assert_eq!(client.finished(id).state, RequestState::Done);
    let trace = client.trace(id);
    assert_eq!(trace.steps[0].attempts.len(), 1, "what was done stays done");
    let second: Vec<_> = trace.steps[1].attempts.iter().map(|a| a.state).collect();
    assert_eq!(second, [AttemptState::Lost, AttemptState::Committed]);
    assert_ne!(trace.steps[1].node_name.as_deref(), Some(victim.as_str()));
    assert_eq!(trace.result.unwrap().size_bytes, 5);
}
