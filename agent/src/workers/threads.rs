//! How many threads a worker computes with: the processors that this process may use, of which its cgroups' quota and a battery
//! that runs down leave less.
//!
//! More threads than the quota pays for are worse than fewer: the kernel then stops all of them for the rest of each period.
//! Decided when a worker starts, because a process keeps the count it was started with.

use crate::sensing::host_root::HostRoot;
use crate::sensing::power::{conclude, supply};
use crate::sensing::readings::quota;
use crate::sensing::scan::Scan;
use ouro_common::device::PowerSource;

/// Below this charge, on battery, half the threads compute: the answer takes longer, and the battery lasts longer still, as
/// a processor with idle cores runs at less than half the power.
const SPARING_PERCENT: f64 = 40.0;

/// The count for a worker that starts now: at most `wanted` of the `processors` that this process may use, at least one.
pub(crate) fn allowed(root: &HostRoot, processors: usize, wanted: Option<usize>) -> usize {
    let power = conclude(&supply::read_all(&Scan::new(root)));
    let low = power.source == PowerSource::Battery && power.battery_percent.is_some_and(|percent| percent < SPARING_PERCENT);
    // Rounded down: a part of a processor would be waited for in every period.
    let quota = quota::allowed(root).map(|processors| (processors.floor() as usize).max(1));
    let most = [wanted, quota].into_iter().flatten().fold(processors, usize::min).max(1);
    if low { most.div_ceil(2) } else { most }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// A machine of files.
    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    fn count(folder: &Path, wanted: Option<usize>) -> usize {
        allowed(&HostRoot::recorded(folder), 8, wanted)
    }

    const MOUNTS: &str = "31 23 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";

    fn with_quota(quota: &str) -> tempfile::TempDir {
        machine(&[
            ("proc/self/cgroup", "0::/a.slice\n"),
            ("proc/self/mountinfo", MOUNTS),
            ("sys/fs/cgroup/a.slice/cpu.max", quota),
        ])
    }

    #[test]
    fn without_limits_all_processors_compute_or_as_many_as_are_wanted() {
        let machine = with_quota("max 100000\n");
        assert_eq!([None, Some(3), Some(0), Some(99)].map(|wanted| count(machine.path(), wanted)), [8, 3, 1, 8]);
        let nothing = tempfile::tempdir().unwrap();
        assert_eq!(count(nothing.path(), None), 8);
    }

    #[test]
    fn a_quota_leaves_whole_processors_and_at_least_one() {
        let counts = [("250000 100000", None), ("250000 100000", Some(1)), ("50000 100000", None), ("1600000 100000", None)];
        assert_eq!(counts.map(|(quota, wanted)| count(with_quota(quota).path(), wanted)), [2, 1, 1, 8]);
    }

    #[test]
    fn a_battery_that_runs_down_halves_the_threads() {
        let battery = |status: &str, percent: &str| {
            let at = "sys/class/power_supply/BAT0";
            let files = [("type", "Battery"), ("scope", "System"), ("present", "1"), ("status", status), ("capacity", percent)];
            let files: Vec<(String, &str)> = files.iter().map(|(name, text)| (format!("{at}/{name}"), *text)).collect();
            machine(&files.iter().map(|(path, text)| (path.as_str(), *text)).collect::<Vec<_>>())
        };
        assert_eq!(count(battery("Discharging", "39").path(), None), 4);
        assert_eq!(count(battery("Discharging", "39").path(), Some(1)), 1);
        assert_eq!(count(battery("Discharging", "60").path(), None), 8);
        assert_eq!(count(battery("Charging", "20").path(), None), 8);
    }
}
