//! A machine in need, on the real agent: its battery empties, it grows hot, or somebody else takes its GPU. Who is loaded again
//! soonest leaves memory, with the whole process, and the others stay for the time being.

use ouro_common::document::{LoadedDocument, NodesDocument};
use ouro_common::mfpi::Gate;
use ouro_tests::{Fleet, LONG, Node, NodeOptions, assets, eventually, skipped};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Loaded in no time, but reckoned as four gigabytes that have to be read again.
const HEAVY: &str = "name = \"heavy\"\nversion = \"1.0.0\"\nsummary = \"Answers\"\nruntime = \"gguf\"\n\
    inputs = [{ port = \"prompt\", media = \"text/plain\" }]\noutputs = [{ port = \"answer\", media = \"text/plain\" }]\n\
    [needs]\nmemory_bytes = 4294967296\n";
const ROOM: &str = "[workers]\nmemory_bytes = 8589934592\n";

fn write(root: &Path, files: &[(&str, &str)]) {
    for (file, content) in files {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// A laptop at rest: on its battery, which is full, and cool.
fn laptop(root: &Path) {
    write(
        root,
        &[
            ("proc/meminfo", "MemTotal: 8000000 kB\nMemFree: 4000000 kB\nMemAvailable: 6000000 kB\n"),
            (
                "proc/pressure/memory",
                "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n",
            ),
            ("sys/class/power_supply/AC/type", "Mains\n"),
            ("sys/class/power_supply/AC/online", "0\n"),
            ("sys/class/power_supply/BAT0/type", "Battery\n"),
            ("sys/class/power_supply/BAT0/present", "1\n"),
            ("sys/class/power_supply/BAT0/status", "Discharging\n"),
            ("sys/class/power_supply/BAT0/capacity", "90\n"),
            ("sys/class/thermal/thermal_zone0/type", "x86_pkg_temp\n"),
            ("sys/class/thermal/thermal_zone0/temp", "45000\n"),
            ("sys/class/thermal/thermal_zone0/trip_point_0_type", "critical\n"),
            ("sys/class/thermal/thermal_zone0/trip_point_0_temp", "100000\n"),
        ],
    );
}

fn is_there(process: u32) -> bool {
    Path::new("/proc").join(process.to_string()).exists()
}

/// The process of a container in memory.
fn process(fleet: &Fleet, name: &str) -> Option<u32> {
    let document: LoadedDocument = fleet.nodes[0].ouroctl().run(&["model", "ps", "--output", "json"]).exits(0).json();
    document.workers.into_iter().find(|worker| worker.is(name))?.process
}

/// Loads what is small and the heavy container; their processes.
fn load_both(fleet: &Fleet, small: &str) -> [u32; 2] {
    let folder = fleet.path("attic").join("modules/heavy");
    let scratch = fleet.path("heavy");
    fs::create_dir_all(&scratch).unwrap();
    fs::copy(assets::first_pass_model(), scratch.join("heavy.gguf")).unwrap();
    fs::write(scratch.join("container.toml"), HEAVY).unwrap();
    fs::rename(&scratch, folder).unwrap();
    fleet.wait_container("attic", "heavy");
    fleet.wait_container("attic", "noop");
    [small, "heavy"].map(|name| {
        drop(fleet.nodes[0].ouroctl().run(&["model", "load", name]).exits(0));
        process(fleet, name).unwrap()
    })
}

fn gate(fleet: &Fleet) -> Gate {
    let document: NodesDocument = fleet.operator().run(&["nodes", "--output", "json"]).exits(0).json();
    document.nodes.into_iter().find(|node| node.name == "attic").unwrap().gate
}

/// `small`, which is loaded again soonest, leaves because of what `change` does to the machine, and it alone at first.
fn the_cheapest_leaves(small: &str, change: &[(&str, &str)], says: &str) {
    let mut fleet = Fleet::new();
    let root = fleet.path("machine");
    laptop(&root);
    let options = NodeOptions::new("attic", &["noop"]).with_model(assets::first_pass_model());
    fleet.add(&options.recorded(root.clone()).configured(ROOM));
    fleet.wait_online("attic");
    let [cheap, heavy] = load_both(&fleet, small);
    assert!(!matches!(gate(&fleet), Gate::Refuse(_)), "{:?}", gate(&fleet));
    write(&root, change);
    eventually("what costs least leaves", LONG, || (!is_there(cheap)).then_some(()));
    assert!(is_there(heavy) && process(&fleet, "heavy") == Some(heavy), "the other one has ten seconds more");
    assert_eq!(process(&fleet, small), None);
    eventually("the fleet to know why", LONG, || gate(&fleet).why().is_some_and(|why| why.contains(says)).then_some(()));
    // It was the machine's word, not the container's end.
    drop(fleet.nodes[0].ouroctl().run(&["model", "load", small]).exits(0));
    assert!(process(&fleet, small).is_some_and(|again| again != cheap));
}

#[test]
fn an_empty_battery_unloads_what_is_loaded_again_soonest() {
    the_cheapest_leaves("noop", &[("sys/class/power_supply/BAT0/capacity", "12\n")], "battery at 12 %");
}

#[test]
fn heat_unloads_the_first_pass_when_it_is_loaded_again_soonest() {
    the_cheapest_leaves("first-pass", &[("sys/class/thermal/thermal_zone0/temp", "98000\n")], "98");
}

/// Where the stand-in for NVIDIA's library lies: the agent finds it as it finds the real one.
static LIBRARY: OnceLock<PathBuf> = OnceLock::new();

fn with_library(mut command: Command) -> Command {
    if let Some(folder) = LIBRARY.get() {
        command.env("LD_LIBRARY_PATH", folder);
    }
    command
}

/// Builds the library, whose GPUs do what the file beside it says.
fn build_library(folder: &Path) -> Result<(), std::io::Error> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/tests/fake-nvml/nvml.c");
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"])
        .arg(folder.join("libnvidia-ml.so.1"))
        .arg(format!("-DCONTROL=\"{}\"", folder.join("control").display()))
        .arg(source)
        .status()?;
    assert!(status.success(), "the stand-in does not compile");
    fs::write(folder.join("control"), "normal")
}

#[test]
fn another_process_that_fills_the_gpu_unloads_who_has_memory_there() {
    let folder = tempfile::tempdir().unwrap();
    if let Err(error) = build_library(folder.path()) {
        return skipped(&format!("no C compiler ({error})"));
    }
    LIBRARY.set(folder.path().to_path_buf()).unwrap();
    let mut fleet = Fleet::new();
    let options = NodeOptions::new("attic", &["noop", "compose"]).configured(ROOM);
    let mut node = Node::prepare(&fleet.path("attic"), &options).wrapped(with_library);
    node.join(fleet.server.address(), &fleet.server.join_token());
    node.start();
    fleet.nodes.push(node);
    fleet.wait_online("attic");
    let [cheap, heavy] = load_both(&fleet, "noop");
    drop(fleet.nodes[0].ouroctl().run(&["model", "load", "compose"]).exits(0));
    let elsewhere = process(&fleet, "compose").unwrap();
    // Both have a gigabyte there, and process 4242 what is left but for half of one.
    fs::write(folder.path().join("control"), format!("fill {cheap} {heavy}")).unwrap();
    eventually("who is loaded again soonest leaves the GPU", LONG, || (!is_there(cheap)).then_some(()));
    assert!(is_there(heavy) && process(&fleet, "heavy") == Some(heavy), "the other one has ten seconds more");
    assert_eq!(
        (process(&fleet, "noop"), process(&fleet, "compose")),
        (None, Some(elsewhere)),
        "who has nothing there is let be"
    );
}
