//! Work that kills what runs it, in real containers on a real OCI runtime: found out on two nodes and run nowhere after that,
//! while everything beside it goes on.
//!
//! Needs root, an OCI runtime and a static busybox; without them the test says so on stderr and ends.

use ouro_common::document::{ContainerView, PoisonDocument, PoisonEntry, TraceDocument};
use ouro_common::envelope::Envelope;
use ouro_common::id::RequestId;
use ouro_common::step::{AdminState, AttemptState, Evidence, RequestState};
use ouro_tests::containers::{Program, can_run_programs};
use ouro_tests::{Asking, Client, Fleet, LONG, NodeOptions, request, single_step, skipped};
use serde_json::json;
use std::collections::BTreeSet;

/// Steps that do no harm, beside those that do.
const INNOCENT: usize = 20;
const NODES: [&str; 3] = ["a", "b", "c"];

/// How a death is known.
type Telling = fn(&Evidence) -> bool;

/// What kills, and how its death is known.
fn culprits() -> [(Program<'static>, Telling); 4] {
    [
        (Program { name: "crash", args: &["/bin/crash"], bounds: "" }, |e| *e == Evidence::Signal { number: 4 }),
        (Program::script("eater", &["/bin/sh", "-c", "x=a; while :; do x=$x$x; done"]), |e| *e == Evidence::OomKill),
        (
            Program {
                name: "endless",
                args: &["/bin/sh", "-c", "trap '' TERM; while :; do sleep 1; done"],
                bounds: "time_s = 2",
            },
            |e| matches!(e, Evidence::Limit { what } if what == "time"),
        ),
        (
            Program {
                name: "bomb",
                args: &["/bin/sh", "-c", "b() { b | b & b; }; b; exit 3"],
                bounds: "time_s = 3\npids = 32",
            },
            |e| matches!(e, Evidence::Limit { what } if what == "processes" || what == "time"),
        ),
    ]
}

fn fleet() -> Option<Fleet> {
    if let Err(reason) = can_run_programs() {
        skipped(reason);
        return None;
    }
    let options: Vec<_> = NODES.iter().map(|name| NodeOptions::new(name, &[]).slots(2)).collect();
    let fleet = Fleet::of(&options);
    let innocent = Program::script("copier", &["/bin/sh", "-c", "cat /in/text > /out/out; sleep 0.3"]);
    for node in &fleet.nodes {
        for (program, _) in culprits() {
            program.put(&fleet.path("scratch"), &node.modules());
        }
        innocent.put(&fleet.path("scratch"), &node.modules());
    }
    for node in NODES {
        ["crash", "eater", "endless", "bomb", "copier"].iter().for_each(|name| fleet.wait_container(node, name));
    }
    Some(fleet)
}

fn container(client: &Client, name: &str) -> ContainerView {
    let asking = client.asking();
    client.wait_for(async { asking.container(name).await }).unwrap()
}

fn ask(client: &mut Client, name: &str, prompt: &str) -> RequestId {
    let plan = single_step(&container(client, name), json!({}));
    client.submit(&Envelope { approved_plan: Some(plan), ..request(prompt, &[]) }, &[]).unwrap()
}

fn ended(client: &Client, id: RequestId) -> TraceDocument {
    let asking: Asking = client.asking();
    let end = client.wait_for(async { tokio::time::timeout(LONG, asking.finished(id)).await });
    end.unwrap_or_else(|_| panic!("{id} did not end")).unwrap();
    client.wait_for(async { asking.trace(id).await }).unwrap()
}

fn poison(fleet: &Fleet) -> Vec<PoisonEntry> {
    let list: PoisonDocument = fleet.operator().run(&["poison", "list", "--output", "json"]).exits(0).json();
    list.poison
}

/// The request failed on two deaths, each on a node of its own, and both speak against the work.
fn died_twice(trace: &TraceDocument, name: &str, telling: Telling, entries: &[PoisonEntry]) {
    assert_eq!(trace.request.state, RequestState::Failed, "{name}: {trace:?}");
    let attempts = &trace.steps[0].attempts;
    let nodes: BTreeSet<_> = attempts.iter().map(|a| a.node).collect();
    assert!(attempts.len() == 2 && nodes.len() == 2, "{name} was tried on exactly two nodes: {attempts:?}");
    assert!(attempts.iter().all(|a| a.state == AttemptState::Failed), "{attempts:?}");
    let entry = entries.iter().find(|e| e.container.name.as_str() == name).unwrap_or_else(|| panic!("{name}: {entries:?}"));
    assert_eq!(entry.deaths.iter().map(|d| d.node).collect::<BTreeSet<_>>(), nodes);
    assert!(entry.deaths.len() == 2 && entry.deaths.iter().all(|d| telling(&d.evidence)), "{name}: {:?}", entry.deaths);
}

#[test]
fn what_kills_on_two_nodes_is_poison_and_everything_beside_it_is_done() {
    let Some(mut fleet) = fleet() else { return };
    let agents: Vec<u32> = fleet.nodes.iter_mut().map(|n| n.process().id()).collect();
    let mut client = fleet.client();
    let mut innocent = vec![];
    let mut guilty = vec![];
    for n in 0..INNOCENT {
        innocent.push((n, ask(&mut client, "copier", &format!("innocent {n}"))));
        if let Some((program, telling)) = culprits().get(n / 2).filter(|_| n % 2 == 0) {
            guilty.push((program.name, *telling, ask(&mut client, program.name, "kill")));
        }
    }
    for (n, id) in innocent {
        let trace = ended(&client, id);
        assert_eq!(trace.request.state, RequestState::Done, "{trace:?}");
        assert_eq!(trace.result.unwrap().text.as_deref(), Some(format!("innocent {n}").as_str()));
        assert_eq!(trace.steps[0].attempts.len(), 1, "nothing beside it disturbed it: {:?}", trace.steps[0].attempts);
    }
    let traces: Vec<_> = guilty.iter().map(|(name, telling, id)| (*name, *telling, ended(&client, *id))).collect();
    let entries = poison(&fleet);
    assert_eq!(entries.len(), 4, "{entries:?}");
    for (name, telling, trace) in &traces {
        died_twice(trace, name, *telling, &entries);
    }
    let after: Vec<u32> = fleet.nodes.iter_mut().map(|n| n.process().id()).collect();
    assert_eq!(after, agents);
    assert!(fleet.nodes.iter_mut().all(|n| n.process().ended().is_none()), "no agent died of it");
    assert!(client.nodes().nodes.iter().all(|n| n.admin == AdminState::Active), "no node is to blame");

    fleet.server.kill();
    fleet.server.restart();
    NODES.iter().for_each(|name| drop(fleet.wait_online(name)));
    assert_eq!(poison(&fleet), entries, "it survives the server");
    let mut client = fleet.client();
    let again = ask(&mut client, "crash", "kill");
    let trace = ended(&client, again);
    assert!(trace.steps[0].attempts.is_empty(), "the same work is not even tried: {trace:?}");
    let fault = trace.request.fault.expect("an end without an answer has a reason");
    let crash = entries.iter().find(|e| e.container.name.as_str() == "crash").unwrap();
    assert!(fault.remedy.contains(&format!("poison release {}", crash.id)), "{fault}");
    let other = ask(&mut client, "crash", "other input");
    assert!(!ended(&client, other).steps[0].attempts.is_empty(), "other work of the same container is other work");

    let _ = fleet.operator().run(&["poison", "release", &crash.id]).exits(0).says("may run again");
    assert!(poison(&fleet).iter().all(|e| e.id != crash.id));
    let released = ask(&mut client, "crash", "kill");
    assert_eq!(ended(&client, released).steps[0].attempts.len(), 2, "it runs again, and is found out again");
    let after: Vec<u32> = fleet.nodes.iter_mut().map(|n| n.process().id()).collect();
    assert!(after == agents && fleet.nodes.iter_mut().all(|n| n.process().ended().is_none()));
}
