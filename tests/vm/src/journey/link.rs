//! A stick at the kernel's level: the slot's interrupt, the NVMe driver, and what the agent reads of the link.

use super::{Journey, SLOTS, SOON};
use crate::Slot;
use anyhow::{Context as _, Result, ensure};
use ouro_common::device::{HardwareReport, LinkTrust, PcieLink};

impl Journey<'_> {
    /// Pushes an empty stick into each slot, reads the links, and pulls it out again.
    pub(super) fn links(&mut self) -> Result<()> {
        self.account.chapter("an empty stick in each slot: what the kernel says and what the agent reads")?;
        for slot in &SLOTS {
            self.link(slot)?;
        }
        Ok(())
    }

    fn link(&mut self, slot: &Slot) -> Result<()> {
        let image = tempfile::NamedTempFile::new()?;
        image.as_file().set_len(64 << 20)?;
        let serial = format!("blank-{}", slot.id);
        let stick = self.machine.plug(slot, &serial, image.path())?;
        // By its serial number: the kernel promises no order.
        let find = format!("basename $(dirname $(grep -l '^{serial} *$' /sys/class/nvme/nvme*/serial))");
        let name = self.guest.eventually("an NVMe drive more", SOON, |g| Ok(Some(g.run(&find)?).filter(|f| f.code == Some(0))))?;
        let name = name.stdout.trim().to_string();
        let said = self.guest.sh(&format!("dmesg | grep -F 'Slot({})' | tail -n 3", slot.number))?;
        ensure!(said.contains("pciehp"), "the slot did not speak by PCIe's own hot-plug: {said}");

        let report: HardwareReport = self.guest.json("ouro-agent hwdetect --output json")?;
        let drive = report.nvme.iter().find(|n| n.name == name).with_context(|| format!("hwdetect does not list {name}"))?;
        let address = drive.address.clone().context("the drive has no address")?;
        let device = report.pcie.iter().find(|d| d.address == address).context("hwdetect does not list its PCIe device")?;
        // QEMU's drive has one slow lane in whatever slot; what the slot could carry stands at the port above it.
        ensure!(device.current == PcieLink::new(2.5, 1), "the drive's link: {:?}", device.current);
        ensure!(
            device.trust == LinkTrust::Unknown && device.why.contains("virtual"),
            "an invented link is believed: {}",
            device.why
        );
        let port = self.guest.sh(&format!(
            "cd $(readlink -f /sys/bus/pci/devices/{address})/..; cut -d' ' -f1 max_link_speed; cat max_link_width; cat current_link_width"
        ))?;
        let stated = format!("{} {} 1", slot.gt_per_s, slot.width);
        let found = port.split_whitespace().map(|figure| figure.trim_end_matches(".0")).collect::<Vec<_>>().join(" ");
        ensure!(found == stated, "the port was stated as {stated}, the guest reads {found}");
        let sight = format!(
            "{} GT/s x{} at the port; the drive's link is 2.5 GT/s x1, and hwdetect says it is a hypervisor's",
            slot.gt_per_s, slot.width
        );
        self.account.seen(&format!("slot {}", slot.number), sight)?;

        self.machine.pull(&stick)?;
        self.machine.wait_pulled(&stick, SOON)?;
        let gone = |g: &mut crate::Guest| Ok(g.run(&format!("! test -e /sys/class/nvme/{name}"))?.code.filter(|c| *c == 0));
        self.guest.eventually("the drive is gone", SOON, gone).map(|_| ())
    }
}
