//! A node that is drained: it finishes what it has, hands over what it alone holds, and can be switched off then.

use ouro_common::document::EventsDocument;
use ouro_common::envelope::Envelope;
use ouro_common::id::Name;
use ouro_common::plan::{Plan, Tags};
use ouro_common::step::{AttemptState, RequestState};
use ouro_tests::{Client, Fleet, LONG, NodeOptions, SHORT, eventually, request, single_step};
use serde_json::json;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A large result that three steps read, and an answer made of what they make.
fn fan(client: &Client) -> Plan {
    let asking = client.asking();
    let (noop, compose) = client.wait_for(async { (asking.container("noop").await.unwrap(), asking.container("compose").await.unwrap()) });
    let mut plan = single_step(&noop, json!({"output_bytes": 3_000_000}));
    let first = plan.steps[0].clone();
    plan.steps[0].outputs.values_mut().for_each(|tag| *tag = name("large"));
    for n in 2..=4_u32 {
        let mut step = first.clone();
        step.id = name(&format!("s{n}"));
        step.params = json!({"sleep_ms": 2000, "output_bytes": 20 + n});
        step.inputs.values_mut().for_each(|tags| *tags = Tags::One(name("large")));
        step.outputs.values_mut().for_each(|tag| *tag = name(&format!("t{n}")));
        plan.steps.push(step);
    }
    let mut join = single_step(&compose, json!({})).steps.remove(0);
    join.id = name("s5");
    join.inputs.values_mut().for_each(|tags| *tags = Tags::Many(["t2", "t3", "t4"].map(name).to_vec()));
    plan.steps.push(join);
    plan
}

#[test]
fn a_drained_node_hands_over_what_it_alone_holds_and_is_not_missed() {
    let mut fleet = Fleet::of(&[NodeOptions::new("a", &[]).slots(1)]);
    let mut client = fleet.client();
    let envelope = Envelope { approved_plan: Some(fan(&client)), ..request("fan", &[]) };
    let id = client.submit(&envelope, &[]).unwrap();
    eventually("the first step to be done and another one to run", SHORT, || {
        let trace = client.trace(id);
        let running = trace.steps.iter().skip(1).any(|s| s.attempts.iter().any(|a| a.state == AttemptState::Assigned));
        (trace.steps.first()?.attempts.first()?.state == AttemptState::Committed && running).then_some(())
    });
    let operator = fleet.operator();
    let _ = operator.run(&["node", "drain", "a"]).exits(0);
    eventually("word that it can be switched off", LONG, || {
        let events: EventsDocument = operator.run(&["events", "--kind", "drained", "--output", "json"]).exits(0).json();
        events.events.into_iter().find(|e| e.node_name.as_deref() == Some("a"))
    });
    let open = client.trace(id);
    assert!(!open.request.state.is_terminal(), "there is work left for somebody else: {:?}", open.steps);
    fleet.node("a").process().kill();
    fleet.add(&NodeOptions::new("b", &[]));
    assert_eq!(client.finished(id).state, RequestState::Done);
    let trace = client.trace(id);
    assert_eq!(trace.steps[0].attempts.len(), 1, "its result was not made again: {:?}", trace.events);
    assert!(trace.events.iter().all(|e| e.kind != "recompute"), "{:?}", trace.events);
    let nodes: Vec<_> = trace.steps.iter().filter_map(|s| s.node_name.as_deref()).collect();
    assert!(nodes.contains(&"b") && nodes[0] == "a", "{nodes:?}");
}
