//! What the machine is and how it is doing, read from one injectable root.
//!
//! Each sensor stands alone: one that fails leaves a warning and the others as they are, so a report is always made.
//! Unknown is `None` with a reason; nothing is guessed.

use host_root::HostRoot;
use nvml::{NvidiaReport, NvidiaSource};
use ouro_common::device::{HardwareReport, Machine, MemoryKind};
use scan::Scan;
use std::panic::{AssertUnwindSafe, catch_unwind};

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
mod power;
#[cfg(test)]
pub(crate) mod properties;
pub mod readings;
pub mod rtt;
pub mod scan;
mod thermal;

/// What a report is made with besides the root.
#[derive(Clone, Copy)]
pub struct ReportOptions<'a> {
    /// Who answers for NVIDIA's GPUs: [`nvml::LiveNvml`] on the live machine, [`nvml::NoNvml`] on a recorded one.
    pub nvidia: &'a dyn NvidiaSource,
    /// Memory bandwidth, if the caller measured it; bytes per second.
    pub bandwidth_bytes_per_s: Option<f64>,
}

impl std::fmt::Debug for ReportOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReportOptions")
            .field("bandwidth_bytes_per_s", &self.bandwidth_bytes_per_s)
            .finish_non_exhaustive()
    }
}

/// Reads everything. Never fails and never panics: what cannot be read is `None` and a warning.
pub fn report(root: &HostRoot, options: ReportOptions<'_>) -> HardwareReport {
    let scan = Scan::new(root);
    let cpu = guarded(&scan, "cpu", || cpu::read(&scan));
    let functions = guarded(&scan, "pcie", || pcie::read_functions(&scan));
    let virtual_machine = guarded(&scan, "machine", || kind::is_virtual(&scan, &cpu, &functions));
    let numa = guarded(&scan, "numa", || memory::read_nodes(&scan));
    let mut memory = guarded(&scan, "memory", || memory::read(&scan, &numa));
    memory.bandwidth_bytes_per_s = options.bandwidth_bytes_per_s;
    memory.bandwidth_source = options.bandwidth_bytes_per_s.filter(|_| !root.is_live()).map(|_| "host".to_string());
    let host_nodes = numa.iter().filter(|n| n.kind == MemoryKind::Host && n.logical_cpus.unwrap_or(0) > 0).count();
    let kind = guarded(&scan, "machine", || kind::read(&scan, &cpu, host_nodes, virtual_machine));
    let mut pcie = guarded(&scan, "pcie", || pcie::endpoints(&functions, virtual_machine));
    let nvme = guarded(&scan, "nvme", || nvme::read(&scan, &pcie));
    let mut accelerators = guarded(&scan, "accelerators", || accelerators::read(&scan, &functions, &pcie));
    let mut temperatures = guarded(&scan, "thermal", || thermal::read(&scan));
    let power = guarded(&scan, "power", || power::read(&scan));
    let nvidia = guarded(&scan, "nvml", || {
        ask_nvidia(&scan, options.nvidia, pcie.iter().any(|d| d.vendor.as_deref() == Some("0x10de") && d.kind == "gpu"))
    });
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
        warnings: scan.into_warnings(),
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

/// Runs one sensor; a panic in it becomes a warning and its default.
fn guarded<T: Default>(scan: &Scan<'_>, sensor: &str, read: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        scan.warn(sensor, "this sensor failed; please report it with a snapshot of the machine");
        T::default()
    })
}

/// What a recording of this machine will be asked for its load instead of two readings of the counters.
pub(crate) fn recorded_load(scan: &Scan<'_>) -> Option<f64> {
    readings::load::read_load_average(scan)
}

/// What the phone's commands print, with the file that stands for each in a recording.
pub(crate) fn phone_output(scan: &Scan<'_>) -> Vec<(&'static str, String)> {
    let termux = scan.command_output(power::android::TERMUX_FILE, Some("termux-battery-status"));
    termux.map(|text| (power::android::TERMUX_FILE, text)).into_iter().collect()
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
