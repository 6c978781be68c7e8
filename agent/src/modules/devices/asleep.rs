//! Modules whose slot is powered down: put to sleep when no step has wanted them for a while, woken by the next one that does.
//!
//! One that sleeps is not plugged in as far as the kernel knows, so what tells of it is kept here, under the address of its port.
//! Whatever comes up there afterwards, the same module, another or none at all, ends the sleep.

use super::{Devices, Judge, Open, Outcome};
use crate::config::PowerDown;
use crate::durable::FileError;
use crate::hotplug::look::Insertion;
use crate::hotplug::mount::unmount_unused;
use crate::hotplug::plan::{Known, Stage, Waiting};
use crate::hotplug::slot_power::{PciSlot, Sleepers, SlotError};
use crate::modules::hold::Seat;
use crate::modules::image::Asleep;
use crate::modules::scan::Installed;
use crate::sensing::host_root::HostRoot;
use ouro_common::module::Placement;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How long workers may take to end when their module is put to sleep.
const UNUSED: Duration = Duration::from_secs(5);
/// From a slot's power to its module being mounted; links train in a tenth of a second, slow sticks take seconds to start.
const AWAKE: Duration = Duration::from_secs(20);

/// A module could not be put to sleep.
#[derive(Debug, thiserror::Error)]
pub(super) enum PowerDownError {
    /// Something still has files of it open.
    #[error("something still uses its files")]
    InUse,
    /// Its slot stays as it is; it was unmounted already.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// The agent's own disk refused.
    #[error("the agent's own disk refuses the record: {0}")]
    Record(#[from] FileError),
}

/// How far a sleeper is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It is being unmounted and powered down; whether a step wants it meanwhile.
    Going { wanted: bool },
    /// It sleeps.
    Asleep,
    /// It has had its power back since then.
    Waking(Instant),
}

#[derive(Debug)]
struct Sleeper {
    open: Open,
    port: PciSlot,
    phase: Phase,
}

/// The modules that sleep, by the address of their card.
#[derive(Debug)]
pub(super) struct Dormitory {
    sleepers: BTreeMap<String, Sleeper>,
    records: Sleepers,
    waiting: Vec<(Seat, oneshot::Sender<()>)>,
}

impl Dormitory {
    /// Wakes what an earlier run left asleep.
    pub(super) fn open(records: Sleepers, root: &HostRoot) -> Self {
        for port in records.left() {
            tracing::info!(function = port.function, "a slot that an earlier run powered down is woken");
            let (root, records) = (root.clone(), records.clone());
            std::thread::spawn(move || wake(&root, &records, &port));
        }
        Self { sleepers: BTreeMap::new(), records, waiting: vec![] }
    }

    fn of_seat(&mut self, seat: &Seat) -> Option<(&String, &mut Sleeper)> {
        self.sleepers.iter_mut().find(|(_, sleeper)| sleeper.open.hold.seat() == seat)
    }
}

fn wake(root: &HostRoot, records: &Sleepers, port: &PciSlot) -> Result<(), SlotError> {
    let result = port.power_up(root);
    if let Err(error) = &result {
        tracing::warn!(function = port.function, %error, "a slot cannot be powered up");
    }
    records.forget(port);
    result
}

impl Devices {
    /// Begins to power down the slots of modules that nobody has used for as long as the configuration says.
    pub(super) fn put_to_sleep(&mut self, now: Instant) -> bool {
        let (how, after) = (self.options.config.power_down, Duration::from_secs(self.options.config.power_down_after_s));
        if how == PowerDown::Off {
            return false;
        }
        let hashed =
            |open: &Open| self.options.config.verify_bytes_per_s == 0 || open.image.layers().all(|blob| open.hold.known(&blob).is_some());
        let idle: Vec<String> = self
            .open
            .iter()
            .filter(|(_, open)| open.hold.is_idle(now, after) && hashed(open))
            .map(|(slot, _)| slot.clone())
            .collect();
        idle.iter().fold(false, |changed, slot| changed | self.power_down(slot, how == PowerDown::Slot))
    }

    fn power_down(&mut self, slot: &str, switch: bool) -> bool {
        let root = self.options.root.clone();
        let (Some(device), Some(open)) = (self.seen.get(slot), self.open.get(slot)) else {
            return false;
        };
        let function = device.pci.clone().unwrap_or_else(|| slot.to_string());
        let port = match PciSlot::of(&root, &function, slot, switch) {
            Ok(port) if device.elsewhere.is_none() => port,
            Ok(_) => return false,
            Err(error) => {
                tracing::info!(slot, label = open.hold.seat().label, %error, "an idle module stays awake");
                open.hold.forbid_sleep();
                return false;
            }
        };
        // Between the look at it and now a step may have begun.
        if !open.hold.fall_asleep() {
            return false;
        }
        let insertion = device.insertion;
        let Some(open) = self.open.remove(slot) else { return false };
        tracing::info!(slot, label = open.hold.seat().label, "no step has wanted a module for a while: its slot is powered down");
        let (at, records, going) = (open.hold.seat().at.clone(), self.asleep.records.clone(), port.clone());
        self.asleep.sleepers.insert(function, Sleeper { open, port, phase: Phase::Going { wanted: false } });
        self.begin(slot.into(), insertion, move || {
            let go = || {
                // Its workers end when they see that it sleeps.
                if !unmount_unused(&at, UNUSED) {
                    return Err(PowerDownError::InUse);
                }
                records.remember(&going)?;
                Ok(going.power_down(&root)?)
            };
            Outcome::PoweredDown(go())
        });
        true
    }

    /// Takes in how it went. Whether anything changed that people see.
    pub(super) fn powered_down(&mut self, slot: &str, insertion: Insertion, result: Result<(), PowerDownError>) -> bool {
        let is_it = |sleeper: &Sleeper| (sleeper.open.hold.seat().slot == slot) && sleeper.open.hold.seat().insertion == insertion;
        let found = self
            .asleep
            .sleepers
            .iter_mut()
            .find(|(_, sleeper)| is_it(sleeper) && matches!(sleeper.phase, Phase::Going { .. }));
        let Some((function, sleeper)) = found else { return false };
        let (function, label) = (function.clone(), sleeper.open.hold.seat().label.clone());
        let Err(error) = result else {
            let wanted = sleeper.phase == Phase::Going { wanted: true };
            sleeper.phase = Phase::Asleep;
            tracing::info!(slot, label, "a module sleeps");
            // The kernel has let go of it; what was seen before that must not look like its coming back.
            self.known.remove(slot);
            self.seen.remove(slot);
            if wanted {
                self.power_up(&function);
            }
            return false;
        };
        tracing::warn!(slot, label, %error, "a module cannot be put to sleep");
        let Some(Sleeper { open, port, .. }) = self.asleep.sleepers.remove(&function) else {
            return false;
        };
        self.asleep.records.forget(&port);
        let known = self.known.get_mut(slot).filter(|known| known.insertion == insertion);
        match (known, error) {
            // It is mounted as before.
            (Some(_), PowerDownError::InUse) => {
                open.hold.stay_awake();
                self.open.insert(slot.into(), open);
            }
            // It was unmounted: mounted again, it is left alone.
            (Some(Known { stage, .. }), _) => {
                if let Stage::Mounted(probe) = stage.clone() {
                    *stage = Stage::Waiting(probe, Waiting::Judgement);
                }
                self.options.config.power_down = PowerDown::Off;
                open.hold.let_go();
            }
            // Pulled out meanwhile.
            (None, _) => open.hold.let_go(),
        }
        true
    }

    /// Lets a module wake; `answer` is told when it is awake, or known not to come back.
    pub(in crate::modules) fn wake(&mut self, seat: &Seat, answer: oneshot::Sender<()>) {
        self.asleep.waiting.push((seat.clone(), answer));
        let Some((function, sleeper)) = self.asleep.of_seat(seat) else {
            return;
        };
        match sleeper.phase {
            Phase::Going { .. } => sleeper.phase = Phase::Going { wanted: true },
            Phase::Waking(_) => {}
            Phase::Asleep => {
                let function = function.clone();
                self.power_up(&function);
            }
        }
    }

    fn power_up(&mut self, function: &str) {
        let Some(sleeper) = self.asleep.sleepers.get_mut(function) else {
            return;
        };
        let seat = sleeper.open.hold.seat().clone();
        tracing::info!(slot = seat.slot, label = seat.label, "a step wants a module that sleeps: its slot is powered up");
        sleeper.phase = Phase::Waking(Instant::now());
        let (root, records, port) = (self.options.root.clone(), self.asleep.records.clone(), sleeper.port.clone());
        self.begin(seat.slot, seat.insertion, move || {
            let result = wake(&root, &records, &port);
            Outcome::PoweredUp(port, result)
        });
    }

    /// Takes in that a slot has its power again, or has not.
    pub(super) fn powered_up(&mut self, port: &PciSlot, result: Result<(), SlotError>) -> bool {
        match result {
            Ok(()) => false,
            Err(_) => self.give_up_sleeper(&port.function, "its slot cannot be powered up"),
        }
    }

    fn give_up_sleeper(&mut self, function: &str, why: &str) -> bool {
        let Some(sleeper) = self.asleep.sleepers.remove(function) else {
            return false;
        };
        let seat = sleeper.open.hold.seat();
        tracing::warn!(slot = seat.slot, label = seat.label, why, "a module that slept is given up");
        sleeper.open.hold.let_go();
        true
    }

    /// Ends the sleep of what is awake, and of what did not come back in time.
    pub(super) fn settle_sleepers(&mut self) -> bool {
        let mut changed = false;
        let beds: Vec<(String, Phase)> = self.asleep.sleepers.iter().map(|(f, s)| (f.clone(), s.phase)).collect();
        for (function, phase) in beds.into_iter().filter(|(_, phase)| !matches!(phase, Phase::Going { .. })) {
            let here = |(slot, known): (&String, &Known)| {
                let there = self.seen.get(slot).is_some_and(|device| device.pci.as_deref() == Some(&function));
                let settled = !matches!(known.stage, Stage::Probing | Stage::Mounting(_) | Stage::Waiting(_, Waiting::Judgement));
                // A disk with partitions is none itself.
                (there && settled).then(|| slot.clone())
            };
            let found = self.known.iter().find_map(here);
            if let Some(slot) = found {
                let Some(sleeper) = self.asleep.sleepers.remove(&function) else {
                    continue;
                };
                self.asleep.records.forget(&sleeper.port);
                if let Some(open) = self.open.get_mut(&slot) {
                    let measured = if let Phase::Waking(since) = phase { Some(since.elapsed().as_secs_f64() * 1e3) } else { None };
                    open.wake_ms = measured.or(sleeper.open.wake_ms);
                    tracing::info!(slot, label = open.hold.seat().label, wake_ms = open.wake_ms, "a module is awake");
                }
                changed = true;
            } else if let Phase::Waking(since) = phase
                && since.elapsed() > AWAKE
            {
                changed |= self.give_up_sleeper(&function, "it did not come back");
            }
        }
        changed
    }

    /// Whether a slot is where a sleeper lies.
    pub(super) fn is_bed(&self, slot: &str) -> bool {
        let function = self.seen.get(slot).and_then(|device| device.pci.as_ref());
        function.is_some_and(|function| self.asleep.sleepers.contains_key(function))
    }

    /// What is announced of those that sleep, and what can be run when they are awake.
    pub(super) fn sleepers<'a>(&'a self, judged: Judge<'a>) -> impl Iterator<Item = (Placement, Vec<Installed>)> + 'a {
        let after_s = self.options.config.power_down_after_s;
        self.asleep.sleepers.values().map(move |sleeper| {
            let why = format!("no step wanted it for {after_s} s; the next one wakes it");
            // Never having woken, it takes at least as long as when it was pushed in.
            let wake_ms = sleeper.open.wake_ms.unwrap_or(sleeper.open.ready_after_ms);
            sleeper.open.placement(judged, Some(Asleep { why, wake_ms }))
        })
    }

    /// Tells those who wait for modules that are awake now, or gone.
    pub(in crate::modules) fn answer(&mut self) {
        let asleep = &self.asleep.sleepers;
        let still = |seat: &Seat| asleep.values().any(|sleeper| sleeper.open.hold.seat() == seat);
        let (waiting, ended): (Vec<_>, Vec<_>) = std::mem::take(&mut self.asleep.waiting).into_iter().partition(|(seat, _)| still(seat));
        self.asleep.waiting = waiting;
        for (_, answer) in ended {
            let _ = answer.send(());
        }
    }

    /// Leaves every slot as it was found.
    pub(super) fn wake_all(&mut self) {
        for sleeper in std::mem::take(&mut self.asleep.sleepers).into_values() {
            // One that is only going to sleep wakes at the next start.
            if !matches!(sleeper.phase, Phase::Going { .. }) {
                let _ = wake(&self.options.root, &self.asleep.records, &sleeper.port);
            }
        }
    }
}

#[cfg(test)]
mod tests;
