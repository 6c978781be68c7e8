//! One look at the block devices of a machine, from sysfs alone: nothing is opened, so nothing can hang.
//!
//! Whole disks and partitions are devices alike; whichever carries the file system is the slot. What tells one insertion from
//! the next is the kernel's `diskseq` (ABI `sysfs-block`, since 5.15), which no two insertions share.

use super::slot::{Pattern, any};
use crate::sensing::host_root::{HostRoot, Place};
use crate::sensing::scan::Scan;
use std::collections::{BTreeMap, HashMap};

/// What tells one insertion of a device from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Insertion {
    /// The disk's number of this medium; 0 where the kernel has none.
    pub diskseq: u64,
    /// Where a partition begins, in sectors; 0 for a whole disk.
    pub start: u64,
    /// Its size in bytes.
    pub bytes: u64,
}

/// A block device that a module may be on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Which insertion it is.
    pub insertion: Insertion,
    /// Major and minor number.
    pub number: String,
    /// Whether it hangs on USB.
    pub usb: bool,
    /// The nearest PCI function above it, like `0000:01:00.0`.
    pub pci: Option<String>,
    /// Whether it is only still there because it is mounted: a loop device that was detached.
    pub leaving: bool,
    /// Where somebody else has mounted it.
    pub elsewhere: Option<Elsewhere>,
    /// Sectors written to it so far: what changes when somebody writes a module onto it.
    pub written: u64,
}

/// A mount that is not the agent's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// Where.
    pub at: String,
    /// Whether it can be written there.
    pub writable: bool,
}

/// What is plugged in now, by slot. `own` is the folder of the agent's own mounts.
pub fn look(root: &HostRoot, watched: &[Pattern], own: &str) -> BTreeMap<String, Device> {
    let scan = Scan::new(root);
    let mounts = mounts(&scan, own);
    let mut found = BTreeMap::new();
    for name in scan.names(&scan.sys("class/block")) {
        if let Some(device) = device(&scan, &name, watched, &mounts) {
            found.insert(name, device);
        }
    }
    found
}

fn device(scan: &Scan<'_>, name: &str, watched: &[Pattern], mounts: &HashMap<String, Elsewhere>) -> Option<Device> {
    let place = scan.sys("class/block").join(name);
    // The names alone decide about most of them; only what is left costs reads.
    if !any(watched, name, true) {
        return None;
    }
    let real = scan.real(&place)?;
    let usb = real.parts().any(|part| part.starts_with("usb"));
    if !any(watched, name, usb) {
        return None;
    }
    let sectors: u64 = scan.number(&real.join("size")).filter(|sectors| *sectors > 0)?;
    // Part of a RAID or of a mapping: what is on it belongs to that. Hidden paths of NVMe multipath have no node.
    if !scan.names(&real.join("holders")).is_empty() || scan.flag(&real.join("hidden")) == Some(true) {
        return None;
    }
    let partition = scan.exists(&real.join("partition"));
    if !partition && has_partitions(scan, &real, name) {
        return None;
    }
    let disk = if partition { real.parent()? } else { real.clone() };
    let insertion = Insertion {
        diskseq: scan.number(&disk.join("diskseq")).unwrap_or(0),
        start: if partition { scan.number(&real.join("start")).unwrap_or(0) } else { 0 },
        bytes: sectors.saturating_mul(512),
    };
    let number = scan.text(&real.join("dev"))?;
    Some(Device {
        insertion,
        usb,
        pci: pci_address(&real),
        leaving: is_leaving(scan, &disk),
        elsewhere: mounts.get(&number).cloned(),
        written: written(scan, &real),
        number,
    })
}

/// A disk's partitions are folders in its own that begin with its name; the file systems are theirs.
fn has_partitions(scan: &Scan<'_>, real: &Place, name: &str) -> bool {
    let mut inside = scan.names(real).into_iter().filter(|inside| inside.starts_with(name));
    inside.any(|inside| scan.exists(&real.join(&inside).join("partition")))
}

/// The seventh figure of `stat` (kernel documentation, `block/stat`).
fn written(scan: &Scan<'_>, real: &Place) -> u64 {
    let text = scan.text(&real.join("stat")).unwrap_or_default();
    text.split_whitespace().nth(6).and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// `losetup -d` on a mounted loop device only marks it, without an event: it goes when the last user does.
fn is_leaving(scan: &Scan<'_>, disk: &Place) -> bool {
    scan.flag(&disk.join("loop/autoclear")) == Some(true)
}

fn pci_address(real: &Place) -> Option<String> {
    let is_address = |part: &str| {
        let shape: Vec<usize> = part.split([':', '.']).map(str::len).collect();
        shape == [4, 2, 2, 1] && part.bytes().all(|b| b.is_ascii_hexdigit() || b == b':' || b == b'.')
    };
    real.parts().rev().find(|part| is_address(part)).map(str::to_string)
}

/// Other people's mounts by device number, from `/proc/self/mountinfo` (proc(5)).
fn mounts(scan: &Scan<'_>, own: &str) -> HashMap<String, Elsewhere> {
    let text = scan.table(&scan.proc("self/mountinfo")).unwrap_or_default();
    let mut found: HashMap<String, Elsewhere> = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(' ');
        let (Some(number), Some(at)) = (fields.nth(2), fields.nth(1)) else {
            continue;
        };
        if at.starts_with(own) {
            continue;
        }
        // The superblock's own options, after the separator, say whether anybody may write.
        let writable = line
            .split(" - ")
            .nth(1)
            .and_then(|rest| rest.split(' ').nth(2))
            .is_some_and(|o| o.split(',').any(|o| o == "rw"));
        let elsewhere = Elsewhere { at: at.replace("\\040", " "), writable };
        found.entry(number.to_string()).or_insert(elsewhere);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    fn put(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn block(root: &Path, name: &str, real: &str, files: &[(&str, &str)]) {
        for (file, text) in files {
            put(root, &format!("sys/{real}/{file}"), text);
        }
        fs::create_dir_all(root.join("sys/class/block")).unwrap();
        symlink(format!("../../{real}"), root.join("sys/class/block").join(name)).unwrap();
    }

    #[test]
    fn disks_partitions_and_loops_are_found_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let nvme = "devices/pci0000:00/0000:00:1d.0/0000:01:00.0/nvme/nvme0/nvme0n1";
        block(root, "nvme0n1", nvme, &[("size", "2048\n"), ("dev", "259:0\n"), ("diskseq", "9\n")]);
        let partition = format!("{nvme}/nvme0n1p1");
        block(
            root,
            "nvme0n1p1",
            &partition,
            &[
                ("size", "1024\n"),
                ("dev", "259:1\n"),
                ("partition", "1\n"),
                ("start", "64\n"),
                ("stat", " 1 0 8 0 2 0 77 0\n"),
            ],
        );
        let usb = "devices/pci0000:00/0000:00:14.0/usb1/1-1/host0/block/sda";
        block(root, "sda", usb, &[("size", "512\n"), ("dev", "8:0\n"), ("diskseq", "11\n")]);
        block(root, "loop0", "devices/virtual/block/loop0", &[("size", "0\n"), ("dev", "7:0\n")]);
        let leaving = [("size", "8\n"), ("dev", "7:1\n"), ("diskseq", "12\n"), ("loop/autoclear", "1\n")];
        block(root, "loop1", "devices/virtual/block/loop1", &leaving);
        block(root, "zram0", "devices/virtual/block/zram0", &[("size", "8\n"), ("dev", "252:0\n")]);
        block(root, "sdb", "devices/pci0000:00/ata1/block/sdb", &[("size", "8\n"), ("dev", "8:16\n"), ("holders/md0", "")]);
        put(
            root,
            "proc/self/mountinfo",
            "22 1 259:1 / /media/My\\040stick rw,nosuid shared:1 - ext4 /dev/nvme0n1p1 rw,errors=continue\n\
             23 1 8:0 / /srv/agent/mounts/sda ro - ext4 /dev/sda ro\n",
        );
        let watched = ["nvme*", "usb", "loop*", "sdb"].map(Pattern::from);
        let found = look(&HostRoot::recorded(root), &watched, "/srv/agent/mounts");
        assert_eq!(found.keys().collect::<Vec<_>>(), ["loop1", "nvme0n1p1", "sda"]);
        assert_eq!(found["nvme0n1p1"].insertion, Insertion { diskseq: 9, start: 64, bytes: 1024 * 512 });
        assert_eq!(found["nvme0n1p1"].written, 77);
        assert_eq!(found["nvme0n1p1"].elsewhere, Some(Elsewhere { at: "/media/My stick".into(), writable: true }));
        assert_eq!(found["nvme0n1p1"].pci.as_deref(), Some("0000:01:00.0"));
        assert!(found["loop1"].leaving && found["sda"].usb && found["sda"].elsewhere.is_none());
    }

    #[test]
    fn a_machine_without_anything_has_no_devices() {
        let dir = tempfile::tempdir().unwrap();
        assert!(look(&HostRoot::recorded(dir.path()), &[Pattern::from("*")], "/x").is_empty());
    }
}
