//! Those who are not what they say, and those whose clocks are wrong.

use ouro_common::error::FaultCode;
use ouro_common::step::{AttemptState, RequestState};
use ouro_proto::identity::{JoinToken, Role};
use ouro_proto::wire::{EnrollRequest, NodeMessage, StepResult, node_message, server_message};
use ouro_tests::{Client, Fleet, Identity, Node, NodeOptions, SHORT, eventually, request, single_step, skipped};
use serde_json::json;
use std::path::Path;
use std::process::Command;

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => copy_folder(&path, &target),
            kind if kind.is_file() => drop(std::fs::copy(&path, &target).unwrap()),
            _ => {}
        }
    }
}

#[test]
fn a_copied_home_is_refused_while_the_first_answers() {
    let mut fleet = Fleet::of(&[NodeOptions::new("first", &[])]);
    let home = fleet.node("first").home().to_path_buf();
    let copy = fleet.path("copy");
    copy_folder(&home, &copy);
    let _ = std::fs::remove_dir_all(copy.join("run"));
    let second = Node::prepare(&copy, &NodeOptions::new("first", &[]));
    let outcome = second.command(&["run"]);
    let said = String::from_utf8_lossy(&outcome.stderr).into_owned();
    assert!(!outcome.status.success() && said.contains("OB0023") && said.contains("copy"), "{said}");
    assert_eq!(fleet.wait_online("first").session, "online", "the first one is not disturbed");
    let _ = fleet.operator().run(&["events", "--kind", "cloned"]).exits(0).says("its state was copied");
    // The same machine started again is no copy: the old process is gone.
    fleet.node("first").process().kill();
    fleet.node("first").start();
    fleet.wait_online("first");
}

#[test]
fn fifty_who_race_for_one_use_give_one_certificate() {
    let fleet = Fleet::new();
    let operator = fleet.client();
    let asking = operator.asking();
    let token: JoinToken = operator.wait_for(async { asking.create_token("node", 1, 3600).await }).unwrap().parse().unwrap();
    let stranger = Client::try_anonymous(fleet.server.address(), token.ca_sha256).unwrap();
    let (sender, outcomes) = std::sync::mpsc::channel();
    stranger.wait_for(async {
        let mut racers = Vec::new();
        for _ in 0..50 {
            let (asking, sender) = (stranger.asking(), sender.clone());
            let csr_der = Identity::fresh_key().signing_request("racer").unwrap();
            let message = EnrollRequest { token_id: token.id.clone(), token_secret: token.secret.to_vec(), csr_der, name: "racer".into() };
            racers.push(tokio::spawn(async move { drop(sender.send(asking.enroll(message).await.map_err(|f| f.code))) }));
        }
        for racer in racers {
            racer.await.unwrap();
        }
    });
    let outcomes: Vec<_> = outcomes.try_iter().collect();
    assert_eq!((outcomes.len(), outcomes.iter().filter(|o| o.is_ok()).count()), (50, 1));
    assert!(outcomes.iter().all(|o| o.as_ref().map_or_else(|code| *code == FaultCode::TokenRefused, |_| true)));
}

#[test]
fn a_node_cannot_speak_for_another_s_attempt_nor_read_what_is_not_its_own() {
    let mut fleet = Fleet::of(&[NodeOptions::new("honest", &[]), NodeOptions::new("thief", &[])]);
    let mut client = fleet.client();
    let asking = client.asking();
    let noop = client.wait_for(async { asking.container("noop").await }).unwrap();
    let identity = Identity::read(&fleet.node("thief").home().join("agent/identity"));
    let profile: String = rusqlite::Connection::open(fleet.server.home().join("server/store.db"))
        .unwrap()
        .query_row("SELECT profile FROM nodes WHERE name = 'thief'", [], |row| row.get(0))
        .unwrap();
    fleet.node("thief").process().terminate();
    eventually("the thief's agent to be gone", SHORT, || {
        client.nodes().nodes.iter().any(|n| n.name == "thief" && n.session == "offline").then_some(())
    });
    let plan = single_step(&noop, json!({"sleep_ms": 4000, "output_bytes": 9}));
    let envelope = ouro_common::envelope::Envelope { approved_plan: Some(plan), ..request(&"secret ".repeat(10_000), &[]) };
    let id = client.submit(&envelope, &[]).unwrap();
    let attempt = eventually("the step to run", SHORT, || {
        let attempt = client.trace(id).steps.first()?.attempts.first().cloned()?;
        (attempt.state == AttemptState::Assigned).then_some(attempt)
    });
    let key = ouro_common::id::AttemptKey { request: id, plan: 1, step: "s1".parse().unwrap(), epoch: attempt.epoch };
    let forged = StepResult { attempt: Some(ouro_proto::convert::attempt_to_wire(&key)), outputs: vec![], phases_ms: [].into() };
    let thief = Client::connect(fleet.server.address(), &identity);
    let asking = thief.asking();
    let message = NodeMessage { body: Some(node_message::Body::StepResult(forged)) };
    let verdict = thief.wait_for(async {
        asking
            .session(&profile, message, |said| match said {
                server_message::Body::Ack(ack) => Some(ack.verdict),
                _ => None,
            })
            .await
    });
    assert_eq!(verdict.unwrap(), "not_yours");
    let asking = thief.asking();
    let prompt = ouro_common::id::Digest::blake3(envelope.prompt.as_bytes());
    let fault = thief.wait_for(async { asking.get(prompt).await }).unwrap_err();
    assert_eq!(fault.code, FaultCode::PermissionDenied, "{fault}");
    assert_eq!(client.finished(id).state, RequestState::Done, "the honest node's work is not disturbed");
    assert_eq!(client.trace(id).steps[0].node_name.as_deref(), Some("honest"));
}

#[test]
fn an_expired_certificate_may_renew_itself_and_nothing_else() {
    let fleet = Fleet::new();
    let authority = Identity::authority_of(fleet.server.home());
    let role = Role::Operator("ada".into());
    // Certificates live for weeks: one that was made a hundred days ago has expired, and may be renewed for ninety more.
    let identity = Identity::signed_at(&authority, &role, fleet.server.home(), -100 * 24 * 3600);
    let mut client = Client::connect(fleet.server.address(), &identity);
    for method in ouro_proto::methods() {
        let code = client.call(&method).err().map(|f| f.code);
        let open = method.contains("Enrollment/");
        assert_eq!(code == Some(FaultCode::CertificateExpired), !open, "{method}: {code:?}");
    }
}

/// Another wall clock for a program.
type Clock = fn(Command) -> Command;

/// Runs a program under another wall clock.
fn at(time: &str, node: Command) -> Command {
    let mut command = Command::new("faketime");
    command.args(["-f", time]).arg(node.get_program()).args(node.get_args());
    for (name, value) in node.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command
}

#[test]
fn machines_with_absurd_clocks_join_and_work() {
    if Command::new("faketime").arg("--version").output().is_err() {
        return skipped("faketime is not installed; packaging/prepare does that");
    }
    let mut fleet = Fleet::new();
    let clocks: [(&str, Clock); 2] =
        [("old", |command| at("@1970-01-02 00:00:00", command)), ("new", |command| at("@2099-06-01 00:00:00", command))];
    for (name, clock) in clocks {
        let node = Node::prepare(&fleet.path(name), &NodeOptions::new(name, &[]));
        let mut node = node.wrapped(clock);
        node.join(fleet.server.address(), &fleet.server.join_token());
        node.start();
        fleet.nodes.push(node);
    }
    let mut client = fleet.client();
    for (name, _) in clocks {
        fleet.wait_online(name);
        let _ = fleet.operator().run(&["node", "drain", "-l", &format!("name!={name}")]).exits(0);
        let _ = fleet.operator().run(&["node", "undrain", name]).exits(0);
        let asking = client.asking();
        let noop = client.wait_for(async { asking.container("noop").await }).unwrap();
        let plan = single_step(&noop, json!({"output_bytes": 9}));
        let id = client
            .submit(&ouro_common::envelope::Envelope { approved_plan: Some(plan), ..request(name, &[]) }, &[])
            .unwrap();
        assert_eq!(client.finished(id).state, RequestState::Done, "on the machine whose clock is {name}");
        assert_eq!(client.trace(id).steps[0].node_name.as_deref(), Some(name));
    }
}
