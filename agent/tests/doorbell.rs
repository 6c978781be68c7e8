//! A cable that is pulled rings, and what is read then is true: uevents replayed by umockdev to the agent's own listener.
//!
//! The test runs itself again inside the test bed, since umockdev works by being loaded before everything else.
#![cfg(feature = "udev")]

use ouro_agent::sensing::doorbell::Doorbell;
use ouro_agent::sensing::host_root::HostRoot;
use ouro_agent::sensing::readings::Sampler;
use ouro_common::device::PowerSource;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Set for the run inside the test bed.
const INSIDE: &str = "OURO_TEST_INSIDE_UMOCKDEV";

#[test]
fn a_pulled_cable_rings_and_is_read_at_once() {
    if std::env::var_os(INSIDE).is_some() {
        inside();
        return;
    }
    let skip = |reason: &str| std::io::stderr().write_all(format!("skipped: {reason}\n").as_bytes()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let driver = dir.path().join("replay");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/uevents/replay.c");
    match Command::new("cc").args(["-Wall", "-Werror", "-o"]).arg(&driver).arg(&source).arg("-ldl").status() {
        Ok(status) => assert!(status.success(), "the driver does not compile"),
        Err(error) => return skip(&format!("no C compiler ({error})")),
    }
    // The loader only complains about a library it cannot preload, so its presence is asked first.
    let probe = Command::new(&driver).arg("/bin/true").env("LD_PRELOAD", "libumockdev-preload.so.0").output().unwrap();
    if !probe.status.success() || !probe.stderr.is_empty() {
        return skip(&format!("umockdev is not installed ({})", String::from_utf8_lossy(&probe.stderr).trim()));
    }
    let test = ["a_pulled_cable_rings_and_is_read_at_once", "--exact", "--nocapture"];
    let output = Command::new(&driver)
        .arg(std::env::current_exe().unwrap())
        .args(test)
        .env("LD_PRELOAD", "libumockdev-preload.so.0")
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("read after"), "{said}\n{errors}");
}

fn inside() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let power = || Sampler::new().sample(&HostRoot::live(), Duration::ZERO).power;
        assert_eq!(power(), PowerSource::External);
        let doorbell = Doorbell::listen().expect("udev can be used in the test bed");
        std::io::stdout().write_all(b"\nlistening\n").unwrap();
        let started = Instant::now();
        tokio::time::timeout(Duration::from_secs(10), doorbell.rung()).await.expect("nothing rang");
        assert_eq!(power(), PowerSource::Battery);
        std::io::stdout().write_all(format!("read after {:?}\n", started.elapsed()).as_bytes()).unwrap();
        let quiet = tokio::time::timeout(Duration::from_millis(200), doorbell.rung()).await;
        assert!(quiet.is_err(), "one change rings once");
    });
}
