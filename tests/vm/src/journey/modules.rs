//! Modules on sticks: pushed in, announced, used, and pulled out while nothing runs; what the other legs build on.

use super::{Journey, SLOTS, SOON};
use crate::clock::{self, Chronicle};
use crate::{LUGGAGE, Slot, Stick, time};
use anyhow::{Result, bail, ensure};
use ouro_common::device::PcieLink;
use ouro_common::document::{ModuleView, ModulesDocument};
use ouro_common::module::ModuleState;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The sample module with `langid`, as `make modules` labels it.
pub(super) const LANGUAGE: &str = "OURO-LANGUAGE";
/// The sample module with `summarize`.
pub(super) const DOCUMENTS: &str = "OURO-DOCUMENTS";
/// What the agent may take from a device's event to its announcement, times twenty for the emulated and shared processor.
const ANNOUNCED: Duration = Duration::from_secs(20);

impl Journey<'_> {
    /// The fleet trusts the key of the sample modules, and the node has nothing but what comes on sticks.
    pub(super) fn only_sticks(&mut self) -> Result<()> {
        self.guest
            .sh(&format!("OUROBOROS_HOME=/var/lib/ouroboros/server ouroctl module trust /{LUGGAGE}/development.pub"))?;
        self.guest.sh("rm -rf /var/lib/ouroboros/agent/modules/*")?;
        let gone = |g: &mut crate::Guest| Ok(Some(g.sh("ouroctl modules")?).filter(|text| !text.contains("langid")));
        self.guest.eventually("the directory's containers are gone", SOON, gone)?;
        Ok(())
    }

    /// In, used, and out again while nothing runs.
    pub(super) fn come_and_go(&mut self) -> Result<()> {
        self.account.chapter("a module is pushed in, used, and pulled out")?;
        let agent = self.agent_process()?;
        let stick = self.insert(&SLOTS[0], LANGUAGE, "first")?;
        let stated = format!("(port {} GT/s x{})", SLOTS[0].gt_per_s, SLOTS[0].width);
        let shown = self.guest.sh(&format!("ouroctl modules | grep '^{LANGUAGE}'"))?;
        ensure!(shown.contains(&stated), "the port was stated as {stated}, `ouroctl modules` says {shown}");
        self.account.seen("`ouroctl modules` shows the port as stated", shown)?;
        self.language()?;
        self.account.seen("a step runs from the module", "langid, an onnx container")?;
        self.remove(&stick, LANGUAGE)?;
        ensure!(self.agent_process()? == agent, "the agent was replaced");
        Ok(())
    }

    /// A step of the module with `langid`.
    pub(super) fn language(&mut self) -> Result<()> {
        let said = self.guest.sh(&Self::ask_language("120s"))?;
        ensure!(said.contains("German"), "the letter is German: {said}");
        Ok(())
    }

    /// The command that asks for one.
    pub(super) fn ask_language(deadline: &str) -> String {
        format!("ouroctl submit 'What language is this?' --file text=/{LUGGAGE}/letter.txt --deadline {deadline}")
    }

    /// Waits until the last request is said to wait for a module, and gives the words.
    pub(super) fn waits(&mut self) -> Result<String> {
        let found = self
            .guest
            .until("the request says what it waits for", SOON, "ouroctl explain last | grep -i -m 1 'module\\|plug'");
        match found {
            Ok(words) => Ok(words),
            Err(error) => bail!("{error}\n{}", self.guest.sh("ouroctl explain last")?),
        }
    }

    /// Pushes a module in and waits until the server knows it; the times are printed.
    pub(super) fn insert(&mut self, slot: &Slot, label: &str, id: &str) -> Result<Stick> {
        self.insert_image(slot, label, id, &self.image(label))
    }

    /// The same with an image of one's own: a copy beside the first.
    pub(super) fn insert_image(&mut self, slot: &Slot, label: &str, id: &str, image: &Path) -> Result<Stick> {
        let since = clock::now(&mut self.guest)?;
        let stick = self.machine.plug(slot, id, image)?;
        let port = port(slot);
        let ready = |g: &mut crate::Guest| {
            let modules: ModulesDocument = g.json("ouroctl modules --output json")?;
            let is_it = |m: &ModuleView| m.label == label && m.state == ModuleState::Ready && m.port_link == port;
            Ok(modules.modules.into_iter().find(is_it))
        };
        let view = match self.guest.eventually(&format!("{label} is announced, in a port of {port:?}"), SOON, ready) {
            Ok(view) => view,
            Err(error) => bail!("{error}\n{}", self.guest.sh("ouroctl modules --output json")?),
        };
        let chronicle = Chronicle::read(&mut self.guest, since)?;
        let card = chronicle.when(&["event add", "(pci)"])?;
        let event = chronicle.when_after(card, &["event add", "(block)"])?;
        let ready = chronicle.when_after(event, &["ouro-agent", "a module is plugged in", label])?;
        let announced = chronicle.when_after(ready, &["ouro-server", "announced"])?;
        ensure!(announced - event < ANNOUNCED, "the agent took {:?} from the event to the announcement", announced - event);
        let figures = format!(
            "{} after the kernel's event of the drive, {} after that of the card ({})",
            time(announced - event),
            time(announced - card),
            view.slot,
        );
        self.account.seen(&format!("{label} is announced"), figures)?;
        Ok(stick)
    }

    /// Pulls a module out and waits until the server knows that it is gone.
    pub(super) fn remove(&mut self, stick: &Stick, label: &str) -> Result<()> {
        let since = clock::now(&mut self.guest)?;
        self.machine.pull(stick)?;
        self.machine.wait_pulled(stick, SOON)?;
        self.gone(label)?;
        let chronicle = Chronicle::read(&mut self.guest, since)?;
        let out = chronicle.when(&["event remove", "(block)"])?;
        let announced = chronicle.when_after(out, &["ouro-server", "announced"])?;
        let figures = format!("{} after the kernel's event, which came {} after the button", time(announced - out), time(out - since));
        self.account.seen(&format!("{label} is gone"), figures)
    }

    /// Waits until the server does not list the module, and looks that nothing is mounted but what it lists.
    pub(super) fn gone(&mut self, label: &str) -> Result<()> {
        let gone = |g: &mut crate::Guest| {
            let modules: ModulesDocument = g.json("ouroctl modules --output json")?;
            Ok((!modules.modules.iter().any(|m| m.label == label)).then_some(modules))
        };
        let listed = self.guest.eventually(&format!("{label} is gone"), SOON, gone)?;
        let agent = self.agent_process()?;
        let mounts = self.guest.sh(&format!("cat /proc/{agent}/mountinfo"))?;
        // A mount's folder begins with its slot.
        let listed = |line: &str| listed.modules.iter().any(|m| line.contains(&format!("/agent/mounts/{}-", m.slot)));
        let left: Vec<_> = mounts.lines().filter(|line| line.contains("/agent/mounts/") && !listed(line)).collect();
        ensure!(left.is_empty(), "still mounted: {left:?}");
        Ok(())
    }

    pub(super) fn image(&self, label: &str) -> PathBuf {
        self.modules.join(format!("{}.img", label.trim_start_matches("OURO-").to_lowercase()))
    }
}

/// What a slot's port was stated to carry.
fn port(slot: &Slot) -> Option<PcieLink> {
    PcieLink::new(slot.gt_per_s.parse().ok()?, slot.width.into())
}
