//! The NVML reader against a library that speaks NVML's own calls: built from C here, and changed in mid-run.

use ouro_agent::sensing::host_root::HostRoot;
use ouro_agent::sensing::nvml::{NvidiaSource, NvmlLibrary};
use ouro_agent::sensing::readings::Sampler;
use ouro_agent::sensing::{ReportOptions, report};
use ouro_common::device::AcceleratorProcess;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

struct FakeLibrary {
    dir: tempfile::TempDir,
}

impl FakeLibrary {
    /// Builds the library; `None`, said aloud, where there is no compiler.
    fn build(mode: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake-nvml/nvml.c");
        let control = format!("-DCONTROL=\"{}\"", dir.path().join("control").display());
        let compiler = Command::new("cc")
            .args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"])
            .arg(dir.path().join("libnvidia-ml.so"))
            .args([control, source.display().to_string()])
            .status();
        match compiler {
            Ok(status) => assert!(status.success(), "the fake library does not compile"),
            Err(error) => {
                std::io::stderr().write_all(format!("skipped: no C compiler ({error})\n").as_bytes()).unwrap();
                return None;
            }
        }
        let fake = Self { dir };
        fake.set(mode);
        Some(fake)
    }

    fn set(&self, mode: &str) {
        fs::write(self.dir.path().join("control"), mode).unwrap();
    }

    /// For as long as the test runs: a sensor that hangs may outlive who asked.
    fn library(&self) -> &'static NvmlLibrary {
        Box::leak(Box::new(NvmlLibrary::new(Some(self.dir.path().join("libnvidia-ml.so")))))
    }
}

/// A root with the two GPUs as sysfs shows them.
fn machine() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for address in ["0000:01:00.0", "0000:02:00.0"] {
        let device: PathBuf = dir.path().join("sys/bus/pci/devices").join(address);
        fs::create_dir_all(&device).unwrap();
        for (file, text) in [("class", "0x030000"), ("vendor", "0x10de"), ("device", "0x2684")] {
            fs::write(device.join(file), text).unwrap();
        }
    }
    dir
}

#[test]
fn everything_the_library_says_is_in_the_report() {
    let Some(fake) = FakeLibrary::build("normal") else { return };
    let machine = machine();
    let report = report(&HostRoot::recorded(machine.path()), ReportOptions { nvidia: fake.library(), achieved: None });
    assert_eq!(report.warnings, []);
    let gpu = &report.accelerators[0];
    assert_eq!((gpu.name.as_deref(), gpu.memory_bytes, gpu.source.as_str()), (Some("Fake RTX 0"), Some(24 << 30), "nvml"));
    assert_eq!(gpu.runtimes, ["cuda", "sm_89"]);
    assert_eq!((gpu.driver_version.as_deref(), gpu.power_limit_watts), (Some("570.42.01"), Some(320.5)));
    let process = |pid, memory_bytes| AcceleratorProcess { pid, memory_bytes };
    assert_eq!(gpu.processes, [process(99, None), process(4242, Some(1 << 30))], "each process once");
    assert!(report.accelerators[1].processes.is_empty());
    let link = report.pcie[0].current.unwrap();
    assert_eq!((link.gt_per_s, link.lanes, report.pcie[0].max.unwrap().gt_per_s), (2.5, 8, 16.0));
    assert_eq!(report.thermal.max_c, Some(56.0));
}

#[test]
fn a_gpu_that_falls_off_the_bus_becomes_a_warning_and_unknown_values() {
    let Some(fake) = FakeLibrary::build("normal") else { return };
    let (machine, library) = (machine(), fake.library());
    let read = || report(&HostRoot::recorded(machine.path()), ReportOptions { nvidia: library, achieved: None });
    assert_eq!(read().accelerators.len(), 2);
    fake.set("lost");
    let after = read();
    assert!(
        after.warnings.iter().any(|w| w.path == "0000:02:00.0" && w.problem.contains("fallen off the bus")),
        "{:?}",
        after.warnings
    );
    let lost = &after.accelerators[1];
    assert_eq!((lost.name.as_deref(), lost.runtimes.len(), lost.power_limit_watts), (Some("Fake RTX 1"), 0, None));
    assert_eq!(after.thermal.max_c, Some(55.0), "the other GPU is read as before");
    assert_eq!(after.accelerators[0].runtimes, ["cuda", "sm_89"]);
    fake.set("normal");
    assert_eq!(read().warnings, [], "and it may come back");
}

#[test]
fn one_failing_question_leaves_the_other_answers() {
    let Some(fake) = FakeLibrary::build("unknown") else { return };
    let gpus = fake.library().read_gpus().unwrap().gpus;
    assert_eq!((gpus[1].temperature_c, gpus[1].memory_bytes), (None, Some(24 << 30)));
    assert!(gpus[1].problem.as_deref().is_some_and(|problem| problem.contains("in part")) && gpus[0].problem.is_none());
}

#[test]
fn heat_caps_the_clock_and_idling_does_not() {
    let Some(fake) = FakeLibrary::build("normal") else { return };
    let root = tempfile::tempdir().unwrap();
    let root = HostRoot::recorded(root.path());
    let mut sampler = Sampler::new().with_nvidia(fake.library());
    assert_eq!(sampler.sample(&root, Duration::ZERO).clock_cap, Some(1.0), "210 of 3000 MHz is idle");
    fake.set("hot");
    let hot = sampler.sample(&root, Duration::ZERO);
    assert_eq!((hot.clock_cap, hot.max_c, hot.critical_c), (Some(0.25), Some(91.0), Some(92.0)));
}

#[test]
fn no_driver_is_a_sentence_and_only_where_there_is_a_gpu() {
    let Some(fake) = FakeLibrary::build("no-driver") else { return };
    let (machine, empty) = (machine(), tempfile::tempdir().unwrap());
    let warnings = |root: &Path, library: &'static NvmlLibrary| {
        report(&HostRoot::recorded(root), ReportOptions { nvidia: library, achieved: None }).warnings
    };
    let said = warnings(machine.path(), fake.library());
    assert!(said.len() == 1 && said[0].problem.contains("install NVIDIA's driver"), "{said:?}");
    assert_eq!(warnings(empty.path(), fake.library()), []);
    let missing = Box::leak(Box::new(NvmlLibrary::new(Some(PathBuf::from("/no/such/library.so")))));
    assert_eq!(warnings(machine.path(), missing).len(), 1);
}
