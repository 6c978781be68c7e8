//! The cap on clocks: what policy or heat allows of the highest frequency (kernel ABI `sysfs-devices-system-cpu`).
//!
//! An idle clock is no cap: only limits count (`scaling_max_freq` of `cpuinfo_max_freq`, the driver's percentage), and the
//! present frequency only after the processor counted that it throttled.

use crate::sensing::host_root::Place;
use crate::sensing::memory::count_list;
use crate::sensing::scan::Scan;

/// The cap from 0 to 1, weighted by the processors of each policy; `None` without cpufreq.
pub(crate) fn read_cap(scan: &Scan<'_>, throttled: bool) -> Option<f64> {
    let policies = policies(scan);
    let share_of = |file: &str| {
        let mut sums = (0.0, 0.0);
        for policy in &policies {
            let Some(max) = scan.number::<f64>(&policy.join("cpuinfo_max_freq")).filter(|max| *max > 0.0) else {
                continue;
            };
            let Some(limit) = scan.number::<f64>(&policy.join(file)) else {
                continue;
            };
            let processors = scan.text(&policy.join("related_cpus")).and_then(|text| count_list(&text.replace(' ', ",")));
            let weight = max * f64::from(processors.unwrap_or(1).max(1));
            sums = (sums.0 + weight * (limit / max).clamp(0.0, 1.0), sums.1 + weight);
        }
        (sums.1 > 0.0).then(|| sums.0 / sums.1)
    };
    let limit = share_of("scaling_max_freq");
    let percentage = scan
        .number::<f64>(&scan.sys("devices/system/cpu/intel_pstate/max_perf_pct"))
        .map(|percent| (percent / 100.0).clamp(0.0, 1.0));
    let present = if throttled { share_of("scaling_cur_freq") } else { None };
    [limit, percentage, present].into_iter().flatten().filter(|cap| *cap > 0.0).min_by(f64::total_cmp)
}

/// How often the processors have throttled for heat since boot.
pub(crate) fn read_throttle_count(scan: &Scan<'_>) -> Option<u64> {
    let directory = scan.sys("devices/system/cpu");
    let counters = scan.names(&directory).into_iter().filter(|name| is_numbered(name, "cpu")).filter_map(|name| {
        let place = directory.join(&name).join("thermal_throttle");
        let count = |file: &str| scan.number::<u64>(&place.join(file));
        count("core_throttle_count").map(|core| core.saturating_add(count("package_throttle_count").unwrap_or(0)))
    });
    counters.reduce(u64::saturating_add)
}

/// Frequency policies; older kernels have one directory per processor instead.
fn policies(scan: &Scan<'_>) -> Vec<Place> {
    let shared = scan.sys("devices/system/cpu/cpufreq");
    let policies: Vec<Place> =
        scan.names(&shared).iter().filter(|name| is_numbered(name, "policy")).map(|name| shared.join(name)).collect();
    if !policies.is_empty() {
        return policies;
    }
    let directory = scan.sys("devices/system/cpu");
    scan.names(&directory)
        .iter()
        .filter(|name| is_numbered(name, "cpu"))
        .map(|name| directory.join(name).join("cpufreq"))
        .collect()
}

fn is_numbered(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix)
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensing::host_root::HostRoot;
    use std::fs;

    #[test]
    fn limits_cap_and_idle_clocks_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let policy = |name: &str, files: &[(&str, &str)]| {
            let place = dir.path().join("sys/devices/system/cpu/cpufreq").join(name);
            fs::create_dir_all(&place).unwrap();
            for (file, text) in files {
                fs::write(place.join(file), text).unwrap();
            }
        };
        policy(
            "policy0",
            &[
                ("cpuinfo_max_freq", "2000000"),
                ("scaling_max_freq", "2000000"),
                ("scaling_cur_freq", "500000"),
                ("related_cpus", "0 1 2 3"),
            ],
        );
        let root = HostRoot::recorded(dir.path());
        assert_eq!(read_cap(&Scan::new(&root), false), Some(1.0), "500 MHz is idle, not capped");
        assert_eq!(read_cap(&Scan::new(&root), true), Some(0.25), "after throttling it is");
        policy("policy4", &[("cpuinfo_max_freq", "2000000"), ("scaling_max_freq", "1000000"), ("related_cpus", "4 5 6 7")]);
        assert_eq!(read_cap(&Scan::new(&root), false), Some(0.75));
        assert_eq!(read_throttle_count(&Scan::new(&root)), None);
    }
}
