//! Slots of a stated speed and width, and the sticks that go in and out of them.
//!
//! QEMU's port has an attention button: asked to let go of a device, it presses the button, and the guest's kernel powers the
//! slot down five seconds later. A stick that is torn out without asking, QEMU cannot play; nearest to it is to take the
//! medium away from under a controller that stays, which is what [`Machine::tear_out`] does.

use super::{Machine, PATIENCE};
use anyhow::{Context as _, Result, bail};
use serde_json::json;
use std::path::Path;
use std::time::Duration;

/// A PCIe slot that the machine has from its start.
#[derive(Debug, Clone)]
pub struct Slot {
    /// QEMU's name for it.
    pub id: &'static str,
    /// Which slot it is, from 1.
    pub number: u8,
    /// The speed of a lane in GT/s, as QEMU and the kernel write it: `5`, `8` …
    pub gt_per_s: &'static str,
    /// How many lanes.
    pub width: u8,
}

/// A stick in a slot.
#[derive(Debug, Clone)]
pub struct Stick {
    /// QEMU's name for the device; each insertion has its own.
    pub id: String,
}

impl Slot {
    pub(super) fn device(&self) -> String {
        let Self { id, number, gt_per_s, width } = self;
        format!("pcie-root-port,id={id},bus=pcie.0,chassis={number},slot={number},x-speed={gt_per_s},x-width={width}")
    }
}

impl Machine {
    /// Pushes a stick with this content into a slot. The guest's kernel is told by an interrupt, as by a real one.
    ///
    /// # Errors
    /// When QEMU refuses.
    pub fn plug(&mut self, slot: &Slot, id: &str, image: &Path) -> Result<Stick> {
        self.add_medium(id, image, "")?;
        self.add_controller(slot, id)
    }

    /// An old-style drive: only such a one can be taken away while its controller stays.
    fn add_medium(&mut self, id: &str, image: &Path, more: &str) -> Result<()> {
        let file = image.display().to_string().replace(',', ",,");
        self.human(&format!("drive_add 0 if=none,id=medium-{id},file={file},format=raw,cache=writethrough{more}"))
    }

    fn add_controller(&mut self, slot: &Slot, id: &str) -> Result<Stick> {
        let device = json!({ "driver": "nvme", "id": id, "bus": slot.id, "drive": format!("medium-{id}"), "serial": id });
        self.monitor.execute("device_add", &device, PATIENCE)?;
        Ok(Stick { id: id.into() })
    }

    /// The same with a stick that does so few operations a second.
    ///
    /// # Errors
    /// When QEMU refuses.
    pub fn plug_slow(&mut self, slot: &Slot, id: &str, image: &Path, operations_per_s: u32) -> Result<Stick> {
        self.add_medium(id, image, &format!(",throttling.iops-total={operations_per_s}"))?;
        self.add_controller(slot, id)
    }

    /// Lets a slow stick be as fast as the others.
    ///
    /// # Errors
    /// When QEMU refuses.
    pub fn speed_up(&mut self, stick: &Stick) -> Result<()> {
        let mut limits = json!({ "device": format!("medium-{}", stick.id) });
        for limit in ["bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"] {
            limits[limit] = json!(0);
        }
        self.monitor.execute("block_set_io_throttle", &limits, PATIENCE)?;
        Ok(())
    }

    /// Presses the slot's button: the guest's kernel will power it down, whatever uses the stick.
    ///
    /// # Errors
    /// When QEMU refuses.
    pub fn pull(&mut self, stick: &Stick) -> Result<()> {
        self.monitor.execute("device_del", &json!({ "id": stick.id }), PATIENCE)?;
        Ok(())
    }

    /// Waits until the stick is out.
    ///
    /// # Errors
    /// When the guest did not let go of it within `limit`.
    pub fn wait_pulled(&mut self, stick: &Stick, limit: Duration) -> Result<()> {
        let out = self.monitor.event("DEVICE_DELETED", |data| data["device"] == stick.id, limit);
        out.with_context(|| format!("pulling {}", stick.id))
    }

    /// Takes the medium away at once, without a word to the guest: every access from now on is an I/O error.
    ///
    /// # Errors
    /// When QEMU refuses.
    pub fn tear_out(&mut self, stick: &Stick) -> Result<()> {
        self.human(&format!("drive_del medium-{}", stick.id))
    }

    /// A command that QMP has no form for; its words are an error.
    fn human(&mut self, line: &str) -> Result<()> {
        let said = self.monitor.execute("human-monitor-command", &json!({ "command-line": line }), PATIENCE)?;
        match said.as_str().map(str::trim) {
            None | Some("" | "OK") => Ok(()),
            Some(words) => bail!("{line}: {words}"),
        }
    }
}
