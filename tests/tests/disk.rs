//! A full disk under the server: new requests are refused with `DISK_FULL`, what was accepted still ends, nothing is lost.

use ouro_common::envelope::Envelope;
use ouro_common::error::FaultCode;
use ouro_common::step::RequestState;
use ouro_tests::{Client, Fleet, FleetOptions, NodeOptions, SHORT, eventually, request, single_step, skipped};
use serde_json::json;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A small file system of its own; unmounted when it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one. `None`: this user may not, and the reason was told.
    fn mount(at: &Path, mib: u32) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "ouro-test"]).arg(at).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(at.into())),
            Ok(output) => {
                skipped(&format!("no small disk can be mounted here: {}", String::from_utf8_lossy(&output.stderr).trim()));
                None
            }
            Err(error) => {
                skipped(&format!("there is no mount here: {error}"));
                None
            }
        }
    }

    /// Fills it to the last byte.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("ballast");
        let mut file = File::create(&path).unwrap();
        while file.write_all(&[0; 64 << 10]).is_ok() {}
        while file.write_all(&[0; 512]).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: in a failing test the server may still hold files on it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
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

#[test]
fn below_the_reserve_new_requests_are_refused_and_accepted_ones_commit() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("disk");
    let Some(disk) = SmallDisk::mount(&home, 64) else { return };
    let options = FleetOptions { server_arguments: vec!["--min-free-bytes", "16777216"], server_home: Some(home.clone()) };
    let mut fleet = Fleet::with(&options);
    fleet.add(&NodeOptions::new("a", &[]));
    fleet.wait_online("a");
    let mut client = fleet.client();
    let accepted = client.submit(&sleeping(&client, 3000), &[]).unwrap();
    // Into the reserve, which is for results.
    let ballast = disk.0.join("ballast");
    File::create(&ballast).unwrap().write_all(&vec![0; 52 << 20]).unwrap();
    let fault = client.submit(&sleeping(&client, 0), &[]).unwrap_err();
    assert!(fault.code == FaultCode::DiskFull && !fault.remedy.is_empty(), "{fault}");
    let shown = fleet.operator().run(&["submit", "anything", "--output", "json"]);
    assert!(shown.code == Some(1) && shown.stdout.contains("OB0012"), "{}", shown.both());
    assert_eq!(client.finished(accepted).state, RequestState::Done, "the reserve lets results commit");
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
    let options = FleetOptions { server_arguments: vec!["--min-free-bytes", "1048576"], server_home: Some(home.clone()) };
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
