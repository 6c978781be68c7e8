//! Backup and restore on the real binaries: taken while the server runs, and agents go on by themselves with what is restored.

use ouro_common::envelope::Envelope;
use ouro_common::step::{AttemptState, RequestState};
use ouro_tests::{Fleet, NodeOptions, SHORT, Server, eventually, request, single_step};
use serde_json::json;
use std::path::Path;

fn server(home: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Server::command(home, arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

#[test]
fn a_restored_fleet_goes_on_and_honours_nothing_given_out_before() {
    let mut fleet = Fleet::of(&[NodeOptions::new("a", &[])]);
    let mut client = fleet.client();
    let asking = client.asking();
    let noop = client.wait_for(async { asking.container("noop").await }).unwrap();
    let sleeping = |prompt: &str, sleep_ms: u32| Envelope {
        approved_plan: Some(single_step(&noop, json!({"sleep_ms": sleep_ms, "output_bytes": 9}))),
        ..request(prompt, &[])
    };
    // A long prompt lies on the disk beside the store.
    let done = client.submit(&sleeping(&"long ".repeat(20_000), 0), &[]).unwrap();
    assert_eq!(client.finished(done).state, RequestState::Done);
    let running = client.submit(&sleeping("wait", 1500), &[]).unwrap();
    eventually("the step to run", SHORT, || {
        client
            .trace(running)
            .steps
            .first()
            .filter(|s| s.attempts.iter().any(|a| a.state == AttemptState::Assigned))
            .map(drop)
    });
    let home = fleet.server.home().to_path_buf();
    let file = fleet.path("fleet.tar");
    let _ = fleet.operator().run(&["module", "keygen", "--no-password"]).exits(0);
    let _ = fleet.operator().run(&["module", "trust", &home.join("module.pub").display().to_string()]).exits(0);
    let trusted = fleet.operator().run(&["module", "trusted"]).exits(0).says("module").stdout;
    let (taken, words) = server(&home, &["backup", &file.display().to_string()]);
    assert!(taken && words.contains("requests  2") && words.contains("nodes     1"), "{words}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "the CA's key is in it");
    let after = client.submit(&sleeping("after the backup", 0), &[]).unwrap();
    fleet.server.kill();

    let restore = ["restore", &file.display().to_string()];
    let (refused, words) = server(&home, &restore);
    assert!(!refused && words.contains("--force"), "{words}");
    let cut = fleet.file("cut.tar", &std::fs::read(&file).unwrap()[..200_000]);
    let (refused, words) = server(&fleet.path("elsewhere"), &["restore", &cut.display().to_string()]);
    assert!(!refused && words.contains("nothing was changed"), "{words}");
    eventually("the agent's results", SHORT, || fleet.node("a").unsettled().filter(|(_, results)| *results > 0));
    let (done_so, words) = server(&home, &[&restore[..], &["--force"]].concat());
    assert!(done_so && words.contains("generation   2") && words.contains("moved aside"), "{words}");

    fleet.server.restart();
    assert_eq!(fleet.operator().run(&["module", "trusted"]).exits(0).stdout, trusted, "its modules stay trusted");
    let mut client = fleet.client();
    assert_eq!(client.finished(running).state, RequestState::Done, "the agent came back by itself");
    let attempts: Vec<_> = client.trace(running).steps.remove(0).attempts.into_iter().map(|a| (a.epoch.to_string(), a.state)).collect();
    assert_eq!(attempts, [("1.1".to_string(), AttemptState::Released), ("2.2".to_string(), AttemptState::Committed)]);
    assert_eq!(client.trace(done).result.unwrap().size_bytes, 9);
    let asking = client.asking();
    assert!(client.wait_for(async { asking.trace(after).await }).is_err(), "what came after the backup is unknown");
    eventually("the old result to be answered", SHORT, || (fleet.node("a").unsettled() == Some((0, 0))).then_some(()));
}
