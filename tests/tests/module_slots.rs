//! Several modules at once: the same one in two slots, two versions of one container, and drives of recorded machines.

use ouro_common::document::EventsDocument;
use ouro_common::id::RequestId;
use ouro_common::module::ModuleState;
use ouro_common::step::RequestState;
use ouro_tests::ground::{Ground, build};
use ouro_tests::{Fleet, LoopDevice, NodeOptions, SHORT, Testbed, assets, eventually, request, skipped};
use std::fmt::Write as _;
use std::fs;

/// A second device, found while the first is taken.
fn second(ground: &Ground) -> LoopDevice {
    ground.plug(&ground.image);
    let other = LoopDevice::over(&ground.image).unwrap();
    ground.device.detach();
    other.detach();
    other
}

/// Asks in words, and says which container answered.
fn answered_by(ground: &Ground, n: u32) -> (RequestId, String) {
    let mut client = ground.fleet.client();
    let prompt =
        format!("keywords of: A ship came to the harbour {n} times. The harbour was full of ships, and the ships were full of tea.");
    let id = client.submit(&request(&prompt, &[]), &[]).unwrap();
    let end = client.finished(id);
    assert_eq!(end.state, RequestState::Done, "{end:?}");
    (id, client.trace(id).steps[0].container.to_string())
}

#[test]
fn the_same_module_in_two_slots_is_one_and_stays_until_both_are_pulled() {
    let Some(mut ground) = Ground::new() else { return };
    ground.trust();
    let other = second(&ground);
    let (one, two) = (ground.device.slot(), other.slot());
    ground.fleet.add(&NodeOptions::new("a", &[]).watching(&[&one, &two]));
    ground.fleet.wait_online("a");
    ground.plug(&ground.image);
    other.attach(&ground.image).unwrap();
    let (first, again) = (ground.module_in(&one, ModuleState::Ready), ground.module_in(&two, ModuleState::Ready));
    assert_eq!((first.module, &first.label, &first.problems), (again.module, &again.label, &vec![]));
    assert_eq!(answered_by(&ground, 1).1, "keywords:1.0.0");
    ground.device.detach();
    ground.gone();
    let left = ground.module_in(&two, ModuleState::Ready);
    assert_eq!((left.containers.len(), left.problems.len()), (2, 0));
    assert_eq!(answered_by(&ground, 2).1, "keywords:1.0.0", "it runs from the other one");
    other.detach();
}

#[test]
fn of_two_modules_with_two_versions_the_higher_is_used_while_it_is_there() {
    let Some(mut ground) = Ground::new() else { return };
    ground.trust();
    let other = second(&ground);
    let containers = ground.fleet.path("newer");
    assets::module_with(&containers, &["keywords"]);
    let manifest = containers.join("keywords/container.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("version = \"1.0.0\"", "version = \"1.10.0\"")).unwrap();
    let image = ground.fleet.path("newer.img");
    build(&ground.fleet, &containers, &image, true);
    let (one, two) = (ground.device.slot(), other.slot());
    ground.fleet.add(&NodeOptions::new("a", &[]).watching(&[&one, &two]));
    ground.fleet.wait_online("a");
    ground.plug(&ground.image);
    assert!(ground.module(ModuleState::Ready).problems.is_empty());
    assert_eq!(answered_by(&ground, 1).1, "keywords:1.0.0");
    other.attach(&image).unwrap();
    let newer = ground.module_in(&two, ModuleState::Ready);
    assert!(newer.problems.is_empty(), "two versions are no conflict: {:?}", newer.problems);
    assert_eq!(answered_by(&ground, 2).1, "keywords:1.10.0");
    other.detach();
    eventually("the newer one to go", SHORT, || ground.modules().iter().all(|m| m.slot != two).then_some(()));
    assert_eq!(answered_by(&ground, 3).1, "keywords:1.0.0");
}

/// A namespace of the board's drive, as the kernel shows it: a disk of 16 MiB with `content` on it.
fn disk(drive: &str, name: &str, number: u32, content: &[u8]) -> String {
    let node = content.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02X}");
        hex
    });
    format!(
        "P: {drive}/{name}\nN: {name}={node}\nE: DEVTYPE=disk\nE: SUBSYSTEM=block\nE: MAJOR=259\nE: MINOR={number}\n\
         A: size=32768\nA: dev=259:{number}\nA: diskseq={number}\n\n"
    )
}

#[test]
fn a_recorded_machine_s_drives_come_with_modules_and_go() {
    const DRIVE: &str = "/devices/platform/a40000000.pcie/pci0000:00/0000:00:00.0/0000:01:00.0/nvme/nvme0";
    let folder = tempfile::tempdir().unwrap();
    let bed = match Testbed::new(folder.path(), "board-nvme-x1") {
        Ok(bed) => bed,
        Err(reason) => return skipped(&reason),
    };
    let mut fleet = Fleet::new();
    let containers = fleet.path("containers");
    assets::module_with(&containers, &["keywords"]);
    build(&fleet, &containers, &fleet.path("module.img"), false);
    let image = fs::read(fleet.path("module.img")).unwrap();
    // Nothing can be mounted from a made-up device, so the slot asks: what is to be seen is that it was understood.
    fleet.add(&NodeOptions::new("board", &["noop"]).in_testbed(&bed).watching(&["nvme*"]).asking(&["nvme*"]));
    fleet.wait_online("board");
    let client = fleet.client();
    let asking = client.asking();
    let modules = || -> Vec<_> {
        let all = client.wait_for(async { asking.modules().await }).unwrap().modules;
        all.into_iter().filter(|m| m.slot.starts_with("nvme")).collect()
    };
    // umockdev cannot add a disk again whose name it had before.
    let add = |n: u32, content: &[u8]| {
        let name = format!("nvme0n{n}");
        let file = fleet.file(&name, disk(DRIVE, &name, n, content));
        bed.tell(&format!("add {}\n", file.display()));
    };
    let remove = |n: u32| bed.tell(&format!("remove {DRIVE}/nvme0n{n}\n"));
    add(1, &image[..4096]);
    let module = eventually("the module in the drive", SHORT, || modules().pop());
    assert_eq!((module.slot.as_str(), module.state, module.label.as_str()), ("nvme0n1", ModuleState::Seen, "OURO-TEST"));
    assert!(module.why.contains("module release nvme0n1"), "{}", module.why);
    // A stranger's disk is none of ours; it came before the other, so it was looked at by then.
    add(2, &[0; 4096]);
    add(3, &image[..4096]);
    let slots = || modules().into_iter().map(|m| m.slot).collect::<Vec<_>>();
    eventually("the module beside it", SHORT, || (slots() == ["nvme0n1", "nvme0n3"]).then_some(()));
    remove(1);
    eventually("the first to be gone", SHORT, || (slots() == ["nvme0n3"]).then_some(()));
    remove(3);
    eventually("both to be gone", SHORT, || slots().is_empty().then_some(()));
    let events: EventsDocument = fleet.operator().run(&["events", "--output", "json"]).exits(0).json();
    let count = |kind: &str| events.events.iter().filter(|e| e.kind == kind && e.text.contains("OURO-TEST")).count();
    assert_eq!((count("module_seen"), count("unplugged")), (2, 2), "{events:?}");
}
