//! The power of a PCIe slot: what sits in it is taken out of the kernel, so that the port's link can sleep, or its power is switched
//! off; and both are undone.
//!
//! `remove` of a function, `rescan` of a bus and `power` of a slot are files of sysfs (kernel ABI `sysfs-bus-pci`). What was put to
//! sleep is written down first: an agent that comes back after a kill wakes it, else nobody would know that something is in there.

use crate::durable::{self, FileError, Keep};
use crate::sensing::host_root::{HostRoot, Place, ReadError};
use crate::sensing::is_pci_address;
use crate::sensing::scan::Scan;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::PathBuf;

/// A port with one card in it, and nothing on the card that is not the module's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PciSlot {
    /// The card's only function, like `0000:01:00.0`.
    pub function: String,
    /// The name of the slot whose power can be switched, if that is wanted and can be.
    pub power: Option<String>,
}

/// Why a slot is left as it is.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// It is on no port of its own.
    #[error("{0} is on no PCIe port of its own")]
    NoPort(String),
    /// Something else would lose its power too.
    #[error("there is more on that card than the module: {0}")]
    Shared(String),
    /// The agent may not write to sysfs.
    #[error("{place} cannot be written: {problem}; the service needs `ReadWritePaths=/sys/devices /sys/bus/pci` in a drop-in")]
    ReadOnly {
        /// Which file.
        place: Place,
        /// What the system said.
        problem: rustix::io::Errno,
    },
    /// The kernel refused.
    #[error(transparent)]
    Refused(#[from] ReadError),
    /// The agent's own disk refused to keep what was put to sleep.
    #[error("the agent's own disk refuses the record: {0}")]
    Record(#[from] FileError),
}

impl PciSlot {
    /// The port that the block device `disk` on `function` sits in, if nothing else does; `switch`: with its power.
    ///
    /// # Errors
    /// Why it must be left alone.
    pub fn of(root: &HostRoot, function: &str, disk: &str, switch: bool) -> Result<Self, SlotError> {
        let scan = Scan::new(root);
        let place = scan.sys("bus/pci/devices").join(function);
        let real = root.read_real_place(&place)?;
        let port = real.parent().filter(|port| is_pci_address(port.name()));
        let port = port.ok_or_else(|| SlotError::NoPort(function.into()))?;
        let others = scan.names(&port).into_iter().filter(|name| is_pci_address(name) && name != function);
        let blocks = scan.names(&scan.sys("class/block")).into_iter().filter(|name| {
            let on_it = scan.real(&scan.sys("class/block").join(name)).is_some_and(|real| real.parts().any(|part| part == function));
            // The whole disk is the partition's own.
            on_it && name != disk && !is_disk_of(&scan, name, disk)
        });
        let others: Vec<String> = others.chain(blocks).collect();
        if !others.is_empty() {
            return Err(SlotError::Shared(others.join(", ")));
        }
        let power = if switch { power_of(&scan, function) } else { None };
        let slot = Self { function: function.into(), power };
        for file in [slot.remove_file(root), slot.rescan_file(root)].into_iter().chain(slot.power_file(root)) {
            root.check_writable(&file)?.map_err(|problem| SlotError::ReadOnly { place: file, problem })?;
        }
        Ok(slot)
    }

    fn remove_file(&self, root: &HostRoot) -> Place {
        root.sys("bus/pci/devices").join(&self.function).join("remove")
    }

    /// The bus behind the port, which stays when the card has gone from it.
    fn rescan_file(&self, root: &HostRoot) -> Place {
        let bus = self.function.rsplit_once(':').map_or("", |(bus, _)| bus);
        root.sys("class/pci_bus").join(bus).join("rescan")
    }

    fn power_file(&self, root: &HostRoot) -> Option<Place> {
        self.power.as_ref().map(|name| root.sys("bus/pci/slots").join(name).join("power"))
    }

    /// Takes the card out of the kernel, and its power if that is to be. Blocks until the kernel has done it.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn power_down(&self, root: &HostRoot) -> Result<(), SlotError> {
        root.write_attribute(&self.remove_file(root), "1")?;
        if let Some(power) = self.power_file(root) {
            root.write_attribute(&power, "0")?;
        }
        Ok(())
    }

    /// Gives the card its power again and lets the kernel look for it. Blocks until it has.
    ///
    /// # Errors
    /// What the kernel refused; a slot without a card cannot be switched on.
    pub fn power_up(&self, root: &HostRoot) -> Result<(), SlotError> {
        let powered = self.power_file(root).map_or(Ok(()), |power| root.write_attribute(&power, "1"));
        // Also where the switch refuses: somebody may have switched it on already.
        root.write_attribute(&self.rescan_file(root), "1")?;
        Ok(powered?)
    }
}

/// The slot of a function whose power can be switched. A slot's address has no function: `0000:01:00`.
fn power_of(scan: &Scan<'_>, function: &str) -> Option<String> {
    let slots = scan.sys("bus/pci/slots");
    let (address, _) = function.rsplit_once('.')?;
    let here = |name: &String| {
        let slot = slots.join(name);
        scan.text(&slot.join("address")).as_deref() == Some(address) && scan.exists(&slot.join("power"))
    };
    scan.names(&slots).into_iter().find(here)
}

fn is_disk_of(scan: &Scan<'_>, disk: &str, partition: &str) -> bool {
    let real = scan.real(&scan.sys("class/block").join(partition));
    real.and_then(|real| real.parent()).is_some_and(|parent| parent.name() == disk)
}

/// What sleeps, on the agent's disk.
#[derive(Debug, Clone)]
pub struct Sleepers {
    folder: PathBuf,
}

impl Sleepers {
    /// Those in `folder`.
    ///
    /// # Errors
    /// What the file system refused.
    pub fn open(folder: PathBuf) -> Result<Self, FileError> {
        durable::make_folder(&folder)?;
        Ok(Self { folder })
    }

    /// Writes down what is about to be put to sleep.
    ///
    /// # Errors
    /// What the file system refused; then it must stay awake.
    pub fn remember(&self, slot: &PciSlot) -> Result<(), FileError> {
        durable::write(&self.file(slot), &serde_json::to_vec(slot).unwrap_or_default(), Keep::ThroughPowerLoss)
    }

    /// It is awake, or gone.
    pub fn forget(&self, slot: &PciSlot) {
        if let Err(error) = durable::remove(&self.file(slot)) {
            tracing::warn!(%error, "a slot that is awake is still written down as asleep; the next start looks into it");
        }
    }

    /// What an earlier run put to sleep and did not wake.
    pub fn left(&self) -> Vec<PciSlot> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| serde_json::from_slice(&fs::read(entry.path()).ok()?).ok()).collect()
    }

    fn file(&self, slot: &PciSlot) -> PathBuf {
        self.folder.join(format!("{}.json", slot.function))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    const CARD: &str = "0000:01:00.0";

    fn put(root: &Path, file: &str, text: &str) {
        let path = root.join("sys").join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn link(root: &Path, at: &str, to: &str) {
        let path = root.join("sys").join(at);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(HostRoot::recorded(root).sys(to).as_str(), path).unwrap();
    }

    /// A machine with an NVMe stick with one partition in a port with a switch.
    fn machine() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let card = format!("devices/pci0000:00/0000:00:1d.0/{CARD}");
        put(root, &format!("{card}/remove"), "");
        link(root, &format!("bus/pci/devices/{CARD}"), &card);
        put(root, "devices/pci0000:00/0000:00:1d.0/pci_bus/0000:01/rescan", "");
        link(root, "class/pci_bus/0000:01", "devices/pci0000:00/0000:00:1d.0/pci_bus/0000:01");
        put(root, &format!("{card}/nvme/nvme0/nvme0n1/nvme0n1p1/partition"), "1");
        link(root, "class/block/nvme0n1", &format!("{card}/nvme/nvme0/nvme0n1"));
        link(root, "class/block/nvme0n1p1", &format!("{card}/nvme/nvme0/nvme0n1/nvme0n1p1"));
        put(root, "bus/pci/slots/7/address", "0000:01:00\n");
        put(root, "bus/pci/slots/7/power", "1\n");
        put(root, "bus/pci/slots/8/address", "0000:02:00\n");
        put(root, "bus/pci/slots/8/power", "1\n");
        dir
    }

    fn text(dir: &tempfile::TempDir, file: &str) -> String {
        let root = HostRoot::recorded(dir.path());
        String::from_utf8(root.read_bytes(&root.sys(file), 4096).unwrap()).unwrap()
    }

    #[test]
    fn a_card_is_taken_out_and_its_own_slot_switched() {
        let dir = machine();
        let root = HostRoot::recorded(dir.path());
        let slot = PciSlot::of(&root, CARD, "nvme0n1p1", true).unwrap();
        assert_eq!(slot.power.as_deref(), Some("7"));
        slot.power_down(&root).unwrap();
        assert_eq!(text(&dir, &format!("bus/pci/devices/{CARD}/remove")), "1");
        assert_eq!((text(&dir, "bus/pci/slots/7/power"), text(&dir, "bus/pci/slots/8/power")), ("0".into(), "1\n".into()));
        assert_eq!(text(&dir, "class/pci_bus/0000:01/rescan"), "", "it sleeps");
        slot.power_up(&root).unwrap();
        assert_eq!((text(&dir, "bus/pci/slots/7/power"), text(&dir, "class/pci_bus/0000:01/rescan")), ("1".into(), "1".into()));
    }

    #[test]
    fn without_the_switch_the_power_is_left_alone() {
        let dir = machine();
        let root = HostRoot::recorded(dir.path());
        let slot = PciSlot::of(&root, CARD, "nvme0n1p1", false).unwrap();
        slot.power_down(&root).unwrap();
        slot.power_up(&root).unwrap();
        assert_eq!((slot.power, text(&dir, "bus/pci/slots/7/power")), (None, "1\n".into()));
    }

    #[test]
    fn what_others_use_is_left_alone() {
        let dir = machine();
        let root = HostRoot::recorded(dir.path());
        let refused = |function: &str, disk: &str| PciSlot::of(&root, function, disk, false).unwrap_err();
        assert!(matches!(refused(CARD, "nvme0n1"), SlotError::Shared(what) if what == "nvme0n1p1"), "another partition");
        put(dir.path(), "devices/pci0000:00/0000:00:1d.0/0000:01:00.1/remove", "");
        assert!(matches!(refused(CARD, "nvme0n1p1"), SlotError::Shared(what) if what == "0000:01:00.1"), "another function");
        put(dir.path(), "devices/pci0000:00/0000:00:02.0/remove", "");
        link(dir.path(), "bus/pci/devices/0000:00:02.0", "devices/pci0000:00/0000:00:02.0");
        assert!(matches!(refused("0000:00:02.0", "sda"), SlotError::NoPort(_)), "part of the processor");
        assert!(matches!(refused("0000:09:00.0", "sda"), SlotError::Refused(_)), "gone meanwhile");
        assert_eq!(text(&dir, "class/pci_bus/0000:01/rescan"), "");
    }

    #[test]
    fn what_sleeps_is_known_to_the_next_run() {
        let home = tempfile::tempdir().unwrap();
        let sleepers = || Sleepers::open(home.path().join("asleep")).unwrap();
        let slot = PciSlot { function: CARD.into(), power: Some("7".into()) };
        sleepers().remember(&slot).unwrap();
        fs::write(home.path().join("asleep/cut-off.json"), "{").unwrap();
        assert_eq!(sleepers().left(), std::slice::from_ref(&slot));
        sleepers().forget(&slot);
        assert!(sleepers().left().is_empty());
    }
}
