//! What nodes say of their machines while they run: cables and devices that are pulled, sensors that hang.
//!
//! Machines are umockdev's, events are those recorded in `hw-fixtures`, and what is looked at is what `ouroctl` prints.

use ouro_common::device::{NodeProfile, PowerSource};
use ouro_common::document::{EventsDocument, NodeView, NodesDocument, TraceDocument};
use ouro_common::mfpi::Gate;
use ouro_common::step::{AttemptState, RequestState};
use ouro_tests::{Fleet, LONG, NodeOptions, SHORT, Testbed, assets, eventually, request, single_step, skipped};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Ten times what it is to take.
const AT_ONCE: Duration = Duration::from_secs(10);

fn say(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// The node as `ouroctl nodes --output json` shows it.
fn node(fleet: &Fleet, name: &str) -> NodeView {
    let document: NodesDocument = fleet.operator().run(&["nodes", "--output", "json"]).exits(0).json();
    document.nodes.into_iter().find(|n| n.name == name).unwrap()
}

/// How long it takes until `ouroctl nodes` shows it.
fn seen_after(fleet: &Fleet, name: &str, what: &str, holds: impl Fn(&NodeView) -> bool) -> Duration {
    let begun = Instant::now();
    eventually(what, SHORT, || holds(&node(fleet, name)).then_some(()));
    let after = begun.elapsed();
    say(&format!("{what}: seen after {} ms", after.as_millis()));
    assert!(after < AT_ONCE, "{what} took {after:?}");
    after
}

/// The drives in the profile that the server keeps.
fn drives(fleet: &Fleet) -> Vec<String> {
    let store = rusqlite::Connection::open(fleet.server.home().join("server/store.db")).unwrap();
    let profile: String = store.query_row("SELECT profile FROM nodes", [], |row| row.get(0)).unwrap();
    let profile: NodeProfile = serde_json::from_str(&profile).unwrap();
    profile.hardware.nvme.into_iter().map(|drive| drive.model.unwrap_or_default()).collect()
}

fn testbed(folder: &tempfile::TempDir, fixture: &str) -> Option<Testbed> {
    Testbed::new(folder.path(), fixture).map_err(|reason| skipped(&reason)).ok()
}

#[test]
fn a_pulled_cable_is_at_the_server_at_once_and_a_draining_node_gives_back_what_waits() {
    let folder = tempfile::tempdir().unwrap();
    let Some(bed) = testbed(&folder, "laptop-on-battery") else { return };
    let options = NodeOptions::new("laptop", &["noop"]).slots(1).in_testbed(&bed);
    let fleet = Fleet::of(&[options.configured("[power]\non_unplug = \"drain\"\n")]);
    let before = node(&fleet, "laptop");
    assert_eq!((before.power, before.charging), (PowerSource::External, Some(true)));
    let mut client = fleet.client();
    let noop = client.wait_for(async { client.asking().container("noop").await }).unwrap();
    let plan = |ms: u64| Some(single_step(&noop, json!({"sleep_ms": ms, "output_bytes": 4})));
    // A new node gets a second step at a time only after five results.
    for n in 0..5 {
        let sent = client
            .submit(&ouro_common::envelope::Envelope { approved_plan: plan(0), ..request(&format!("{n}"), &[]) }, &[])
            .unwrap();
        client.wait_for(async { client.asking().finished(sent).await }).unwrap();
    }
    let long = client
        .submit(&ouro_common::envelope::Envelope { approved_plan: plan(6000), ..request("long", &[]) }, &[])
        .unwrap();
    eventually("the long step to run", SHORT, || fleet.nodes[0].workers().len().gt(&0).then_some(()));
    let waiting = client
        .submit(&ouro_common::envelope::Envelope { approved_plan: plan(10), ..request("waits", &[]) }, &[])
        .unwrap();
    eventually("the second step to be assigned", SHORT, || {
        client.trace(waiting).steps.first()?.attempts.last().filter(|a| a.state == AttemptState::Assigned).map(|_| ())
    });

    bed.replay("laptop-on-battery", "unplug");
    seen_after(&fleet, "laptop", "the pulled cable", |n| n.power == PowerSource::Battery && matches!(n.gate, Gate::Refuse(_)));
    let gate = node(&fleet, "laptop").gate;
    assert!(gate.why().is_some_and(|why| why.contains("agent.toml says to drain")), "{gate:?}");
    eventually("the step that waited to go back", SHORT, || {
        let trace: TraceDocument = client.trace(waiting);
        let given_back = trace.steps[0].attempts.iter().any(|a| a.why.contains("takes nothing new"));
        given_back.then_some(())
    });
    let explained = fleet.operator().run(&["explain", &waiting.to_string()]).exits(0);
    let _ = explained.says("battery or heat").says("agent.toml says to drain").says("charger");
    let done = client.wait_for(async { client.asking().finished(long).await }).unwrap();
    assert_eq!(done.state, RequestState::Done, "what runs goes on to its end");

    bed.replay("laptop-on-battery", "plug");
    seen_after(&fleet, "laptop", "the cable put in", |n| n.power == PowerSource::External);
    // Boldness waits for its dwell of 30 s.
    let asking = client.asking();
    let ended = client.wait_for(async { tokio::time::timeout(LONG, asking.finished(waiting)).await });
    assert_eq!(ended.expect("the node comes back").unwrap().state, RequestState::Done);
    // The step may be done before the word of it is written.
    eventually("both events", SHORT, || {
        let events: EventsDocument = fleet.operator().run(&["events", "--output", "json"]).exits(0).json();
        // On a crowded machine the node may be spared before and after.
        let mut since = events.events.iter().skip_while(|e| e.kind != "refuse");
        (since.next().is_some() && since.any(|e| ["light", "normal"].contains(&e.kind.as_str()))).then_some(())
    });
    assert!(client.trace(long).events.iter().any(|e| e.kind == "refuse"), "the work that was there heard of it");
}

#[test]
fn a_charger_of_which_only_the_battery_tells() {
    let folder = tempfile::tempdir().unwrap();
    let Some(bed) = testbed(&folder, "laptop-two-batteries") else {
        return;
    };
    let fleet = Fleet::of(&[NodeOptions::new("laptop", &["noop"]).in_testbed(&bed)]);
    assert_eq!(node(&fleet, "laptop").power, PowerSource::External);
    bed.replay("laptop-two-batteries", "unplug");
    seen_after(&fleet, "laptop", "the pulled charger", |n| {
        n.power == PowerSource::Battery && matches!(n.gate, Gate::Light(_))
    });
    let _ = fleet.operator().run(&["nodes"]).exits(0).says("Spared").says("on battery, at 58 %");
    bed.replay("laptop-two-batteries", "plug");
    seen_after(&fleet, "laptop", "the charger put in", |n| n.charging == Some(true));
}

#[test]
fn a_drive_that_is_pulled_leaves_the_profile() {
    let folder = tempfile::tempdir().unwrap();
    let Some(bed) = testbed(&folder, "board-nvme-x1") else { return };
    let fleet = Fleet::of(&[NodeOptions::new("board", &["noop"]).in_testbed(&bed)]);
    assert_eq!(drives(&fleet), ["EXAMPLE NVME"]);
    for (events, left) in [("pull", 0), ("push", 1)] {
        bed.replay("board-nvme-x1", events);
        let begun = Instant::now();
        eventually(events, SHORT, || (drives(&fleet).len() == left).then_some(()));
        say(&format!("{events}: in the server's profile after {} ms", begun.elapsed().as_millis()));
        assert!(begun.elapsed() < AT_ONCE);
    }
    let log = std::fs::read_to_string(fleet.nodes[0].home().join("log")).unwrap();
    assert_eq!(log.matches("the profile is told anew").count(), 2, "once for each");
}

/// A file system whose other end never answers: whatever touches it waits until it is let go.
struct Hanging {
    folder: PathBuf,
    /// Open as long as it is to hang.
    _device: File,
}

impl Hanging {
    fn over(folder: &Path) -> Result<Self, String> {
        let device = PathBuf::from("/").join("dev/fuse");
        let device = File::options().read(true).write(true).open(device).map_err(|e| format!("no FUSE here ({e})"))?;
        let end = device.try_clone().map_err(|e| e.to_string())?;
        let options = "fd=0,rootmode=40000,user_id=0,group_id=0";
        let mount = Command::new("mount")
            .args(["-i", "-t", "fuse", "-o", options, "hanging"])
            .arg(folder)
            .stdin(Stdio::from(end))
            .output();
        match mount {
            Ok(output) if output.status.success() => Ok(Self { folder: folder.into(), _device: device }),
            Ok(output) => Err(format!("cannot mount: {}", String::from_utf8_lossy(&output.stderr).trim())),
            Err(error) => Err(format!("no mount program ({error})")),
        }
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.folder).status();
    }
}

#[test]
fn a_sensor_that_hangs_stops_neither_the_others_nor_the_heartbeats() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("machine");
    let copied = Command::new("cp")
        .arg("-a")
        .arg(assets::recorded_machine("laptop-two-batteries"))
        .arg(&root)
        .status()
        .unwrap();
    assert!(copied.success());
    // A pipe without a writer hangs whoever opens it carelessly.
    let zone = root.join("sys/class/thermal/thermal_zone0/temp");
    std::fs::remove_file(&zone).unwrap();
    mknodat(CWD, &zone, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let mut fleet = Fleet::of(&[NodeOptions::new("laptop", &["noop"]).recorded(root.clone())]);
    let before = node(&fleet, "laptop");
    assert_eq!((before.power, before.max_c), (PowerSource::External, Some(52.0)), "the pipe costs its own zone only");
    assert!(
        before.warnings.iter().any(|w| w.path.ends_with("thermal_zone0/temp") && w.problem == "is not a file"),
        "{:?}",
        before.warnings
    );

    let hanging = match Hanging::over(&root.join("sys/class/power_supply")) {
        Ok(hanging) => hanging,
        Err(reason) => return skipped(&reason),
    };
    eventually("the warning", SHORT, || {
        let warnings = node(&fleet, "laptop").warnings;
        warnings
            .into_iter()
            .find(|w| w.path.contains("power_supply") && w.problem.contains("has not answered for 3 s"))
    });
    // Another sensor's news arrives by a heartbeat.
    let meminfo = root.join("proc/meminfo");
    let table = std::fs::read_to_string(&meminfo).unwrap();
    let available = table.lines().find(|l| l.starts_with("MemAvailable:")).unwrap().to_string();
    std::fs::write(&meminfo, table.replace(&available, "MemAvailable:    1048576 kB")).unwrap();
    eventually("the memory that is left", SHORT, || {
        (node(&fleet, "laptop").memory_available_bytes == Some(1 << 30)).then_some(())
    });
    assert_eq!(node(&fleet, "laptop").session, "online");
    let threads = |fleet: &mut Fleet| {
        let process = fleet.node("laptop").process().id();
        std::fs::read_dir(format!("/proc/{process}/task")).unwrap().count()
    };
    let (some, begun) = (threads(&mut fleet), Instant::now());
    eventually("another turn of every sensor", SHORT, || (begun.elapsed() > Duration::from_secs(6)).then_some(()));
    assert!(threads(&mut fleet) <= some + 1, "threads pile up");
    drop(hanging);
    eventually("the sensor to answer again", SHORT, || {
        let view = node(&fleet, "laptop");
        let quiet = view.warnings.iter().all(|w| !w.problem.contains("has not answered"));
        (quiet && view.power == PowerSource::External).then_some(())
    });
}
