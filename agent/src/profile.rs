//! What this node is, as the server is told: the hardware, what it achieves, and which runtimes work.
//!
//! A recorded machine may stand in for the hardware; what was measured is then still the real host's, and is marked so.

use crate::config::Config;
use crate::durable::{self, Keep};
use crate::home::AgentHome;
use crate::sensing::host_root::{HostRoot, PROCFS_LIMIT};
use crate::sensing::nvml::{LiveNvml, NoNvml, NvidiaSource};
use crate::sensing::{ReportOptions, report};
use crate::workers::WorkerOptions;
use crate::workers::probe::probe;
use crate::workers::protocol::{Measured, ProbeOrder};
use ouro_common::device::NodeProfile;
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::BootId;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// `bench.json`: what was measured, and on what machine.
#[derive(Debug, Serialize, Deserialize)]
struct Bench {
    machine: String,
    measured: Measured,
}

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

/// Finds out what this node is. Measures once for each machine and kernel; that takes up to two seconds.
pub async fn find_out(home: &AgentHome, config: &Config, root: &HostRoot, workers: &WorkerOptions, boot: BootId) -> NodeProfile {
    let machine = machine_key();
    let known = read_bench(&home.agent("bench.json")).filter(|b| b.machine == machine).map(|b| b.measured);
    let order = ProbeOrder { onnxruntime: config.onnxruntime.clone(), measure: known.is_none() };
    let (runtimes, fresh) = probe(workers, order).await;
    if let Some(measured) = fresh {
        let json = serde_json::to_vec_pretty(&Bench { machine, measured }).unwrap_or_default();
        if let Err(error) = durable::write(&home.agent("bench.json"), &json, Keep::ThroughCrash) {
            tracing::warn!(%error, "the measurement could not be kept and is made again at the next start");
        }
    }
    let measured = known.or(fresh);
    let bandwidth_bytes_per_s = measured.map(|m| m.bandwidth_bytes_per_s);
    let reading = root.clone();
    let hardware = tokio::task::spawn_blocking(move || {
        let nvidia: &dyn NvidiaSource = if reading.is_live() { &LiveNvml } else { &NoNvml };
        report(&reading, ReportOptions { nvidia, bandwidth_bytes_per_s })
    });
    let hardware = match hardware.await {
        Ok(hardware) => hardware,
        Err(_) => report(&HostRoot::recorded(home.root()), ReportOptions { nvidia: &NoNvml, bandwidth_bytes_per_s }),
    };
    NodeProfile {
        recorded: !root.is_live(),
        hostname: host_name(),
        agent_version: env!("CARGO_PKG_VERSION").into(),
        boot,
        runtimes,
        bandwidth_bytes_per_s,
        flops_per_s: measured.map(|m| m.flops_per_s),
        disk_bytes_per_s: None,
        hash_bytes_per_s: None,
        slots: config.slots(logical_cpus()),
        first_pass_model: first_pass_model(config),
        hardware,
    }
}

/// Hardware threads of the real host.
pub fn logical_cpus() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1))
}

fn first_pass_model(config: &Config) -> Option<String> {
    let model = config.first_pass.model.as_ref().filter(|_| config.first_pass.enabled)?;
    Some(model.file_name()?.to_string_lossy().into_owned())
}

/// What a measurement holds for: the processor, its threads, the memory and the kernel.
fn machine_key() -> String {
    let cpuinfo = kernel_text("cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find(|l| l.starts_with("model name") || l.starts_with("Hardware")).unwrap_or_default();
    let memory = kernel_text("meminfo").unwrap_or_default().lines().next().unwrap_or_default().to_string();
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    format!("{model} | {} threads | {memory} | {kernel}", logical_cpus())
}

fn read_bench(path: &Path) -> Option<Bench> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_has_a_boot_id_and_a_measurement_is_tied_to_it() {
        assert_eq!(boot_id().unwrap(), boot_id().unwrap());
        assert_eq!(machine_key(), machine_key());
        assert!(machine_key().contains("threads"));
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
