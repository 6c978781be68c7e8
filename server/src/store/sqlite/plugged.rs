//! What changed between two announcements of a node, as events: which modules came, went, or stand otherwise now; and the steps
//! that had waited for one, in whose traces its coming stands.

use super::columns::{Text, text};
use super::db::Db;
use super::verb_error::Outcome;
use ouro_common::id::{Digest, Name, NodeId, RequestId};
use ouro_common::module::{Announcement, ModuleState, Placement};
use rusqlite::params;

/// The most steps of one container that are told of it.
const TOLD: u32 = 64;

/// Something that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// The event's kind.
    pub(super) kind: &'static str,
    /// In words.
    pub(super) words: String,
    /// What can be run from now on.
    pub(super) containers: Vec<Digest>,
}

/// Writes into the traces of steps that wait for one of these containers that it has come.
pub(super) fn tell_waiting(db: &Db<'_>, node: NodeId, words: &str, containers: &[Digest]) -> Outcome<()> {
    for container in containers {
        let waiting = db.all(
            "SELECT request, id FROM steps WHERE state = 'ready' AND json_extract(step, '$.digest') = ?1 LIMIT ?2",
            params![text(container), TOLD],
            |row| Ok((row.get::<_, Text<RequestId>>(0)?.0, row.get::<_, Text<Name>>(1)?.0)),
        )?;
        if waiting.is_empty() {
            continue;
        }
        let name = db
            .one("SELECT name FROM nodes WHERE id = ?1", [text(&node)], |row| row.get::<_, String>(0))?
            .unwrap_or_default();
        for (request, step) in waiting {
            db.event(request, "plugged", Some(&step), &format!("{words}, on {name}"))?;
        }
    }
    Ok(())
}

/// The events in the order of slots; what went comes before what came.
pub(super) fn changes(before: &Announcement, after: &Announcement) -> Vec<Change> {
    let same = |a: &Placement, b: &Placement| a.slot == b.slot && a.module == b.module && a.state == b.state;
    let modules = |announcement| move || of(announcement);
    let (old, new) = (modules(before), modules(after));
    let gone = old().filter(|placement| !new().any(|other| other.slot == placement.slot && other.label == placement.label));
    // What is only seen, and waits for nothing, is on its way to something that will be told.
    let passing = |placement: &Placement| placement.state == ModuleState::Seen && placement.why.is_empty();
    let came = new().filter(|placement| !passing(placement) && !old().any(|other| same(other, placement)));
    let gone = gone.map(|placement| Change {
        kind: "unplugged",
        words: format!("{} is gone from {}", placement.label, placement.slot),
        containers: vec![],
    });
    let came = came.map(|placement| {
        let (kind, words) = told(placement);
        let offered = placement.state == ModuleState::Ready;
        let containers = placement.containers.iter().filter(|_| offered).map(|c| c.digest).collect();
        Change { kind, words, containers }
    });
    gone.chain(came).collect()
}

fn of(announcement: &Announcement) -> impl Iterator<Item = &Placement> {
    announcement.placements.iter().filter(|placement| placement.slot != "builtin")
}

fn told(placement: &Placement) -> (&'static str, String) {
    let Placement { label, slot, why, .. } = placement;
    let because = if why.is_empty() { String::new() } else { format!(": {why}") };
    match placement.state {
        ModuleState::Ready => ("plugged", ready(placement)),
        ModuleState::Seen | ModuleState::Mounted | ModuleState::Verified => ("module_seen", format!("{label} in {slot}{because}")),
        ModuleState::Asleep => ("module_asleep", format!("{label} in {slot}{because}")),
        ModuleState::Untrusted => ("module_untrusted", format!("{label} in {slot} is not used{because}")),
        ModuleState::Incomplete => ("module_incomplete", format!("{label} in {slot} is not used{because}")),
        ModuleState::Suspect => ("module_suspect", format!("{label} in {slot} is not used{because}")),
        ModuleState::Conflict => ("module_conflict", format!("{label} in {slot}{because}")),
    }
}

fn ready(placement: &Placement) -> String {
    let containers = match placement.containers.len() {
        1 => "1 container".to_string(),
        n => format!("{n} containers"),
    };
    let origin = placement.origin.as_ref();
    let signed = origin.map_or_else(String::new, |origin| format!(", {}", origin.signature));
    let after = origin
        .and_then(|origin| origin.ready_after_ms)
        .map_or_else(String::new, |ms| format!(", ready {ms:.0} ms after the kernel's event"));
    let problems = match placement.problems.len() {
        0 => String::new(),
        n => format!(", {n} of its parts cannot be used: {}", placement.problems[0]),
    };
    format!("{} in {}: {containers}{signed}{after}{problems}", placement.label, placement.slot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ouro_common::id::Digest;

    fn placement(slot: &str, module: u8, state: ModuleState) -> Placement {
        Placement {
            module: Digest::sha256([module; 32]),
            label: format!("OURO-{module}"),
            slot: slot.into(),
            state,
            why: String::new(),
            read_bytes_per_s: None,
            containers: vec![],
            problems: vec![],
            origin: None,
        }
    }

    #[test]
    fn what_came_what_went_and_what_stands_otherwise_is_told_once() {
        use ModuleState::{Ready, Untrusted};
        let of = |list: &[(&str, u8, ModuleState)]| Announcement {
            placements: list.iter().map(|(s, m, state)| placement(s, *m, *state)).collect(),
        };
        let before = of(&[("builtin", 0, Ready), ("loop1", 1, Ready), ("loop2", 2, Untrusted), ("loop3", 3, Ready)]);
        let after = of(&[("builtin", 9, Ready), ("loop1", 1, Ready), ("loop2", 2, Ready), ("loop3", 4, Ready)]);
        let kinds = |a, b| changes(a, b).into_iter().map(|c| format!("{} {}", c.kind, c.words)).collect::<Vec<_>>();
        assert_eq!(
            kinds(&before, &after),
            [
                "unplugged OURO-3 is gone from loop3",
                "plugged OURO-2 in loop2: 0 containers",
                "plugged OURO-4 in loop3: 0 containers"
            ]
        );
        assert!(kinds(&after, &after).is_empty());
    }
}
