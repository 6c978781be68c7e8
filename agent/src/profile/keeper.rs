//! Keeps the profile true while the agent runs: devices come and go, and a machine that was busy is measured again when idle.
//!
//! Events of the kernel only say "look again"; where there are none, the machine is looked at every few minutes. A profile is
//! published when the node has become another, not when one of its readings moved.

use super::{ProfileOptions, bench, read_hardware};
use crate::sensing::doorbell::Doorbell;
use crate::steps::Steps;
use crate::workers::probe::probe;
use crate::workers::protocol::ProbeOrder;
use ouro_common::device::{Achieved, HardwareReport, Memory, NodeProfile, Power, Pressure, RuntimeAvailability, Thermal};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// How often the machine is read anew without an event.
const PERIOD: Duration = Duration::from_secs(600);
/// How often an unsettled measurement is tried again.
const MEASURE_AGAIN: Duration = Duration::from_secs(60);
/// How often runtimes are probed again that could not be: a machine that has just started may be too busy for it.
const PROBE_AGAIN: Duration = Duration::from_secs(5);
/// A device comes with many events; the machine is read when they are over.
const SETTLE: Duration = Duration::from_millis(300);

/// What the keeper needs.
pub struct ProfileKeeperOptions {
    /// What the profile is made from.
    pub profile: ProfileOptions,
    /// What the node runs: nothing is measured beside it.
    pub steps: Steps,
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
    pub async fn run(self, drain: CancellationToken) {
        let live = self.options.profile.root.is_live();
        // A recorded machine's devices stay where they are.
        let doorbell = live.then(Doorbell::listen_to_devices).flatten();
        let mut reread = tokio::time::interval(PERIOD);
        let mut measure = tokio::time::interval(MEASURE_AGAIN);
        let mut probe = tokio::time::interval(PROBE_AGAIN);
        probe.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Each begins with a tick, and the first look has just been taken.
        reread.tick().await;
        measure.tick().await;
        probe.tick().await;
        loop {
            tokio::select! {
                () = drain.cancelled() => return,
                () = rung(doorbell.as_ref()) => {
                    tokio::time::sleep(SETTLE).await;
                    self.reread().await;
                }
                _ = reread.tick() => self.reread().await,
                _ = measure.tick() => self.measure().await,
                _ = probe.tick(), if self.is_unprobed() => self.probe_again().await,
            }
        }
    }

    fn achieved(&self) -> Option<Achieved> {
        self.profile.borrow().hardware.memory.achieved
    }

    fn is_unprobed(&self) -> bool {
        has_failed(&self.profile.borrow().runtimes)
    }

    async fn probe_again(&self) {
        let options = &self.options.profile;
        let order = ProbeOrder { onnxruntime: options.config.onnxruntime.clone(), measure: false };
        let (found, _) = probe(&options.workers, order).await;
        if has_failed(&found) {
            return;
        }
        tracing::info!("the runtimes could be probed after all: the profile is told anew");
        self.profile.send_modify(|profile| {
            let runtimes = renewed(&profile.runtimes, found);
            *profile = Arc::new(NodeProfile { runtimes, ..NodeProfile::clone(profile) });
        });
    }

    async fn reread(&self) {
        let hardware = read_hardware(&self.options.profile.root, self.achieved()).await;
        self.publish(hardware, "the machine has changed");
    }

    /// Measures if there is no figure that can be believed and nobody is disturbed by it.
    async fn measure(&self) {
        let before = self.achieved();
        if bench::is_settled(before.as_ref()) || self.options.steps.busy() > 0 {
            return;
        }
        let has_figure = before.is_some();
        if !tokio::task::spawn_blocking(move || bench::is_idle_now(has_figure)).await.unwrap_or(false) || self.options.steps.busy() > 0 {
            return;
        }
        let options = &self.options.profile;
        let order = ProbeOrder { onnxruntime: options.config.onnxruntime.clone(), measure: true };
        let (_, Some(achieved)) = probe(&options.workers, order).await else {
            return;
        };
        if bench::is_better(&achieved, before.as_ref()) {
            bench::keep(&options.home.agent("bench.json"), achieved);
            let hardware = read_hardware(&options.root, Some(achieved)).await;
            self.publish(hardware, "measured again on an idle machine");
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

/// Whether the probe itself failed, not what it looked for: a worker that answers can run what it is made of.
fn has_failed(runtimes: &[RuntimeAvailability]) -> bool {
    runtimes.iter().any(|r| r.runtime == "builtin" && !r.available)
}

/// What was found, and of what no worker is asked, what was known.
fn renewed(known: &[RuntimeAvailability], mut found: Vec<RuntimeAvailability>) -> Vec<RuntimeAvailability> {
    let rest = known.iter().filter(|k| !found.iter().any(|f| f.runtime == k.runtime)).cloned().collect::<Vec<_>>();
    found.extend(rest);
    found
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
    fn a_probe_that_failed_is_taken_again_and_the_oci_runtime_stays_as_it_was() {
        let says = |runtime: &str, available| RuntimeAvailability { runtime: runtime.into(), available, detail: String::new() };
        let timed_out = [says("builtin", false), says("onnx", false), says("oci", true)];
        let probed = vec![says("builtin", true), says("onnx", false)];
        assert!(has_failed(&timed_out) && !has_failed(&probed), "a library that is missing is an answer");
        let renewed = renewed(&timed_out, probed);
        assert_eq!(renewed, [says("builtin", true), says("onnx", false), says("oci", true)]);
    }

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
