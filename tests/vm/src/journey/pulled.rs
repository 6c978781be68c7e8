//! Modules that go in the middle of a step: pulled out, with and without a copy elsewhere, and the medium torn away.

use super::modules::{DOCUMENTS, LANGUAGE};
use super::{Journey, SLOTS, SOON};
use crate::clock::{self, Chronicle};
use crate::{LUGGAGE, TOOLS, time};
use anyhow::{Result, bail, ensure};
use ouro_common::document::{ModuleView, ModulesDocument};
use ouro_common::module::ModuleState;

impl Journey<'_> {
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
        self.remove(&stick, DOCUMENTS)?;
        let removed =
            |g: &mut crate::Guest| Ok(Some(g.sh("ouroctl trace last --output json")?).filter(|text| text.contains("MODULE_REMOVED")));
        let trace = self.guest.eventually("the attempt ends as MODULE_REMOVED", SOON, removed);
        if let Err(error) = trace {
            bail!("{error}\n{}", self.guest.sh("ouroctl trace last")?);
        }
        ensure!(self.guest.ended(request)?.is_none(), "the request ended with its module");
        let why = self.waits()?;
        let chronicle = Chronicle::read(&mut self.guest, since)?;
        let out = chronicle.when(&["event remove", "(block)"])?;
        let failed = chronicle.when_after(out, &["ouro-server", "a step failed", "MODULE_REMOVED"])?;
        self.account.seen(
            "the step ends as MODULE_REMOVED, the request waits",
            format!("{} after the kernel's event", time(failed - out)),
        )?;
        self.account.seen("it waits with a reason", why)?;
        let stick = self.insert(&SLOTS[1], DOCUMENTS, "third")?;
        let answer = self.guest.wait(request, SOON * 2)?;
        ensure!(answer.code == Some(0) && answer.stdout.contains("Entry"), "the request did not finish: {answer:?}");
        ensure!(self.agent_process()? == agent, "the agent was replaced");
        self.account
            .seen("pushed into the other slot, the request finishes", format!("the agent is still process {agent}"))?;
        self.remove(&stick, DOCUMENTS)?;
        self.placed_again()
    }

    /// With a copy of the module in the other slot the step begins again at once.
    fn placed_again(&mut self) -> Result<()> {
        let copy = self.modules.join("tools-copy.img");
        let sticks = [self.insert(&SLOTS[0], TOOLS, "original")?, self.insert_image(&SLOTS[1], TOOLS, "copy", &copy)?];
        let clerk = format!("ouroctl submit 'Use the slow clerk on this' --file text=/{LUGGAGE}/letter.txt --deadline 300s");
        let request = self.guest.start(&clerk)?;
        self.guest.until("the step runs", SOON, "pgrep -fx 'sleep 4242'")?;
        // It runs from whichever the agent lists first; that one is pulled.
        let since = clock::now(&mut self.guest)?;
        let [first, other] = &sticks;
        self.machine.pull(first)?;
        self.machine.wait_pulled(first, SOON)?;
        let answer = self.guest.wait(request, SOON)?;
        ensure!(answer.code == Some(0) && answer.stdout.contains("filed"), "the request did not finish: {answer:?}");
        let chronicle = Chronicle::read(&mut self.guest, since)?;
        let out = chronicle.when(&["event remove", "(block)"])?;
        let failed = chronicle.when_after(out, &["ouro-server", "a step failed", "MODULE_REMOVED"])?;
        let again = chronicle.when_after(failed, &["ouro-agent", "executor: step ", "@1.2"])?;
        let sight = format!("it runs again, from the other slot, {} after the kernel's event; the request finishes", time(again - out));
        self.account.seen("with a copy in the other slot", sight)?;
        self.remove(other, TOOLS)
    }

    /// The medium is gone at once, without a word; what had not been read of it cannot be read any more.
    pub(super) fn torn_out(&mut self) -> Result<()> {
        self.account.chapter("a module's medium is torn out without a word")?;
        let agent = self.agent_process()?;
        let stick = self.insert(&SLOTS[0], LANGUAGE, "fourth")?;
        self.machine.tear_out(&stick)?;
        self.guest.sh("echo 3 > /proc/sys/vm/drop_caches")?;
        let request = self.guest.start(&Self::ask_language("500s"))?;
        let unusable = |g: &mut crate::Guest| {
            let modules: ModulesDocument = g.json("ouroctl modules --output json")?;
            Ok(modules.modules.into_iter().find(|m| m.label == LANGUAGE).filter(|m| m.state != ModuleState::Ready))
        };
        let view: ModuleView = self.guest.eventually("the module is given up", SOON, unusable)?;
        self.account.seen("a module that does not answer is given up", view.why)?;
        self.machine.pull(&stick)?;
        self.machine.wait_pulled(&stick, SOON)?;
        self.gone(LANGUAGE)?;
        let stick = self.insert(&SLOTS[0], LANGUAGE, "fifth")?;
        let answer = self.guest.wait(request, SOON * 2)?;
        ensure!(answer.code == Some(0) && answer.stdout.contains("German"), "the request did not finish: {answer:?}");
        ensure!(self.agent_process()? == agent, "the agent was replaced");
        self.account
            .seen("pushed in again, the waiting request finishes", format!("the agent is still process {agent}"))?;
        self.remove(&stick, LANGUAGE)
    }
}
