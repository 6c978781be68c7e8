//! Values that name one machine among all: read from where a machine keeps them, so that they can be found elsewhere too.
//!
//! Most of these files are not part of a snapshot. They are read because firmware and drivers repeat their values in places
//! where nobody expects them.

use crate::sensing::host_root::{HostRoot, Place};
use crate::sensing::scan::Scan;

/// Shorter values are too common to be replaced wherever they stand.
const SHORTEST: usize = 4;
/// Digits alone are replaced only if there are so many that they cannot be a measurement.
const SHORTEST_DIGITS: usize = 10;

/// What firmware writes where there is no serial number.
const PLACEHOLDERS: &[&str] = &[
    "none",
    "unknown",
    "default",
    "default string",
    "not specified",
    "not available",
    "not applicable",
    "system serial number",
    "chassis serial number",
    "base board serial number",
    "to be filled by o.e.m.",
    "localhost",
    "(none)",
    "null",
    "serial",
];

/// Directories of which each entry has files that hold secrets.
const PER_DEVICE: &[(&str, &[&str])] = &[
    ("class/net", &["address", "phys_port_id", "phys_switch_id", "device/mac"]),
    ("class/nvme", &["serial", "subsysnqn", "hostnqn", "hostid"]),
    ("class/power_supply", &["serial_number"]),
    ("class/block", &["device/serial", "serial", "wwid", "device/wwid", "uuid", "nguid", "eui", "device/cid"]),
    ("class/bluetooth", &["address"]),
    ("class/drm", &["device/unique_id", "device/serial_number"]),
    ("class/infiniband", &["node_guid", "sys_image_guid"]),
    ("bus/usb/devices", &["serial"]),
    ("class/mmc_host", &["serial"]),
];

/// Single files in sysfs.
const OF_MACHINE: &[&str] = &[
    "class/dmi/id/product_serial",
    "class/dmi/id/board_serial",
    "class/dmi/id/chassis_serial",
    "class/dmi/id/product_uuid",
    "class/dmi/id/board_asset_tag",
    "class/dmi/id/chassis_asset_tag",
    "devices/soc0/serial_number",
    "firmware/devicetree/base/serial-number",
];

/// The secrets of a machine, longest first, each once; as many as may be read.
pub(super) fn collect(root: &HostRoot) -> Vec<String> {
    let scan = Scan::new(root);
    let mut places: Vec<Place> = OF_MACHINE.iter().map(|file| scan.sys(file)).collect();
    for (class, files) in PER_DEVICE {
        let directory = scan.sys(class);
        for name in scan.names(&directory) {
            places.extend(files.iter().map(|file| directory.join(&name).join(file)));
        }
    }
    places.extend(["etc/machine-id", "etc/hostname", "var/lib/dbus/machine-id"].iter().map(|file| root.top(file)));
    let kernel = ["sys/kernel/hostname", "sys/kernel/domainname", "sys/kernel/random/boot_id", "device-tree/serial-number"];
    places.extend(kernel.iter().map(|file| scan.proc(file)));
    let mut secrets: Vec<String> =
        places.iter().filter_map(|place| scan.text(place)).flat_map(spellings).filter(|s| is_telling(s)).collect();
    secrets.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    secrets.dedup();
    secrets
}

/// The same value as it is written elsewhere: without separators, without a domain.
fn spellings(value: String) -> Vec<String> {
    let bare: String = value.chars().filter(|c| !matches!(c, ':' | '-')).collect();
    let host = value.split_once('.').map(|(host, _)| host.to_string()).filter(|_| !value.contains(' '));
    [Some(value), Some(bare), host].into_iter().flatten().collect()
}

fn is_telling(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    let digits_only = value.bytes().all(|b| b.is_ascii_digit());
    let one_character = value.bytes().all(|b| Some(&b) == value.as_bytes().first() || matches!(b, b':' | b'-'));
    value.len() >= if digits_only { SHORTEST_DIGITS } else { SHORTEST } && !PLACEHOLDERS.contains(&lower.as_str()) && !one_character
}
