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
/// Others take less than this: good enough where there is no figure at all.
const HALF: f64 = 0.5;
/// Others take more than this: the start of the agent does not wait for a measurement.
const CROWDED: f64 = 0.9;
/// How long the load is looked at before the first measurement.
const GLANCE: Duration = Duration::from_millis(300);
/// How long the processor is watched before it counts as idle.
const WATCHED: Duration = Duration::from_secs(2);

/// `bench.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Bench {
    machine: String,
    #[serde(flatten)]
    known: Known,
}

/// What was measured of a machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Known {
    /// Bandwidth and compute.
    pub(super) achieved: Option<Achieved>,
    /// Disk and hashing.
    #[serde(default)]
    pub(super) speeds: Option<Speeds>,
}

impl Known {
    /// With what is newer in `other`.
    pub(super) fn and(self, other: Self) -> Self {
        Self { achieved: other.achieved.or(self.achieved), speeds: other.speeds.or(self.speeds) }
    }
}

/// What was measured on this machine before.
pub(super) fn read(path: &Path) -> Known {
    let bench = std::fs::read(path).ok().and_then(|json| serde_json::from_slice::<Bench>(&json).ok());
    bench.filter(|bench| bench.machine == machine_key()).map(|bench| bench.known).unwrap_or_default()
}

/// Keeps measurements for the next start.
pub(super) fn keep(path: &Path, known: Known) {
    let json = serde_json::to_vec_pretty(&Bench { machine: machine_key(), known }).unwrap_or_default();
    if let Err(error) = durable::write(path, &json, Keep::ThroughCrash) {
        tracing::warn!(%error, "the measurement could not be kept and is made again at the next start");
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

/// Whether that machine is idle and fit to be measured; takes two seconds to find out. Without any figure yet half of it will do.
pub(super) fn is_idle_now(has_figure: bool) -> bool {
    let readings = watch_load(WATCHED);
    let limit = if has_figure { IDLE } else { HALF };
    readings.foreign_load.is_some_and(|load| load < limit) && bandwidth::unfit(&readings).is_none()
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
        assert!(!is_better(&achieved(0.4), Some(&achieved(0.1))), "nor does a worse one replace it");
    }

    #[test]
    fn a_measurement_holds_for_this_machine_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bench.json");
        assert_eq!(read(&path), Known::default());
        let rates = Known { achieved: Some(achieved(0.0)), speeds: None };
        keep(&path, rates);
        assert_eq!(read(&path), rates);
        let speeds = Known { achieved: None, speeds: Some(Speeds { disk_bytes_per_s: Some(2e9), hash_bytes_per_s: None }) };
        keep(&path, rates.and(speeds));
        assert_eq!(read(&path), Known { speeds: speeds.speeds, ..rates });
        let other = std::fs::read_to_string(&path).unwrap().replace(" threads", "0 threads");
        std::fs::write(&path, other).unwrap();
        assert_eq!(read(&path), Known::default());
    }
}
