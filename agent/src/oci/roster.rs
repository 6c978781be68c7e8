//! The containers that run now, by name, and the processor time of all there were: what they use is this agent's own, not the load of
//! others.

use super::cgroup::Cgroups;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The containers. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Roster {
    cgroups: Cgroups,
    agent: String,
    runs: PathBuf,
    names: Arc<Mutex<Names>>,
}

#[derive(Debug, Default)]
struct Names {
    /// What each container that runs had used when it was last asked.
    running: BTreeMap<String, Duration>,
    /// What all that have ended had used.
    ended: Duration,
}

impl Roster {
    /// Without containers; `runs` is the folder in which theirs are.
    pub(super) fn new(cgroups: Cgroups, agent: &str, runs: &Path) -> Self {
        Self { cgroups, agent: agent.into(), runs: runs.into(), names: Arc::default() }
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A container is about to get its folder and its cgroup.
    pub(super) fn enter(&self, name: &str) {
        self.names().running.insert(name.into(), Duration::ZERO);
    }

    /// A container is over: its cgroup is about to go, and what was counted in it is kept.
    pub(super) fn count_last(&self, name: &str) {
        let used = self.cgroups.cpu_time(&self.agent, name);
        if let Some(known) = self.names().running.get_mut(name) {
            *known = used.max(*known);
        }
    }

    /// A container's folder and cgroup are gone. With the last ones the agent's own go too.
    pub(super) fn leave(&self, name: &str) {
        let mut names = self.names();
        let used = names.running.remove(name).unwrap_or_default();
        names.ended += used;
        // Under the lock: a container that enters now makes them anew.
        if names.running.is_empty() {
            self.cgroups.tidy(&self.agent);
            // Where it is not empty, the next start looks into it.
            let _ = std::fs::remove_dir(&self.runs);
        }
    }

    /// The processor time of all containers so far, those that have ended included.
    pub(super) fn cpu_time(&self) -> Duration {
        let mut names = self.names();
        for (name, known) in &mut names.running {
            *known = self.cgroups.cpu_time(&self.agent, name).max(*known);
        }
        names.running.values().sum::<Duration>() + names.ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn time_is_counted_while_a_container_runs_and_kept_when_it_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let line = format!("30 23 0:26 / {} rw shared:9 - cgroup2 none rw\n", folder.path().display());
        let roster = Roster::new(Cgroups::parse(&line), "me", &folder.path().join("runs"));
        let stat = |name: &str, microseconds: u64| {
            let group = folder.path().join("ouroboros/me").join(name);
            fs::create_dir_all(&group).unwrap();
            fs::write(group.join("cpu.stat"), format!("usage_usec {microseconds}\nuser_usec 1\n")).unwrap();
        };
        assert_eq!(roster.cpu_time(), Duration::ZERO);
        roster.enter("a");
        roster.enter("b");
        assert_eq!(roster.cpu_time(), Duration::ZERO, "there is no cgroup yet");
        stat("a", 2_000_000);
        stat("b", 500_000);
        assert_eq!(roster.cpu_time(), Duration::from_millis(2500));
        stat("a", 3_000_000);
        roster.count_last("a");
        fs::remove_dir_all(folder.path().join("ouroboros/me/a")).unwrap();
        roster.leave("a");
        assert_eq!(roster.cpu_time(), Duration::from_millis(3500));
        fs::remove_dir_all(folder.path().join("ouroboros/me/b")).unwrap();
        roster.leave("b");
        assert_eq!(roster.cpu_time(), Duration::from_millis(3500));
        assert!(!folder.path().join("ouroboros").exists(), "nothing runs, nothing is left");
    }
}
