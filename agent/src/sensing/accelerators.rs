//! GPUs, NPUs and other accelerators that could run a step, from PCI, `class/drm`, `class/accel` and vendors' own classes.
//!
//! A display adapter of a server's management chip or of a virtual machine is no accelerator; a PCI class is no proof of an
//! NPU, a driver in the `accel` subsystem is.

use super::host_root::Place;
use super::pcie::{Function, is_address, trust};
use super::scan::Scan;
use ouro_common::device::{Accelerator, LinkTrust, PcieDevice};
use std::collections::{BTreeMap, BTreeSet};

/// Makers of GPUs that compute. Others (ASPEED, Matrox, virtio, VMware, Cirrus) only draw.
const GPU_VENDORS: &[(u32, &str)] = &[
    (trust::NVIDIA, "nvidia"),
    (trust::AMD_GPU, "amd"),
    (trust::AMD, "amd"),
    (trust::INTEL, "intel"),
    (0x1ed5, "moorethreads"),
    (0x1e3e, "iluvatar"),
];

/// Makers of accelerator cards.
const CARD_VENDORS: &[(u32, &str)] = &[
    (0x1bcf, "nec"),
    (0x1da3, "habana"),
    (0x17cb, "qualcomm"),
    (0x1e52, "tenstorrent"),
    (0x1ac1, "google"),
    (0x1e60, "hailo"),
    (0x19e5, "huawei"),
];

/// Drivers of GPUs that are no PCI device, with their makers.
const PLATFORM_GPU_DRIVERS: &[(&str, &str)] = &[
    ("panfrost", "arm"),
    ("panthor", "arm"),
    ("lima", "arm"),
    ("msm", "qualcomm"),
    ("msm_dpu", "qualcomm"),
    ("adreno", "qualcomm"),
    ("asahi", "apple"),
    ("v3d", "broadcom"),
    ("powervr", "imagination"),
    ("gk20a", "nvidia"),
    ("nvgpu", "nvidia"),
];

/// Accelerators by address; those of NVIDIA are completed by NVML elsewhere.
pub(crate) fn read(scan: &Scan<'_>, functions: &BTreeMap<String, Function>, pcie: &[PcieDevice]) -> Vec<Accelerator> {
    let vendor_classes = addresses_below(scan, "class/ve");
    let mut found = Vec::new();
    for device in pcie {
        let Some(function) = functions.get(&device.address) else { continue };
        found.extend(match device.kind.as_str() {
            "gpu" => read_gpu(scan, function, device),
            "npu" => Some(read_accel(function, "npu")),
            "accelerator" if function.has_accel || function.driver.is_some() || vendor_classes.contains(&device.address) => {
                Some(read_accel(function, "accelerator"))
            }
            _ => None,
        });
    }
    found.extend(read_platform_gpus(scan));
    found.extend(read_platform_accels(scan, functions));
    found
}

fn vendor_name(list: &[(u32, &str)], id: Option<u32>) -> Option<String> {
    list.iter().find(|(vendor, _)| Some(*vendor) == id).map(|(_, name)| (*name).to_string())
}

fn read_gpu(scan: &Scan<'_>, function: &Function, device: &PcieDevice) -> Option<Accelerator> {
    let place = scan.sys("bus/pci/devices").join(&device.address);
    // NVIDIA's driver lists its GPUs, which helps where the recording has no vendor.
    let listed = scan.proc("driver/nvidia/gpus").join(&device.address);
    let by_nvidia = scan.exists(&listed);
    let vendor = vendor_name(GPU_VENDORS, function.vendor).or_else(|| by_nvidia.then(|| "nvidia".to_string()))?;
    let driver = function.driver.as_deref().or(by_nvidia.then_some("nvidia"));
    let integrated = match device.trust {
        LinkTrust::Integrated => Some(true),
        LinkTrust::Measured | LinkTrust::Unreliable => Some(false),
        LinkTrust::Unknown => None,
    };
    Some(Accelerator {
        kind: "gpu".into(),
        name: gpu_name(scan, &place, &listed),
        runtimes: gpu_runtimes(scan, &vendor, driver),
        vendor,
        address: Some(device.address.clone()),
        memory_bytes: gpu_memory(scan, &place),
        integrated,
        source: "sysfs".into(),
        ..Accelerator::default()
    })
}

fn gpu_name(scan: &Scan<'_>, place: &Place, listed: &Place) -> Option<String> {
    let information = scan.table(&listed.join("information"));
    let model = information.as_deref().and_then(|text| text.lines().find_map(|line| line.strip_prefix("Model:")));
    model.map(|name| name.trim().to_string()).or_else(|| scan.text(&place.join("product_name")))
}

/// What the kernel's driver makes possible; whether the libraries are installed is another question.
fn gpu_runtimes(scan: &Scan<'_>, vendor: &str, driver: Option<&str>) -> Vec<String> {
    let runtime = match (vendor, driver) {
        ("nvidia", Some("nvidia")) => "cuda",
        ("amd", Some("amdgpu")) if scan.exists(&scan.sys("class/kfd")) => "rocm",
        ("intel", Some("i915" | "xe")) => "oneapi",
        _ => return Vec::new(),
    };
    vec![runtime.to_string()]
}

fn gpu_memory(scan: &Scan<'_>, place: &Place) -> Option<u64> {
    // amdgpu; i915 on cards with memory of their own.
    let amd = scan.number(&place.join("mem_info_vram_total"));
    amd.or_else(|| {
        let cards = scan.names(&place.join("drm"));
        let card = cards.iter().find(|name| is_card(name))?;
        scan.number(&place.join("drm").join(card).join("lmem_total_bytes"))
    })
    .filter(|bytes| *bytes > 0)
}

fn read_accel(function: &Function, kind: &str) -> Accelerator {
    let vendor = vendor_name(GPU_VENDORS, function.vendor).or_else(|| vendor_name(CARD_VENDORS, function.vendor));
    Accelerator {
        kind: kind.into(),
        vendor: vendor.unwrap_or_else(|| "unknown".into()),
        name: None,
        runtimes: if kind == "npu" { vec!["npu".into()] } else { Vec::new() },
        address: Some(function.address.clone()),
        memory_bytes: None,
        integrated: (kind == "npu").then_some(true),
        source: "sysfs".into(),
        ..Accelerator::default()
    }
}

/// `card0`, but not its connectors (`card0-HDMI-A-1`), `renderD128` or `controlD64`.
fn is_card(name: &str) -> bool {
    name.strip_prefix("card")
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// GPUs that are part of a system on chip.
fn read_platform_gpus(scan: &Scan<'_>) -> Vec<Accelerator> {
    let directory = scan.sys("class/drm");
    let cards = scan.names(&directory).into_iter().filter(|name| is_card(name));
    let mut seen = BTreeSet::new();
    cards
        .filter_map(|card| {
            let device = directory.join(&card).join("device");
            let driver = scan.driver(&device)?;
            let (_, vendor) = PLATFORM_GPU_DRIVERS.iter().find(|(name, _)| *name == driver)?;
            seen.insert(scan.real(&device)?).then(|| Accelerator {
                kind: "gpu".into(),
                vendor: (*vendor).to_string(),
                name: Some(driver),
                runtimes: Vec::new(),
                address: None,
                memory_bytes: None,
                integrated: Some(true),
                source: "sysfs".into(),
                ..Accelerator::default()
            })
        })
        .collect()
}

/// Entries of `class/accel` that belong to no PCI function: NPUs of systems on chip.
fn read_platform_accels(scan: &Scan<'_>, functions: &BTreeMap<String, Function>) -> Vec<Accelerator> {
    let directory = scan.sys("class/accel");
    let entries = scan.names(&directory).into_iter().filter(|name| name.starts_with("accel"));
    entries
        .filter_map(|name| {
            let place = directory.join(&name);
            let real = scan.real(&place)?;
            let of_pci = real.parts().any(|part| functions.get(part).is_some_and(|f| f.has_accel));
            let driver = scan.driver(&place.join("device"));
            if of_pci || driver.is_none() {
                return None;
            }
            Some(Accelerator {
                kind: "npu".into(),
                vendor: if driver.as_deref() == Some("rocket") { "rockchip".into() } else { "unknown".into() },
                name: driver,
                runtimes: vec!["npu".into()],
                address: None,
                memory_bytes: None,
                integrated: Some(true),
                source: "sysfs".into(),
                ..Accelerator::default()
            })
        })
        .collect()
}

/// The PCI addresses of a vendor's own class, from the links alone: recordings often lack their targets.
fn addresses_below(scan: &Scan<'_>, class: &str) -> BTreeSet<String> {
    let directory = scan.sys(class);
    let names = scan.names(&directory);
    let targets = names.iter().filter_map(|name| scan.root().read_link_text(&directory.join(name)).ok());
    targets
        .filter_map(|target| target.split('/').rev().find(|part| is_address(part)).map(str::to_string))
        .collect()
}
