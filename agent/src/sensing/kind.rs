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
const EMULATED_VENDORS: &[u32] = &[VIRTIO, 0x1b36, 0x15ad, 0x80ee, 0x1414];
/// Red Hat, for virtio.
const VIRTIO: u32 = 0x1af4;
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
    // Servers with a data processing unit have virtio devices in hardware; theirs is an x86 that says nothing of a hypervisor.
    let says_flags = cpu.cpu.isa.iter().any(|flag| flag == "sse4_2");
    let emulated = functions
        .values()
        .any(|f| f.vendor.is_some_and(|v| EMULATED_VENDORS.contains(&v) && !(v == VIRTIO && says_flags)));
    let amazon = functions.values().any(|f| f.vendor == Some(AMAZON) && f.on_root_bus && f.upstream.is_empty());
    let guest_of_xen =
        scan.text(&scan.sys("hypervisor/type")).is_some() && scan.text(&scan.sys("hypervisor/guest_type")).as_deref() != Some("Dom0");
    let tree = device_tree_model(scan).is_some_and(|model| {
        let model = model.to_lowercase();
        model.contains("dummy-virt") || model.contains("emulated by qemu") || model.contains("riscv-virtio")
    });
    // A mainframe names the hypervisors above it, level by level; those below a logical partition are none.
    let under_a_program = scan.table(&scan.proc("sysinfo")).is_some_and(|text| text.contains("Control Program:"));
    !metal && (cpu.hypervisor || named || emulated || amazon || guest_of_xen || tree || under_a_program)
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
    if ["mac mini", "mac studio", "mac pro", "imac"].iter().any(|name| model.contains(name)) {
        return "desktop";
    }
    // Supplies that only phone kernels have.
    let phone_supplies = supplies.iter().any(|s| {
        let kind = s.kind.as_deref().unwrap_or_default();
        s.name == "bms" || kind == "BMS" || matches!(kind, "USB_HVDCP" | "USB_HVDCP_3" | "USB_CDP" | "USB_DCP" | "Wipower" | "Wireless")
    });
    let is_arm = cpu.cpu.arch.as_deref().is_none_or(|arch| arch == "aarch64" || arch.starts_with("arm"));
    let android_kernel = scan.table(&scan.proc("version")).is_some_and(|text| text.to_lowercase().contains("android"));
    // Android hides its battery from apps; boxes and boards that run it are few beside its phones.
    if phone_output || (is_arm && (android_kernel || (has_battery && phone_supplies))) {
        return "phone";
    }
    // Firmware tables of PCs name their batteries so; a bare "battery" could be anybody's.
    let pc_battery = supplies
        .iter()
        .any(|s| s.role == Role::SystemBattery && ["BAT", "CMB", "macsmc"].iter().any(|p| s.name.starts_with(p)));
    if pc_battery || (has_battery && !is_arm && model.is_empty()) {
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
    let named = places.iter().chain(&compatible).find_map(|place| scan.text(place));
    named.or_else(|| {
        // Arm's cpuinfo ends with the board's name where the tree has one; that of POWER with the machine's.
        let cpuinfo = scan.table(&scan.proc("cpuinfo"))?;
        let mut lines = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        let (_, name) = lines.find(|(key, _)| matches!(key.trim(), "Model" | "machine"))?;
        Some(name.trim().to_string()).filter(|name| !name.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(files: &[(&str, &str)]) -> &'static str {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let root = crate::sensing::host_root::HostRoot::recorded(dir.path());
        let scan = Scan::new(&root);
        let cpu = crate::sensing::cpu::read(&scan);
        let functions = crate::sensing::pcie::read_functions(&scan);
        let virtual_machine = is_virtual(&scan, &cpu, &functions);
        read(&scan, &cpu, 1, virtual_machine)
    }

    #[test]
    fn what_is_no_pc_says_it_elsewhere() {
        let mainframe = ("proc/cpuinfo", "vendor_id : IBM/S390\n# processors : 2\n");
        assert_eq!(kind_of(&[mainframe, ("proc/sysinfo", "LPAR Name: A1\n")]), "server");
        assert_eq!(kind_of(&[mainframe, ("proc/sysinfo", "VM00 Control Program: z/VM    7.3.0\n")]), "vm");
        assert_eq!(
            kind_of(&[("proc/cpuinfo", "processor : 0\ncpu : POWER9\nmachine : CHRP IBM pSeries (emulated by qemu)\n")]),
            "vm"
        );
        let arm = "processor : 0\nCPU architecture: 8\n";
        assert_eq!(kind_of(&[("proc/cpuinfo", &format!("{arm}\nModel : Raspberry Pi 5 Model B Rev 1.0\n"))]), "board");
        assert_eq!(kind_of(&[("proc/cpuinfo", arm), ("proc/device-tree/model", "Apple Mac mini (M2, 2023)\0")]), "desktop");
        assert_eq!(kind_of(&[("proc/cpuinfo", arm), ("proc/version", "Linux version 6.1.75-android14-11")]), "phone");
        let x86 = "processor : 0\nflags : fpu tsc lm sse4_2 avx2\n";
        let virtio = ("sys/bus/pci/devices/0000:3b:00.0/vendor", "0x1af4");
        assert_eq!(
            kind_of(&[("proc/cpuinfo", x86), ("sys/class/dmi/id/chassis_type", "23"), virtio]),
            "server",
            "a card's own virtio"
        );
        assert_eq!(kind_of(&[("proc/cpuinfo", &x86.replace("avx2", "avx2 hypervisor")), virtio]), "vm");
    }

    #[test]
    fn chassis_types_map_to_kinds_and_unknown_stays_unknown() {
        assert_eq!(kind_of_chassis(10), Some("laptop"));
        assert_eq!(kind_of_chassis(0x80 | 3), Some("desktop"), "the top bit says that there is a lock");
        assert_eq!(kind_of_chassis(23), Some("server"));
        assert_eq!(kind_of_chassis(2), None);
    }
}
