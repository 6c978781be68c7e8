//! Modules on sticks: pushed in, used, pulled out in the middle of a step, torn out, and pushed in again.

use super::{Journey, SLOTS, SOON};
use crate::clock::{self, Chronicle};
use crate::{LUGGAGE, Slot, Stick, time};
use anyhow::{Result, bail, ensure};
use ouro_common::document::{ModuleView, ModulesDocument};
use ouro_common::module::ModuleState;
use std::path::PathBuf;
use std::time::Duration;

/// The sample module with `langid`, as `make modules` labels it.
pub(super) const LANGUAGE: &str = "OURO-LANGUAGE";
/// The sample module with `summarize`.
pub(super) const DOCUMENTS: &str = "OURO-DOCUMENTS";
/// What the agent may take from a device's event to its announcement, times ten for the emulated and shared processor.
const ANNOUNCED: Duration = Duration::from_secs(10);

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
        self.language()?;
        self.account.seen("a step runs from the module", "langid, an onnx container")?;
        self.remove(&stick, &SLOTS[0], LANGUAGE)?;
        ensure!(self.agent_process()? == agent, "the agent was replaced");
        Ok(())
    }

    /// Pulled out in the middle of a step, and pushed into the other slot: the request finishes from there.
    pub(super) fn pulled_in_the_middle(&mut self) -> Result<()> {
        self.account.chapter("a module is pulled out in the middle of a step")?;
        let agent = self.agent_process()?;
        let stick = self.insert(&SLOTS[0], DOCUMENTS, "second")?;
        let request = self
            .guest
            .start(&format!("ouroctl submit 'Summarize this' --file text=/{LUGGAGE}/register.txt --deadline 500s"))?;
        let busy = |g: &mut crate::Guest| Ok(Some(g.sh("ouro-agent status")?).filter(|text| text.contains("steps       1 of")));
        self.guest.eventually("the step runs", SOON, busy)?;
        let since = clock::now(&mut self.guest)?;
        self.remove(&stick, &SLOTS[0], DOCUMENTS)?;
        let removed =
            |g: &mut crate::Guest| Ok(Some(g.sh("ouroctl trace last --output json")?).filter(|text| text.contains("MODULE_REMOVED")));
        let trace = self.guest.eventually("the attempt ends as MODULE_REMOVED", SOON, removed);
        if let Err(error) = trace {
            bail!("{error}\n{}", self.guest.sh("ouroctl trace last")?);
        }
        ensure!(self.guest.ended(request)?.is_none(), "the request ended with its module");
        let chronicle = Chronicle::read(&mut self.guest, since)?;
        let out = chronicle.when(&["event remove", "(block)"])?;
        let failed = chronicle.when_after(out, &["ouro-server", "a step failed", "MODULE_REMOVED"])?;
        self.account.seen(
            "the step ends as MODULE_REMOVED, the request waits",
            format!("{} after the kernel's event", time(failed - out)),
        )?;
        self.insert(&SLOTS[1], DOCUMENTS, "third")?;
        let answer = self.guest.wait(request, SOON * 2)?;
        ensure!(answer.code == Some(0) && answer.stdout.contains("Entry"), "the request did not finish: {answer:?}");
        ensure!(self.agent_process()? == agent, "the agent was replaced");
        self.account
            .seen("pushed into the other slot, the request finishes", format!("the agent is still process {agent}"))
    }

    /// The medium is gone at once, without a word; what had not been read of it cannot be read any more.
    pub(super) fn torn_out(&mut self) -> Result<()> {
        self.account.chapter("a module's medium is torn out without a word")?;
        let agent = self.agent_process()?;
        let stick = self.insert(&SLOTS[0], LANGUAGE, "fourth")?;
        self.machine.tear_out(&stick)?;
        self.guest.sh("echo 3 > /proc/sys/vm/drop_caches")?;
        let request = self
            .guest
            .start(&format!("ouroctl submit 'What language is this?' --file text=/{LUGGAGE}/letter.txt --deadline 500s"))?;
        let unusable = |g: &mut crate::Guest| {
            let modules: ModulesDocument = g.json("ouroctl modules --output json")?;
            Ok(modules.modules.into_iter().find(|m| m.label == LANGUAGE).filter(|m| m.state != ModuleState::Ready))
        };
        let view: ModuleView = self.guest.eventually("the module is given up", SOON, unusable)?;
        self.account.seen("a module that does not answer is given up", view.why)?;
        self.machine.pull(&stick)?;
        self.machine.wait_pulled(&stick, SOON)?;
        self.gone(LANGUAGE)?;
        self.insert(&SLOTS[0], LANGUAGE, "fifth")?;
        let answer = self.guest.wait(request, SOON * 2)?;
        ensure!(answer.code == Some(0) && answer.stdout.contains("German"), "the request did not finish: {answer:?}");
        ensure!(self.agent_process()? == agent, "the agent was replaced");
        self.account
            .seen("pushed in again, the waiting request finishes", format!("the agent is still process {agent}"))
    }

    /// A step of the module with `langid`.
    pub(super) fn language(&mut self) -> Result<()> {
        let said = self
            .guest
            .sh(&format!("ouroctl submit 'What language is this?' --file text=/{LUGGAGE}/letter.txt --deadline 120s"))?;
        ensure!(said.contains("German"), "the letter is German: {said}");
        Ok(())
    }

    /// Pushes a module in and waits until the server knows it; the times are printed.
    pub(super) fn insert(&mut self, slot: &Slot, label: &str, id: &str) -> Result<Stick> {
        let since = clock::now(&mut self.guest)?;
        let stick = self.machine.plug(slot, id, &self.image(label))?;
        let ready = |g: &mut crate::Guest| {
            let modules: ModulesDocument = g.json("ouroctl modules --output json")?;
            Ok(modules.modules.into_iter().find(|m| m.label == label && m.state == ModuleState::Ready))
        };
        let view = self.guest.eventually(&format!("{label} is announced"), SOON, ready)?;
        let chronicle = Chronicle::read(&mut self.guest, since)?;
        let present = chronicle.when(&["kernel", &format!("Slot({})", slot.number), "Card present"])?;
        let event = chronicle.when_after(present, &["event add", "(block)"])?;
        let ready = chronicle.when_after(event, &["ouro-agent", "a module is plugged in", label])?;
        let announced = chronicle.when_after(ready, &["ouro-server", "announced"])?;
        ensure!(announced - event < ANNOUNCED, "the agent took {:?} from the event to the announcement", announced - event);
        let figures = format!(
            "{} after the kernel's event, {} after the card went into the slot ({})",
            time(announced - event),
            time(announced - present),
            view.slot,
        );
        self.account.seen(&format!("{label} is announced"), figures)?;
        Ok(stick)
    }

    /// Pulls a module out and waits until the server knows that it is gone.
    fn remove(&mut self, stick: &Stick, slot: &Slot, label: &str) -> Result<()> {
        let since = clock::now(&mut self.guest)?;
        self.machine.pull(stick)?;
        self.machine.wait_pulled(stick, SOON)?;
        self.gone(label)?;
        let chronicle = Chronicle::read(&mut self.guest, since)?;
        let pressed = chronicle.when(&["kernel", &format!("Slot({})", slot.number), "Powering off"])?;
        let out = chronicle.when_after(pressed, &["event remove", "(block)"])?;
        let announced = chronicle.when_after(out, &["ouro-server", "announced"])?;
        let figures = format!("{} after the kernel's event, which came {} after the button", time(announced - out), time(out - pressed));
        self.account.seen(&format!("{label} is gone"), figures)
    }

    /// Waits until the server does not list the module, and looks that nothing of it is mounted.
    fn gone(&mut self, label: &str) -> Result<()> {
        let gone = |g: &mut crate::Guest| {
            let modules: ModulesDocument = g.json("ouroctl modules --output json")?;
            Ok((!modules.modules.iter().any(|m| m.label == label)).then_some(()))
        };
        self.guest.eventually(&format!("{label} is gone"), SOON, gone)?;
        let agent = self.agent_process()?;
        let mounts = self.guest.sh(&format!("cat /proc/{agent}/mountinfo"))?;
        let left = mounts
            .lines()
            .filter(|line| line.contains("/var/lib/ouroboros/agent/") && line.contains("nvme"))
            .collect::<Vec<_>>();
        // The unit's own state folder is a mount of the root disk.
        let left: Vec<_> = left.into_iter().filter(|line| line.contains("/mounts/")).collect();
        ensure!(left.is_empty(), "still mounted: {left:?}");
        Ok(())
    }

    fn image(&self, label: &str) -> PathBuf {
        self.modules.join(format!("{}.img", label.trim_start_matches("OURO-").to_lowercase()))
    }
}
