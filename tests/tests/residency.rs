//! Who stays in memory and who leaves it, on the real binaries: by the owner's word, and when the machine is short of memory.

use ouro_common::container::LoadPolicy;
use ouro_common::document::{LoadedDocument, LoadedView, ResultDocument};
use ouro_common::envelope::Envelope;
use ouro_common::step::RequestState;
use ouro_tests::{Fleet, LONG, NodeOptions, SHORT, assets, eventually, request, single_step};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::fs;
use std::path::Path;

fn loaded(fleet: &Fleet, name: &str) -> Option<LoadedView> {
    let document: LoadedDocument = fleet.nodes[0].ouroctl().run(&["model", "ps", "--output", "json"]).exits(0).json();
    document.workers.into_iter().find(|worker| worker.is(name))
}

/// Resident memory of a process as the kernel says, bytes; nothing when it is gone.
fn resident_bytes(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

#[test]
fn the_owner_says_by_container_when_it_leaves_memory() {
    let words = "[workers.containers.noop]\npolicy = \"per_request\"\n[workers.containers.compose]\npolicy = \"persistent\"\n\
                 [workers.containers.\"keywords\"]\nidle_timeout_s = 2\n";
    let fleet = Fleet::of(&[NodeOptions::new("attic", &["noop", "compose", "keywords"]).configured(words)]);
    fleet.wait_container("attic", "noop");
    let compose = eventually("what is persistent is loaded before anybody asks", LONG, || loaded(&fleet, "compose"));
    assert_eq!((compose.policy, compose.policy_why.as_str()), (LoadPolicy::Persistent, "agent.toml, for this container"));
    let process = compose.process.unwrap();
    assert!(resident_bytes(process) > 1 << 20);
    let ctl = fleet.nodes[0].ouroctl();
    let table = ctl.run(&["model", "ps"]).exits(0).stdout;
    assert!(table.contains("persistent (agent.toml, for this container)"), "{table}");

    let mut client = fleet.client();
    let asking = client.asking();
    let noop = client.wait_for(async { asking.container("noop").await }).unwrap();
    let plan = single_step(&noop, json!({"sleep_ms": 1500, "output_bytes": 1}));
    let id = client.submit(&Envelope { approved_plan: Some(plan), ..request("rest", &[]) }, &[]).unwrap();
    let worker = eventually("its worker", SHORT, || loaded(&fleet, "noop")?.process);
    assert_eq!(client.finished(id).state, RequestState::Done);
    eventually("nothing of it stays", SHORT, || {
        (loaded(&fleet, "noop").is_none() && resident_bytes(worker) == 0).then_some(())
    });

    drop(ctl.run(&["model", "load", "keywords"]).exits(0));
    let waiting = loaded(&fleet, "keywords").unwrap();
    assert_eq!((waiting.policy, waiting.idle_timeout_s), (LoadPolicy::Idle, 2));
    eventually("it leaves after its own time", LONG, || (resident_bytes(waiting.process.unwrap()) == 0).then_some(()));
    drop(ctl.run(&["model", "unload", "compose"]).exits(0));
    eventually("memory is really returned", SHORT, || (resident_bytes(process) == 0).then_some(()));
    eventually("and what is persistent comes back", LONG, || loaded(&fleet, "compose")?.process);
}

/// A machine with so much stalling for want of memory.
fn machine(root: &Path, some_percent: f64) {
    for folder in ["proc/pressure", "sys/class"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::write(root.join("proc/meminfo"), "MemTotal: 8000000 kB\nMemFree: 4000000 kB\nMemAvailable: 6000000 kB\n").unwrap();
    let line = |kind: &str, percent: f64| format!("{kind} avg10={percent:.2} avg60=0.00 avg300=0.00 total=1\n");
    fs::write(root.join("proc/pressure/memory"), line("some", some_percent) + &line("full", 0.0)).unwrap();
}

#[test]
fn under_pressure_those_who_wait_leave_one_by_one_and_pinned_ones_stay() {
    let fleet = Fleet::new();
    let root = fleet.path("machine");
    machine(&root, 0.0);
    let mut fleet = fleet;
    fleet.add(&NodeOptions::new("attic", &["noop", "compose", "keywords"]).recorded(root.clone()));
    fleet.wait_online("attic");
    fleet.wait_container("attic", "keywords");
    let ctl = fleet.nodes[0].ouroctl();
    for name in ["noop", "compose"] {
        drop(ctl.run(&["model", "load", name]).exits(0));
    }
    drop(ctl.run(&["model", "pin", "keywords"]).exits(0));
    let process = |name: &str| loaded(&fleet, name).and_then(|worker| worker.process);
    let [noop, compose, pinned] = ["noop", "compose", "keywords"].map(|name| process(name).unwrap());
    machine(&root, 60.0);
    let gone = || [noop, compose].iter().filter(|id| resident_bytes(**id) == 0).count();
    eventually("the first leaves", LONG, || (gone() == 1).then_some(()));
    eventually("the second leaves later", LONG, || (gone() == 2).then_some(()));
    assert!(resident_bytes(pinned) > 0 && process("keywords") == Some(pinned), "a person's word holds");
}

/// The node asks its own model, which answers at once or says why not; whether it answered.
fn asks_its_own_model(fleet: &Fleet) -> (bool, String) {
    let asked = fleet.nodes[0].ouroctl().run(&["submit", "What is the capital of France?", "--output", "json"]);
    let result: ResultDocument = asked.exits(0).json();
    let first = result.trace.and_then(|trace| trace.first_pass).unwrap_or_default();
    (first.answered && result.served_by == "local", first.why)
}

#[test]
fn the_first_pass_is_one_of_those_in_memory() {
    let words = "[workers.containers.first-pass]\nidle_timeout_s = 3\n";
    let options = NodeOptions::new("attic", &["noop", "compose"]).with_model(assets::first_pass_model()).configured(words);
    let fleet = Fleet::of(&[options]);
    fleet.wait_container("attic", "compose");
    assert!(loaded(&fleet, "first-pass").is_none(), "nobody has asked yet");
    assert!(asks_its_own_model(&fleet).0);
    let seen = loaded(&fleet, "first-pass").unwrap();
    assert!(seen.container.is_none() && seen.first_pass.as_ref().is_some_and(|model| model.ends_with(".gguf")), "{seen:?}");
    assert_eq!((seen.policy, seen.idle_timeout_s, seen.busy), (LoadPolicy::Idle, 3, false));
    let ctl = fleet.nodes[0].ouroctl();
    assert!(ctl.run(&["model", "ps"]).exits(0).stdout.contains("first-pass"));
    let first = seen.process.unwrap();
    eventually("it leaves after its time", LONG, || {
        (resident_bytes(first) == 0 && loaded(&fleet, "first-pass").is_none()).then_some(())
    });

    assert!(asks_its_own_model(&fleet).0, "and comes back when it is wanted");
    assert_ne!(loaded(&fleet, "first-pass").unwrap().process, Some(first));
    drop(ctl.run(&["model", "unload", "first-pass"]).exits(0));
    assert!(loaded(&fleet, "first-pass").is_none());
    let pinned: LoadedDocument = ctl.run(&["model", "pin", "first-pass", "--output", "json"]).exits(0).json();
    let pinned = pinned.workers.into_iter().find(|worker| worker.is("first-pass")).unwrap();
    let process = Pid::from_raw(i32::try_from(pinned.process.unwrap()).unwrap()).unwrap();
    assert!(pinned.pinned, "{pinned:?}");
    kill_process(process, Signal::KILL).unwrap();
    eventually("nothing is said to be in memory that is not", SHORT, || {
        loaded(&fleet, "first-pass")?.process.is_none().then_some(())
    });
    assert!(asks_its_own_model(&fleet).0, "and whoever asks next does not notice");
}

#[test]
fn the_first_pass_counts_in_the_sum_and_asks_the_fleet_where_there_is_no_room() {
    let model = assets::first_pass_model();
    // Room for the model and for one container that needs 16 MiB, not for both.
    let limit = fs::metadata(&model).unwrap().len() + (16 << 20) - 1;
    let words = format!("[workers]\nmemory_bytes = {limit}\n");
    let fleet = Fleet::of(&[NodeOptions::new("attic", &["noop", "compose"]).with_model(model).configured(&words)]);
    fleet.wait_container("attic", "noop");
    assert!(asks_its_own_model(&fleet).0);
    let first = loaded(&fleet, "first-pass").unwrap().process.unwrap();
    let ctl = fleet.nodes[0].ouroctl();
    drop(ctl.run(&["model", "pin", "noop"]).exits(0));
    assert!(resident_bytes(first) == 0 && loaded(&fleet, "first-pass").is_none(), "it made room when it had rested");
    let refused = ctl.run(&["model", "load", "first-pass"]);
    assert!(refused.code != Some(0) && refused.stderr.contains("are pinned: unpin one"), "{}", refused.both());
    let asked = ctl.run(&["submit", "What is the capital of France?", "--deadline", "20s", "--output", "json"]);
    let why = asked.stdout + &asked.stderr;
    assert!(why.contains("MEMORY") && why.contains("workers.memory_bytes"), "{why}");
    drop(ctl.run(&["model", "unload", "noop"]).exits(0));
    assert!(asks_its_own_model(&fleet).0, "when there is room again it answers");
}
