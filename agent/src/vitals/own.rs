//! What this agent's own workers and containers take of the machine, by sysinfo and by cgroups; nothing where it cannot read the system.

use crate::modules::Modules;
use crate::oci::Oci;
use crate::profile::Containers;
use crate::workers::Pool;
use ouro_common::device::LoadedContainer;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// The workers and what they have used. Clones share it.
#[derive(Clone)]
pub(super) struct Own {
    pool: Pool,
    modules: Modules,
    containers: Containers,
    counted: Arc<Mutex<(OwnCpu, Workers)>>,
}

impl Own {
    pub(super) fn new(pool: Pool, modules: Modules, containers: Containers) -> Self {
        Self {
            pool,
            modules,
            containers,
            counted: Arc::new(Mutex::new((OwnCpu::default(), Workers(System::new().ok())))),
        }
    }

    /// Gives up the workers that nobody needs.
    pub(super) fn tidy(&self) {
        let known = self.modules.now();
        self.pool.tidy(|digest, source| known.runs(digest, source));
    }

    /// The processor time of all workers and containers so far, and the containers in memory.
    pub(super) fn look(&self) -> (Duration, Vec<LoadedContainer>) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let (own, workers) = &mut *counted;
        let ids = self.pool.ids();
        workers.look(&ids);
        let programs = self.containers.borrow().as_ref().map(Oci::cpu_time).unwrap_or_default();
        let cpu = own.add(&ids, |id| workers.cpu_time(id)) + programs;
        (cpu, self.pool.loaded_now(|id| workers.resident_bytes(id)))
    }
}

/// The processor time of this agent's workers, those that have ended included as far as they were seen.
#[derive(Debug, Default)]
struct OwnCpu {
    seen: HashMap<u32, Duration>,
    total: Duration,
}

impl OwnCpu {
    fn add(&mut self, workers: &[u32], of: impl Fn(u32) -> Option<Duration>) -> Duration {
        self.seen.retain(|id, _| workers.contains(id));
        for id in workers {
            if let Some(now) = of(*id) {
                let before = self.seen.insert(*id, now).unwrap_or_default();
                self.total += now.saturating_sub(before);
            }
        }
        self.total
    }
}

/// Memory and processor time of processes.
struct Workers(Option<System>);

impl Workers {
    /// Looks at these processes and no others.
    fn look(&mut self, ids: &[u32]) {
        let pids: Vec<Pid> = ids.iter().map(|id| Pid::from_u32(*id)).collect();
        let what = ProcessRefreshKind::nothing().with_memory().with_cpu().without_tasks();
        if let Some(system) = &mut self.0 {
            system.refresh_processes_specifics(ProcessesToUpdate::Some(&pids), true, what);
        }
    }

    fn process(&self, id: u32) -> Option<&sysinfo::Process> {
        self.0.as_ref()?.process(Pid::from_u32(id))
    }

    /// Resident memory in bytes.
    fn resident_bytes(&self, id: u32) -> Option<u64> {
        self.process(id).map(sysinfo::Process::memory)
    }

    /// User and system time since the process began.
    fn cpu_time(&self, id: u32) -> Option<Duration> {
        self.process(id).map(|p| Duration::from_millis(p.accumulated_cpu_time()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_workers_used_stays_counted() {
        let mut own = OwnCpu::default();
        let at = |seconds: &'static [(u32, u64)]| move |id| seconds.iter().find(|(i, _)| *i == id).map(|(_, s)| Duration::from_secs(*s));
        assert_eq!(own.add(&[1, 2], at(&[(1, 5), (2, 1)])), Duration::from_secs(6));
        assert_eq!(own.add(&[2], at(&[(2, 3)])), Duration::from_secs(8));
        assert_eq!(own.add(&[1], at(&[(1, 2)])), Duration::from_secs(10), "a new process may get an old number");
    }

    #[test]
    fn this_process_has_memory_and_processor_time() {
        let mut workers = Workers(System::new().ok());
        let id = std::process::id();
        workers.look(&[id, u32::MAX - 1]);
        assert!(workers.resident_bytes(id).unwrap() > 100_000);
        assert!(workers.cpu_time(id).is_some());
        assert_eq!(workers.resident_bytes(u32::MAX - 1), None);
    }
}
