//! The reset button: what the agent finds again by itself, and what it leaves alone until somebody releases it.

use super::{BOOT, Journey, SOON};
use crate::journey::modules::{DOCUMENTS, LANGUAGE};
use anyhow::{Result, ensure};
use ouro_common::document::ModulesDocument;
use ouro_common::module::ModuleState;

/// Where the agent writes down what it is about to do with a module.
const INTENTS: &str = "/var/lib/ouroboros/agent/agent/intents";

impl Journey<'_> {
    /// Hard reset with a module in each slot, one of them with an intent that was never taken back.
    pub(super) fn hard_reset(&mut self) -> Result<()> {
        self.account.chapter("a hard reset with two modules in, one of them in the middle of being mounted")?;
        // What a crash of the kernel in the middle of mounting leaves: the intent as the agent wrote it when it mounted that module.
        let catch = format!(
            "set -e; systemctl stop ouro-agent; mkdir -p /intent; \\
             (while :; do cp {INTENTS}/*.json /intent/ 2>/dev/null || true; done) & copier=$!; \\
             systemctl start ouro-agent; \\
             for tries in $(seq 600); do ls /intent/*mount* >/dev/null 2>&1 && ouroctl modules | grep -q {DOCUMENTS} && break; sleep 0.2; done; \\
             kill $copier; grep -l {DOCUMENTS} /intent/*mount*.json"
        );
        let caught = self.guest.start(&catch)?;
        let caught = self.guest.wait(caught, SOON)?;
        ensure!(caught.code == Some(0), "no intent was caught: {caught:?}");
        let file = caught.stdout.trim().lines().next().unwrap_or_default().to_string();
        self.guest.sh(&format!("systemctl kill -s KILL ouro-agent; cp {file} {INTENTS}/; sync"))?;
        self.machine.reset()?;
        self.guest.wait_again(BOOT)?;
        self.guest.sh(&format!("mount -o ro LABEL={0} /mnt/{0}", crate::LABEL))?;
        let both = |g: &mut crate::Guest| {
            let modules: Option<ModulesDocument> = g.ask("ouroctl modules --output json")?;
            let find = |label: &str| modules.iter().flat_map(|d| &d.modules).find(|m| m.label == label).cloned();
            Ok(find(LANGUAGE).zip(find(DOCUMENTS)).filter(|(language, _)| language.state == ModuleState::Ready))
        };
        let (_, documents) = self.guest.eventually("the module is found again", SOON, both)?;
        self.account.seen("after a reset the services start, and a module that is in is found", LANGUAGE)?;
        ensure!(documents.state == ModuleState::Suspect, "the module of the open intent: {documents:?}");
        self.account.seen("the module of the open intent is suspect", documents.why)?;
        self.guest.sh(&format!("ouroctl module release {DOCUMENTS}"))?;
        let ready = |g: &mut crate::Guest| {
            let modules: ModulesDocument = g.json("ouroctl modules --output json")?;
            Ok(modules.modules.into_iter().find(|m| m.label == DOCUMENTS && m.state == ModuleState::Ready))
        };
        self.guest.eventually("the released module is ready", SOON, ready)?;
        self.account.seen("`ouroctl module release` lets it be used again", DOCUMENTS)?;
        self.language()?;
        Ok(())
    }
}
