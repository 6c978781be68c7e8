//! Programs that want what they must not have, in the whole system: each ends with a word that names what it did, its node lives on,
//! and nothing of it stays. And an OCI runtime that hangs, which costs itself only.
//!
//! Needs root, an OCI runtime and a static busybox; without them each test says so on stderr and ends.

use ouro_common::document::{AttemptView, EventsDocument, NodesDocument};
use ouro_common::envelope::Envelope;
use ouro_common::id::RequestId;
use ouro_common::step::{AttemptState, RequestState};
use ouro_tests::containers::{Program, can_run_programs};
use ouro_tests::programs::{left_of, processes};
use ouro_tests::{Fleet, LONG, NodeOptions, SHORT, eventually, request, single_step, skipped};
use serde_json::json;
use std::os::unix::fs::PermissionsExt as _;

/// What is run, and what is said of it. What takes too much memory or time is tried where guilt is.
fn hostile() -> [(Program<'static>, &'static str); 3] {
    let bound = |name, args, bounds| Program { name, args, bounds };
    [
        (
            bound("babbler", &["/bin/sh", "-c", "cat /dev/zero & cat /dev/zero >&2"], "time_s = 2"),
            "ran longer than the 2 s",
        ),
        (bound("caller", &["/bin/busybox", "nc", "-w", "2", "1.1.1.1", "80"], ""), "Network is unreachable"),
        (bound("filler", &["/bin/sh", "-c", "cat /dev/zero > /out/out"], ""), "bytes of memory"),
    ]
}

fn fleet(names: &[&str], programs: &[Program<'_>]) -> Option<Fleet> {
    can_run_programs().map_err(skipped).ok()?;
    let nodes: Vec<_> = names.iter().map(|name| NodeOptions::new(name, &["compose"]).slots(2)).collect();
    let fleet = Fleet::of(&nodes);
    for node in &fleet.nodes {
        programs.iter().for_each(|program| program.put(&fleet.path("scratch"), &node.modules()));
    }
    for name in names {
        programs.iter().for_each(|program| fleet.wait_container(name, program.name));
    }
    Some(fleet)
}

fn ask(fleet: &Fleet, container: &str) -> RequestId {
    let mut client = fleet.client();
    let asking = client.asking();
    let container = client.wait_for(async { asking.container(container).await }).unwrap();
    let plan = single_step(&container, json!({}));
    client.submit(&Envelope { approved_plan: Some(plan), ..request("go", &[]) }, &[]).unwrap()
}

fn attempts(fleet: &Fleet, id: RequestId) -> Vec<AttemptView> {
    fleet.client().trace(id).steps.first().map(|step| step.attempts.clone()).unwrap_or_default()
}

fn nodes(fleet: &Fleet) -> Vec<(String, String)> {
    fleet.client().nodes().nodes.into_iter().map(|node| (node.name, node.id.to_string())).collect()
}

#[test]
fn each_hostile_program_ends_with_what_it_did_and_its_nodes_live_on() {
    let programs = hostile().map(|(program, _)| program);
    let Some(mut fleet) = fleet(&["attic", "cellar"], &programs) else {
        return;
    };
    let mut client = fleet.client();
    let asked = hostile().map(|(program, said)| (program.name, said, ask(&fleet, program.name)));
    for (name, said, id) in asked {
        let end = client.finished(id);
        assert_eq!(end.state, RequestState::Failed, "{name}: {end:?}");
        let attempts = attempts(&fleet, id);
        assert!(attempts.iter().all(|a| a.state == AttemptState::Failed && a.why.contains(said)), "{name}: {attempts:?}");
    }
    // What took too much on two nodes is kept away from the others, and that is an event.
    let events: EventsDocument = fleet.operator().run(&["events", "--output", "json"]).exits(0).json();
    let poisoned: Vec<_> = events.events.iter().filter(|e| e.kind == "poisoned").map(|e| e.text.as_str()).collect();
    for name in ["babbler", "filler"] {
        assert!(poisoned.iter().any(|text| text.contains(name)), "{name}: {:?}", events.events);
    }
    for (name, id) in nodes(&fleet) {
        eventually(&format!("nothing left on {name}"), SHORT, || left_of(&id).is_empty().then_some(()));
        assert!(fleet.node(&name).process().ended().is_none(), "{name} lives");
        assert!(fleet.client().nodes().nodes.iter().all(|n| n.session == "online"));
    }
}

#[test]
fn a_cancelled_program_goes_with_all_its_children() {
    let script = "trap '' TERM; for n in 1 2 3; do (trap '' TERM; sleep 4747 & sleep 4747) & done; echo begun; sleep 4747";
    let Some(fleet) = fleet(&["attic"], &[Program::script("tree", &["/bin/sh", "-c", script])]) else {
        return;
    };
    let (_, node) = nodes(&fleet).remove(0);
    let id = ask(&fleet, "tree");
    // Each shell takes the place of its last command.
    eventually("the whole tree", LONG, || (processes(&node).len() >= 7).then_some(()));
    let _ = fleet.operator().run(&["cancel", &id.to_string()]).exits(0);
    eventually("nothing left", SHORT, || left_of(&node).is_empty().then_some(()));
    assert_eq!(fleet.client().trace(id).request.state, RequestState::Cancelled);
}

#[test]
fn of_a_node_that_was_killed_and_given_up_nothing_is_left() {
    let script = "for n in 1 2; do sleep 4747 & done; mkdir /out/x; sleep 4747";
    let Some(mut fleet) = fleet(&["attic"], &[Program::script("stayer", &["/bin/sh", "-c", script])]) else {
        return;
    };
    let (_, node) = nodes(&fleet).remove(0);
    ask(&fleet, "stayer");
    eventually("its processes", LONG, || (processes(&node).len() >= 3).then_some(()));
    fleet.node("attic").process().kill();
    assert!(left_of(&node).len() > processes(&node).len(), "mounts, cgroups: {:?}", left_of(&node));
    drop(fleet);
    assert_eq!(left_of(&node), Vec::<String>::new());
}

#[test]
fn a_runtime_that_hangs_costs_itself_only() {
    if let Err(reason) = can_run_programs() {
        return skipped(reason);
    }
    let folder = tempfile::tempdir().unwrap();
    let hanging = folder.path().join("hanging");
    std::fs::write(&hanging, "#!/bin/sh\nexec sleep 1000\n").unwrap();
    std::fs::set_permissions(&hanging, std::fs::Permissions::from_mode(0o755)).unwrap();
    let sections = format!("[oci]\nruntimes = [{hanging:?}, \"crun\", \"runc\"]\n");
    // The hanging one is given five seconds to say its version, and so long the agent's first word waits, at most.
    let mut fleet = Fleet::of(&[NodeOptions::new("attic", &["compose"]).configured(&sections)]);
    let says = |fleet: &Fleet| {
        let document: NodesDocument = fleet.operator().run(&["nodes", "--output", "json"]).exits(0).json();
        document.nodes[0].runtimes.clone()
    };
    let found = eventually("the runtime behind it", LONG, || says(&fleet).into_iter().find(|r| r.runtime == "oci" && r.available));
    assert!(found.detail.contains("run"), "{found:?}");
    assert!(says(&fleet).iter().filter(|r| ["builtin", "gguf"].contains(&r.runtime.as_str())).all(|r| r.available));
    let status = fleet.node("attic").command(&["status"]);
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains(&format!("runtime     oci: {}", found.detail)), "{status}");
}
