//! A full disk under the server: new requests are refused with `DISK_FULL`, what was accepted still ends, nothing is lost.

use ouro_common::envelope::Envelope;
use ouro_common::error::FaultCode;
use ouro_common::id::Name;
use ouro_common::plan::Tags;
use ouro_common::step::RequestState;
use ouro_tests::{Client, Fleet, FleetOptions, LoopDevice, NodeOptions, SHORT, eventually, request, single_step, skipped};
use serde_json::json;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A small ext4 on a loop device of its own; unmounted when it is dropped.
struct SmallDisk {
    at: PathBuf,
    // Detached after the file system is unmounted.
    _device: LoopDevice,
}

impl SmallDisk {
    /// Mounts one. `None`: this user may not, and the reason was told.
    fn mount(at: &Path, mib: u64) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        match Self::make(at, mib) {
            Ok(disk) => Some(disk),
            Err(reason) => {
                skipped(&format!("no small disk can be mounted here: {reason}"));
                None
            }
        }
    }

    fn make(at: &Path, mib: u64) -> Result<Self, String> {
        let device = LoopDevice::of_size(&at.with_extension("image"), mib << 20)?;
        run(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(device.path()))?;
        run(Command::new("mount").arg(device.path()).arg(at))?;
        Ok(Self { at: at.into(), _device: device })
    }

    /// Fills it to the last byte.
    fn fill(&self) -> PathBuf {
        let path = self.at.join("ballast");
        let mut file = File::create(&path).unwrap();
        while file.write_all(&[0; 64 << 10]).is_ok() {}
        while file.write_all(&[0; 512]).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: in a failing test the server may still hold files on it.
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|e| format!("{:?}: {e}", command.get_program()))?;
    output
        .status
        .success()
        .then_some(())
        .ok_or_else(|| String::from_utf8_lossy(&output.stderr).trim().to_string())
}

fn sleeping(client: &Client, sleep_ms: u32) -> Envelope {
    let asking = client.asking();
    let noop = client.wait_for(async { asking.container("noop").await }).unwrap();
    Envelope {
        approved_plan: Some(single_step(&noop, json!({"sleep_ms": sleep_ms, "output_bytes": 10}))),
        ..request("wait", &[])
    }
}

/// The database of a stopped server is whole.
fn intact(home: &Path) {
    let database = rusqlite::Connection::open(home.join("server/store.db")).unwrap();
    let verdict: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
}

/// Three steps that hand on 8 MiB each, more together than the node's spool may hold, and then an answer of 4 MiB.
fn large(client: &Client) -> Envelope {
    let mut plan = sleeping(client, 0).approved_plan.unwrap();
    let first = plan.steps.remove(0);
    for n in 1..=4_u32 {
        let mut step = first.clone();
        step.id = format!("s{n}").parse().unwrap();
        step.params = json!({"sleep_ms": 700, "output_bytes": if n < 4 { (8 << 20) + n } else { 4 << 20 }});
        let (reads, writes) = (format!("t{}", n - 1), format!("t{n}"));
        let reads: Name = if n == 1 { "prompt".into() } else { reads }.parse().unwrap();
        step.inputs.values_mut().for_each(|tags| {
            *tags = match tags {
                Tags::Many(_) => Tags::Many(vec![reads.clone()]),
                Tags::One(_) => Tags::One(reads.clone()),
            };
        });
        let writes: Name = if n == 4 { "answer".into() } else { writes }.parse().unwrap();
        step.outputs.values_mut().for_each(|tag| *tag = writes.clone());
        plan.steps.push(step);
    }
    Envelope { approved_plan: Some(plan), ..request("large", &[]) }
}

#[test]
fn below_the_reserve_new_requests_are_refused_and_accepted_ones_commit() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("disk");
    let Some(disk) = SmallDisk::mount(&home, 64) else { return };
    let options = FleetOptions {
        server_arguments: vec!["--min-free-bytes", "16777216"],
        server_home: Some(home.clone()),
        ..FleetOptions::default()
    };
    let mut fleet = Fleet::with(&options);
    fleet.add(&NodeOptions::new("a", &[]).spool(16 << 20));
    fleet.wait_online("a");
    let mut client = fleet.client();
    let accepted = client.submit(&sleeping(&client, 3000), &[]).unwrap();
    let large = client.submit(&large(&client), &[]).unwrap();
    // Into the reserve, which is for results.
    let ballast = disk.at.join("ballast");
    let free = rustix::fs::statvfs(&disk.at).map(|s| s.f_bavail * s.f_frsize).unwrap();
    let mut file = File::create(&ballast).unwrap();
    file.write_all(&vec![0; usize::try_from(free - (12 << 20)).unwrap()]).unwrap();
    file.sync_all().unwrap();
    drop(file);
    let fault = client.submit(&sleeping(&client, 0), &[]).unwrap_err();
    assert!(fault.code == FaultCode::DiskFull && !fault.remedy.is_empty(), "{fault}");
    assert!(fault.at.starts_with(&home.display().to_string()), "the path is named: {fault}");
    let shown = fleet.operator().run(&["submit", "anything", "--output", "json"]);
    assert!(
        shown.code == Some(1) && shown.stdout.contains("OB0012") && shown.stdout.contains(&fault.at),
        "{}",
        shown.both()
    );
    for id in [accepted, large] {
        assert_eq!(client.finished(id).state, RequestState::Done, "the reserve lets results commit");
    }
    assert_eq!(client.trace(large).result.unwrap().size_bytes, 4 << 20);
    std::fs::remove_file(&ballast).unwrap();
    let later = client.submit(&sleeping(&client, 0), &[]).unwrap();
    assert_eq!(client.finished(later).state, RequestState::Done, "with space it goes on");
    fleet.server.stop();
    intact(&home);
    drop(fleet);
    drop(disk);
}

#[test]
fn with_not_a_byte_left_nothing_is_lost_and_freeing_some_resumes() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("disk");
    let Some(disk) = SmallDisk::mount(&home, 48) else { return };
    let options = FleetOptions {
        server_arguments: vec!["--min-free-bytes", "1048576"],
        server_home: Some(home.clone()),
        ..FleetOptions::default()
    };
    let mut fleet = Fleet::with(&options);
    fleet.add(&NodeOptions::new("a", &[]));
    fleet.wait_online("a");
    let mut client = fleet.client();
    let accepted = client.submit(&sleeping(&client, 1500), &[]).unwrap();
    let ballast = disk.fill();
    let fault = client.submit(&sleeping(&client, 0), &[]).unwrap_err();
    assert_eq!(fault.code, FaultCode::DiskFull, "{fault}");
    std::fs::remove_file(ballast).unwrap();
    // The answer that could not be written is delivered again.
    let mut again = fleet.client();
    let state = eventually("the accepted request to end", SHORT, || Some(again.trace(accepted).request.state).filter(|s| s.is_terminal()));
    assert_eq!(state, RequestState::Done);
    fleet.server.stop();
    intact(&home);
    drop(fleet);
    drop(disk);
}
