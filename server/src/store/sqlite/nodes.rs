//! Nodes: what they are, what they offer, what operators decided, and the session each of them has.

use super::claim;
use super::columns::{Count, Json, Text, json, text};
use super::db::Db;
use super::steps::moment;
use super::verb_error::{Outcome, VerbError};
use crate::store::{NodeRecord, OpenedSession, SessionRecord};
use ouro_common::clock::Instant;
use ouro_common::device::NodeProfile;
use ouro_common::id::{AgentRunId, BootId, InstanceId, NodeId};
use ouro_common::module::Announcement;
use ouro_common::step::AdminState;
use rusqlite::{Row, params};
use std::collections::BTreeMap;
use std::time::Duration;

/// Opens a node's session: the one before it, open or not, is over.
pub(super) fn open_session(db: &Db<'_>, node: NodeId, instance: InstanceId, run: AgentRunId, boot: BootId) -> Outcome<OpenedSession> {
    let found = db.one("SELECT name, admin, session_epoch, run, boot FROM nodes WHERE id = ?1", [text(&node)], |row| {
        let run: Option<Text<AgentRunId>> = row.get(3)?;
        let boot: Option<Text<BootId>> = row.get(4)?;
        Ok((
            row.get(0)?,
            row.get::<_, Text<AdminState>>(1)?.0,
            row.get::<_, Count>(2)?.0,
            run.zip(boot).map(|(run, boot)| (run.0, boot.0)),
        ))
    })?;
    let Some((name, admin, before, previous)) = found else {
        return Ok(OpenedSession::Unknown);
    };
    if admin == AdminState::Removed {
        return Ok(OpenedSession::Removed);
    }
    db.run(
        "UPDATE nodes SET session_epoch = session_epoch + 1, instance = ?2, run = ?3, boot = ?4, offline_since = NULL, offline_why = NULL \
         WHERE id = ?1",
        params![text(&node), text(&instance), text(&run), text(&boot)],
    )?;
    Ok(OpenedSession::Open { session_epoch: before + 1, name, admin, live: claim::live_attempts(db, Some(node))?, previous })
}

/// Closes a session if it is still that one.
pub(super) fn close_session(db: &Db<'_>, node: NodeId, session_epoch: u64, why: &str) -> Outcome<()> {
    db.run(
        "UPDATE nodes SET offline_since = ?3, offline_why = ?4 \
         WHERE id = ?1 AND session_epoch = ?2 AND instance IS NOT NULL AND offline_since IS NULL",
        params![text(&node), super::columns::count(session_epoch), moment(db.now), why],
    )?;
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
        "SELECT announcement_digest FROM nodes WHERE id = ?1 AND session_epoch = ?2 AND instance IS NOT NULL AND offline_since IS NULL",
        params![text(&node), super::columns::count(session_epoch)],
        |row| row.get::<_, String>(0),
    )?;
    let Some(before) = before else { return Ok(false) };
    let digest = text(&announcement.digest());
    if digest != before {
        db.run(
            "UPDATE nodes SET announcement = ?2, announcement_digest = ?3 WHERE id = ?1",
            params![text(&node), json(announcement)?, digest],
        )?;
    }
    Ok(true)
}

/// Changes what operators decide; nothing brings a removed node back.
pub(super) fn set(db: &Db<'_>, node: NodeId, admin: Option<AdminState>, labels: Option<&BTreeMap<String, String>>) -> Outcome<()> {
    let changed = db.run(
        "UPDATE nodes SET admin = coalesce(?2, admin), labels = coalesce(?3, labels) WHERE id = ?1 AND admin <> 'removed'",
        params![text(&node), admin.as_ref().map(text), labels.map(json).transpose()?],
    )?;
    let repeat = admin == Some(AdminState::Removed) && db.exists("SELECT 1 FROM nodes WHERE id = ?1", [text(&node)])?;
    if changed == 0 && !repeat { Err(VerbError::not_found("node", node)) } else { Ok(()) }
}

/// Every node that was not removed, by name.
pub(super) fn all(db: &Db<'_>) -> Outcome<Vec<NodeRecord>> {
    db.all(
        "SELECT id, name, admin, labels, profile, announcement, commits, spki, instance, session_epoch, run, boot, offline_since \
         FROM nodes WHERE admin <> 'removed' ORDER BY name",
        [],
        read_node,
    )
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
    })
}
