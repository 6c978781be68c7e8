//! The reset button in the middle of a mount: what the agent finds again by itself, and what it leaves alone until somebody
//! releases it.

use super::{BOOT, Journey, SLOTS, SOON};
use crate::journey::modules::{DOCUMENTS, LANGUAGE};
use anyhow::{Result, ensure};
use ouro_common::document::ModulesDocument;
use ouro_common::module::ModuleState;

/// Where the agent writes down what it is about to do with a module.
const INTENTS: &str = "/var/lib/ouroboros/agent/agent/intents";
/// A stick so slow that mounting and reading it takes long enough to be caught in the act.
const OPERATIONS_PER_S: u32 = 4;

impl Journey<'_> {
    /// A hard reset with a module in each slot, one of them just being mounted.
    pub(super) fn hard_reset(&mut self) -> Result<()> {
        self.account.chapter("a hard reset with two modules in, one of them in the middle of being mounted")?;
        self.insert(&SLOTS[0], LANGUAGE, "steady")?;
        let slow = self.machine.plug_slow(&SLOTS[1], "slow", &self.image(DOCUMENTS), OPERATIONS_PER_S)?;
        let caught = format!("grep -l '\"{DOCUMENTS}\"' {INTENTS}/*mount*.json");
        let intent = self.guest.until("the slow module is being mounted", SOON, &caught)?;
        let boot = self.guest.sh("cat /proc/sys/kernel/random/boot_id")?;
        self.machine.reset()?;
        self.machine.speed_up(&slow)?;
        self.guest.wait_again(BOOT)?;
        ensure!(self.guest.sh("cat /proc/sys/kernel/random/boot_id")? != boot, "the machine was not reset");
        self.guest.sh(&format!("mount -o ro LABEL={0} /mnt/{0}", crate::LABEL))?;
        let both = |g: &mut crate::Guest| {
            let modules: Option<ModulesDocument> = g.ask("ouroctl modules --output json")?;
            let find = |label: &str| modules.iter().flat_map(|d| &d.modules).find(|m| m.label == label).cloned();
            // What the server remembers of before the reset is not meant.
            let fresh = find(DOCUMENTS).filter(|m| m.state == ModuleState::Suspect || m.state == ModuleState::Ready);
            Ok(find(LANGUAGE).filter(|m| m.state == ModuleState::Ready).zip(fresh))
        };
        let (_, documents) = self.guest.eventually("the modules are found again", SOON, both)?;
        self.account.seen("after a reset the services start, and a module that is in is found", LANGUAGE)?;
        ensure!(documents.state == ModuleState::Suspect, "the module of the open intent {intent}: {documents:?}");
        self.account.seen("the module that was being mounted is suspect", documents.why)?;
        let mounted = self.guest.run(&format!("grep 'agent/mounts/{}' /proc/$(pgrep -o ouro-agent)/mountinfo", documents.slot))?;
        ensure!(mounted.code != Some(0), "it is mounted all the same: {mounted:?}");
        self.guest.sh(&format!("ouroctl module release {DOCUMENTS}"))?;
        let ready = |g: &mut crate::Guest| {
            let modules: ModulesDocument = g.json("ouroctl modules --output json")?;
            Ok(modules.modules.into_iter().find(|m| m.label == DOCUMENTS && m.state == ModuleState::Ready))
        };
        self.guest.eventually("the released module is ready", SOON, ready)?;
        self.account.seen("`ouroctl module release` lets it be used again", DOCUMENTS)?;
        // Right after the start of a slow machine its runtimes may still have to be probed again.
        let ask = format!("{} | grep German", Self::ask_language("120s"));
        self.guest.until("a step runs from the module", SOON, &ask).map(drop)
    }
}
