//! Under fire: everything may be killed at any moment and every line cut. What was acknowledged ends, commits once, and
//! nobody is blamed for what happened to it.
//!
//! The variables `OURO_FAULT_…` make it longer and larger; `make test-faults` sets them.

use ouro_common::document::{ContainerView, TraceDocument};
use ouro_common::envelope::Envelope;
use ouro_common::id::{Digest, RequestId};
use ouro_common::plan::{Plan, Tags};
use ouro_common::step::{AttemptState, RequestState};
use ouro_tests::{Client, Fleet, Identity, LONG, Node, NodeOptions, Relay, SHORT, eventually, request, single_step};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn figure(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn noop(client: &Client) -> ContainerView {
    eventually("somebody who offers noop", SHORT, || {
        let asking = client.asking();
        client.wait_for(async { asking.container("noop").await }).ok()
    })
}

/// Three steps in a line; the first leaves more than rides in a row, so that it lies in a spool.
fn three_steps(noop: &ContainerView, n: u64) -> Plan {
    let params = [
        json!({"sleep_ms": 50 + n % 200, "output_bytes": 40_000 + n}),
        json!({"sleep_ms": 100, "output_bytes": 100 + n}),
        json!({"output_bytes": 1000 + n}),
    ];
    let mut plan = single_step(noop, params[0].clone());
    for (place, params) in params.iter().enumerate().skip(1) {
        let tag: ouro_common::id::Name = format!("t{place}").parse().unwrap();
        plan.steps.last_mut().unwrap().outputs.values_mut().for_each(|out| *out = tag.clone());
        let mut next = single_step(noop, params.clone()).steps.remove(0);
        next.id = format!("s{}", place + 1).parse().unwrap();
        next.inputs.values_mut().for_each(|tags| {
            *tags = match tags {
                Tags::Many(_) => Tags::Many(vec![tag.clone()]),
                Tags::One(_) => Tags::One(tag.clone()),
            };
        });
        plan.steps.push(next);
    }
    plan
}

/// What an undisturbed run gives: a byte is its position modulo 251.
fn undisturbed(n: u64) -> Digest {
    let bytes: Vec<u8> = (0..1000 + n).map(|i| u8::try_from(i % 251).unwrap()).collect();
    Digest::blake3(&bytes)
}

/// The history of one request: every step committed once, epochs only grow, nothing committed beside it.
fn check_history(trace: &TraceDocument) {
    for step in &trace.steps {
        assert!(step.attempts.windows(2).all(|w| w[0].epoch < w[1].epoch), "epochs only grow: {:?}", step.attempts);
        let committed = step.attempts.iter().filter(|a| a.state == AttemptState::Committed).count();
        let events = trace.events.iter().filter(|e| e.kind == "committed" && e.step.as_ref() == Some(&step.id)).count();
        let again = trace.events.iter().filter(|e| e.kind == "recompute" && e.step.as_ref() == Some(&step.id)).count();
        assert!(committed <= 1 && events <= 1 + again, "{} was committed {events} times: {:?}", step.id, trace.events);
        if trace.request.state == RequestState::Done {
            assert_eq!(committed, 1, "{} of a request that is done: {:?}", step.id, step.attempts);
        }
    }
}

/// Submits until it is acknowledged, whatever happens to the server meanwhile.
fn submit_all(address: &str, operator: &std::path::Path, envelopes: &[Envelope], acknowledged: &Mutex<Vec<(usize, RequestId)>>) {
    for (n, envelope) in envelopes.iter().enumerate() {
        let id = eventually("an acknowledgement", LONG, || {
            let mut client = Client::try_connect(address, &Identity::read(operator)).ok()?;
            client.submit(envelope, &[]).ok()
        });
        acknowledged.lock().unwrap().push((n, id));
    }
}

/// A reproducible sequence of choices (a linear congruential generator, Knuth's MMIX).
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn kill_something(fleet: &mut Fleet, chance: &mut Chance, count: &mut BTreeMap<&'static str, u32>) {
    match chance.below(5) {
        0 => {
            fleet.server.kill();
            fleet.server.restart();
            *count.entry("server").or_default() += 1;
        }
        1 | 2 => {
            let n = usize::try_from(chance.below(fleet.nodes.len() as u64)).unwrap();
            fleet.nodes[n].process().kill();
            fleet.nodes[n].start();
            *count.entry("agent").or_default() += 1;
        }
        _ => {
            let workers: Vec<u32> = fleet.nodes.iter().flat_map(Node::workers).collect();
            if let Some(worker) = workers.get(usize::try_from(chance.below(workers.len().max(1) as u64)).unwrap()) {
                let _ = kill_process(Pid::from_raw(i32::try_from(*worker).unwrap()).unwrap(), Signal::KILL);
                *count.entry("worker").or_default() += 1;
            }
        }
    }
}

#[test]
fn whatever_is_killed_what_was_acknowledged_ends_and_commits_once() {
    let agents = figure("OURO_FAULT_AGENTS", 3);
    let (requests, seconds) = (figure("OURO_FAULT_REQUESTS", 30), figure("OURO_FAULT_SECONDS", 15));
    let options: Vec<_> = (0..agents).map(|n| NodeOptions::new(&format!("n{n}"), &[]).slots(2)).collect();
    let mut fleet = Fleet::of(&options);
    let noop = noop(&fleet.client());
    let envelopes: Vec<Envelope> = (0..requests)
        .map(|n| Envelope { approved_plan: Some(three_steps(&noop, n)), ..request(&format!("request {n}"), &[]) })
        .collect();
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let (address, operator) = (fleet.server.address().to_string(), fleet.server.home().join("operator"));
    let submitter = {
        let acknowledged = acknowledged.clone();
        std::thread::spawn(move || submit_all(&address, &operator, &envelopes, &acknowledged))
    };
    let (begin, mut chance, mut killed) = (Instant::now(), Chance(20_261_121), BTreeMap::new());
    while begin.elapsed() < Duration::from_secs(seconds) {
        kill_something(&mut fleet, &mut chance, &mut killed);
        std::thread::sleep(Duration::from_millis(200 + chance.below(1200)));
    }
    submitter.join().expect("everything was acknowledged in the end");
    let list = acknowledged.lock().unwrap().clone();
    let mut client = fleet.client();
    let mut ends: BTreeMap<String, u32> = BTreeMap::new();
    for (n, id) in &list {
        let trace = eventually("the end of an acknowledged request", LONG, || {
            Some(client.trace(*id)).filter(|trace| trace.request.state.is_terminal())
        });
        check_history(&trace);
        *ends.entry(trace.request.state.to_string()).or_default() += 1;
        match trace.request.state {
            RequestState::Done => assert_eq!(trace.result.as_ref().unwrap().digest, undisturbed(*n as u64), "as if nothing had happened"),
            _ => assert!(trace.request.fault.is_some(), "an end without a reason: {trace:?}"),
        }
    }
    assert_eq!(list.len() as u64, requests);
    no_blame(&fleet);
    let _ = writeln!(
        std::io::stderr(),
        "{requests} requests of three steps on {agents} agents, {seconds} s: killed {killed:?}, ends {ends:?}"
    );
}

/// Nobody is quarantined, nothing is poison, no container is switched off.
fn no_blame(fleet: &Fleet) {
    let events: ouro_common::document::EventsDocument = fleet.operator().run(&["events", "-n", "500", "--output", "json"]).exits(0).json();
    let blamed: Vec<_> = events
        .events
        .iter()
        .filter(|e| ["quarantined", "poisoned", "switched_off"].contains(&e.kind.as_str()))
        .collect();
    assert!(blamed.is_empty(), "{blamed:?}");
}

#[test]
fn loss_is_no_guilt_and_who_comes_back_in_time_is_not_run_again() {
    let busy = usize::try_from(figure("OURO_FAULT_SESSIONS", 4)).unwrap();
    let (away, cut) = (figure("OURO_FAULT_SERVER_AWAY", 3), figure("OURO_FAULT_CUT", 4));
    let mut fleet = Fleet::new();
    let relay = Relay::to(fleet.server.address(), Duration::ZERO);
    let mut client = fleet.client();
    let asking = client.asking();
    let uses = u32::try_from(busy).unwrap();
    let token = client.wait_for(async { asking.create_token("node", uses, 3600).await }).unwrap();
    for n in 0..busy {
        let options = NodeOptions::new(&format!("n{n}"), &[]).slots(1).configured("[oci]\nruntimes = []\n");
        let mut node = Node::prepare(&fleet.path(&format!("n{n}")), &options);
        node.join(&relay.address(), &token);
        node.start();
        fleet.nodes.push(node);
    }
    (0..busy).for_each(|n| drop(fleet.wait_online(&format!("n{n}"))));
    let noop = noop(&client);
    // Many workers take their time to start; the steps are to last until after the last cut.
    let sleep_ms = if busy > 50 { 60_000 } else { (away + 2 * cut) * 1000 };
    let sleeping = |n: usize| Envelope {
        approved_plan: Some(single_step(&noop, json!({"sleep_ms": sleep_ms, "output_bytes": 9}))),
        ..request(&format!("wait {n}"), &[])
    };
    let ids: Vec<_> = (0..busy).map(|n| client.submit(&sleeping(n), &[]).unwrap()).collect();
    eventually("every node to be busy", LONG, || {
        ids.iter().all(|id| client.trace(*id).steps.first().is_some_and(|s| s.attempts.len() == 1)).then_some(())
    });
    fleet.server.kill();
    std::thread::sleep(Duration::from_secs(away));
    fleet.server.restart();
    let mut client = fleet.client();
    (0..busy).for_each(|n| drop(fleet.wait_online(&format!("n{n}"))));
    for id in &ids {
        let attempts = client.trace(*id).steps.remove(0).attempts;
        assert_eq!(attempts.len(), 1, "its node came back within the grace: {attempts:?}");
    }
    relay.cut();
    std::thread::sleep(Duration::from_secs(cut));
    relay.mend();
    let mut again = 0;
    for id in ids {
        assert_eq!(client.finished(id).state, RequestState::Done);
        let trace = client.trace(id);
        check_history(&trace);
        again += usize::from(trace.steps[0].attempts.len() > 1);
    }
    no_blame(&fleet);
    // Of a cut that takes all of them the server waits for twenty seconds, dialling included.
    assert!(again == 0 || cut > 15, "{again} of {busy} ran twice after a cut of {cut} s");
    let _ = writeln!(
        std::io::stderr(),
        "{busy} busy nodes: the server away for {away} s, then every line for {cut} s; all done, {again} ran twice, nobody blamed"
    );
    let nodes = client.nodes().nodes;
    assert!(nodes.iter().all(|n| n.admin == ouro_common::step::AdminState::Active));
}

#[test]
fn an_idle_fleet_writes_nothing() {
    let fleet = Fleet::of(&[NodeOptions::new("a", &[])]);
    let mut client = fleet.client();
    let plan = single_step(&noop(&client), json!({"output_bytes": 9}));
    let id = client.submit(&Envelope { approved_plan: Some(plan), ..request("the last one", &[]) }, &[]).unwrap();
    assert_eq!(client.finished(id).state, RequestState::Done);
    let database = rusqlite::Connection::open(fleet.server.home().join("server/store.db")).unwrap();
    let version = || database.query_row("PRAGMA data_version", [], |row| row.get::<_, i64>(0)).unwrap();
    // What the node found out late is told late; then nothing has changed for a while.
    let quiet = || {
        let (begin, first, bytes) = (Instant::now(), version(), fleet.server.process().written_bytes());
        while begin.elapsed() < Duration::from_secs(12) {
            if version() != first {
                return None;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Some(fleet.server.process().written_bytes() - bytes)
    };
    // Longer than the ten seconds after which the clock is written while a request is open.
    let written = eventually("twelve seconds without a transaction", LONG, quiet);
    assert_eq!(written, 0, "bytes of an idle server in twelve seconds");
}
