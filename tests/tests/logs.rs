//! Programs in containers, on the real binaries: what they say is read while they run and afterwards, and nothing of them is
//! left when their agent was killed under them.
//!
//! Needs root, an OCI runtime and a static busybox; without them each test says so on stderr and ends.

use ouro_common::envelope::Envelope;
use ouro_common::id::RequestId;
use ouro_common::step::RequestState;
use ouro_tests::containers::{Program, can_run_programs};
use ouro_tests::programs::{left_of, processes};
use ouro_tests::{Fleet, LONG, NodeOptions, SHORT, eventually, request, single_step, skipped};
use serde_json::{Value, json};

/// Says a line, and one more every 0.3 s, as many as its input says.
const SCRIPT: &str =
    "echo oh >&2; n=$(cat /in/text); i=0; while [ $i -lt $n ]; do i=$((i+1)); echo line $i; sleep 0.3; done; echo made > /out/out";

/// A fleet of one node with the container `talker`; `None`, and why, where it cannot be run.
fn fleet() -> Option<Fleet> {
    if let Err(reason) = can_run_programs() {
        skipped(reason);
        return None;
    }
    let fleet = Fleet::of(&[NodeOptions::new("attic", &["compose"])]);
    let modules = fleet.nodes[0].modules();
    Program::script("talker", &["/bin/sh", "-c", SCRIPT]).put(&fleet.path("scratch"), &modules);
    fleet.wait_container("attic", "talker");
    Some(fleet)
}

/// Asks for so many lines.
fn ask(fleet: &Fleet, lines: u32) -> RequestId {
    ask_for(fleet, "talker", &lines.to_string())
}

fn ask_for(fleet: &Fleet, container: &str, prompt: &str) -> RequestId {
    let mut client = fleet.client();
    let asking = client.asking();
    let container = client.wait_for(async { asking.container(container).await }).unwrap();
    let plan = single_step(&container, json!({}));
    client.submit(&Envelope { approved_plan: Some(plan), ..request(prompt, &[]) }, &[]).unwrap()
}

#[test]
fn what_a_step_says_is_read_while_it_runs_and_afterwards() {
    let Some(mut fleet) = fleet() else { return };
    let (operator, mut client) = (fleet.operator(), fleet.client());
    let id = ask(&fleet, 20).to_string();
    let shown = fleet.path("followed");
    let mut follower = operator.start(&["logs", &id, "-f"], &shown);
    eventually("a line while it runs", LONG, || follower.log().contains("line 1\n").then_some(()));
    assert!(!client.trace(id.parse().unwrap()).request.state.is_terminal(), "it was shown only in the end");
    assert_eq!(client.finished(id.parse().unwrap()).state, RequestState::Done);
    assert_eq!(follower.wait(SHORT).code(), Some(0));
    let lines: Vec<String> = (1..=20).map(|n| format!("line {n}\n")).collect();
    let followed = follower.log();
    // What it says on the other stream may come between.
    assert!(followed.contains("oh\n") && followed.replacen("oh\n", "", 1).contains(&lines.concat()), "{followed}");

    let after = operator.run(&["logs", "last"]).exits(0);
    assert!(after.stdout.replacen("oh\n", "", 1).contains(&lines.concat()) && after.stderr.is_empty(), "{}", after.both());
    let document: Value = operator.run(&["logs", &id[24..], "--output", "json"]).exits(0).json();
    let said = document["lines"].as_array().unwrap();
    assert_eq!((said.len(), &document["schema"]), (21, &json!("ouroboros.logs/1")));
    assert!(said.contains(&json!({"step": "s1", "attempt": 1, "node": "attic", "text": "line 20"})), "{document}");
    let _ = operator.run(&["logs", "last/s1"]).exits(0).says("line 20");
    let _ = operator.run(&["logs", &format!("{id}/s9")]).exits(1).says("has no step s9").says("its steps: s1");
    let _ = operator.run(&["logs", "last/S 9"]).exits(2);
    let _ = operator.run(&["logs", "0000-0000"]).exits(1).says("there is no request");

    fleet.node("attic").process().kill();
    eventually("word that the node is away", SHORT, || {
        let away = operator.run(&["logs", "last"]);
        (away.code == Some(1) && away.stderr.contains("attic, which ran s1, is not connected")).then_some(())
    });
    fleet.node("attic").start();
    fleet.wait_online("attic");
    let _ = operator.run(&["logs", "last"]).exits(0).says("line 20");
    // Most steps say nothing, and that is no error.
    let silent = ask_for(&fleet, "noop", "quietly");
    assert_eq!(client.finished(silent).state, RequestState::Done);
    let quiet = operator.run(&["logs", "last"]).exits(0).says("it said nothing, or that is more than a day ago");
    assert_eq!(quiet.stdout, "");
}

#[test]
fn nothing_is_left_of_a_step_whose_agent_was_killed_and_it_is_run_again() {
    let Some(mut fleet) = fleet() else { return };
    let (operator, mut client) = (fleet.operator(), fleet.client());
    let node = client.nodes().nodes.remove(0).id.to_string();
    let id = ask(&fleet, 100_000);
    let reference = id.to_string();
    let says = |what: &str| {
        eventually(what, LONG, || operator.run(&["logs", &reference]).both().contains(what).then_some(()));
    };
    says("line 1\n");
    let before = processes(&node);
    assert!(!before.is_empty() && left_of(&node).len() > before.len(), "{:?}", left_of(&node));
    fleet.node("attic").process().kill();
    fleet.node("attic").start();
    says("attempt 2, on attic");
    says("line 2\n");
    let still: Vec<u32> = processes(&node).into_iter().filter(|id| before.contains(id)).collect();
    assert_eq!(still, Vec::<u32>::new(), "processes of the killed agent's container");
    let attempts = client.trace(id).steps.remove(0).attempts;
    assert_eq!(attempts.len(), 2, "{attempts:?}");
    let _ = operator.run(&["cancel", &reference]).exits(0);
    eventually("nothing left", SHORT, || left_of(&node).is_empty().then_some(()));
}
