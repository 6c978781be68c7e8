//! NVIDIA's management library, the one source that has no files: what it knows is merged into what sysfs showed.
//!
//! The library is loaded at run time. A machine without NVIDIA hardware is not bothered with its absence; one that has such
//! a GPU is told what is missing.

use super::thermal::{Reading, trust};
use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::{TemperatureSensor, TemperatureThreshold};
use ouro_common::device::{Accelerator, LinkTrust, PcieDevice, PcieLink, Sensor};
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;

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

/// The library of the machine this process runs on.
#[derive(Debug, Clone, Copy, Default)]
pub struct LiveNvml;

impl NvidiaSource for LiveNvml {
    fn read_gpus(&self) -> Result<NvidiaReport, NvmlUnavailable> {
        // Loading the library costs too much to do it with every heartbeat; a driver installed later needs a new process.
        static LIBRARY: OnceLock<Result<Nvml, String>> = OnceLock::new();
        let unavailable = |error: nvml_wrapper::error::NvmlError| NvmlUnavailable { reason: error.to_string() };
        let library = LIBRARY.get_or_init(|| Nvml::init().map_err(|error| error.to_string()));
        let nvml = library.as_ref().map_err(|reason| NvmlUnavailable { reason: reason.clone() })?;
        let count = nvml.device_count().map_err(unavailable)?;
        // A GPU that has fallen off the bus must not hide the others.
        let gpus = (0..count)
            .filter_map(|index| nvml.device_by_index(index).ok())
            .filter_map(|device| read_device(&device))
            .collect();
        Ok(NvidiaReport { driver_version: nvml.sys_driver_version().ok(), gpus })
    }
}

fn read_device(device: &nvml_wrapper::Device<'_>) -> Option<NvidiaGpu> {
    let pci = device.pci_info().ok()?;
    let link = |generation: Option<u32>, lanes: Option<u32>| generation.zip(lanes);
    let capability = device.cuda_compute_capability().ok();
    Some(NvidiaGpu {
        address: format!("{:04x}:{:02x}:{:02x}.0", pci.domain, pci.bus, pci.device),
        name: device.name().ok(),
        memory_bytes: device.memory_info().ok().map(|memory| memory.total),
        temperature_c: device.temperature(TemperatureSensor::Gpu).ok().map(f64::from),
        slowdown_c: device.temperature_threshold(TemperatureThreshold::Slowdown).ok().map(f64::from),
        current_link: link(device.current_pcie_link_gen().ok(), device.current_pcie_link_width().ok()),
        max_link: link(device.max_pcie_link_gen().ok(), device.max_pcie_link_width().ok()),
        compute_capability: capability.map(|version| format!("{}.{}", version.major, version.minor)),
    })
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
        let sensor = Sensor { chip: "nvml".into(), label: gpu.address.clone(), c: Some(c), trusted, why };
        Some(Reading { sensor, critical_c: gpu.slowdown_c, cpu_rank: 0 })
    })
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
        name: None,
        runtimes: Vec::new(),
        address: Some(address.to_string()),
        memory_bytes: None,
        integrated: None,
        source: "nvml".into(),
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
