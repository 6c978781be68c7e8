//! Nodes: what they are, what they offer, what operators decided, and the session each of them has.

use super::columns::{Count, Json, Text, json, text};
use super::db::Db;
use super::journal::{self, About};
use super::steps::moment;
use super::verb_error::{Outcome, VerbError};
use super::{blame, claim, plugged, repair, standing};
use crate::store::{Arrival, NodeChange, NodeChanged, NodeRecord, OpenedSession, SessionEnd, SessionRecord};
use ouro_common::clock::Instant;
use ouro_common::device::NodeProfile;
use ouro_common::id::{AgentRunId, AttemptKey, BootId, InstanceId, NodeId};
use ouro_common::module::Announcement;
use ouro_common::step::{AdminState, LossReason};
use rusqlite::{Row, params};
use std::collections::BTreeMap;
use std::time::Duration;

/// Opens a node's session: the one before it, open or not, is over.
///
/// Another process with the same key is a copy if the old session still answers; otherwise it is the node, started again.
pub(super) fn open_session(db: &Db<'_>, node: NodeId, arrival: &Arrival) -> Outcome<OpenedSession> {
    let found = db.one(
        "SELECT name, admin, session_epoch, run, boot, instance IS NOT NULL AND offline_since IS NULL FROM nodes WHERE id = ?1",
        [text(&node)],
        |row| {
            let run: Option<Text<AgentRunId>> = row.get(3)?;
            let boot: Option<Text<BootId>> = row.get(4)?;
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, Text<AdminState>>(1)?.0,
                row.get::<_, Count>(2)?.0,
                run.zip(boot).map(|(run, boot)| (run.0, boot.0)),
                row.get::<_, bool>(5)?,
            ))
        },
    )?;
    let Some((name, admin, before, previous, is_open)) = found else {
        return Ok(OpenedSession::Unknown);
    };
    if admin == AdminState::Removed {
        return Ok(OpenedSession::Removed);
    }
    let other_run = previous.is_some_and(|(run, _)| run != arrival.run);
    if is_open && other_run && arrival.old_session_answers == Some(before) {
        let words = "another process shows the same key while this one answers: its state was copied";
        journal::note(db, "cloned", About::Node(node), words)?;
        return Ok(OpenedSession::Cloned);
    }
    // A machine that is back before anybody missed it was lost all the same.
    if is_open && previous.is_some_and(|(_, boot)| boot != arrival.boot) {
        standing::lost(db, node)?;
    }
    db.run(
        "UPDATE nodes SET session_epoch = session_epoch + 1, instance = ?2, run = ?3, boot = ?4, offline_since = NULL, offline_why = NULL \
         WHERE id = ?1",
        params![text(&node), text(&arrival.instance), text(&arrival.run), text(&arrival.boot)],
    )?;
    journal::note(db, "online", About::Node(node), &format!("{name} has session {}", before + 1))?;
    Ok(OpenedSession::Open { session_epoch: before + 1, name, admin, live: claim::live_attempts(db, Some(node))?, previous })
}

/// Closes a session if it is still that one.
pub(super) fn close_session(db: &Db<'_>, node: NodeId, session_epoch: u64, end: &SessionEnd) -> Outcome<()> {
    let why = end.words();
    let closed = db.run(
        "UPDATE nodes SET offline_since = ?3, offline_why = ?4 \
         WHERE id = ?1 AND session_epoch = ?2 AND instance IS NOT NULL AND offline_since IS NULL",
        params![text(&node), super::columns::count(session_epoch), moment(db.now), why],
    )?;
    if closed > 0 {
        journal::note(db, "offline", About::Node(node), why)?;
        if matches!(end, SessionEnd::Lost(_)) {
            standing::lost(db, node)?;
        }
    }
    Ok(())
}

/// Registers this process; sessions and leases of the others are over, and their nodes' grace begins now.
pub(super) fn renew_instance(db: &Db<'_>, instance: InstanceId) -> Outcome<()> {
    let instance = text(&instance);
    db.run("INSERT OR REPLACE INTO instances (id, renewed) VALUES (?1, ?2)", params![instance, moment(db.now)])?;
    db.run("DELETE FROM instances WHERE id <> ?1", [&instance])?;
    db.run(
        "UPDATE nodes SET offline_since = ?2, offline_why = 'the server was restarted' \
         WHERE instance IS NOT NULL AND instance <> ?1 AND offline_since IS NULL",
        params![instance, moment(db.now)],
    )?;
    db.run(
        "UPDATE steps SET lease_instance = NULL, lease_until = 0 WHERE state = 'ready' AND lease_instance <> ?1",
        [&instance],
    )?;
    Ok(())
}

/// Nodes that hold attempts and have been offline for `grace` or longer.
pub(super) fn lost(db: &Db<'_>, grace: Duration) -> Outcome<Vec<NodeId>> {
    let rows = db.all(
        "SELECT id, offline_since FROM nodes WHERE offline_since IS NOT NULL \
         AND EXISTS (SELECT 1 FROM attempts a WHERE a.node = nodes.id AND a.state = 'assigned') ORDER BY offline_since",
        [],
        |row| Ok((row.get::<_, Text<NodeId>>(0)?.0, Instant(row.get::<_, Count>(1)?.0))),
    )?;
    Ok(rows.into_iter().filter(|(_, since)| db.now.since(*since) >= grace).map(|(node, _)| node).collect())
}

/// Keeps a node's profile.
pub(super) fn put_profile(db: &Db<'_>, node: NodeId, profile: &NodeProfile) -> Outcome<()> {
    match db.run("UPDATE nodes SET profile = ?2 WHERE id = ?1", params![text(&node), json(profile)?])? {
        0 => Err(VerbError::not_found("node", node)),
        _ => Ok(()),
    }
}

/// Replaces what a node offers, if it speaks through its open session.
pub(super) fn announce(db: &Db<'_>, node: NodeId, session_epoch: u64, announcement: &Announcement) -> Outcome<bool> {
    let before = db.one(
        "SELECT announcement_digest, announcement FROM nodes WHERE id = ?1 AND session_epoch = ?2 AND instance IS NOT NULL AND offline_since IS NULL",
        params![text(&node), super::columns::count(session_epoch)],
        |row| Ok((row.get::<_, String>(0)?, row.get::<_, Json<Announcement>>(1)?.0)),
    )?;
    let Some((before, old)) = before else { return Ok(false) };
    let digest = text(&announcement.digest());
    if digest != before {
        db.run(
            "UPDATE nodes SET announcement = ?2, announcement_digest = ?3 WHERE id = ?1",
            params![text(&node), json(announcement)?, digest],
        )?;
        for plugged::Change { kind, words, containers } in plugged::changes(&old, announcement) {
            journal::note(db, kind, About::Node(node), &words)?;
            plugged::tell_waiting(db, node, &words, &containers)?;
        }
    }
    Ok(true)
}

/// Changes what operators decide; nothing brings a removed node back.
pub(super) fn change(db: &Db<'_>, node: NodeId, change: &NodeChange, by: &str) -> Outcome<NodeChanged> {
    let found = db.one("SELECT admin, labels FROM nodes WHERE id = ?1", [text(&node)], |row| {
        Ok((row.get::<_, Text<AdminState>>(0)?.0, row.get::<_, Json<BTreeMap<String, String>>>(1)?.0))
    })?;
    let Some((admin, mut labels)) = found else {
        return Err(VerbError::not_found("node", node));
    };
    let done = |changed, attempts| NodeChanged::Done { admin, changed, attempts };
    match change {
        NodeChange::Labels { .. } if admin == AdminState::Removed => Ok(NodeChanged::Refused(admin)),
        NodeChange::Labels { set, unset } => {
            let before = labels.clone();
            labels.retain(|name, _| !unset.contains(name));
            labels.extend(set.clone());
            if labels == before {
                return Ok(done(false, vec![]));
            }
            db.run("UPDATE nodes SET labels = ?2 WHERE id = ?1", params![text(&node), json(&labels)?])?;
            let shown: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            journal::note(db, "labelled", About::Node(node), &format!("by {by}, now {}", shown.join(" ")))?;
            Ok(done(true, vec![]))
        }
        NodeChange::Deed(deed) => match deed.on(admin) {
            None => Ok(NodeChanged::Refused(admin)),
            Some(next) if next == admin => Ok(done(false, vec![])),
            Some(next) => {
                let attempts = become_admin(db, node, admin, next)?;
                journal::note(db, next.as_str(), About::Node(node), &format!("by {by}, it was {admin}"))?;
                Ok(NodeChanged::Done { admin: next, changed: true, attempts })
            }
        },
    }
}

/// What an operator's word takes along: who is approved begins anew, who is removed leaves nothing behind.
fn become_admin(db: &Db<'_>, node: NodeId, before: AdminState, next: AdminState) -> Outcome<Vec<AttemptKey>> {
    db.run("UPDATE nodes SET admin = ?2 WHERE id = ?1", [text(&node), text(&next)])?;
    if before == AdminState::Quarantined && next == AdminState::Active {
        standing::forgive(db, node)?;
    }
    if next != AdminState::Removed {
        return Ok(vec![]);
    }
    let attempts = blame::release(db, node, LossReason::Drained, &[])?;
    repair::drop_holder(db, node, None)?;
    db.run(
        "UPDATE nodes SET offline_since = ?2, offline_why = 'it was removed' WHERE id = ?1 AND instance IS NOT NULL AND offline_since IS NULL",
        params![text(&node), moment(db.now)],
    )?;
    for table in ["DELETE FROM pairs WHERE node = ?1", "DELETE FROM lessons WHERE node = ?1"] {
        db.run(table, [text(&node)])?;
    }
    Ok(attempts)
}

macro_rules! node_rows {
    () => {
        "SELECT id, name, admin, labels, profile, announcement, commits, spki, instance, session_epoch, run, boot, offline_since \
         FROM nodes WHERE admin <> 'removed'"
    };
}

/// Every node that was not removed, by name.
pub(super) fn all(db: &Db<'_>) -> Outcome<Vec<NodeRecord>> {
    let mut nodes = db.all(concat!(node_rows!(), " ORDER BY name"), [], read_node)?;
    for (node, container, until) in standing::switched_off(db)? {
        if let Some(record) = nodes.iter_mut().find(|record| record.id == node) {
            record.switched_off.push((container, until));
        }
    }
    Ok(nodes)
}

/// One node, unless it was removed.
pub(super) fn one(db: &Db<'_>, node: NodeId) -> Outcome<Option<NodeRecord>> {
    let Some(mut record) = db.one(concat!(node_rows!(), " AND id = ?1"), [text(&node)], read_node)? else {
        return Ok(None);
    };
    let off = standing::switched_off(db)?.into_iter().filter(|(id, ..)| *id == node);
    record.switched_off = off.map(|(_, container, until)| (container, until)).collect();
    Ok(Some(record))
}

fn read_node(row: &Row<'_>) -> rusqlite::Result<NodeRecord> {
    let session = match row.get::<_, Option<Text<_>>>(8)? {
        None => None,
        Some(instance) => Some(SessionRecord {
            instance: instance.0,
            session_epoch: row.get::<_, Count>(9)?.0,
            run: row.get::<_, Text<_>>(10)?.0,
            boot: row.get::<_, Text<_>>(11)?.0,
            offline_since: row.get::<_, Option<Count>>(12)?.map(|at| Instant(at.0)),
        }),
    };
    Ok(NodeRecord {
        id: row.get::<_, Text<_>>(0)?.0,
        name: row.get(1)?,
        admin: row.get::<_, Text<_>>(2)?.0,
        labels: row.get::<_, Json<_>>(3)?.0,
        profile: row.get::<_, Option<Json<_>>>(4)?.map(|profile| profile.0),
        announcement: row.get::<_, Json<_>>(5)?.0,
        commits: row.get::<_, Count>(6)?.0,
        spki: row.get::<_, Text<_>>(7)?.0,
        session,
        switched_off: vec![],
    })
}
