//! The cgroups of containers: what was counted in them, and how they end. Version 1, version 2, and both side by side.
//!
//! Each container has one named `ouroboros/AGENT/BOX` in every hierarchy the runtime puts it into; so what an agent that was
//! killed left behind is found by its name, even where the runtime has forgotten it. It lies at the hierarchy's top, or, of a service
//! that systemd has handed a part of the hierarchy, in that part.

use crate::sensing::host_root::{HostRoot, PROCFS_LIMIT};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

mod delegated;

/// The folder of all agents' containers in each hierarchy.
const TOP: &str = "ouroboros";

/// A mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    path: PathBuf,
    unified: bool,
    controllers: Vec<String>,
}

/// The hierarchies of this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Cgroups {
    hierarchies: Vec<Hierarchy>,
    /// The part that is this service's own, like `/system.slice/x.service`; empty: there is none.
    own: String,
}

/// What the kernel counted in a container's cgroup.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Processes killed because the memory was used up.
    pub(super) oom_kills: u64,
    /// Processes that could not be started because there were too many.
    pub(super) refused_forks: u64,
}

impl Cgroups {
    /// What is mounted on this machine.
    pub(super) fn read() -> Self {
        Self::parse(&own_text("self/mountinfo"))
    }

    /// The same, in the part of the hierarchy that systemd has handed to this service, if it has. Then this process and its children are
    /// moved in it.
    pub(super) fn delegated(self) -> Self {
        let text = own_text("self/cgroup");
        // With version 1 beside it the limits are elsewhere.
        let ([Hierarchy { path, unified: true, .. }], Some(own)) = (self.hierarchies.as_slice(), delegated::own(&text)) else {
            return self;
        };
        let folder = path.join(own.trim_start_matches('/'));
        if !delegated::is_delegated(&folder) {
            return self;
        }
        match delegated::make_room(&folder) {
            Ok(()) => Self { own: own.into(), ..self },
            Err(error) => {
                let cgroup = folder.display();
                tracing::warn!(%cgroup, %error, "the service's own part of the cgroups cannot be used; containers get theirs at the top");
                self
            }
        }
    }

    /// The cgroup of a container, as the runtime is told.
    pub(super) fn path(&self, agent: &str, name: &str) -> String {
        format!("{}/{TOP}/{agent}/{name}", self.own)
    }

    /// The folder of all agents' containers in a hierarchy.
    fn top(&self, hierarchy: &Hierarchy) -> PathBuf {
        hierarchy.path.join(self.own.trim_start_matches('/')).join(TOP)
    }

    /// From the text of `mountinfo` (proc(5)).
    pub(super) fn parse(mountinfo: &str) -> Self {
        let hierarchy = |line: &str| {
            let (mount, kind) = line.split_once(" - ")?;
            let path = PathBuf::from(mount.split(' ').nth(4)?);
            let mut kind = kind.split(' ');
            let unified = match kind.next()? {
                "cgroup" => false,
                "cgroup2" => true,
                _ => return None,
            };
            let controllers = kind.nth(1)?.split(',').map(ToString::to_string).collect();
            Some(Hierarchy { path, unified, controllers })
        };
        Self { hierarchies: mountinfo.lines().filter_map(hierarchy).collect(), own: String::new() }
    }

    /// What kind of cgroups these are, in words.
    pub(super) fn kind(&self) -> &'static str {
        let unified = self.hierarchies.iter().any(|h| h.unified);
        let legacy = self.hierarchies.iter().any(|h| !h.unified);
        match (unified, legacy) {
            (true, false) if !self.own.is_empty() => "cgroup v2, in the service's own part",
            (true, false) => "cgroup v2",
            (false, true) => "cgroup v1",
            (true, true) => "cgroup v1 with v2 beside it",
            (false, false) => "no cgroups",
        }
    }

    /// What was counted. Must be asked before the runtime removes the container.
    pub(super) fn counts(&self, agent: &str, name: &str) -> Counts {
        let mut counts = Counts::default();
        for hierarchy in &self.hierarchies {
            let folder = self.top(hierarchy).join(agent).join(name);
            let count = |file: &str, key: &str| {
                let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
                let line = text.lines().find_map(|l| l.strip_prefix(key)?.trim().parse().ok());
                line.unwrap_or(0)
            };
            let memory = if hierarchy.unified { "memory.events" } else { "memory.oom_control" };
            counts.oom_kills = counts.oom_kills.max(count(memory, "oom_kill "));
            counts.refused_forks = counts.refused_forks.max(count("pids.events", "max "));
        }
        counts
    }

    /// The processor time used in a container's cgroup, user and system; none where nothing counts it.
    pub(super) fn cpu_time(&self, agent: &str, name: &str) -> Duration {
        let used = self.hierarchies.iter().filter_map(|hierarchy| {
            let folder = self.top(hierarchy).join(agent).join(name);
            if hierarchy.unified {
                let text = fs::read_to_string(folder.join("cpu.stat")).ok()?;
                let microseconds = text.lines().find_map(|l| l.strip_prefix("usage_usec ")?.trim().parse().ok());
                return microseconds.map(Duration::from_micros);
            }
            let nanoseconds = fs::read_to_string(folder.join("cpuacct.usage")).ok()?.trim().parse().ok()?;
            Some(Duration::from_nanos(nanoseconds))
        });
        // Where several hierarchies count, they count the same.
        used.max().unwrap_or_default()
    }

    /// Kills everything in a container's cgroup and removes it. Blocks up to a second where the kernel takes its time.
    pub(super) fn end(&self, agent: &str, name: &str) {
        for hierarchy in &self.hierarchies {
            let folder = self.top(hierarchy).join(agent).join(name);
            for _ in 0..50 {
                if !folder.exists() {
                    break;
                }
                kill_all(&folder);
                remove(&folder);
                if folder.exists() {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            if folder.exists() {
                tracing::warn!(cgroup = %folder.display(), "a container's cgroup could not be removed");
            }
        }
    }

    /// The containers of an agent that still have a cgroup.
    pub(super) fn left(&self, agent: &str) -> Vec<String> {
        let folders = self.hierarchies.iter().flat_map(|h| fs::read_dir(self.top(h).join(agent)).into_iter().flatten().flatten());
        let folders = folders.filter(|entry| entry.file_type().is_ok_and(|t| t.is_dir()));
        let mut names: Vec<String> = folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Kills and removes all of an agent's.
    pub(super) fn sweep(&self, agent: &str) {
        self.left(agent).iter().for_each(|left| self.end(agent, left));
        self.tidy(agent);
    }

    /// Removes an agent's empty folder, and the one of all agents if it is empty too.
    pub(super) fn tidy(&self, agent: &str) {
        for hierarchy in &self.hierarchies {
            let _ = fs::remove_dir(self.top(hierarchy).join(agent));
            let _ = fs::remove_dir(self.top(hierarchy));
        }
    }
}

/// A file that says something of this process.
fn own_text(file: &str) -> String {
    let live = HostRoot::live();
    let bytes = live.read_bytes(&live.proc(file), PROCFS_LIMIT).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn kill_all(folder: &Path) {
    if fs::write(folder.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    for child in subfolders(folder) {
        kill_all(&child);
    }
    let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    for pid in text.lines().filter_map(|l| l.parse().ok()).filter_map(Pid::from_raw) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

fn remove(folder: &Path) {
    for child in subfolders(folder) {
        remove(&child);
    }
    let _ = fs::remove_dir(folder);
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(folder: &Path, lines: &[(&str, &str, &str)]) -> Cgroups {
        let line = |(name, kind, options): &(&str, &str, &str)| {
            format!("30 23 0:26 / {}/{name} rw,nosuid shared:9 - {kind} {kind} rw,{options}\n", folder.display())
        };
        Cgroups::parse(&lines.iter().map(line).collect::<String>())
    }

    #[test]
    fn the_three_arrangements_are_told_apart() {
        let folder = Path::new("/x");
        assert_eq!(at(folder, &[("a", "cgroup2", "")]).kind(), "cgroup v2");
        assert_eq!(at(folder, &[("a", "cgroup", "memory")]).kind(), "cgroup v1");
        assert_eq!(at(folder, &[("a", "cgroup", "memory"), ("u", "cgroup2", "")]).kind(), "cgroup v1 with v2 beside it");
        assert_eq!(at(folder, &[("a", "tmpfs", "")]).kind(), "no cgroups");
    }

    #[test]
    fn counts_are_read_in_either_version_and_what_is_left_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let put = |file: &str, text: &str| {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("u/ouroboros/me/b/memory.events", "low 0\noom 2\noom_kill 3\noom_group_kill 0\n");
        put("m/ouroboros/me/b/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n");
        put("p/ouroboros/me/b/pids.events", "max 17\n");
        let v2 = at(folder.path(), &[("u", "cgroup2", "")]);
        assert_eq!(v2.counts("me", "b").oom_kills, 3);
        let v1 = at(folder.path(), &[("m", "cgroup", "memory"), ("p", "cgroup", "pids")]);
        assert_eq!(v1.counts("me", "b"), Counts { oom_kills: 1, refused_forks: 17 });
        put("p/ouroboros/me/b/cpuacct.usage", "1500000000\n");
        put("u/ouroboros/me/b/cpu.stat", "usage_usec 1400000\nuser_usec 1\n");
        assert_eq!(v1.cpu_time("me", "b"), Duration::from_millis(1500));
        assert_eq!(v2.cpu_time("me", "b"), Duration::from_millis(1400));
        assert_eq!(v1.left("me"), ["b"]);
        assert!(v1.left("other").is_empty());
    }

    #[test]
    fn a_service_s_own_part_is_where_its_containers_lie() {
        let folder = tempfile::tempdir().unwrap();
        let own = Cgroups { own: "/system.slice/x.service".into(), ..at(folder.path(), &[("u", "cgroup2", "")]) };
        assert_eq!(own.path("me", "b"), "/system.slice/x.service/ouroboros/me/b");
        let there = folder.path().join("u/system.slice/x.service/ouroboros/me/b");
        fs::create_dir_all(&there).unwrap();
        fs::write(there.join("pids.events"), "max 4\n").unwrap();
        assert_eq!(own.counts("me", "b").refused_forks, 4);
        fs::remove_file(there.join("pids.events")).unwrap();
        assert_eq!(own.left("me"), ["b"]);
        fs::remove_dir(&there).unwrap();
        own.tidy("me");
        let service = folder.path().join("u/system.slice/x.service");
        assert!(service.exists() && !service.join("ouroboros").exists(), "the service's own stays");
    }
}
