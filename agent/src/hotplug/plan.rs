//! What is to be done about the devices: from what is known and what is plugged in now, a list of actions. Pure.
//!
//! The same function sees the first look, every later one, and the look after a crash; a storm of events that ends where it began
//! gives no action at all.

use super::look::{Device, Elsewhere, Insertion};
use super::slot::{Pattern, any};
use super::superblock::Probe;
use std::collections::{BTreeMap, BTreeSet};

/// What is known of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Which insertion it is about.
    pub insertion: Insertion,
    /// How far it has come.
    pub stage: Stage,
    /// [`Device::written`] when its first blocks were read.
    pub written_then: u64,
    /// [`Device::written`] at the last look.
    pub written_last: u64,
}

/// How far a device has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Its first blocks are being read.
    Probing,
    /// It is no module; nothing more is done with it while it stays.
    Foreign,
    /// Its first blocks cannot be read.
    Unreadable(String),
    /// It may be a module and is not mounted.
    Waiting(Probe, Waiting),
    /// It is being mounted and read.
    Mounting(Probe),
    /// It is mounted.
    Mounted(Probe),
    /// It could not be mounted, or its index cannot be read.
    Failed(Probe, String),
}

/// What a device waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// Nothing: what was read of it is to be judged.
    Judgement,
    /// Somebody's word: its slot is one of those that ask.
    Word,
    /// Somebody's word: this machine went down while it was being mounted or loaded.
    Suspect,
    /// That it is unmounted elsewhere.
    Elsewhere(String),
}

/// What decides whether a device is mounted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Slots that wait for somebody's word.
    pub ask: Vec<Pattern>,
    /// Insertions somebody has spoken for.
    pub released: BTreeSet<(String, Insertion)>,
    /// Fingerprints of volumes that were being mounted or loaded when the machine went down.
    pub suspects: BTreeSet<String>,
}

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Read the first blocks of a device that is new, or was written to.
    Probe {
        /// Where.
        slot: String,
        /// Which.
        insertion: Insertion,
    },
    /// Mount a module and read it.
    Mount {
        /// Where.
        slot: String,
        /// What is on it.
        probe: Probe,
    },
    /// Leave a module alone until something changes.
    Wait {
        /// Where.
        slot: String,
        /// What is on it.
        probe: Probe,
        /// For what.
        waiting: Waiting,
    },
    /// Leave a device alone while it stays.
    Ignore {
        /// Where.
        slot: String,
    },
    /// It is gone, or another is in its place: end what runs from it, and unmount it.
    Remove {
        /// Where.
        slot: String,
    },
}

/// What is to be done, in the order of slots; what left a slot goes before what came.
pub fn next(known: &BTreeMap<String, Known>, seen: &BTreeMap<String, Device>, rules: &Rules) -> Vec<Action> {
    let stays = |slot: &str, known: &Known| seen.get(slot).is_some_and(|d| d.insertion == known.insertion && !d.leaving);
    let mut actions: Vec<Action> = known
        .iter()
        .filter(|(slot, known)| !stays(slot, known))
        .map(|(slot, _)| Action::Remove { slot: slot.clone() })
        .collect();
    for (slot, device) in seen.iter().filter(|(_, device)| !device.leaving) {
        match known.get(slot).filter(|known| stays(slot, known)) {
            None => actions.push(Action::Probe { slot: slot.clone(), insertion: device.insertion }),
            Some(known) if written_over(known, device) => {
                actions.push(Action::Probe { slot: slot.clone(), insertion: device.insertion });
            }
            Some(Known { stage: Stage::Waiting(probe, waiting), .. }) => actions.extend(judge(slot, device, probe, waiting, rules)),
            Some(_) => {}
        }
    }
    actions
}

/// Whether something was written to a device that could not be used, and the writing has come to rest.
fn written_over(known: &Known, device: &Device) -> bool {
    let useless = matches!(known.stage, Stage::Foreign | Stage::Unreadable(_) | Stage::Failed(..));
    useless && device.written != known.written_then && device.written == known.written_last
}

/// What follows from what is on a device, if that is not what is so already.
fn judge(slot: &str, device: &Device, probe: &Probe, waiting: &Waiting, rules: &Rules) -> Option<Action> {
    let slot = slot.to_string();
    let nameless = probe.label.is_none();
    if !probe.may_be_module() || (nameless && device.elsewhere.is_some()) {
        return Some(Action::Ignore { slot });
    }
    let spoken_for = rules.released.contains(&(slot.clone(), device.insertion));
    let now = match &device.elsewhere {
        _ if rules.suspects.contains(&probe.fingerprint) => Waiting::Suspect,
        _ if any(&rules.ask, &slot, device.usb) && !spoken_for => Waiting::Word,
        // The kernel refuses a read-only mount of what can be written elsewhere; beside another read-only one it is fine.
        Some(Elsewhere { at, writable: true }) => Waiting::Elsewhere(at.clone()),
        _ => return Some(Action::Mount { slot, probe: probe.clone() }),
    };
    (now != *waiting).then(|| Action::Wait { slot, probe: probe.clone(), waiting: now })
}

#[cfg(test)]
mod tests;
