//! No file of a machine can stop the report: recorded machines with any of their files replaced by anything are still read.

use hw_fixtures::Fixture;
use ouro_agent::sensing::host_root::HostRoot;
use ouro_agent::sensing::nvml::NoNvml;
use ouro_agent::sensing::readings::Sampler;
use ouro_agent::sensing::{ReportOptions, report};
use ouro_common::device::HardwareReport;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What a file is turned into.
#[derive(Debug, Clone)]
enum Damage {
    Bytes(Vec<u8>),
    Removed,
    Directory,
    LinkToNowhere,
    LinkToItself,
    /// As some captures pad a value to a page.
    NulPadded(Vec<u8>),
    /// A gigabyte with nothing in it.
    Huge,
    /// A read would wait for a writer that never comes.
    Pipe,
    /// A directory full of files.
    Crowd,
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
        1 => prop::collection::vec(any::<u8>(), 0..20).prop_map(Damage::NulPadded),
        1 => Just(Damage::Huge),
        1 => Just(Damage::Pipe),
        1 => Just(Damage::Crowd),
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
        Damage::NulPadded(bytes) => fs::write(path, [bytes.as_slice(), &[0; 4096]].concat()).unwrap(),
        Damage::Huge => fs::File::create(path).unwrap().set_len(1 << 30).unwrap(),
        Damage::Pipe => mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap(),
        Damage::Crowd => {
            fs::create_dir(path).unwrap();
            for name in ["card0", "nvme0", "temp1_input", "accel0", "trip_point_0_type", "node0"] {
                fs::write(path.join(name), "1").unwrap();
            }
        }
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

/// A copy of a machine that is damaged and mended again: making a new one for each case would measure the file system.
struct Workbench {
    machine: Fixture,
    dir: tempfile::TempDir,
    files: Vec<PathBuf>,
}

impl Workbench {
    fn new(machine: Fixture) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut files = Vec::new();
        copy_machine(&machine.root, dir.path(), &mut files, Path::new(""));
        Self { machine, dir, files }
    }

    fn survives(&self, damages: &[(prop::sample::Index, Damage)]) {
        let mut mend = Mend { bench: self, damaged: Vec::new() };
        for (file, damage) in damages {
            let file = &self.files[file.index(self.files.len())];
            if !mend.damaged.contains(&file) {
                mend.damaged.push(file);
                apply(&self.dir.path().join(file), damage);
            }
        }
        let root = HostRoot::recorded(self.dir.path());
        check(&report(&root, ReportOptions { nvidia: &NoNvml, achieved: None }));
        let readings = Sampler::new().sample(&root, Duration::ZERO);
        assert!(readings.foreign_load.is_none_or(|load| (0.0..=1.0).contains(&load)));
        assert!(readings.clock_cap.is_none_or(|cap| cap > 0.0 && cap <= 1.0));
    }
}

/// Puts the files back, also after a case that failed.
struct Mend<'b> {
    bench: &'b Workbench,
    damaged: Vec<&'b PathBuf>,
}

impl Drop for Mend<'_> {
    fn drop(&mut self) {
        for file in &self.damaged {
            let path = self.bench.dir.path().join(file);
            match path.symlink_metadata() {
                Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(&path).unwrap(),
                Ok(_) => fs::remove_file(&path).unwrap(),
                Err(_) => {}
            }
            fs::copy(self.bench.machine.root.join(file), &path).unwrap();
        }
    }
}

/// For five seconds, or for `OURO_FUZZ_SECONDS`.
#[test]
fn a_damaged_machine_is_still_read() {
    let benches: Vec<Workbench> = hw_fixtures::all().into_iter().map(Workbench::new).collect();
    let seconds = std::env::var("OURO_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let time = Duration::from_secs_f64(seconds.unwrap_or(5.0));
    let (started, mut cases) = (Instant::now(), 0u32);
    while started.elapsed() < time {
        const BATCH: u32 = 16;
        let config = ProptestConfig { cases: BATCH, failure_persistence: None, ..ProptestConfig::default() };
        let damages = prop::collection::vec((any::<prop::sample::Index>(), damage()), 1..40);
        let case = (any::<prop::sample::Index>(), damages);
        let run = TestRunner::new(config).run(&case, |(machine, damages)| {
            benches[machine.index(benches.len())].survives(&damages);
            Ok(())
        });
        if let Err(error) = run {
            panic!("{error}");
        }
        cases += BATCH;
    }
    let rate = f64::from(cases) / started.elapsed().as_secs_f64();
    std::io::stderr()
        .write_all(format!("damaged machines: {cases} cases, {rate:.0} a second\n").as_bytes())
        .unwrap();
}

/// What would hang or fill the memory is refused in no time, whichever file it stands for.
#[test]
fn pipes_and_huge_files_cost_nothing() {
    for damage in [Damage::Pipe, Damage::Huge] {
        let fixture = hw_fixtures::get("laptop-two-batteries");
        let dir = tempfile::tempdir().unwrap();
        let mut files = Vec::new();
        copy_machine(&fixture.root, dir.path(), &mut files, Path::new(""));
        for file in &files {
            apply(&dir.path().join(file), &damage);
        }
        let (done, wait) = std::sync::mpsc::channel();
        let path = dir.path().to_path_buf();
        std::thread::spawn(move || {
            let read = report(&HostRoot::recorded(path), ReportOptions { nvidia: &NoNvml, achieved: None });
            done.send(read).unwrap();
        });
        let read = wait.recv_timeout(Duration::from_secs(60)).expect("a read hangs");
        check(&read);
        let pipes = read.warnings.iter().filter(|w| w.problem == "is not a file").count();
        assert_eq!(pipes > 10, matches!(damage, Damage::Pipe), "{:?}", read.warnings);
    }
}

#[test]
fn an_empty_root_is_a_report_of_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let report = report(&HostRoot::recorded(dir.path()), ReportOptions { nvidia: &NoNvml, achieved: None });
    check(&report);
    assert!(report.warnings.is_empty() && report.pcie.is_empty() && report.memory.total_bytes.is_none());
    assert_eq!(report.machine.kind, "unknown");
}
