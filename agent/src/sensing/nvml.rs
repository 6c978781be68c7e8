//! NVIDIA's management library, the one source that has no files: what it knows is merged into what sysfs showed.
//!
//! The library is loaded at run time. A machine without NVIDIA hardware is not bothered with its absence; one that has such
//! a GPU is told what is missing.

use super::thermal::{Reading, trust};
use ouro_common::device::{Accelerator, AcceleratorProcess, GpuMemory, LinkTrust, PcieDevice, PcieLink, Sensor};
use serde::{Deserialize, Serialize};

pub use library::{LiveNvml, NvmlLibrary};

mod library;

/// What NVML says of one GPU.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NvidiaGpu {
    /// The PCI address as sysfs writes it.
    pub address: String,
    /// The product's name.
    pub name: Option<String>,
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Temperature of the die in °C.
    pub temperature_c: Option<f64>,
    /// Where it slows down, °C.
    pub slowdown_c: Option<f64>,
    /// PCIe generation and lanes now.
    pub current_link: Option<(u32, u32)>,
    /// PCIe generation and lanes at most, in this machine.
    pub max_link: Option<(u32, u32)>,
    /// CUDA compute capability, `9.0`.
    pub compute_capability: Option<String>,
    /// The power limit in force, W.
    pub power_limit_watts: Option<f64>,
    /// What heat or the power supply leaves of its clock, 0 to 1; 1 if nothing slows it down.
    pub clock_cap: Option<f64>,
    /// Why it is slowed down: `thermal`, `hardware slowdown`, `power brake`.
    pub slowed_by: Vec<String>,
    /// The processes that have memory on it.
    pub processes: Vec<AcceleratorProcess>,
    /// What is wrong with it: it has fallen off the bus, or does not answer. What it last said of itself is then old, and
    /// everything that changes is unknown.
    pub problem: Option<String>,
}

/// The library's answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NvidiaReport {
    /// The driver's version.
    pub driver_version: Option<String>,
    /// The GPUs it manages.
    pub gpus: Vec<NvidiaGpu>,
}

/// NVML could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("NVML cannot be used ({reason}); install NVIDIA's driver with libnvidia-ml")]
pub struct NvmlUnavailable {
    /// What the library or the loader said.
    pub reason: String,
}

/// Where the answer comes from: the library, or a recording of it.
pub trait NvidiaSource {
    /// Asks for the GPUs.
    ///
    /// # Errors
    /// [`NvmlUnavailable`] when there is no library or no driver.
    fn read_gpus(&self) -> Result<NvidiaReport, NvmlUnavailable>;
}

/// A recorded root, or a caller that does not want the library: no GPUs and no complaint.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoNvml;

impl NvidiaSource for NoNvml {
    fn read_gpus(&self) -> Result<NvidiaReport, NvmlUnavailable> {
        Ok(NvidiaReport::default())
    }
}

impl NvidiaSource for NvidiaReport {
    fn read_gpus(&self) -> Result<NvidiaReport, NvmlUnavailable> {
        Ok(self.clone())
    }
}

/// Completes accelerators and links by what NVML knows; what sysfs read of a link is kept.
pub(crate) fn merge(report: &NvidiaReport, accelerators: &mut Vec<Accelerator>, pcie: &mut [PcieDevice]) {
    for gpu in &report.gpus {
        let known = accelerators.iter().position(|a| a.address.as_deref() == Some(gpu.address.as_str()));
        let index = known.unwrap_or_else(|| {
            accelerators.push(new_gpu(&gpu.address));
            accelerators.len() - 1
        });
        let entry = &mut accelerators[index];
        entry.source = "nvml".into();
        entry.name = gpu.name.clone().or(entry.name.take());
        entry.memory_bytes = gpu.memory_bytes.or(entry.memory_bytes);
        // CUDA names its targets by compute capability: 9.0 is sm_90.
        let target = gpu.compute_capability.as_ref().map(|capability| format!("sm_{}", capability.replace('.', "")));
        entry.runtimes = std::iter::once("cuda".to_string()).chain(target).collect();
        // A GPU that is gone runs nothing.
        if gpu.problem.is_some() {
            entry.runtimes.clear();
        }
        entry.driver_version.clone_from(&report.driver_version);
        entry.power_limit_watts = gpu.power_limit_watts;
        entry.processes.clone_from(&gpu.processes);
        if let Some(device) = pcie.iter_mut().find(|device| device.address == gpu.address) {
            merge_link(gpu, device);
        }
    }
}

/// The GPUs' temperatures, with the limit at which each slows down.
pub(crate) fn readings(report: &NvidiaReport) -> impl Iterator<Item = Reading> {
    report.gpus.iter().filter_map(|gpu| {
        let c = gpu.temperature_c?;
        let (trusted, why) = trust::judge("nvml", &gpu.address, Some(c));
        let sensor = Sensor { chip: "nvml".into(), label: gpu.address.clone(), c: Some(c), trusted, why, path: "NVML".into() };
        Some(Reading { sensor, critical_c: gpu.slowdown_c, cpu_rank: 0 })
    })
}

/// Who has memory on the GPUs whose size is known.
pub(crate) fn gpu_memory(report: &NvidiaReport) -> Vec<GpuMemory> {
    let of = |gpu: &NvidiaGpu| Some(GpuMemory { memory_bytes: gpu.memory_bytes?, processes: gpu.processes.clone() });
    report.gpus.iter().filter(|gpu| gpu.problem.is_none()).filter_map(of).collect()
}

/// What heat and power leave of the clocks of the GPU that is slowed down most; `None` if no GPU says anything.
pub(crate) fn clock_cap(report: &NvidiaReport) -> Option<f64> {
    report.gpus.iter().filter_map(|gpu| gpu.clock_cap).min_by(f64::total_cmp)
}

fn merge_link(gpu: &NvidiaGpu, device: &mut PcieDevice) {
    let link = |pair: Option<(u32, u32)>| pair.and_then(|(generation, lanes)| PcieLink::new(gt_per_s(generation)?, lanes));
    device.current = device.current.or_else(|| link(gpu.current_link));
    device.max = device.max.or_else(|| link(gpu.max_link));
    if device.trust == LinkTrust::Unknown && device.current.is_some() {
        device.why = format!("{}; NVML repeats what the guest is told", device.why);
    }
}

/// The transfer rate of a PCIe generation.
fn gt_per_s(generation: u32) -> Option<f64> {
    [2.5, 5.0, 8.0, 16.0, 32.0, 64.0].get(usize::try_from(generation.checked_sub(1)?).ok()?).copied()
}

fn new_gpu(address: &str) -> Accelerator {
    Accelerator {
        kind: "gpu".into(),
        vendor: "nvidia".into(),
        address: Some(address.to_string()),
        source: "nvml".into(),
        ..Accelerator::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nvml_completes_what_sysfs_showed_and_adds_what_it_did_not() {
        let seen = Accelerator { source: "sysfs".into(), integrated: Some(false), ..new_gpu("0000:01:00.0") };
        let gpu = |address: &str| NvidiaGpu {
            address: address.into(),
            name: Some("NVIDIA H100".into()),
            memory_bytes: Some(80 << 30),
            compute_capability: Some("9.0".into()),
            ..NvidiaGpu::default()
        };
        let report = NvidiaReport { driver_version: None, gpus: vec![gpu("0000:01:00.0"), gpu("0000:02:00.0")] };
        let mut accelerators = vec![seen];
        merge(&report, &mut accelerators, &mut []);
        assert_eq!(accelerators.len(), 2);
        assert!(accelerators.iter().all(|a| a.source == "nvml" && a.memory_bytes == Some(80 << 30)));
        assert_eq!(accelerators[0].integrated, Some(false));
        assert_eq!(accelerators[0].runtimes, ["cuda", "sm_90"]);
        assert_eq!(gt_per_s(4), Some(16.0));
        assert_eq!(gt_per_s(0), None);
    }
}
