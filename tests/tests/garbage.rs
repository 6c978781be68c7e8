//! What nobody should send, install or configure: each gets a clear error that names the place, and nothing is lost.

use ouro_common::document::{ModulesDocument, ResultDocument, TraceDocument};
use ouro_common::error::FaultCode;
use ouro_common::step::RequestState;
use ouro_tests::{Fleet, Node, NodeOptions, SHORT, assets, eventually, request, texts};
use std::path::{Path, PathBuf};

const INSIDE: &str = "What is the capital of France?";

/// A copy of the first pass's model with its bytes changed.
fn damaged_model(fleet: &Fleet, name: &str, damage: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
    let mut bytes = std::fs::read(assets::first_pass_model()).unwrap();
    damage(&mut bytes);
    fleet.file(name, bytes)
}

/// Replaces every occurrence of a text by one of the same length.
fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len());
    let places: Vec<usize> = bytes.windows(from.len()).enumerate().filter(|(_, w)| *w == from).map(|(i, _)| i).collect();
    assert!(!places.is_empty(), "the model says {:?} somewhere", String::from_utf8_lossy(from));
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
}

/// A node with such a first pass offloads, and says why the model is of no use.
fn first_pass_is_refused(mut fleet: Fleet, model: PathBuf, says: &str) {
    fleet.add(&NodeOptions::new("here", &["keywords"]).with_model(model));
    fleet.wait_container("here", "keywords");
    let here = fleet.node("here").ouroctl();
    let letter = fleet.file("letter.txt", texts::LETTER);
    let file = format!("text={}", letter.display());
    let result: ResultDocument = here.run(&["submit", "Key phrases, please.", "--file", &file, "--output", "json"]).exits(0).json();
    assert_eq!(result.served_by, "fleet", "the fleet answers what the broken model cannot");
    let outcome = here.run(&["submit", INSIDE]);
    assert_ne!(outcome.code, Some(0), "nothing else can: {}", outcome.both());
    let trace: TraceDocument = here.run(&["trace", "last", "--output", "json"]).exits(0).json();
    let why = trace.first_pass.map(|r| r.why).unwrap_or_default().to_lowercase();
    assert!(why.contains(says), "why the model is of no use: {why:?}");
    assert!(fleet.node("here").process().ended().is_none(), "the agent lives");
}

#[test]
fn a_truncated_model_is_named_and_the_node_works_without_it() {
    let fleet = Fleet::new();
    let model = damaged_model(&fleet, "cut.gguf", |bytes| bytes.truncate(bytes.len() / 2));
    first_pass_is_refused(fleet, model, "cut.gguf");
}

#[test]
fn a_model_of_another_architecture_is_named_and_the_node_works_without_it() {
    let fleet = Fleet::new();
    let model = damaged_model(&fleet, "other.gguf", |bytes| replace(bytes, b"phi3", b"rwk7"));
    first_pass_is_refused(fleet, model, "rwk7");
}

#[test]
fn a_prompt_or_file_of_100_mb_is_refused_and_the_fleet_goes_on() {
    let mut fleet = Fleet::of(&[NodeOptions::new("here", &["keywords"])]);
    let here = fleet.node("here").ouroctl();
    let huge = vec![b'x'; 100 << 20];
    let from_stdin = here.run_with_input(&["submit", "-", "--output", "json"], &huge);
    assert!(from_stdin.stdout.contains("OB0008"), "{}", from_stdin.both());
    assert_ne!(from_stdin.code, Some(0));
    let file = format!("text={}", fleet.file("huge.txt", &huge).display());
    let from_file = here.run(&["submit", "Key phrases, please.", "--file", &file, "--output", "json"]);
    assert!(from_file.stdout.contains("OB0008") && from_file.stdout.contains("huge.txt"), "{}", from_file.both());
    // A client that does not check sends it all the same; the server refuses by itself.
    let mut client = fleet.client();
    let lying = request("Key phrases, please.", &[("text", "text/plain", &huge)]);
    assert_eq!(client.submit(&lying, &[&huge]).unwrap_err().code, FaultCode::TooLarge);
    let prompt = String::from_utf8(huge).unwrap();
    let fault = client.submit(&request(&prompt, &[]), &[]).unwrap_err();
    assert!(matches!(fault.code, FaultCode::TooLarge | FaultCode::ServerUnreachable), "{fault}");
    let list = fleet.client().nodes();
    assert_eq!(list.nodes.len(), 1, "the server lives");
}

#[test]
fn what_is_not_utf_8_is_refused_with_its_place() {
    let mut fleet = Fleet::of(&[NodeOptions::new("here", &["keywords"])]);
    let here = fleet.node("here").ouroctl();
    let prompt = here.run_with_input(&["submit", "-", "--output", "json"], b"hel\xfflo").exits(2);
    assert!(prompt.stdout.contains("byte 3"), "{}", prompt.both());
    let file = format!("text={}", fleet.file("latin.txt", b"caf\xe9 au lait").display());
    let text = here.run(&["submit", "Key phrases, please.", "--file", &file, "--output", "json"]).exits(2);
    assert!(text.stdout.contains("byte 3") && text.stdout.contains("latin.txt"), "{}", text.both());
    // Behind the client's back the container itself refuses, once and for good: no other node would do better.
    let bytes: &[u8] = b"caf\xe9 au lait";
    let mut client = fleet.client();
    let id = client.submit(&request("Key phrases, please.", &[("text", "text/plain", bytes)]), &[bytes]).unwrap();
    let result = client.finished(id);
    assert_eq!(result.state, RequestState::Failed);
    let trace = client.trace(id);
    assert_eq!(trace.steps[0].attempt, 1, "{trace:?}");
    assert!(trace.steps[0].attempts[0].why.contains("UTF-8"), "{:?}", trace.steps[0].attempts);
}

#[test]
fn bytes_that_are_not_what_was_announced_are_refused() {
    let fleet = Fleet::of(&[NodeOptions::new("here", &["keywords"])]);
    let mut client = fleet.client();
    let letter = texts::LETTER.as_bytes();
    let honest = request("Key phrases, please.", &[("text", "text/plain", letter)]);
    let mut damaged = letter.to_vec();
    damaged[10] ^= 1;
    assert_eq!(client.submit(&honest, &[&damaged]).unwrap_err().code, FaultCode::DigestMismatch);
    assert_eq!(client.submit(&honest, &[&letter[..20]]).unwrap_err().code, FaultCode::DigestMismatch);
    let id = client.submit(&honest, &[letter]).unwrap();
    assert_eq!(client.finished(id).state, RequestState::Done, "the honest one is taken");
}

/// A manifest of a text tool that gives `out` for `input`.
fn manifest(name: &str, runtime: &str, input: &str, output: &str) -> String {
    format!(
        "name = \"{name}\"\nversion = \"1.0.0\"\nsummary = \"Turns one thing into another\"\nkeywords = [\"{name}\"]\nruntime = \"{runtime}\"\n\
         inputs = [{{ port = \"from\", media = \"{input}\" }}]\noutputs = [{{ port = \"to\", media = \"{output}\" }}]\n"
    )
}

fn install(modules: &Path, name: &str, manifest: &str) {
    std::fs::create_dir_all(modules.join(name)).unwrap();
    std::fs::write(modules.join(name).join("container.toml"), manifest).unwrap();
}

#[test]
fn broken_manifests_are_problems_of_their_module_and_stop_nothing_else() {
    let mut fleet = Fleet::of(&[NodeOptions::new("here", &["keywords"])]);
    let modules = fleet.node("here").modules();
    install(&modules, "no-toml", "this is not toml = = =");
    install(&modules, "no-model", &manifest("no-model", "gguf", "text/plain", "text/plain"));
    install(
        &modules,
        "absurd",
        &format!("{}[needs]\nmemory_bytes = 9007199254740993000\n", manifest("absurd", "builtin", "text/*", "text/plain")),
    );
    install(&modules, "binary", "\0\0\0");
    let operator = fleet.operator();
    let problems = eventually("the broken manifests to be told", SHORT, || {
        let document: ModulesDocument = operator.run(&["modules", "--output", "json"]).exits(0).json();
        let problems: Vec<String> = document.modules.into_iter().flat_map(|m| m.problems).collect();
        (problems.len() >= 4).then_some(problems)
    });
    for name in ["no-toml", "no-model", "absurd", "binary"] {
        assert!(problems.iter().any(|p| p.contains(name)), "{name}: {problems:?}");
    }
    let here = fleet.node("here").ouroctl();
    let file = format!("text={}", fleet.file("letter.txt", texts::LETTER).display());
    let _ = here.run(&["submit", "Key phrases, please.", "--file", &file]).exits(0);
}

#[test]
fn containers_whose_media_types_form_a_cycle_do_not_hang_the_planner() {
    let mut fleet = Fleet::of(&[NodeOptions::new("here", &["keywords"])]);
    let modules = fleet.node("here").modules();
    let ring = ["audio/x-a", "audio/x-b", "audio/x-c"];
    for (n, media) in ring.iter().enumerate() {
        let name = format!("ring-{n}");
        let manifest = manifest(&name, "oci", media, ring[(n + 1) % ring.len()]);
        install(&modules, &name, &format!("{manifest}[needs]\nmemory_bytes = 1048576\n[oci]\nargs = [\"/tool\"]\n"));
        std::fs::write(modules.join(&name).join("rootfs.tar"), [0; 1024]).unwrap();
    }
    for n in 0..ring.len() {
        fleet.wait_container("here", &format!("ring-{n}"));
    }
    let here = fleet.node("here").ouroctl();
    let file = format!("text={}", fleet.file("letter.txt", texts::LETTER).display());
    let refused = here.run(&["submit", "--plan", "ring-2 please", "--file", &file, "--output", "json", "--deadline", "30s"]);
    assert!(matches!(refused.code, Some(0 | 3)), "an answer, whichever: {}", refused.both());
    let _ = here.run(&["submit", "Key phrases, please.", "--file", &file]).exits(0);
}

#[test]
fn a_home_has_one_agent_and_the_second_says_so() {
    let mut fleet = Fleet::of(&[NodeOptions::new("here", &[])]);
    let second = fleet.node("here").command(&["run"]);
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && said.contains("OB0018"), "{said}");
    fleet.wait_online("here");
}

#[test]
fn a_configuration_with_an_unknown_key_is_refused_by_name() {
    let mut fleet = Fleet::of(&[NodeOptions::new("here", &[])]);
    let node = fleet.node("here");
    node.process().terminate();
    std::fs::write(node.home().join("agent.toml"), "slotz = 3\n").unwrap();
    let refused = node.command(&["run"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("slotz") && said.contains("agent.toml"), "{said}");
}

#[test]
fn errors_of_the_agent_are_json_where_json_was_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let node = Node::prepare(home.path(), &NodeOptions::new("here", &[]));
    let cases: [(&[&str], i32); 3] = [
        (&["hwdetect", "--root", "no-such-folder", "--output", "json"], 1),
        (&["hwdetect", "--output=json", "--speed"], 2),
        (&["status", "--output", "json"], 1),
    ];
    for (line, code) in cases {
        let said = node.command(line);
        let document: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap_or_else(|e| panic!("{line:?}: {e}"));
        assert_eq!(
            (said.status.code(), document["schema"].as_str()),
            (Some(code), Some("ouroboros.error/1")),
            "{line:?}: {document}"
        );
        assert!(document["error"]["problem"].as_str().is_some_and(|p| !p.is_empty()), "{document}");
    }
    let plain = node.command(&["hwdetect", "--root", "no-such-folder"]);
    assert!(plain.stdout.is_empty() && String::from_utf8_lossy(&plain.stderr).contains("no-such-folder"));
}

#[test]
fn a_server_that_is_not_there_or_not_a_server_is_named() {
    let fleet = Fleet::new();
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let deaf_address = deaf.local_addr().unwrap().to_string();
    let listener = std::thread::spawn(move || {
        // Says something that is not TLS to whoever comes, once.
        if let Ok((mut stream, _)) = deaf.accept() {
            let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    for address in ["127.0.0.1:1", deaf_address.as_str(), "no-such-host.invalid:7443"] {
        let operator = ouro_tests::Ouroctl::new(fleet.server.home()).server(address);
        let refused = operator.run(&["nodes", "--output", "json"]).exits(1);
        assert!(refused.stdout.contains(address), "{}", refused.both());
    }
    listener.join().unwrap();
}
