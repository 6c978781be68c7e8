//! How this node is doing, read every few seconds: the machine's readings, and what this agent's own workers take of it.

use crate::modules::{Modules, Source};
use crate::sensing::doorbell::Doorbell;
use crate::sensing::host_root::HostRoot;
use crate::sensing::nvml::LiveNvml;
use crate::sensing::readings::Sampler;
use crate::workers::Pool;
use ouro_common::device::Readings;
use ouro_common::id::Digest;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The time between two readings: as often as a heartbeat can carry them.
const PERIOD: Duration = Duration::from_millis(4500);

/// What the vitals need.
pub struct VitalsOptions {
    /// The machine that is read.
    pub root: HostRoot,
    /// The workers.
    pub pool: Pool,
    /// The containers: a worker of one that is gone is given up.
    pub modules: Modules,
    /// Wakes the reader.
    pub doorbell: Option<Arc<Doorbell>>,
}

/// Reads until it is told to stop.
pub struct Vitals {
    options: VitalsOptions,
    taker: Arc<Mutex<(Sampler, OwnCpu, Workers)>>,
    readings: watch::Sender<Arc<Readings>>,
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

impl Vitals {
    /// A reader that has not read yet.
    pub fn new(options: VitalsOptions) -> (Self, watch::Receiver<Arc<Readings>>) {
        let (readings, receiver) = watch::channel(Arc::default());
        let sampler = if options.root.is_live() { Sampler::new().with_nvidia(LiveNvml) } else { Sampler::new() };
        (
            Self {
                options,
                taker: Arc::new(Mutex::new((sampler, OwnCpu::default(), Workers(System::new().ok())))),
                readings,
            },
            receiver,
        )
    }

    /// Reads now.
    pub async fn look(&self) {
        self.tidy();
        let (root, pool, taker) = (self.options.root.clone(), self.options.pool.clone(), self.taker.clone());
        let taken = tokio::task::spawn_blocking(move || {
            let mut taker = taker.lock().unwrap_or_else(PoisonError::into_inner);
            let (sampler, own, workers) = &mut *taker;
            let ids = pool.ids();
            workers.look(&ids);
            let own_cpu = own.add(&ids, |id| workers.cpu_time(id));
            Readings { loaded: pool.loaded_now(|id| workers.resident_bytes(id)), ..sampler.sample(&root, own_cpu) }
        });
        if let Ok(readings) = taken.await {
            self.readings.send_replace(Arc::new(readings));
        }
    }

    /// Workers of containers that are no longer there are given up.
    fn tidy(&self) {
        let known = self.options.modules.now();
        let there = |digest: &Digest, source: &Source| known.installed.get(digest).is_some_and(|installed| installed.source == *source);
        self.options.pool.tidy(there);
    }

    /// Reads every few seconds, and at once when a power supply or a thermal zone changes, until `drain`.
    pub async fn run(self, drain: CancellationToken) {
        // A recorded machine's cables are not this machine's.
        let doorbell = self.options.doorbell.clone().filter(|_| self.options.root.is_live());
        let mut changes = self.options.modules.changes();
        loop {
            self.look().await;
            let due = tokio::time::sleep(PERIOD);
            tokio::pin!(due);
            loop {
                tokio::select! {
                    () = drain.cancelled() => return,
                    () = &mut due => break,
                    () = rung(doorbell.as_deref()) => break,
                    // A worker that has a pulled-out module's files open keeps its device from going.
                    Ok(()) = changes.changed() => self.tidy(),
                }
            }
        }
    }
}

async fn rung(doorbell: Option<&Doorbell>) {
    match doorbell {
        Some(doorbell) => doorbell.rung().await,
        None => std::future::pending().await,
    }
}

/// Memory and processor time of this agent's workers, by sysinfo; nothing where it cannot read the system.
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
