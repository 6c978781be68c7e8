//! What kind of machine this is: `laptop`, `desktop`, `server`, `phone`, `board`, `vm` or `unknown`.
//!
//! The hypervisor's traces come first, then the chassis type of the firmware (SMBIOS 7.4.1), the device tree, and last what
//! the parts allow. What none of them says is `unknown`.

use super::cpu::CpuReading;
use super::pcie::Function;
use super::power::android;
use super::power::supply::Role;
use super::scan::Scan;
use std::collections::BTreeMap;

/// Strings that hypervisors put into the firmware's tables.
const HYPERVISOR_NAMES: &[&str] = &[
    "qemu",
    "kvm",
    "vmware",
    "virtualbox",
    "innotek",
    "xen",
    "bochs",
    "parallels",
    "bhyve",
    "openstack",
    "ovirt",
    "virtual machine",
    "google compute engine",
    "amazon ec2",
    "alibaba cloud ecs",
    "droplet",
    "apple virtualization",
    "cloud hypervisor",
    "firecracker",
];

/// Vendors of emulated devices: virtio, QEMU, VMware, VirtualBox, Hyper-V.
const EMULATED_VENDORS: &[u32] = &[0x1af4, 0x1b36, 0x15ad, 0x80ee, 0x1414];
/// Amazon, whose devices sit on the root bus of its virtual machines.
const AMAZON: u32 = 0x1d0f;

/// Whether a hypervisor runs this machine.
pub(crate) fn is_virtual(scan: &Scan<'_>, cpu: &CpuReading, functions: &BTreeMap<String, Function>) -> bool {
    let dmi = scan.sys("class/dmi/id");
    let names = ["sys_vendor", "product_name", "bios_vendor", "board_vendor"];
    let named = names.iter().filter_map(|file| scan.text(&dmi.join(file))).any(|text| {
        let text = text.to_lowercase();
        // Bare metal of a cloud is named for it: "m5.metal".
        HYPERVISOR_NAMES.iter().any(|name| text.contains(name)) && !text.contains("metal")
    });
    let metal = scan.text(&dmi.join("product_name")).is_some_and(|name| name.contains("metal"));
    let emulated = functions.values().any(|f| f.vendor.is_some_and(|v| EMULATED_VENDORS.contains(&v)));
    let amazon = functions.values().any(|f| f.vendor == Some(AMAZON) && f.on_root_bus && f.upstream.is_empty());
    let guest_of_xen =
        scan.text(&scan.sys("hypervisor/type")).is_some() && scan.text(&scan.sys("hypervisor/guest_type")).as_deref() != Some("Dom0");
    let tree = device_tree_model(scan).is_some_and(|model| model.to_lowercase().contains("dummy-virt"));
    !metal && (cpu.hypervisor || named || emulated || amazon || guest_of_xen || tree)
}

/// The kind.
pub(crate) fn read(scan: &Scan<'_>, cpu: &CpuReading, host_nodes_with_cpus: usize, virtual_machine: bool) -> &'static str {
    let supplies = super::power::supply::read_all(scan);
    let has_battery = supplies.iter().any(|s| s.role == Role::SystemBattery);
    let phone_output = android::read(scan).is_some();
    if virtual_machine && !phone_output {
        return "vm";
    }
    let chassis = scan.text(&scan.sys("class/dmi/id/chassis_type")).and_then(|text| text.parse().ok()).and_then(kind_of_chassis);
    if let Some(kind) = chassis.filter(|_| !phone_output) {
        return kind;
    }
    let model = device_tree_model(scan).unwrap_or_default().to_lowercase();
    if model.contains("book") || model.contains("laptop") || model.contains("thinkpad") {
        return "laptop";
    }
    // Supplies that only phone kernels have.
    let phone_supplies = supplies.iter().any(|s| {
        let kind = s.kind.as_deref().unwrap_or_default();
        s.name == "bms" || kind == "BMS" || matches!(kind, "USB_HVDCP" | "USB_HVDCP_3" | "USB_CDP" | "USB_DCP" | "Wipower" | "Wireless")
    });
    let is_arm = cpu.cpu.arch.as_deref().is_none_or(|arch| arch == "aarch64" || arch.starts_with("arm"));
    let android_kernel = scan.table(&scan.proc("version")).is_some_and(|text| text.to_lowercase().contains("android"));
    if phone_output || (has_battery && is_arm && (phone_supplies || android_kernel)) {
        return "phone";
    }
    // Firmware tables of PCs name their batteries so; a bare "battery" could be anybody's.
    let pc_battery = supplies
        .iter()
        .any(|s| s.role == Role::SystemBattery && ["BAT", "CMB", "macsmc"].iter().any(|p| s.name.starts_with(p)));
    if pc_battery || (has_battery && !is_arm) {
        return "laptop";
    }
    if has_battery {
        return "unknown";
    }
    kind_of_parts(cpu, host_nodes_with_cpus, !model.is_empty())
}

fn kind_of_parts(cpu: &CpuReading, host_nodes_with_cpus: usize, has_device_tree: bool) -> &'static str {
    let arch = cpu.cpu.arch.as_deref().unwrap_or_default();
    let model = cpu.cpu.model.as_deref().unwrap_or_default();
    let server_cpu = ["EPYC", "Neoverse", "POWER", "Xeon(R) Gold", "Xeon(R) Platinum", "Xeon(R) Silver", "Xeon(R) Bronze", "Ampere"];
    if cpu.packages > 1
        || host_nodes_with_cpus > 1
        || matches!(arch, "ppc64le" | "ppc64" | "s390x")
        || server_cpu.iter().any(|n| model.contains(n))
    {
        return "server";
    }
    if has_device_tree { "board" } else { "unknown" }
}

/// SMBIOS 3.7, table 17; 1 and 2 are "other" and "unknown".
pub(crate) fn kind_of_chassis(chassis: u32) -> Option<&'static str> {
    match chassis & 0x7f {
        8..=11 | 14 | 30..=32 => Some("laptop"),
        3..=7 | 13 | 15 | 16 | 24 | 35 | 36 => Some("desktop"),
        17 | 23 | 25 | 28 | 29 => Some("server"),
        33 | 34 => Some("board"),
        _ => None,
    }
}

fn device_tree_model(scan: &Scan<'_>) -> Option<String> {
    let places = [scan.proc("device-tree/model"), scan.sys("firmware/devicetree/base/model")];
    let compatible = [scan.proc("device-tree/compatible"), scan.sys("firmware/devicetree/base/compatible")];
    places.iter().chain(&compatible).find_map(|place| scan.text(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chassis_types_map_to_kinds_and_unknown_stays_unknown() {
        assert_eq!(kind_of_chassis(10), Some("laptop"));
        assert_eq!(kind_of_chassis(0x80 | 3), Some("desktop"), "the top bit says that there is a lock");
        assert_eq!(kind_of_chassis(23), Some("server"));
        assert_eq!(kind_of_chassis(2), None);
    }
}
