//! What was measured, kept for the machine it holds for: the processor, its threads, the memory and the kernel.
//!
//! A measurement on a busy machine is better than none and no truth: it is used, and taken again when the machine is idle.

use super::{kernel_text, logical_cpus};
use crate::durable::{self, Keep};
use crate::sensing::bandwidth;
use crate::sensing::host_root::HostRoot;
use crate::sensing::readings::Sampler;
use crate::sensing::speeds::Speeds;
use ouro_common::device::{Achieved, Readings};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

/// Others took more than this of the processor while it was measured: the figure is too low.
const BUSY: f64 = 0.10;
/// Others take less than this now: a measurement is worth its two seconds.
const IDLE: f64 = 0.05;
/// Others take more than this: the start of the agent does not wait for a measurement.
const CROWDED: f64 = 0.9;
/// How long the load is looked at before the first measurement.
const GLANCE: Duration = Duration::from_millis(300);
/// How long the processor is watched before it counts as idle.
const WATCHED: Duration = Duration::from_secs(2);

/// The file of what was measured of disk and hashing.
const SPEEDS_FILE: &str = "speeds.json";

/// `bench.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Bench {
    machine: String,
    achieved: Achieved,
}

/// What was measured on this machine before, if anything was.
pub(super) fn read(path: &Path) -> Option<Achieved> {
    let bench: Bench = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    (bench.machine == machine_key()).then_some(bench.achieved)
}

/// Keeps a measurement for the next start.
pub(super) fn keep(path: &Path, achieved: Achieved) {
    let json = serde_json::to_vec_pretty(&Bench { machine: machine_key(), achieved }).unwrap_or_default();
    if let Err(error) = durable::write(path, &json, Keep::ThroughCrash) {
        tracing::warn!(%error, "the measurement could not be kept and is made again at the next start");
    }
}

/// `speeds.json`, beside it.
#[derive(Debug, Serialize, Deserialize)]
struct KeptSpeeds {
    machine: String,
    speeds: Speeds,
}

/// What was measured of disk and hashing on this machine before; `path` is that of `bench.json`.
pub(super) fn read_speeds(path: &Path) -> Option<Speeds> {
    let kept: KeptSpeeds = serde_json::from_slice(&std::fs::read(path.with_file_name(SPEEDS_FILE)).ok()?).ok()?;
    (kept.machine == machine_key()).then_some(kept.speeds)
}

/// Keeps it for the next start.
pub(super) fn keep_speeds(path: &Path, speeds: Speeds) {
    let json = serde_json::to_vec_pretty(&KeptSpeeds { machine: machine_key(), speeds }).unwrap_or_default();
    if let Err(error) = durable::write(&path.with_file_name(SPEEDS_FILE), &json, Keep::ThroughCrash) {
        tracing::warn!(%error, "the measurement of disk and hashing could not be kept");
    }
}

/// Whether there is a figure that can be believed.
pub(super) fn is_settled(achieved: Option<&Achieved>) -> bool {
    achieved.is_some_and(|a| a.foreign_load.is_none_or(|load| load <= BUSY))
}

/// Whether `new` is to take the place of `old`: it was less disturbed.
pub(super) fn is_better(new: &Achieved, old: Option<&Achieved>) -> bool {
    let disturbed = |a: &Achieved| a.foreign_load.unwrap_or(0.0);
    old.is_none_or(|old| disturbed(new) < disturbed(old))
}

/// Why the machine this process runs on is not to be measured now, whatever machine it plays. Between many others a measurement
/// takes long and says nothing.
pub(super) fn unfit_now() -> Option<String> {
    let readings = watch_load(GLANCE);
    let crowded = readings.foreign_load.filter(|load| *load > CROWDED);
    bandwidth::unfit(&readings).or_else(|| crowded.map(|load| format!("others use {:.0} % of the processor", load * 100.0)))
}

/// Whether that machine is fit to be measured; takes two seconds to find out. To better a figure it must be idle. Without any,
/// however busy it is, a figure that is up to a tenth too low places work better than none.
pub(super) fn is_worth_it_now(has_figure: bool) -> bool {
    let readings = watch_load(WATCHED);
    is_quiet_enough(readings.foreign_load, has_figure) && bandwidth::unfit(&readings).is_none()
}

fn is_quiet_enough(foreign_load: Option<f64>, has_figure: bool) -> bool {
    !has_figure || foreign_load.is_some_and(|load| load < IDLE)
}

/// The readings of the live machine, with the load of this long.
fn watch_load(time: Duration) -> Readings {
    let (root, mut sampler) = (HostRoot::live(), Sampler::new());
    sampler.sample(&root, Duration::ZERO);
    std::thread::sleep(time);
    sampler.sample(&root, Duration::ZERO)
}

fn machine_key() -> String {
    let cpuinfo = kernel_text("cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find(|l| l.starts_with("model name") || l.starts_with("Hardware")).unwrap_or_default();
    let memory = kernel_text("meminfo").unwrap_or_default().lines().next().unwrap_or_default().to_string();
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    format!("{model} | {} threads | {memory} | {kernel}", logical_cpus())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ouro_common::device::MemoryRates;

    fn achieved(foreign_load: f64) -> Achieved {
        let rates = MemoryRates { read_bytes_per_s: 1e10, copy_bytes_per_s: 9e9, triad_bytes_per_s: 9e9 };
        Achieved {
            all_threads: rates,
            one_thread: rates,
            flops_per_s: 1e11,
            threads: 2,
            foreign_load: Some(foreign_load),
        }
    }

    #[test]
    fn what_was_measured_on_a_busy_machine_is_measured_again() {
        assert!(!is_settled(None) && !is_settled(Some(&achieved(0.4))) && is_settled(Some(&achieved(0.02))));
        assert!(is_better(&achieved(0.1), Some(&achieved(0.4))) && is_better(&achieved(0.9), None));
        assert!(is_quiet_enough(Some(1.0), false) && !is_quiet_enough(Some(0.5), true) && is_quiet_enough(Some(0.01), true));
        assert!(!is_better(&achieved(0.4), Some(&achieved(0.1))), "nor does a worse one replace it");
    }

    #[test]
    fn a_measurement_holds_for_this_machine_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bench.json");
        assert_eq!(read(&path), None);
        keep(&path, achieved(0.0));
        assert_eq!(read(&path), Some(achieved(0.0)));
        let speeds = Speeds { disk_bytes_per_s: Some(2e9), hash_bytes_per_s: None };
        keep_speeds(&path, speeds);
        assert_eq!(read_speeds(&path), Some(speeds));
        let other = std::fs::read_to_string(&path).unwrap().replace(" threads", "0 threads");
        std::fs::write(&path, other).unwrap();
        assert_eq!(read(&path), None);
    }
}
