//! Modules on real block devices: plugged in, announced, used, pulled out in the middle, and hostile ones contained.
//!
//! The devices are loop devices over images from `ouroctl module build`; each node looks at slots of its own.

use ouro_common::document::EventsDocument;
use ouro_common::envelope::Envelope;
use ouro_common::module::ModuleState;
use ouro_common::step::{AttemptState, RequestState};
use ouro_tests::ground::{Ground, build, told};
use ouro_tests::{Fleet, LoopDevice, NodeOptions, SHORT, assets, eventually, request, single_step};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

#[test]
fn a_module_is_used_within_a_second_and_pulled_out_in_the_middle_the_work_finishes_elsewhere() {
    let Some(mut ground) = Ground::new() else { return };
    let slot = ground.device.slot();
    ground.fleet.add(&NodeOptions::new("a", &[]).watching(&[&slot]));
    ground.fleet.wait_online("a");
    ground.plug(&ground.image);
    let untrusted = ground.module(ModuleState::Untrusted);
    assert!(untrusted.why.contains("module trust"), "{}", untrusted.why);
    ground.trust();
    let ready = ground.module(ModuleState::Ready);
    assert_eq!((ready.label.as_str(), ready.containers.len()), ("OURO-TEST", 2));
    assert!(ready.ready_after_ms.is_some_and(|ms| ms < 10_000.0), "{ready:?}");
    told(&format!("ready {:.0} ms after the kernel's event", ready.ready_after_ms.unwrap_or(-1.0)));

    let mut client = ground.fleet.client();
    let asking = client.asking();
    let noop = client.wait_for(async { asking.container("keywords").await }).unwrap();
    let text = "A module carries containers. ".repeat(20);
    let mut plan = single_step(&noop, json!({}));
    plan.steps[0]
        .inputs
        .values_mut()
        .for_each(|tags| *tags = ouro_common::plan::Tags::One("prompt".parse().unwrap()));
    let id = client.submit(&Envelope { approved_plan: Some(plan), ..request(&text, &[]) }, &[]).unwrap();
    assert_eq!(client.finished(id).state, RequestState::Done);

    // Pulled out: nobody has it any more, and that is said; plugged in again, it is used again.
    let begin = Instant::now();
    ground.device.detach();
    ground.gone();
    told(&format!("gone from the fleet after {:?}", begin.elapsed()));
    let events: EventsDocument = ground.fleet.operator().run(&["events", "--output", "json"]).exits(0).json();
    for kind in ["module_untrusted", "plugged", "unplugged"] {
        assert!(events.events.iter().any(|e| e.kind == kind && e.text.contains("OURO-TEST")), "{kind}: {events:?}");
    }
    ground.plug(&ground.image);
    ground.module(ModuleState::Ready);
    assert!(ground.fleet.node("a").process().ended().is_none(), "the agent lives");
}

#[test]
fn a_step_ends_when_its_module_is_pulled_out_and_goes_on_where_it_is_plugged_in() {
    let Some(mut ground) = Ground::new() else { return };
    ground.trust();
    // Found while the first one is taken, so that they are two.
    ground.plug(&ground.image);
    let other = LoopDevice::over(&ground.image).unwrap();
    ground.device.detach();
    other.detach();
    // The same code under another name, so that no node has it by itself.
    let containers = ground.fleet.path("sleepers");
    assets::module_with(&containers, &["noop"]);
    let manifest = containers.join("noop/container.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("version = \"1.0.0\"", "version = \"9.9.9\"")).unwrap();
    let image = ground.fleet.path("sleepers.img");
    build(&ground.fleet, &containers, &image, true);
    for (name, slot) in [("a", ground.device.slot()), ("b", other.slot())] {
        ground.fleet.add(&NodeOptions::new(name, &[]).watching(&[&slot]));
        ground.fleet.wait_online(name);
    }
    ground.plug(&image);
    let ready = ground.module(ModuleState::Ready);
    let mut client = ground.fleet.client();
    let plan = single_step(&ready.containers[0], json!({"sleep_ms": 6000, "output_bytes": 5}));
    let id = client.submit(&Envelope { approved_plan: Some(plan), ..request("wait", &[]) }, &[]).unwrap();
    eventually("the step to run", SHORT, || client.trace(id).steps.first()?.attempts.last().map(|_| ()));
    eventually("its worker", SHORT, || (!ground.fleet.node("a").workers().is_empty()).then_some(()));
    let begin = Instant::now();
    ground.device.detach();
    let ended = eventually("the attempt to end", SHORT, || {
        let attempt = client.trace(id).steps.first()?.attempts.first().cloned()?;
        (attempt.state == AttemptState::Failed).then_some(attempt)
    });
    told(&format!("MODULE_REMOVED after {:?}", begin.elapsed()));
    assert!(ended.why.contains("pulled out"), "{ended:?}");
    let waiting = client.trace(id);
    assert_eq!(waiting.request.state, RequestState::Running, "it waits for the module");
    other.attach(&image).unwrap();
    let result = client.finished(id);
    assert_eq!(result.state, RequestState::Done, "{result:?}");
    let trace = client.trace(id);
    assert_eq!(trace.steps[0].attempts.last().unwrap().node_name, "b");
    let came = trace.events.iter().find(|e| e.kind == "plugged").expect("the module's coming is in the trace");
    assert!(came.text.contains("ms after the kernel's event, on b"), "{came:?}");
    assert!(ground.fleet.node("a").process().ended().is_none(), "the agent lives");
    other.detach();
}

#[test]
fn a_slot_that_asks_waits_for_a_word() {
    let Some(mut ground) = Ground::new() else { return };
    ground.trust();
    let slot = ground.device.slot();
    ground.fleet.add(&NodeOptions::new("a", &[]).watching(&[&slot]).asking(&[&slot]));
    ground.fleet.wait_online("a");
    ground.plug(&ground.image);
    assert!(ground.module(ModuleState::Seen).why.contains("module release"));
    let here = ground.fleet.node("a").ouroctl();
    let _ = here.run(&["module", "release", "OURO-OTHER"]).exits(1).says("NOT_FOUND");
    let _ = here.run(&["module", "release", "OURO-TEST"]).exits(0).says(&slot);
    ground.module(ModuleState::Ready);
}

#[test]
fn a_hundred_times_in_and_out_leaves_nothing_behind() {
    let Some(mut ground) = Ground::new() else { return };
    ground.trust();
    let slot = ground.device.slot();
    ground.fleet.add(&NodeOptions::new("a", &[]).watching(&[&slot]));
    ground.fleet.wait_online("a");
    let cycles: usize = std::env::var("OURO_HOTPLUG_CYCLES").ok().and_then(|n| n.parse().ok()).unwrap_or(100);
    let mut after_some = None;
    for cycle in 0..cycles {
        ground.plug(&ground.image);
        ground.module(ModuleState::Ready);
        ground.device.detach();
        ground.gone();
        if cycle == 9 {
            after_some = Some(used(&mut ground));
        }
    }
    let (files, tasks, bytes) = after_some.expect("there were ten cycles");
    let end = used(&mut ground);
    told(&format!("files, tasks, bytes: {:?} after 10, {end:?} after {cycles}", (files, tasks, bytes)));
    assert!(end.0 <= files + 4 && end.1 <= tasks + 4, "files and tasks: {files} {tasks}, then {end:?}");
    assert!(end.2 <= bytes + (24 << 20), "memory: {bytes}, then {end:?}");
    let home = ground.fleet.node("a").home().to_path_buf();
    assert_eq!(fs::read_dir(home.join("agent/mounts")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(home.join("agent/intents")).unwrap().count(), 0);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&home.display().to_string()), "nothing stays mounted");
}

/// Open files, threads and resident bytes of the node's agent.
fn used(ground: &mut Ground) -> (usize, usize, u64) {
    let process = ground.fleet.node("a").process();
    let count = |what: &str| fs::read_dir(format!("/proc/{}/{what}", process.id())).map(Iterator::count).unwrap_or(0);
    (count("fd"), count("task"), process.resident_bytes().unwrap_or(0))
}

#[test]
fn hostile_modules_are_contained_and_said_what_they_are() {
    let Some(mut ground) = Ground::new() else { return };
    ground.trust();
    let slot = ground.device.slot();
    ground.fleet.add(&NodeOptions::new("a", &[]).watching(&[&slot]));
    ground.fleet.wait_online("a");
    let unsigned = ground.fleet.path("unsigned.img");
    build(&ground.fleet, &ground.fleet.path("containers"), &unsigned, false);
    let try_one = |image: &Path, state: ModuleState, word: &str| {
        ground.plug(image);
        let module = ground.module(state);
        let said = format!("{} {:?}", module.why, module.problems);
        assert!(said.contains(word), "{}: {said}", image.display());
        ground.device.detach();
        ground.gone();
    };
    try_one(&unsigned, ModuleState::Untrusted, "not signed");
    let folder = ground.fleet.path("bad");
    for (name, file, content, word) in [
        ("huge index", "index.json", vec![b' '; 100 << 20], "at most"),
        ("no index", "index.json", b"{".to_vec(), "no OCI image index"),
        ("no layout", "oci-layout", b"{}".to_vec(), "oci-layout"),
    ] {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}").unwrap();
        fs::write(folder.join(file), content).unwrap();
        try_one(&made(&ground.fleet, &folder, name), ModuleState::Incomplete, word);
    }
    // An index that is a link out of the module.
    fs::remove_file(folder.join("oci-layout")).unwrap();
    fs::write(folder.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.join("index.json")).unwrap();
    try_one(&made(&ground.fleet, &folder, "link"), ModuleState::Incomplete, "not a regular file");
    // A file system whose tables are noise behind a sound superblock.
    let broken = made(&ground.fleet, &folder, "broken");
    let mut bytes = fs::read(&broken).unwrap();
    bytes[4096..200_000].iter_mut().enumerate().for_each(|(i, b)| *b = (i * 31 % 251) as u8);
    fs::write(&broken, bytes).unwrap();
    try_one(&broken, ModuleState::Incomplete, "");
    assert!(ground.fleet.node("a").process().ended().is_none(), "the agent lives");
    ground.plug(&ground.image);
    ground.module(ModuleState::Ready);
}

/// An ext4 image of a folder.
fn made(fleet: &Fleet, folder: &Path, name: &str) -> PathBuf {
    let image = fleet.path(&format!("{}.img", name.replace(' ', "-")));
    fs::File::create(&image).and_then(|file| file.set_len(160 << 20)).unwrap();
    let options = ["-q", "-t", "ext4", "-O", "^has_journal", "-L", "OURO-BAD", "-d"];
    let output = Command::new("mke2fs").args(options).arg(folder).arg(&image).output().expect("mke2fs is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    image
}
