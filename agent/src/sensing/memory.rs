//! Main memory and NUMA nodes: `/proc/meminfo`, and `node*/meminfo` with its "Node 0 " prefix.
//!
//! Nodes have gaps in their numbers, and a node without processors can be a GPU's memory, which the kernel may count in
//! `MemTotal`: what a step may use is `host_bytes`.

use super::host_root::Place;
use super::scan::Scan;
use ouro_common::device::{Memory, MemoryKind, NumaNode};

pub(crate) mod modules;
pub(crate) mod owner;

/// NUMA nodes by number; whose memory one without processors is, [`owner`] knows.
pub(crate) fn read_nodes(scan: &Scan<'_>) -> Vec<NumaNode> {
    let directory = scan.sys("devices/system/node");
    let numbered = scan.names(&directory).into_iter().filter_map(|name| Some((name.strip_prefix("node")?.parse().ok()?, name)));
    let mut nodes: Vec<NumaNode> = numbered.map(|(id, name)| read_node(scan, id, &directory.join(&name))).collect();
    nodes.sort_by_key(|node| node.id);
    nodes
}

fn read_node(scan: &Scan<'_>, id: u32, place: &Place) -> NumaNode {
    let list = place.join("cpulist");
    // An empty list is a fact (no processors), a missing one is not.
    let logical_cpus = match scan.text(&list) {
        Some(text) => count_list(&text),
        None if scan.exists(&list) => Some(0),
        // Old kernels, and recordings made by others, have the mask only.
        None => scan.text(&place.join("cpumap")).and_then(|mask| count_mask(&mask)),
    };
    let memory_bytes = scan.table(&place.join("meminfo")).and_then(|text| field(&text, "MemTotal"));
    NumaNode { id, logical_cpus, memory_bytes, kind: MemoryKind::Host }
}

/// Nodes that are places of their own: those that share all their processors were made up by the kernel (`numa=fake`).
pub(crate) fn count_host_nodes(nodes: &[NumaNode], logical_cpus: Option<u32>) -> usize {
    let with_processors = || nodes.iter().filter_map(|node| node.logical_cpus).filter(|count| *count > 0);
    let sum = with_processors().fold(0u32, u32::saturating_add);
    if logical_cpus.is_some_and(|logical| sum > logical) { 1 } else { with_processors().count() }
}

/// Memory; `nodes` say what of it is a device's.
pub(crate) fn read(scan: &Scan<'_>, nodes: &[NumaNode]) -> Memory {
    let place = scan.proc("meminfo");
    let table = scan.table(&place);
    let from_table = |name: &str| table.as_deref().and_then(|text| field(text, name));
    let sum = |kind: MemoryKind| -> Option<u64> {
        let parts: Vec<u64> = nodes.iter().filter(|n| n.kind == kind).filter_map(|n| n.memory_bytes).collect();
        (!parts.is_empty()).then(|| parts.iter().fold(0u64, |a, b| a.saturating_add(*b)))
    };
    let (host, device) = (sum(MemoryKind::Host), sum(MemoryKind::Device).unwrap_or(0));
    let total_bytes = from_table("MemTotal").or_else(|| {
        let total = host.map(|host| host.saturating_add(device))?;
        scan.warn(&place, "no MemTotal; the memory is the sum of the NUMA nodes");
        Some(total)
    });
    Memory {
        total_bytes,
        available_bytes: from_table("MemAvailable"),
        host_bytes: host_bytes(total_bytes, host, device),
        ..Memory::default()
    }
}

/// `MemTotal` may or may not include the devices' memory: whichever reading is nearer to the nodes' sums is right.
fn host_bytes(total: Option<u64>, host_nodes: Option<u64>, device_nodes: u64) -> Option<u64> {
    let total = total?;
    let Some(host) = host_nodes.filter(|_| device_nodes > 0) else {
        return Some(total);
    };
    if total.abs_diff(host) < total.abs_diff(host.saturating_add(device_nodes)) {
        Some(total)
    } else {
        Some(total.saturating_sub(device_nodes))
    }
}

/// A field of meminfo in bytes: `MemTotal:  15666184 kB`, or the same behind `Node 0 `.
pub(crate) fn field(table: &str, name: &str) -> Option<u64> {
    table.lines().find_map(|line| {
        let line = line.trim_start();
        let line = line.strip_prefix("Node ").and_then(|rest| rest.split_once(' ')).map_or(line, |(_, rest)| rest.trim_start());
        let value = line.strip_prefix(name)?.trim_start().strip_prefix(':')?.trim();
        let (number, unit) = value.split_once(' ').unwrap_or((value, ""));
        let scale = if unit.trim() == "kB" { 1024 } else { 1 };
        number.parse::<u64>().ok()?.checked_mul(scale)
    })
}

/// How many numbers a kernel list holds: `0-7,16-23` has 16.
pub(crate) fn count_list(list: &str) -> Option<u32> {
    let mut count = 0u32;
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(count)
}

/// How many bits a kernel mask has set: `00000000,0000ffff` has 16.
pub(crate) fn count_mask(mask: &str) -> Option<u32> {
    let words = mask.split(',').map(|word| u64::from_str_radix(word.trim(), 16).ok().map(u64::count_ones));
    words.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_counted_and_made_up_nodes_are_one() {
        assert_eq!((count_mask("00000000,0000ffff"), count_mask("3"), count_mask("0")), (Some(16), Some(2), Some(0)));
        assert_eq!((count_mask("x"), count_mask("")), (None, None));
        let node = |id, cpus| NumaNode { id, logical_cpus: Some(cpus), memory_bytes: None, kind: MemoryKind::Host };
        assert_eq!(count_host_nodes(&[node(0, 4), node(1, 4), node(2, 0)], Some(8)), 2);
        assert_eq!(count_host_nodes(&[node(0, 4), node(1, 4)], Some(4)), 1, "a board with numa=fake=2");
        assert_eq!(count_host_nodes(&[node(0, 4), node(1, 4)], None), 2);
    }

    #[test]
    fn kernel_lists_are_counted() {
        assert_eq!(count_list("0-7,16-23"), Some(16));
        assert_eq!(count_list("0"), Some(1));
        assert_eq!(count_list(""), Some(0));
        for bad in ["7-0", "x", "0-", "0-4294967295,0-4294967295"] {
            assert_eq!(count_list(bad), None, "{bad}");
        }
    }

    #[test]
    fn fields_are_read_with_and_without_the_node() {
        assert_eq!(field("MemFree: 1 kB\nMemTotal:       2054748 kB", "MemTotal"), Some(2_054_748 * 1024));
        assert_eq!(field("Node 0 MemTotal:       2054748 kB", "MemTotal"), Some(2_054_748 * 1024));
        assert_eq!(field("MemTotalX: 1 kB", "MemTotal"), None);
        assert_eq!(field("MemTotal: 18446744073709551615 kB", "MemTotal"), None);
    }

    #[test]
    fn device_memory_is_left_out_whether_or_not_the_total_has_it() {
        assert_eq!(host_bytes(Some(340), Some(250), 90), Some(250));
        assert_eq!(host_bytes(Some(249), Some(250), 90), Some(249));
        assert_eq!(host_bytes(Some(100), None, 0), Some(100));
    }
}
