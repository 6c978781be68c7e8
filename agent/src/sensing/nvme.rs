//! NVMe controllers, from `class/nvme` (kernel ABI `sysfs-nvme`) and the PCI devices above them.
//!
//! Not every controller is a PCI device (Apple's is not), and in a cloud an NVMe device is network storage: its link is then
//! unknown, never assumed from the usual.

use super::host_root::Place;
use super::pcie::is_address;
use super::scan::Scan;
use ouro_common::device::{Nvme, PcieDevice};
use std::collections::BTreeMap;

/// Controllers by name; `pcie` has their links.
pub(crate) fn read(scan: &Scan<'_>, pcie: &[PcieDevice]) -> Vec<Nvme> {
    let mut places: BTreeMap<(u64, String), Vec<Place>> = BTreeMap::new();
    let mut add = |directory: Place| {
        for name in scan.names(&directory) {
            if let Some(number) = controller_number(&name) {
                places.entry((number, name.clone())).or_default().push(directory.join(&name));
            }
        }
    };
    add(scan.sys("class/nvme"));
    for device in pcie.iter().filter(|device| device.kind == "nvme") {
        add(scan.sys("bus/pci/devices").join(&device.address).join("nvme"));
    }
    places.into_iter().map(|((_, name), places)| read_one(scan, name, &places, pcie)).collect()
}

/// `nvme0`; subsystems, namespaces and fabrics share the directories.
pub(crate) fn controller_number(name: &str) -> Option<u64> {
    let number = name.strip_prefix("nvme")?;
    number.bytes().all(|b| b.is_ascii_digit()).then(|| number.parse().ok())?
}

fn read_one(scan: &Scan<'_>, name: String, places: &[Place], pcie: &[PcieDevice]) -> Nvme {
    let text = |file: &str| places.iter().find_map(|place| scan.text(&place.join(file)));
    let pci_address = places.iter().find_map(|place| {
        let real = scan.real(place)?;
        real.parts().rev().find(|part| is_address(part)).map(str::to_string)
    });
    let transport = text("transport").or_else(|| places.iter().find_map(|place| scan.uevent(place, "NVME_TRTYPE")));
    let transport = transport.or_else(|| pci_address.as_ref().map(|_| "pcie".to_string()));
    let address = text("address").or(pci_address);
    let link = address.as_deref().and_then(|address| pcie.iter().find(|device| device.address == address));
    let link_bytes_per_s = link.and_then(|device| device.path_bytes_per_s).filter(|_| transport.as_deref() == Some("pcie"));
    Nvme { name, model: text("model"), transport, address, link_bytes_per_s }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_controllers_are_controllers() {
        assert_eq!(controller_number("nvme12"), Some(12));
        for name in ["nvme-subsys0", "nvme0n1", "nvme", "nvme-fabrics", "nvme0c1n1"] {
            assert_eq!(controller_number(name), None, "{name}");
        }
    }
}
