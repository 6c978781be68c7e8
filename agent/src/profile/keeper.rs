//! Keeps the profile true while the agent runs: devices come and go, runtimes are found late, and a machine that was busy is measured
//! again when idle.
//!
//! Events of the kernel only say "look again"; where there are none, the machine is looked at every few minutes. A profile is
//! published when the node has become another, not when one of its readings moved.

use super::{Found, ProfileOptions, bench, read_hardware};
use crate::sensing::doorbell::Doorbell;
use crate::sensing::speeds::Speeds;
use crate::steps::Steps;
use crate::workers::probe::{Finding, probe};
use crate::workers::protocol::ProbeOrder;
use ouro_common::device::{Achieved, HardwareReport, Memory, NodeProfile, Power, Pressure, Thermal};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often the machine is read anew without an event.
const PERIOD: Duration = Duration::from_secs(600);
/// How often an unsettled measurement is tried again.
const MEASURE_AGAIN: Duration = Duration::from_secs(60);
/// A measurement that takes longer hangs.
const MEASURING: Duration = Duration::from_secs(30);
/// A device comes with many events; the machine is read when they are over.
const SETTLE: Duration = Duration::from_millis(300);

/// What the keeper needs.
pub struct ProfileKeeperOptions {
    /// What the profile is made from.
    pub profile: ProfileOptions,
    /// What the node runs: nothing is measured beside it.
    pub steps: Steps,
    /// What is found of the runtimes.
    pub found: watch::Receiver<Found>,
}

/// Keeps the profile until it is told to stop.
pub struct ProfileKeeper {
    options: ProfileKeeperOptions,
    profile: watch::Sender<Arc<NodeProfile>>,
}

impl ProfileKeeper {
    /// A keeper of `first`, and the newest profile.
    pub fn new(options: ProfileKeeperOptions, first: NodeProfile) -> (Self, watch::Receiver<Arc<NodeProfile>>) {
        let (profile, receiver) = watch::channel(Arc::new(first));
        (Self { options, profile }, receiver)
    }

    /// Looks until `drain`.
    pub async fn run(mut self, drain: CancellationToken) {
        let live = self.options.profile.root.is_live();
        // A recorded machine's devices stay where they are.
        let doorbell = live.then(Doorbell::listen_to_devices).flatten();
        let mut reread = tokio::time::interval(PERIOD);
        let mut measure = tokio::time::interval(MEASURE_AGAIN);
        // Both begin with a tick, and the first look has just been taken.
        reread.tick().await;
        measure.tick().await;
        loop {
            tokio::select! {
                () = drain.cancelled() => return,
                () = rung(doorbell.as_ref()) => {
                    tokio::time::sleep(SETTLE).await;
                    self.reread().await;
                }
                Ok(()) = self.options.found.changed() => self.learn().await,
                _ = reread.tick() => self.reread().await,
                _ = measure.tick() => self.measure().await,
            }
        }
    }

    fn achieved(&self) -> Option<Achieved> {
        self.profile.borrow().hardware.memory.achieved
    }

    async fn reread(&self) {
        let hardware = read_hardware(&self.options.profile.root, self.achieved()).await;
        self.publish(hardware, "the machine has changed");
    }

    /// Takes in what was found of the runtimes since.
    async fn learn(&mut self) {
        let found = self.options.found.borrow_and_update().clone();
        if let Some(achieved) = found.achieved.filter(|_| self.achieved().is_none()) {
            let hardware = read_hardware(&self.options.profile.root, Some(achieved)).await;
            self.publish(hardware, "the machine was measured");
        }
        if let Some(speeds) = found.speeds {
            self.learn_speeds(speeds);
        }
        let runtimes = found.runtimes();
        self.profile.send_if_modified(|profile| {
            let another = profile.runtimes != runtimes;
            if another {
                tracing::info!("what is known of the runtimes is told anew");
                *profile = Arc::new(NodeProfile { runtimes, ..NodeProfile::clone(profile) });
            }
            another
        });
    }

    /// Takes over what was measured of disk and hashing.
    fn learn_speeds(&self, speeds: Speeds) {
        let (disk_bytes_per_s, hash_bytes_per_s) = (speeds.disk_bytes_per_s, speeds.hash_bytes_per_s);
        self.profile.send_if_modified(|profile| {
            let another = (profile.disk_bytes_per_s, profile.hash_bytes_per_s) != (disk_bytes_per_s, hash_bytes_per_s);
            if another {
                *profile = Arc::new(NodeProfile { disk_bytes_per_s, hash_bytes_per_s, ..NodeProfile::clone(profile) });
            }
            another
        });
    }

    /// Measures if there is a figure missing, or none that can be believed, and nobody is disturbed by it.
    async fn measure(&self) {
        let before = self.achieved();
        let searching = !self.options.found.borrow().is_whole();
        // What an older agent kept has no speeds of disk and hashing.
        let settled = bench::is_settled(before.as_ref()) && self.profile.borrow().hash_bytes_per_s.is_some();
        if settled || searching || self.options.steps.busy() > 0 {
            return;
        }
        let has_figure = before.is_some();
        if !tokio::task::spawn_blocking(move || bench::is_worth_it_now(has_figure)).await.unwrap_or(false) || self.options.steps.busy() > 0
        {
            return;
        }
        let options = &self.options.profile;
        let file = options.home.agent("bench.json");
        let order = ProbeOrder { onnxruntime: None, runtimes: false, measure: file.parent().map(PathBuf::from) };
        let (mut measured, mut speeds) = (None, None);
        let probed = probe(&options.workers, order, |finding| match finding {
            Finding::Measured(achieved) => measured = Some(achieved),
            Finding::Speeds(found) => speeds = Some(found),
            Finding::Runtime(_) => {}
        });
        if let Err(why) = tokio::time::timeout(MEASURING, probed).await.unwrap_or_else(|_| Err("it hangs".into())) {
            tracing::warn!(why, "the machine could not be measured");
        }
        if let Some(speeds) = speeds {
            bench::keep_speeds(&file, speeds);
            self.learn_speeds(speeds);
        }
        let Some(achieved) = measured else { return };
        if bench::is_better(&achieved, before.as_ref()) {
            bench::keep(&file, achieved);
            let hardware = read_hardware(&options.root, Some(achieved)).await;
            self.publish(hardware, if has_figure { "measured again on an idle machine" } else { "measured on a busy machine" });
        }
    }

    fn publish(&self, hardware: HardwareReport, why: &str) {
        self.profile.send_if_modified(|profile| {
            let another = essence(&profile.hardware) != essence(&hardware);
            if another {
                tracing::info!(why, "the profile is told anew");
                let achieved = hardware.memory.achieved;
                *profile = Arc::new(NodeProfile {
                    bandwidth_bytes_per_s: achieved.map(|a| a.all_threads.read_bytes_per_s),
                    flops_per_s: achieved.map(|a| a.flops_per_s),
                    hardware,
                    ..NodeProfile::clone(profile)
                });
            }
            another
        });
    }
}

async fn rung(doorbell: Option<&Doorbell>) {
    match doorbell {
        Some(doorbell) => doorbell.rung().await,
        None => std::future::pending().await,
    }
}

/// What a report says of the machine, without what moves by itself: that is the readings' business.
fn essence(report: &HardwareReport) -> HardwareReport {
    let mut essence = report.clone();
    essence.memory = Memory { available_bytes: None, ..essence.memory };
    essence.thermal = Thermal::default();
    essence.pressure = Pressure::default();
    essence.power = Power::default();
    for device in &mut essence.pcie {
        // Idle devices clock down; that a link has become slower than it could be stays.
        device.current = None;
    }
    for accelerator in &mut essence.accelerators {
        accelerator.processes.clear();
        accelerator.power_limit_watts = None;
    }
    essence.warnings.retain(|warning| warning.path != "bandwidth");
    essence
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensing::host_root::HostRoot;
    use crate::sensing::nvml::NoNvml;
    use crate::sensing::{ReportOptions, report};

    #[test]
    fn a_reading_is_no_change_of_the_machine_and_a_device_is() {
        let root = HostRoot::recorded(hw_fixtures::get("board-nvme-x1").root);
        let before = report(&root, ReportOptions { nvidia: &NoNvml, achieved: None });
        let mut warmer = before.clone();
        warmer.thermal.max_c = Some(99.0);
        warmer.memory.available_bytes = Some(1);
        assert!(essence(&before) == essence(&warmer));
        let mut pulled = before.clone();
        assert!(pulled.nvme.pop().is_some());
        assert!(essence(&before) != essence(&pulled));
    }
}
