//! A device that stays and does not answer any more, under a model whose weights are mapped from it: the worker dies of it, the
//! agent does not, and nobody is blamed but the device.

use ouro_common::envelope::Envelope;
use ouro_common::module::ModuleState;
use ouro_common::step::{AttemptState, RequestState};
use ouro_tests::ground::{Ground, build, told};
use ouro_tests::quantised::in_eight_bits;
use ouro_tests::{LONG, NodeOptions, SHORT, assets, eventually, request, single_step, skipped};
use rustix::fs::{Advice, fadvise};
use serde_json::json;
use std::fs::{self, File, OpenOptions};
use std::path::PathBuf;

const MANIFEST: &str = "name = \"talk\"\nversion = \"1.0.0\"\nsummary = \"Answers\"\nruntime = \"gguf\"\n\
    inputs = [{ port = \"prompt\", media = \"text/plain\" }]\noutputs = [{ port = \"answer\", media = \"text/plain\" }]\n\
    [needs]\nmemory_bytes = 67108864\n";

/// The file on a module that a process has mapped.
fn mapped(process: u32) -> Option<PathBuf> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).ok()?;
    let line = maps.lines().find(|line| line.contains("/blobs/sha256/"))?;
    Some(PathBuf::from(&line[line.find('/')?..]))
}

/// Whether it waits for its next order.
fn waits(process: u32) -> bool {
    let channel = fs::read_to_string(format!("/proc/{process}/wchan")).unwrap_or_default();
    ["pipe", "unix", "futex"].iter().any(|word| channel.contains(word)) || channel == "0"
}

#[test]
fn weights_that_vanish_under_a_worker_end_it_and_not_the_agent() {
    let Some(mut ground) = Ground::new() else { return };
    ground.trust();
    let containers = ground.fleet.path("talker");
    fs::create_dir_all(containers.join("talk")).unwrap();
    fs::write(containers.join("talk/container.toml"), MANIFEST).unwrap();
    let model = in_eight_bits(&fs::read(assets::first_pass_model()).unwrap());
    fs::write(containers.join("talk/talk.gguf"), model).unwrap();
    let image = ground.fleet.path("talk.img");
    build(&ground.fleet, &containers, &image, true);
    let slot = ground.device.slot();
    ground.fleet.add(&NodeOptions::new("a", &["noop"]).slots(1).watching(&[&slot]));
    ground.fleet.wait_online("a");
    let whole = fs::read(&image).unwrap();
    ground.plug(&image);
    let talk = ground.module(ModuleState::Ready).containers.remove(0);

    let mut client = ground.fleet.client();
    let asking = client.asking();
    let noop = client.wait_for(async { asking.container("noop").await }).unwrap();
    let mut sleep = |ms: u64| {
        let plan = single_step(&noop, json!({"sleep_ms": ms, "output_bytes": 1}));
        client.submit(&Envelope { approved_plan: Some(plan), ..request(&format!("{ms}"), &[]) }, &[]).unwrap()
    };
    // A new node gets a second step at a time only after five results.
    let short: Vec<_> = (0..5).map(&mut sleep).collect();
    let mut client = ground.fleet.client();
    for id in short {
        assert_eq!(client.finished(id).state, RequestState::Done);
    }
    // While one step computes, the next one's model is loaded: then it lies mapped, and hardly any of it was read.
    let plan = single_step(&noop, json!({"sleep_ms": 10_000, "output_bytes": 1}));
    let long = client.submit(&Envelope { approved_plan: Some(plan), ..request("long", &[]) }, &[]).unwrap();
    eventually("the long step", SHORT, || client.trace(long).steps.first()?.attempts.first().map(|_| ()));
    let plan = single_step(&talk, json!({}));
    let id = client.submit(&Envelope { approved_plan: Some(plan), ..request("What is 2+2?", &[]) }, &[]).unwrap();
    let loaded = eventually("the model in memory", LONG, || {
        let mapped = |worker: u32| Some((worker, mapped(worker).filter(|_| waits(worker))?));
        let loaded = ground.fleet.nodes[0].workers().into_iter().find_map(mapped);
        let spared = client.trace(id).request.fault.is_some_and(|fault| fault.problem.contains("spared"));
        (loaded.is_some() || spared).then_some(loaded)
    });
    let Some((worker, file)) = loaded else {
        return skipped("others use the whole processor: no model is loaded");
    };
    fadvise(File::open(&file).unwrap(), 0, None, Advice::DontNeed).unwrap();
    OpenOptions::new().write(true).open(&image).unwrap().set_len(0).unwrap();
    let agent = ground.fleet.node("a").process().id();

    let failed = eventually("the attempt to end", LONG, || {
        let attempt = client.trace(id).steps.first()?.attempts.first().cloned()?;
        (attempt.state != AttemptState::Assigned).then_some(attempt)
    });
    assert_eq!(failed.state, AttemptState::Failed);
    assert!(failed.why.contains("does not answer any more"), "{failed:?}");
    let log = ground.fleet.node("a").process().log();
    let problem = log.lines().find(|l| l.contains("its module does not answer")).unwrap().to_string();
    told(&problem);
    assert!(problem.contains("died by signal 7"), "the weights were read: {problem}");
    assert!(!ground.fleet.node("a").workers().contains(&worker));
    assert!(
        ground.fleet.node("a").process().ended().is_none() && ground.fleet.node("a").process().id() == agent,
        "the agent lives"
    );
    assert!(ground.module(ModuleState::Incomplete).why.contains("plug it in again"));
    assert_eq!(client.trace(id).request.state, RequestState::Running, "it waits for the module");

    ground.device.detach();
    ground.gone();
    fs::write(&image, whole).unwrap();
    ground.plug(&image);
    assert_eq!(ground.module(ModuleState::Ready).containers.len(), 1, "plugged in again it is as good as new");
}
