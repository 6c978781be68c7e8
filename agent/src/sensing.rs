//! What the machine is and how it is doing, read from one injectable root.
//!
//! Each sensor stands alone: one that fails leaves a warning and the others as they are, so a report is always made.
//! Unknown is `None` with a reason; nothing is guessed.

use host_root::HostRoot;
use nvml::{NvidiaReport, NvidiaSource};
use ouro_common::device::{Achieved, HardwareReport, Machine, PcieLink};
use round::Round;
use scan::Scan;

mod accelerators;
pub mod bandwidth;
mod cpu;
pub mod doorbell;
pub mod host_root;
mod kind;
mod memory;
mod nvme;
pub mod nvml;
mod pcie;
pub(crate) mod power;
mod pressure;
#[cfg(test)]
pub(crate) mod properties;
pub mod readings;
pub mod resident;
mod round;
pub mod rtt;
pub mod scan;
pub mod speeds;
mod thermal;

/// What a report is made with besides the root.
#[derive(Clone, Copy)]
pub struct ReportOptions {
    /// Who answers for NVIDIA's GPUs: [`nvml::LiveNvml`] on the live machine, [`nvml::NoNvml`] on a recorded one.
    pub nvidia: &'static (dyn NvidiaSource + Sync),
    /// What memory and cores achieved, if the caller measured it.
    pub achieved: Option<Achieved>,
}

impl std::fmt::Debug for ReportOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReportOptions").field("achieved", &self.achieved).finish_non_exhaustive()
    }
}

/// All memory that the kernel manages, bytes.
pub fn memory_total_bytes(root: &HostRoot) -> Option<u64> {
    memory::read(&Scan::new(root), &[]).total_bytes
}

/// Reads everything. Never fails, never panics and never hangs: what cannot be read is `None` and a warning.
pub fn report(root: &HostRoot, options: ReportOptions) -> HardwareReport {
    let mut round = Round::new(root);
    let cpu = round.read("cpu", cpu::read);
    let functions = round.read("pcie", pcie::read_functions);
    let virtual_machine = {
        let (cpu, functions) = (cpu.clone(), functions.clone());
        round.read("machine", move |scan| kind::is_virtual(scan, &cpu, &functions))
    };
    let numa = {
        let (model, functions) = (cpu.cpu.model.clone(), functions.clone());
        round.read("numa", move |scan| {
            let mut nodes = memory::read_nodes(scan);
            memory::owner::assign(scan, &functions, model.as_deref(), &mut nodes);
            nodes
        })
    };
    let nodes = numa.clone();
    let mut memory = round.read("memory", move |scan| memory::read(scan, &nodes));
    memory.bandwidth_bytes_per_s = options.achieved.map(|a| a.all_threads.read_bytes_per_s);
    memory.bandwidth_source = options.achieved.filter(|_| !root.is_live()).map(|_| "host".to_string());
    memory.achieved = options.achieved;
    memory.theoretical = round.read("memory modules", move |scan| memory::modules::read(scan, virtual_machine));
    let host_nodes = memory::count_host_nodes(&numa, cpu.cpu.logical);
    let kind = {
        let cpu = cpu.clone();
        round.read("machine", move |scan| kind::read(scan, &cpu, host_nodes, virtual_machine))
    };
    let mut pcie = {
        let functions = functions.clone();
        round.read("pcie", move |_| pcie::endpoints(&functions, virtual_machine))
    };
    let devices = pcie.clone();
    let nvme = round.read("nvme", move |scan| nvme::read(scan, &devices));
    let devices = pcie.clone();
    let mut accelerators = round.read("accelerators", move |scan| accelerators::read(scan, &functions, &devices));
    let mut temperatures = round.read("thermal", thermal::read);
    let power = round.read("power", power::read);
    let pressure = round.read("pressure", pressure::read);
    let has_gpu = pcie.iter().any(|d| d.vendor.as_deref() == Some("0x10de") && d.kind == "gpu");
    let nvidia = round.read("nvml", move |scan| ask_nvidia(scan, options.nvidia, has_gpu));
    nvml::merge(&nvidia, &mut accelerators, &mut pcie);
    temperatures.extend(nvml::readings(&nvidia));
    HardwareReport {
        schema: HardwareReport::SCHEMA.to_string(),
        root: root.folder().display().to_string(),
        machine: Machine { kind: if kind.is_empty() { "unknown" } else { kind }.to_string(), cpu: cpu.cpu },
        memory,
        numa,
        pcie,
        nvme,
        accelerators,
        power,
        thermal: thermal::report(&temperatures),
        pressure,
        warnings: round.into_warnings(),
    }
}

/// Silent unless the machine has a GPU that NVML should know.
fn ask_nvidia(scan: &Scan<'_>, source: &dyn NvidiaSource, has_gpu: bool) -> NvidiaReport {
    match source.read_gpus() {
        Ok(report) => {
            for gpu in &report.gpus {
                if let Some(problem) = &gpu.problem {
                    scan.warn(&gpu.address, format!("this GPU {problem}"));
                }
            }
            report
        }
        Err(error) => {
            if has_gpu {
                scan.warn("NVML", format!("an NVIDIA GPU is there, but {error}"));
            }
            NvidiaReport::default()
        }
    }
}

pub(crate) use memory::modules::without_secrets as memory_table_without_secrets;

/// What a recording of this machine will be asked for its load instead of two readings of the counters.
pub(crate) fn recorded_load(scan: &Scan<'_>) -> Option<f64> {
    readings::load::read_load_average(scan)
}

/// What the phone's commands print, with the file that stands for each in a recording.
pub(crate) fn phone_output(scan: &Scan<'_>) -> Vec<(&'static str, String)> {
    let termux = scan.command_output(power::android::TERMUX_FILE, Some("termux-battery-status"));
    termux.map(|text| (power::android::TERMUX_FILE, text)).into_iter().collect()
}

/// Whether a name is that of a PCI function, like `0000:01:00.0`.
pub(crate) fn is_pci_address(name: &str) -> bool {
    pcie::is_address(name)
}

/// What the port that a PCI function sits in says it can carry, whether or not it can be believed; `None` where it says nothing, and on
/// a root bus.
pub(crate) fn port_link(root: &HostRoot, address: &str) -> Option<PcieLink> {
    let scan = Scan::new(root);
    let port = scan.real(&scan.sys("bus/pci/devices").join(address))?.parent()?;
    pcie::is_address(port.name()).then(|| pcie::link::HopLink::read(&scan, &port).max())?
}

/// The slowest PCIe hop on the way to an NVMe controller, bytes per second in one direction; `None` for anything else, and where
/// the machine does not say, or cannot be believed.
pub(crate) fn nvme_path_bytes_per_s(root: &HostRoot, address: &str) -> Option<f64> {
    let scan = Scan::new(root);
    let functions = pcie::read_functions(&scan);
    let virtual_machine = kind::is_virtual(&scan, &cpu::read(&scan), &functions);
    let endpoints = pcie::endpoints(&functions, virtual_machine);
    endpoints.iter().find(|endpoint| endpoint.address == address && endpoint.kind == "nvme")?.path_bytes_per_s
}
