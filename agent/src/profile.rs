//! What this node is, as the server is told: the hardware, what it achieves, and which runtimes work.
//!
//! A recorded machine may stand in for the hardware; what was measured is then still the real host's, and is marked so.

use crate::config::Config;
use crate::home::AgentHome;
use crate::sensing::host_root::{HostRoot, PROCFS_LIMIT};
use crate::sensing::nvml::{LiveNvml, NoNvml, NvidiaSource};
use crate::sensing::{ReportOptions, report};
use crate::workers::WorkerOptions;
use ouro_common::device::{Achieved, HardwareReport, NodeProfile, Warning};
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::BootId;
use std::path::PathBuf;

pub use keeper::{ProfileKeeper, ProfileKeeperOptions};
pub use search::{Containers, Found, Search, SearchOptions};

mod bench;
mod keeper;
mod search;

/// The machine that is read: the live one, or the recorded one that the configuration names.
///
/// # Errors
/// When the configuration names a folder that holds no machine.
pub fn hardware_root(config: &Config) -> Result<HostRoot, Fault> {
    let Some(folder) = &config.hardware_root else {
        return Ok(HostRoot::live());
    };
    let root = HostRoot::recorded(folder);
    if root.holds_machine() {
        return Ok(root);
    }
    let fault = Fault::new(FaultCode::InvalidArgument, "hardware_root holds no machine").at(folder.display());
    Err(fault.remedy("name a folder that holds sys and mostly proc, or take `hardware_root` out of agent.toml"))
}

/// The real host's boot id, also when the hardware is a recorded machine's.
///
/// # Errors
/// When the kernel gives none.
pub fn boot_id() -> Result<BootId, Fault> {
    let text = kernel_text("sys/kernel/random/boot_id");
    let none = || Fault::new(FaultCode::Internal, "the kernel gives no boot id").remedy("is the proc file system mounted?");
    text.and_then(|t| t.trim().parse().ok()).ok_or_else(none)
}

/// The host's name for people.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn kernel_text(place: &str) -> Option<String> {
    let live = HostRoot::live();
    let bytes = live.read_bytes(&live.proc(place), PROCFS_LIMIT).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// What the node's profile is made from.
#[derive(Clone)]
pub struct ProfileOptions {
    /// Where the measurement is kept.
    pub home: AgentHome,
    /// The configuration.
    pub config: Config,
    /// The machine that is read.
    pub root: HostRoot,
    /// How workers are started: one of them measures.
    pub workers: WorkerOptions,
    /// The kernel's boot.
    pub boot: BootId,
}

/// The figures of this machine that are known before anything is tried.
pub struct Figures {
    /// What was measured at an earlier start.
    known: Option<Achieved>,
    /// Why nothing is measured now.
    unfit: Option<String>,
}

impl Figures {
    /// Looks what is known. The machine is measured once for each machine and kernel, which takes up to two seconds, but not on a
    /// battery or near the heat limit.
    pub async fn look(home: &AgentHome) -> Self {
        let known = bench::read(&home.agent("bench.json"));
        let unfit = match known {
            None => tokio::task::spawn_blocking(bench::unfit_now).await.ok().flatten(),
            Some(_) => None,
        };
        Self { known, unfit }
    }

    /// Where a measurement is to be kept, if one is to be made.
    pub fn wanted(&self, home: &AgentHome) -> Option<PathBuf> {
        (self.known.is_none() && self.unfit.is_none()).then(|| home.agent("bench.json"))
    }
}

/// What this node is, as far as it has been found out.
pub async fn describe(options: &ProfileOptions, figures: Figures, found: &Found) -> NodeProfile {
    let config = &options.config;
    let Figures { known, unfit } = figures;
    let achieved = known.or(found.achieved);
    let speeds = found.speeds.or_else(|| bench::read_speeds(&options.home.agent("bench.json")));
    let mut hardware = read_hardware(&options.root, achieved).await;
    if let Some(why) = unfit {
        let problem = format!("not measured: {why}; it is measured when that is over");
        hardware.warnings.push(Warning { path: "bandwidth".into(), problem });
    }
    NodeProfile {
        recorded: !options.root.is_live(),
        hostname: host_name(),
        agent_version: env!("CARGO_PKG_VERSION").into(),
        boot: options.boot,
        runtimes: found.runtimes(),
        bandwidth_bytes_per_s: achieved.map(|a| a.all_threads.read_bytes_per_s),
        flops_per_s: achieved.map(|a| a.flops_per_s),
        disk_bytes_per_s: speeds.and_then(|s| s.disk_bytes_per_s),
        hash_bytes_per_s: speeds.and_then(|s| s.hash_bytes_per_s),
        slots: config.slots(logical_cpus()),
        batch: config.workers.batch,
        cache_bytes: Some(config.workers.cache_bytes(memory_bytes())),
        first_pass_model: first_pass_model(config),
        hardware,
    }
}

/// Reads the machine in a thread that may wait.
async fn read_hardware(root: &HostRoot, achieved: Option<Achieved>) -> HardwareReport {
    let root = root.clone();
    let folder = root.folder().display().to_string();
    let read = tokio::task::spawn_blocking(move || {
        let nvidia: &'static (dyn NvidiaSource + Sync) = if root.is_live() { &LiveNvml } else { &NoNvml };
        report(&root, ReportOptions { nvidia, achieved })
    });
    read.await.unwrap_or_else(|error| {
        tracing::error!(%error, folder, "the machine could not be read");
        HardwareReport::unread(&folder)
    })
}

/// Hardware threads of the real host.
pub fn logical_cpus() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1))
}

/// All memory of the real host, bytes, if it says so.
pub fn memory_bytes() -> Option<u64> {
    crate::sensing::memory_total_bytes(&HostRoot::live())
}

fn first_pass_model(config: &Config) -> Option<String> {
    let model = config.first_pass.model.as_ref().filter(|_| config.first_pass.enabled)?;
    Some(model.file_name()?.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_has_a_boot_id() {
        assert_eq!(boot_id().unwrap(), boot_id().unwrap());
    }

    #[test]
    fn a_hardware_root_without_a_machine_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { hardware_root: Some(folder.path().into()), ..Config::default() };
        assert!(hardware_root(&config).unwrap_err().at.contains(folder.path().to_str().unwrap()));
        std::fs::create_dir_all(folder.path().join("sys/class")).unwrap();
        assert!(!hardware_root(&config).unwrap().is_live());
    }
}
