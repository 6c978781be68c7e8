//! The share of the machine's processors that the cgroups of this agent allow it and its workers (cgroups(7), `cpu.max` of version 2,
//! `cpu.cfs_quota_us` of version 1).
//!
//! Measurements do not show it: they run in bursts, each at full speed, and a step that needs seconds is held back.

use crate::sensing::host_root::{HostRoot, PROCFS_LIMIT, Place, SYSFS_LIMIT};
use crate::sensing::memory::count_list;

fn text(root: &HostRoot, place: &Place, limit: u64) -> Option<String> {
    let bytes = root.read_bytes(place, limit).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim().to_string())
}

/// The share, 0 to 1; `None` without a limit, and where the cgroups cannot be read.
pub(super) fn share(root: &HostRoot) -> Option<f64> {
    let online = text(root, &root.sys("devices/system/cpu/online"), SYSFS_LIMIT)?;
    let processors = count_list(&online).filter(|n| *n > 0)?;
    Some((allowed(root)? / f64::from(processors)).min(1.0))
}

/// How many processors' time the cgroups of this process allow; `None` likewise.
pub(crate) fn allowed(root: &HostRoot) -> Option<f64> {
    let text = |place: &Place, limit| text(root, place, limit);
    let own = text(&root.proc("self/cgroup"), PROCFS_LIMIT)?;
    let mounts = text(&root.proc("self/mountinfo"), PROCFS_LIMIT)?;
    let limit = |group: &Group| {
        let file = |name: &str| text(&root.sys(&format!("{}/{name}", group.folder)), SYSFS_LIMIT);
        match group.unified {
            true => processors_of(file("cpu.max")?.split_once(' ')?),
            false => processors_of((&file("cpu.cfs_quota_us")?, &file("cpu.cfs_period_us")?)),
        }
    };
    groups(&own, &mounts).iter().filter_map(limit).min_by(f64::total_cmp)
}

/// A cgroup that may have a limit.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    /// Below sysfs.
    folder: String,
    unified: bool,
}

/// The cgroup of this process and all above it, in every hierarchy that limits processors; from the texts of `cgroup` (cgroups(7))
/// and `mountinfo` (proc(5)).
fn groups(own: &str, mounts: &str) -> Vec<Group> {
    let mut found = vec![];
    for line in mounts.lines() {
        let Some((mount, kind)) = line.split_once(" - ") else { continue };
        let (mount, kind): (Vec<&str>, Vec<&str>) = (mount.split(' ').collect(), kind.split(' ').collect());
        let (&[_, _, _, top, point, ..], &[kind, _, options]) = (mount.as_slice(), kind.as_slice()) else {
            continue;
        };
        let unified = kind == "cgroup2";
        if !unified && (kind != "cgroup" || !options.split(',').any(|option| option == "cpu")) {
            continue;
        }
        let Some(point) = point.strip_prefix('/').and_then(|point| point.strip_prefix("sys/")) else {
            continue;
        };
        let Some(path) = own.lines().find_map(|line| path_in(line, unified)) else {
            continue;
        };
        // In a namespace the mount may show a part of the hierarchy only.
        let path = path.strip_prefix(top.trim_end_matches('/')).unwrap_or(path).trim_matches('/');
        let mut folder = point.to_string();
        found.push(Group { folder: folder.clone(), unified });
        for part in path.split('/').filter(|part| !part.is_empty()) {
            folder = format!("{folder}/{part}");
            found.push(Group { folder: folder.clone(), unified });
        }
    }
    found
}

/// The path that a line of `cgroup` names, if it is the line of that hierarchy.
fn path_in(line: &str, unified: bool) -> Option<&str> {
    let (_, rest) = line.split_once(':')?;
    let (controllers, path) = rest.split_once(':')?;
    let is_it = match unified {
        true => controllers.is_empty(),
        false => controllers.split(',').any(|controller| controller == "cpu"),
    };
    is_it.then_some(path)
}

/// Quota and period, both in microseconds, as a number of processors; `None` without a quota.
fn processors_of((quota, period): (&str, &str)) -> Option<f64> {
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (quota > 0.0 && period > 0.0).then_some(quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A machine of four processors with these cgroup files.
    fn machine(own: &str, mounts: &str, files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let texts = [("sys/devices/system/cpu/online", "0-3\n"), ("proc/self/cgroup", own), ("proc/self/mountinfo", mounts)];
        let files = files.iter().map(|(name, text)| (format!("sys/fs/cgroup/{name}"), *text));
        for (name, text) in texts.map(|(name, text)| (name.to_string(), text)).into_iter().chain(files) {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn share_of(own: &str, mounts: &str, files: &[(&str, &str)]) -> Option<f64> {
        share(&HostRoot::recorded(machine(own, mounts, files).path()))
    }

    const V2: &str = "31 23 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1: &str = "40 39 0:36 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n41 39 0:37 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";

    #[test]
    fn the_tightest_limit_on_the_way_up_counts() {
        let own = "0::/a.slice/b.service\n";
        let files = |inner, outer| [("cpu.stat", "x"), ("a.slice/cpu.max", outer), ("a.slice/b.service/cpu.max", inner)];
        assert_eq!(share_of(own, V2, &files("max 100000", "max 100000")), None);
        assert_eq!(share_of(own, V2, &files("50000 100000", "max 100000")), Some(0.125));
        assert_eq!(share_of(own, V2, &files("200000 100000", "100000 100000")), Some(0.25));
        assert_eq!(share_of(own, V2, &files("800000 100000", "max 100000")), Some(1.0), "more than there are");
    }

    #[test]
    fn version_one_has_two_files() {
        let own = "5:memory:/x\n4:cpu,cpuacct:/jobs/n1\n0::/\n";
        let files = |quota| [("cpu/jobs/n1/cpu.cfs_quota_us", quota), ("cpu/jobs/n1/cpu.cfs_period_us", "100000\n")];
        assert_eq!(share_of(own, V1, &files("-1\n")), None);
        assert_eq!(share_of(own, V1, &files("20000\n")), Some(0.05));
    }

    #[test]
    fn a_part_of_the_hierarchy_is_seen_from_its_top() {
        let mounts = "31 23 0:27 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        assert_eq!(share_of("0::/docker/abc/in\n", mounts, &[("cpu.max", "100000 100000")]), Some(0.25));
    }

    #[test]
    fn nonsense_is_no_limit() {
        for (own, mounts) in
            [("", V2), ("0::/\n", ""), ("0:/\n:::", "x - y\n1 2 - cgroup2"), ("0::/\n", "1 2 3 / /mnt/c rw - cgroup2 c rw")]
        {
            assert_eq!(share_of(own, mounts, &[("cpu.max", "1 1")]), None, "{own:?} {mounts:?}");
        }
        assert_eq!(share_of("0::/\n", V2, &[("cpu.max", "many 100000")]), None);
    }
}
