//! The server's wall clock jumps, as NTP and people make it: no deadline fires by it, no lease dies, and what is to expire
//! expires in its own time all the same. And a join whose answer was lost.

use ouro_common::envelope::Envelope;
use ouro_common::error::FaultCode;
use ouro_common::id::RequestId;
use ouro_common::step::RequestState;
use ouro_tests::{Client, Fleet, FleetOptions, Node, NodeOptions, Relay, SHORT, eventually, request, single_step, skipped};
use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// The variables under which a program reads a wall clock whose error stands in a file; its monotonic clock stays the kernel's.
fn clock_in(file: &Path) -> Option<Vec<(String, String)>> {
    let asked = Command::new("faketime").args(["-m", "-f", "+0", "printenv", "LD_PRELOAD"]).output().ok()?;
    let library = String::from_utf8(asked.stdout).ok().filter(|_| asked.status.success())?;
    let variables = [
        ("LD_PRELOAD", library.trim().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".into()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
    ];
    Some(variables.map(|(name, value)| (name.to_string(), value)).to_vec())
}

fn ask(client: &mut Client, sleep_ms: u32, budget_ms: u64, prompt: &str) -> RequestId {
    let asking = client.asking();
    let noop = client.wait_for(async { asking.container("noop").await }).unwrap();
    let plan = single_step(&noop, json!({"sleep_ms": sleep_ms, "output_bytes": 9}));
    let envelope = Envelope { approved_plan: Some(plan), budget_ms, ..request(prompt, &[]) };
    client.submit(&envelope, &[]).unwrap()
}

fn attempts(client: &mut Client, id: RequestId) -> usize {
    client.trace(id).steps.first().map_or(0, |s| s.attempts.len())
}

#[test]
fn the_server_s_clock_jumps_an_hour_and_nothing_expires_by_it() {
    let folder = tempfile::tempdir().unwrap();
    let offset = folder.path().join("offset");
    std::fs::write(&offset, "+0").unwrap();
    let Some(server_environment) = clock_in(&offset) else {
        return skipped("faketime is not installed; packaging/prepare does that");
    };
    let mut fleet = Fleet::with(&FleetOptions { server_environment, ..FleetOptions::default() });
    fleet.add(&NodeOptions::new("a", &[]).slots(1));
    fleet.wait_online("a");
    let mut client = fleet.client();
    let submitted = |client: &mut Client, id| client.trace(id).request.submitted_unix_ms;
    let first = ask(&mut client, 5000, 60_000, "runs");
    let waiting = ask(&mut client, 0, 60_000, "waits");
    eventually("the step to run", SHORT, || (attempts(&mut client, first) == 1).then_some(()));
    for (jump, hours) in [("+3600", 1), ("-3600", -1)] {
        let before = submitted(&mut client, first);
        std::fs::write(&offset, jump).unwrap();
        let during = ask(&mut client, 0, 60_000, &format!("asked at {jump}"));
        let moved_ms = submitted(&mut client, during) as i64 - before as i64;
        assert!((moved_ms - hours * 3_600_000).abs() < 120_000, "the clock did jump: {moved_ms} ms");
        assert_eq!(fleet.wait_online("a").session, "online");
        for open in [first, waiting] {
            let state = client.trace(open).request.state;
            assert!(!matches!(state, RequestState::Expired | RequestState::Failed), "{state} at {jump}");
        }
        // Longer than the period in which the server looks for what is late, and than a heartbeat's.
        std::thread::sleep(Duration::from_millis(1500));
    }
    for id in [first, waiting] {
        assert_eq!(client.finished(id).state, RequestState::Done);
        assert_eq!(attempts(&mut client, id), 1, "no lease died");
    }
    let away = fleet.operator().run(&["events", "-n", "100", "--output", "json"]).exits(0);
    assert!(!away.stdout.contains("\"lost\"") && !away.stdout.contains("\"offline\""), "{}", away.stdout);
    // A new connection at a wrong time, and a deadline that is meant.
    let mut client = fleet.client();
    let late = Instant::now();
    let id = ask(&mut client, 20_000, 2_000, "too long");
    let fault = client.finished(id).fault.expect("its deadline passed");
    assert!(fault.code == FaultCode::DeadlineExceeded && late.elapsed() >= Duration::from_secs(2), "{fault}");
}

#[test]
fn a_join_whose_answer_was_lost_is_repeated_and_gets_the_same_identity() {
    let fleet = Fleet::new();
    let relay = Relay::to(fleet.server.address(), Duration::from_millis(400));
    let node = Node::prepare(&fleet.path("far"), &NodeOptions::new("far", &[]));
    let database = rusqlite::Connection::open(fleet.server.home().join("server/store.db")).unwrap();
    let one = |what: &str| database.query_row(what, [], |row| row.get::<_, String>(0)).ok();
    let uses = || one("SELECT CAST(sum(uses_left) AS TEXT) FROM tokens").unwrap().parse::<i64>().unwrap();
    let before = uses();
    let (address, token) = (relay.address(), fleet.server.join_token());
    std::thread::scope(|scope| {
        let joining = scope.spawn(|| node.command(&["join", &address, "--token", &token]));
        // The server has made the certificate, and the answer is on its way for 0.4 s more.
        let certificate = "SELECT certificate_pem FROM credentials WHERE role = 'node' AND certificate_pem IS NOT NULL";
        eventually("the server to enrol it", SHORT, || one(certificate));
        relay.cut();
        let outcome = joining.join().unwrap();
        assert!(!outcome.status.success(), "the answer came through: {outcome:?}");
    });
    assert!(!node.home().join("agent/identity/chain.pem").exists());
    let made = one("SELECT certificate_pem FROM credentials WHERE role = 'node'").unwrap();
    relay.mend();
    node.join(&relay.address(), &fleet.server.join_token());
    let chain = std::fs::read_to_string(node.home().join("agent/identity/chain.pem")).unwrap();
    assert!(chain.contains(made.trim()), "the certificate of the first time");
    assert_eq!(uses(), before - 1, "and one use of the token");
    assert_eq!(one("SELECT CAST(count(*) AS TEXT) FROM nodes").as_deref(), Some("1"));
}
