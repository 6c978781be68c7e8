//! Whose memory a NUMA node without processors is: a GPU's, a CXL or persistent module's, or the host's own fast memory.
//!
//! Evidence comes first: what NVIDIA's driver says of its nodes, a GPU that sits on the node, and the kernel's memory tiers
//! (kernel ABI `sysfs-kernel-mm-memory-tiers`), where tier 4 is the DRAM of the processors. Without any, such memory is a
//! device's: a step that counted on it as main memory would wait for it, or take it from a GPU.

use crate::sensing::pcie::Function;
use crate::sensing::scan::Scan;
use ouro_common::device::{MemoryKind, NumaNode};
use std::collections::{BTreeMap, BTreeSet};

/// The tier that the kernel gives DRAM; slower memory has a higher number.
const DRAM_TIER: u32 = 4;

/// Processors with fast memory in their package that appears as nodes of its own: Knights Landing, Sapphire Rapids with HBM.
const WITH_OWN_FAST_MEMORY: &[&str] = &["Xeon Phi", "Xeon(R) Phi", "Xeon(R) Max", "CPU Max", "CPU MAX"];

/// Names the owner of every node; `model` is the processor's name.
pub(crate) fn assign(scan: &Scan<'_>, functions: &BTreeMap<String, Function>, model: Option<&str>, nodes: &mut [NumaNode]) {
    // Where no node has processors they were not recorded, and nothing follows from it.
    if nodes.iter().all(|node| node.logical_cpus.unwrap_or(0) == 0) {
        return;
    }
    let of_gpus = nodes_of_gpus(scan, functions);
    let tiers = tiers(scan);
    let fast_package = model.is_some_and(|model| WITH_OWN_FAST_MEMORY.iter().any(|name| model.contains(name)));
    let slow = slow_nodes(scan);
    for node in nodes.iter_mut().filter(|node| node.logical_cpus == Some(0)) {
        let tier = tiers.get(&node.id).copied();
        let is_host = !of_gpus.contains(&node.id)
            && match tier {
                Some(tier) => tier <= DRAM_TIER,
                None => fast_package && !slow.contains(&node.id),
            };
        node.kind = if is_host { MemoryKind::Host } else { MemoryKind::Device };
    }
}

/// Nodes that a GPU sits on, and those that NVIDIA's driver names as its GPUs' memory.
fn nodes_of_gpus(scan: &Scan<'_>, functions: &BTreeMap<String, Function>) -> BTreeSet<u32> {
    let listed = scan.proc("driver/nvidia/gpus");
    let named = scan.names(&listed).into_iter().filter_map(|gpu| {
        let text = scan.text(&listed.join(&gpu).join("numa_status"))?;
        text.lines().find_map(|line| line.strip_prefix("Node:"))?.trim().parse().ok()
    });
    let gpus = functions.values().filter(|function| function.kind() == "gpu");
    named.chain(gpus.filter_map(|gpu| gpu.numa_node)).collect()
}

/// The tier of each node.
fn tiers(scan: &Scan<'_>) -> BTreeMap<u32, u32> {
    let directory = scan.sys("devices/virtual/memory_tiering");
    let mut tiers = BTreeMap::new();
    for name in scan.names(&directory) {
        let Some(tier) = name.strip_prefix("memory_tier").and_then(|number| number.parse().ok()) else {
            continue;
        };
        for node in scan.text(&directory.join(&name).join("nodelist")).map(|list| numbers(&list)).unwrap_or_default() {
            tiers.insert(node, tier);
        }
    }
    tiers
}

/// Nodes that memory of a persistent or CXL module becomes when it is used as RAM (kernel ABI `sysfs-bus-dax`).
fn slow_nodes(scan: &Scan<'_>) -> BTreeSet<u32> {
    let directory = scan.sys("bus/dax/devices");
    let modules = scan.names(&directory).into_iter().filter_map(|name| {
        let place = directory.join(&name);
        let real = scan.real(&place)?;
        // Fast memory that the firmware reserved hangs below `hmem` and is no module.
        let is_module = real.parts().any(|part| part.starts_with("ndbus") || part.starts_with("cxl") || part.starts_with("region"));
        is_module.then(|| scan.number(&place.join("target_node")))?
    });
    modules.collect()
}

/// The numbers of a kernel list, `0,2-3`; none of one that is absurd.
fn numbers(list: &str) -> Vec<u32> {
    let mut all = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (first.parse::<u32>(), last.parse::<u32>()) {
            (Ok(first), Ok(last)) if first <= last && last < 4096 => all.extend(first..=last),
            _ => return Vec::new(),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensing::host_root::HostRoot;
    use std::fs;
    use std::path::Path;

    fn owner_of_node_2(model: &str, files: &[(&str, &str)], gpu_on: Option<u32>) -> MemoryKind {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
            fs::write(path, text).unwrap();
        }
        let root = HostRoot::recorded(dir.path());
        let node = |id, cpus| NumaNode { id, logical_cpus: Some(cpus), memory_bytes: Some(1 << 34), kind: MemoryKind::Host };
        let mut nodes = [node(0, 8), node(2, 0)];
        let gpu = Function { class: Some(0x030200), numa_node: gpu_on, ..Function::default() };
        assign(&Scan::new(&root), &BTreeMap::from([("0000:01:00.0".to_string(), gpu)]), Some(model), &mut nodes);
        assert_eq!(nodes[0].kind, MemoryKind::Host);
        nodes[1].kind
    }

    #[test]
    fn memory_without_processors_has_an_owner() {
        use MemoryKind::{Device, Host};
        assert_eq!(owner_of_node_2("EPYC", &[], None), Device, "nobody says whose it is");
        assert_eq!(owner_of_node_2("Intel(R) Xeon(R) CPU Max 9480", &[], None), Host, "HBM in the package");
        assert_eq!(owner_of_node_2("Intel(R) Xeon(R) CPU Max 9480", &[], Some(2)), Device, "a GPU sits there");
        let dax = [("sys/bus/dax/devices/region0/target_node", "2")];
        assert_eq!(owner_of_node_2("Intel(R) Xeon(R) CPU Max 9480", &dax, None), Device, "a module");
        let tier = |name: &'static str| [(name, "2")];
        assert_eq!(owner_of_node_2("EPYC", &tier("sys/devices/virtual/memory_tiering/memory_tier3/nodelist"), None), Host);
        assert_eq!(owner_of_node_2("EPYC", &tier("sys/devices/virtual/memory_tiering/memory_tier22/nodelist"), None), Device);
        let status = [
            ("proc/driver/nvidia/gpus/0009:01:00.0/numa_status", "Node:      2\nStatus:    online\n"),
            ("sys/devices/virtual/memory_tiering/memory_tier4/nodelist", "0,2"),
        ];
        assert_eq!(owner_of_node_2("Neoverse-V2", &status, None), Device, "the driver's word outweighs the tier");
    }

    #[test]
    fn lists_are_read_and_absurd_ones_are_not() {
        assert_eq!(numbers("0,2-4"), [0, 2, 3, 4]);
        for list in ["", "x", "4-2", "0-4294967295"] {
            assert!(numbers(list).is_empty(), "{list}");
        }
    }
}
