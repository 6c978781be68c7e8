//! PCI Express endpoints and their links, from `bus/pci/devices` (kernel ABI `sysfs-bus-pci`).
//!
//! Bridges have link files too, but are hops, not devices: they are read only to find the slowest hop above an endpoint.
//! What a device says of its own link is not always its link; [`trust`] knows who says something else, and why.

use super::host_root::Place;
use super::scan::Scan;
use link::HopLink;
use ouro_common::device::{LinkTrust, PcieDevice, PcieLink};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) mod link;
pub(crate) mod trust;

/// What was read of one PCI function, before anything is concluded.
#[derive(Debug, Clone, Default)]
pub(crate) struct Function {
    /// `0000:01:00.0`.
    pub(crate) address: String,
    /// Class code, 24 bits.
    pub(crate) class: Option<u32>,
    /// Vendor id.
    pub(crate) vendor: Option<u32>,
    /// Device id.
    pub(crate) device: Option<u32>,
    /// The driver bound to it.
    pub(crate) driver: Option<String>,
    /// The functions above it, nearest first.
    pub(crate) upstream: Vec<String>,
    /// Whether it hangs directly on a root bus as far as the tree shows (`pci0000:00/0000:00:1f.3`).
    pub(crate) on_root_bus: bool,
    /// Its link files.
    pub(crate) link: HopLink,
    /// The NUMA node.
    pub(crate) numa_node: Option<u32>,
    /// Whether the kernel says that it is outside the case: behind Thunderbolt, USB4 or an ExpressCard slot.
    pub(crate) is_removable: bool,
    /// Whether it has an entry of the kernel's `accel` subsystem.
    pub(crate) has_accel: bool,
    /// Whether the header type says it is a bridge, for functions without a class.
    pub(crate) header_is_bridge: bool,
}

impl Function {
    /// Base class 6: host, ISA and PCI bridges.
    pub(crate) fn is_bridge(&self) -> bool {
        self.class.map_or(self.header_is_bridge, |class| class >> 16 == 0x06)
    }

    /// What the report calls it.
    pub(crate) fn kind(&self) -> &'static str {
        let class = self.class.unwrap_or(0);
        match (class >> 16, class >> 8) {
            (0x03, _) => "gpu",
            // MI300 and other compute cards of the GPU makers are "processing accelerators".
            (0x12, _) if matches!(self.vendor, Some(trust::AMD_GPU | trust::NVIDIA)) => "gpu",
            (0x12, _) if self.has_accel => accel_kind(self.driver.as_deref()),
            // The class alone proves nothing: an emulated test device has it too.
            (0x12, _) if self.vendor == Some(trust::QEMU) => "other",
            (0x12, _) | (_, 0x0b40) => "accelerator",
            (_, 0x0108) => "nvme",
            (0x02, _) => "nic",
            _ if self.has_accel => accel_kind(self.driver.as_deref()),
            _ => "other",
        }
    }
}

/// Drivers of the `accel` subsystem whose devices are training or inference cards rather than a processor's NPU.
fn accel_kind(driver: Option<&str>) -> &'static str {
    if matches!(driver, Some("habanalabs" | "qaic")) { "accelerator" } else { "npu" }
}

/// All PCI functions, bridges included, by address.
pub(crate) fn read_functions(scan: &Scan<'_>) -> BTreeMap<String, Function> {
    let directory = scan.sys("bus/pci/devices");
    let mut functions = BTreeMap::new();
    for name in scan.names(&directory) {
        if is_address(&name) {
            let function = read_function(scan, &directory.join(&name), &name);
            functions.insert(name, function);
        }
    }
    functions
}

fn read_function(scan: &Scan<'_>, place: &Place, address: &str) -> Function {
    let real = scan.real(place);
    let hex = |name: &str| scan.text(&place.join(name)).and_then(|text| parse_hex(&text));
    // Recordings often lack single files; the kernel repeats the ids in the uevent.
    let ids = scan.uevent(place, "PCI_ID");
    let (uevent_vendor, uevent_device) = ids.as_deref().and_then(|ids| ids.split_once(':')).unzip();
    let upstream: Vec<String> = real
        .as_ref()
        .map(|real| real.parts().rev().skip(1).take_while(|part| is_address(part)).map(str::to_string).collect())
        .unwrap_or_default();
    let parent_is_root_bus = real
        .as_ref()
        .and_then(Place::parent)
        .is_some_and(|parent| parent.name().starts_with("pci") && parent.name().contains(':'));
    Function {
        address: address.to_string(),
        class: hex("class").or_else(|| parse_hex(&scan.uevent(place, "PCI_CLASS")?)),
        vendor: hex("vendor").or_else(|| parse_hex(uevent_vendor?)),
        device: hex("device").or_else(|| parse_hex(uevent_device?)),
        driver: scan.driver(place),
        on_root_bus: upstream.is_empty() && parent_is_root_bus,
        upstream,
        link: HopLink::read(scan, place),
        // -1: the firmware does not say.
        numa_node: scan.number::<i64>(&place.join("numa_node")).and_then(|node| u32::try_from(node).ok()),
        is_removable: scan.text(&place.join("removable")).as_deref() == Some("removable"),
        has_accel: scan.names(&place.join("accel")).iter().any(|name| name.starts_with("accel")),
        header_is_bridge: header_is_bridge(scan, place),
    }
}

/// Byte 0x0e of the configuration space, without the multi-function bit.
fn header_is_bridge(scan: &Scan<'_>, place: &Place) -> bool {
    let header = scan.root().read_bytes(&place.join("config"), 64).ok();
    header.and_then(|bytes| bytes.get(0x0e).copied()).is_some_and(|header| header & 0x7f == 1)
}

/// The endpoints as they are reported, by address.
pub(crate) fn endpoints(functions: &BTreeMap<String, Function>, virtual_machine: bool) -> Vec<PcieDevice> {
    // Every function of AMD's own processors carries the vendor 1022; a GPU on the same bus is part of that processor.
    let processor_buses: BTreeSet<&str> = functions
        .values()
        .filter(|f| !f.is_bridge() && f.vendor == Some(trust::AMD))
        .map(|f| bus_of(&f.address))
        .collect();
    let gpus: BTreeMap<&str, &Function> = functions.values().filter(|f| f.kind() == "gpu").map(|f| (device_of(&f.address), f)).collect();
    let endpoints = functions.values().filter(|function| !function.is_bridge());
    endpoints
        .map(|f| {
            let around = trust::Around {
                gpu: gpus.get(device_of(&f.address)).copied(),
                on_processor_bus: processor_buses.contains(bus_of(&f.address)),
                virtual_machine,
            };
            conclude(f, functions, around)
        })
        .collect()
}

fn conclude(function: &Function, all: &BTreeMap<String, Function>, around: trust::Around<'_>) -> PcieDevice {
    let upstream: Vec<&Function> = function.upstream.iter().filter_map(|address| all.get(address)).collect();
    let (trust, mut why) = trust::judge(function, &upstream, around);
    let path = match trust {
        LinkTrust::Measured => link::slowest(std::iter::once(&function.link).chain(upstream.iter().map(|f| &f.link))),
        // The card's own switch is inside the lie; the first honest hop is above it.
        LinkTrust::Unreliable if trust::is_tunnelled(function, &upstream) => None,
        LinkTrust::Unreliable => link::slowest(trust::hops_above_card(function, &upstream).map(|f| &f.link)),
        // The port above is the other end of the same link.
        LinkTrust::Unknown if trust::has_honest_ports(function, around) => link::slowest(upstream.iter().map(|f| &f.link)),
        LinkTrust::Integrated | LinkTrust::Unknown => None,
    };
    if trust == LinkTrust::Unknown && path.is_some() {
        why.push_str("; the path is what the ports above it say");
    }
    let (current, max) = (function.link.current(), function.link.max());
    PcieDevice {
        address: function.address.clone(),
        class: function.class.map(|class| format!("0x{class:06x}")),
        vendor: function.vendor.map(|vendor| format!("0x{vendor:04x}")),
        device: function.device.map(|device| format!("0x{device:04x}")),
        kind: function.kind().to_string(),
        numa_node: function.numa_node,
        below_max: below_max(current, max, around.gpu.is_some()),
        current,
        max,
        path_bytes_per_s: path,
        trust,
        why,
    }
}

/// Plain arithmetic on the files, except that an idle GPU lowers its speed and never its width, and with it that of its sound
/// and USB functions, which share its link.
fn below_max(current: Option<PcieLink>, max: Option<PcieLink>, is_gpus: bool) -> Option<bool> {
    let (current, max) = (current?, max?);
    let narrower = current.lanes < max.lanes;
    let slower = current.gt_per_s < max.gt_per_s;
    if is_gpus && slower && !narrower {
        return None;
    }
    Some(narrower || slower)
}

/// `0000:01:00.0`; domains have four digits or more (VMD uses five).
pub(crate) fn is_address(name: &str) -> bool {
    let Some((domain, rest)) = name.split_once(':') else { return false };
    let hex = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let Some((bus, slot)) = rest.split_once(':') else { return false };
    let Some((device, number)) = slot.split_once('.') else {
        return false;
    };
    (4..=8).contains(&domain.len())
        && hex(domain)
        && bus.len() == 2
        && hex(bus)
        && device.len() == 2
        && hex(device)
        && number.len() == 1
        && hex(number)
}

/// An address without its function.
fn device_of(address: &str) -> &str {
    address.rsplit_once('.').map_or(address, |(device, _)| device)
}

/// The domain and bus of an address.
fn bus_of(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(bus, _)| bus)
}

pub(crate) fn parse_hex(text: &str) -> Option<u32> {
    u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_other_names() {
        for name in ["0000:00:1f.3", "10000:00:04.0", "0214:20:00.0"] {
            assert!(is_address(name), "{name}");
        }
        for name in ["pci0000:00", "0000:00", "000:00:00.0", "0003:046D:C539.0023", "0000:00:00.00", "nvme0", ""] {
            assert!(!is_address(name), "{name}");
        }
    }

    #[test]
    fn an_idle_gpu_is_not_called_degraded_and_a_narrow_one_is() {
        let link = |gt, lanes| PcieLink::new(gt, lanes);
        assert_eq!(below_max(link(2.5, 16), link(16.0, 16), true), None);
        assert_eq!(below_max(link(2.5, 8), link(16.0, 16), true), Some(true));
        assert_eq!(below_max(link(16.0, 16), link(16.0, 16), true), Some(false));
        assert_eq!(below_max(link(2.5, 1), link(8.0, 1), false), Some(true));
        assert_eq!(below_max(link(2.5, 1), None, false), None);
    }
}
