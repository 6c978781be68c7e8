//! No file of a machine can stop the report: recorded machines with any of their files replaced by anything are still read.

use ouro_agent::sensing::host_root::HostRoot;
use ouro_agent::sensing::nvml::NoNvml;
use ouro_agent::sensing::readings::Sampler;
use ouro_agent::sensing::{ReportOptions, report};
use ouro_common::device::HardwareReport;
use proptest::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a file is turned into.
#[derive(Debug, Clone)]
enum Damage {
    Bytes(Vec<u8>),
    Removed,
    Directory,
    LinkToNowhere,
    LinkToItself,
}

fn damage() -> impl Strategy<Value = Damage> {
    // Values that are legal somewhere do more harm than noise.
    let telling = prop::sample::select(vec![
        "",
        " ",
        "-1",
        "0",
        "63",
        "255",
        "18446744073709551615",
        "99999999999999999999",
        "-273000",
        "NaN",
        "inf",
        "1e400",
        "Unknown",
        "16.0 GT/s PCIe",
        "0-4294967295",
        "0x",
        "0xffffffff",
        "{}",
        "[]",
        "{\"percentage\": -1}",
        "cpu  18446744073709551615 1 1 1",
        ":",
        "Node 0",
        "MemTotal: 18446744073709551615 kB",
        "processor : 1\ncore id : x",
    ]);
    prop_oneof![
        4 => telling.prop_map(|text| Damage::Bytes(text.as_bytes().to_vec())),
        2 => prop::collection::vec(any::<u8>(), 0..200).prop_map(Damage::Bytes),
        1 => Just(Damage::Removed),
        1 => Just(Damage::Directory),
        1 => Just(Damage::LinkToNowhere),
        1 => Just(Damage::LinkToItself),
    ]
}

/// A copy of a recorded machine, and its files relative to the root.
fn copy_machine(from: &Path, to: &Path, files: &mut Vec<PathBuf>, below: &Path) {
    for entry in fs::read_dir(from.join(below)).unwrap().flatten() {
        let relative = below.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            fs::create_dir_all(to.join(&relative)).unwrap();
            copy_machine(from, to, files, &relative);
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path()).unwrap(), to.join(&relative)).unwrap();
        } else {
            fs::copy(entry.path(), to.join(&relative)).unwrap();
            files.push(relative);
        }
    }
}

fn apply(path: &Path, damage: &Damage) {
    if !matches!(damage, Damage::Bytes(_)) {
        fs::remove_file(path).unwrap();
    }
    match damage {
        Damage::Bytes(bytes) => fs::write(path, bytes).unwrap(),
        Damage::Removed => {}
        Damage::Directory => fs::create_dir(path).unwrap(),
        Damage::LinkToNowhere => std::os::unix::fs::symlink("/no/such/place", path).unwrap(),
        Damage::LinkToItself => std::os::unix::fs::symlink(path.file_name().unwrap(), path).unwrap(),
    }
}

/// What holds for every report, whatever was read.
fn check(report: &HardwareReport) {
    assert_eq!(report.schema, HardwareReport::SCHEMA);
    assert!(
        !report.warnings.iter().any(|w| w.problem.contains("this sensor failed")),
        "a sensor panicked: {:?}",
        report.warnings
    );
    assert!(report.power.battery_percent.is_none_or(|p| (0.0..=100.0).contains(&p)), "{:?}", report.power);
    assert!(report.thermal.max_c.is_none_or(|c| (1.0..=125.0).contains(&c)), "{:?}", report.thermal.max_c);
    for device in &report.pcie {
        assert!(device.path_bytes_per_s.is_none_or(|b| b.is_finite() && b > 0.0), "{device:?}");
        assert!(!device.why.is_empty());
    }
    // NaN and infinities have no JSON.
    let text = serde_json::to_string(report).unwrap();
    assert!(serde_json::from_str::<HardwareReport>(&text).is_ok(), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_machine_is_still_read(
        machine in any::<prop::sample::Index>(),
        damages in prop::collection::vec((any::<prop::sample::Index>(), damage()), 1..40),
    ) {
        let fixtures = hw_fixtures::all();
        let fixture = &fixtures[machine.index(fixtures.len())];
        let dir = tempfile::tempdir().unwrap();
        let mut files = Vec::new();
        copy_machine(&fixture.root, dir.path(), &mut files, Path::new(""));
        for (file, damage) in &damages {
            let path = dir.path().join(&files[file.index(files.len())]);
            if path.symlink_metadata().is_ok_and(|m| m.is_file()) {
                apply(&path, damage);
            }
        }
        let root = HostRoot::recorded(dir.path());
        check(&report(&root, ReportOptions { nvidia: &NoNvml, bandwidth_bytes_per_s: None }));
        let readings = Sampler::new().sample(&root, Duration::ZERO);
        prop_assert!(readings.foreign_load.is_none_or(|load| (0.0..=1.0).contains(&load)));
        prop_assert!(readings.clock_cap.is_none_or(|cap| cap > 0.0 && cap <= 1.0));
    }
}

#[test]
fn an_empty_root_is_a_report_of_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let report = report(&HostRoot::recorded(dir.path()), ReportOptions { nvidia: &NoNvml, bandwidth_bytes_per_s: None });
    check(&report);
    assert!(report.warnings.is_empty() && report.pcie.is_empty() && report.memory.total_bytes.is_none());
    assert_eq!(report.machine.kind, "unknown");
}
