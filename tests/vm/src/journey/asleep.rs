//! A module nobody wants for a while: its card leaves the kernel, or its slot loses its power, and the next step brings it back.

use super::{Journey, SLOTS, SOON};
use crate::clock::{self, Chronicle};
use crate::journey::modules::LANGUAGE;
use crate::{Guest, Stick, time};
use anyhow::{Result, bail, ensure};
use ouro_common::document::{ModuleView, ModulesDocument};
use ouro_common::module::ModuleState;

const CONFIG: &str = "/var/lib/ouroboros/agent/agent.toml";
const DROP_IN: &str = "/etc/systemd/system/ouro-agent.service.d/power-down.conf";
/// How long a module is left alone before it sleeps here, s.
const IDLE_S: u32 = 6;

impl Journey<'_> {
    /// To sleep and awake, over the agent's death, and with the slot's power.
    pub(super) fn power_down(&mut self) -> Result<()> {
        self.account.chapter("the slot of an idle module is powered down")?;
        // What docs/modules.md says.
        self.guest.sh(&format!(
            "printf '[Service]\\nReadWritePaths=/sys/devices /sys/bus/pci\\n' > {DROP_IN} && systemctl daemon-reload"
        ))?;
        self.power_down_by("remove")?;
        let stick = self.insert(&SLOTS[0], LANGUAGE, "sleeper")?;
        self.language()?;
        let asleep = self.sleeps(&stick)?;
        ensure!(asleep.wake_ms.is_some_and(|ms| ms > 0.0), "what waking costs is announced: {asleep:?}");
        let containers = asleep.containers.iter().map(|c| c.container.to_string()).collect::<Vec<_>>().join(", ");
        self.account.seen("an idle module sleeps, and is still offered", format!("{containers}; {}", asleep.why))?;
        let since = clock::now(&mut self.guest)?;
        self.language()?;
        let whole = clock::now(&mut self.guest)?.saturating_sub(since);
        let chronicle = Chronicle::read(&mut self.guest, since)?;
        let wanted = chronicle.when(&["a step wants a module that sleeps"])?;
        let card = chronicle.when_after(wanted, &["event add", "(pci)"])?;
        // The journal stamps lines when it reads them, which may be before or after udevadm saw the card.
        let awake = chronicle.when_after(wanted, &["a module is awake"])?;
        let sight = format!(
            "its card is there after {}, the module after {}, the answer after {}",
            time(card - wanted),
            time(awake - wanted),
            time(whole)
        );
        self.account.seen("a step wakes it", sight)?;
        self.sleeps(&stick)?;
        self.guest.sh("systemctl kill -s KILL ouro-agent")?;
        self.awake_again()?;
        self.account.seen("an agent killed while it sleeps", "its successor wakes it")?;
        self.switched_off(&stick)
    }

    /// With the slot's power off QEMU takes the stick out, as a person would from a slot without power; so it does not come back.
    fn switched_off(&mut self, stick: &Stick) -> Result<()> {
        self.power_down_by("slot")?;
        self.awake_again()?;
        self.language()?;
        self.sleeps(stick)?;
        self.machine.wait_pulled(stick, SOON)?;
        self.account.seen("with `slot`, the slot's power is off", "QEMU lets go of a stick without power")?;
        let request = self.guest.start(&Self::ask_language("300s"))?;
        let gone = |g: &mut Guest| Ok((!g.sh("ouroctl modules")?.contains(LANGUAGE)).then_some(()));
        self.guest.eventually("the module is given up", SOON, gone)?;
        ensure!(self.guest.ended(request)?.is_none(), "the request ended with its module");
        let why = self.waits()?;
        self.account.seen("a sleeper that does not come back is given up, the request waits", why)?;
        self.power_down_by("off")?;
        let stick = self.insert(&SLOTS[0], LANGUAGE, "waker")?;
        let answer = self.guest.wait(request, SOON)?;
        ensure!(answer.code == Some(0) && answer.stdout.contains("German"), "the request did not finish: {answer:?}");
        self.account.seen("pushed in again, the request finishes", LANGUAGE)?;
        self.remove(&stick, LANGUAGE)
    }

    fn power_down_by(&mut self, how: &str) -> Result<()> {
        let config = format!("{}[devices]\\npower_down = \"{how}\"\\npower_down_after_s = {IDLE_S}\\n", super::services::CONFIG);
        self.guest.sh(&format!("printf '{config}' > {CONFIG} && systemctl restart ouro-agent"))?;
        self.online_again()
    }

    /// Waits until the module sleeps: announced as such, gone from the kernel, and not mounted.
    fn sleeps(&mut self, stick: &Stick) -> Result<ModuleView> {
        let asleep = |g: &mut Guest| {
            let modules: Option<ModulesDocument> = g.ask("ouroctl modules --output json")?;
            Ok(modules.into_iter().flat_map(|d| d.modules).find(|m| m.label == LANGUAGE && m.state == ModuleState::Asleep))
        };
        let view = match self.guest.eventually("the module sleeps", SOON, asleep) {
            Ok(view) => view,
            Err(error) => bail!("{error}\n{}", self.guest.sh("ouroctl modules")?),
        };
        let gone = format!("! grep -q '^{} *$' /sys/class/nvme/nvme*/serial", stick.id);
        self.guest.until("its card is gone from the kernel", SOON, &gone)?;
        let agent = self.agent_process()?;
        self.guest.sh(&format!("! grep agent/mounts/{} /proc/{agent}/mountinfo", view.slot))?;
        Ok(view)
    }

    fn awake_again(&mut self) -> Result<()> {
        let ready = |g: &mut Guest| {
            let modules: Option<ModulesDocument> = g.ask("ouroctl modules --output json")?;
            Ok(modules.into_iter().flat_map(|d| d.modules).find(|m| m.label == LANGUAGE && m.state == ModuleState::Ready))
        };
        self.guest.eventually("the module is awake", SOON, ready).map(drop)
    }
}
