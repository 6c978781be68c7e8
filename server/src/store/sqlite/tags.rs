//! Tags: the results and inputs of requests, and where their bytes are.
//!
//! Bytes are available when they are inline, on the server's disk, or with a holder. Holders are recorded by digest, so
//! that a blob which two requests share is one blob.

use super::columns::{Count, Text, text};
use super::db::Db;
use super::verb_error::Outcome;
use super::{ends, plans};
use crate::store::TagRecord;
use ouro_common::id::{Digest, Name, NodeId, RequestId};
use rusqlite::{Row, params};

/// The plan of the tags that came with a request.
pub(super) const GIVEN: i64 = -1;

/// The condition under which the tag `t` can be read by somebody.
macro_rules! available {
    () => {
        "(t.inline IS NOT NULL OR t.on_server OR EXISTS (SELECT 1 FROM holders h WHERE h.digest = t.digest))"
    };
}
pub(super) use available;

/// The columns that [`read_tag`] reads; a query may add others behind them. `?1` decides whether bytes come along.
macro_rules! tag_columns {
    () => {
        "t.request, t.tag, t.media, t.digest, t.size_bytes, CASE WHEN ?1 THEN t.inline END, t.on_server, \
         (SELECT group_concat(h.node) FROM holders h WHERE h.digest = t.digest)"
    };
}

fn read_tag(row: &Row<'_>) -> rusqlite::Result<TagRecord> {
    let holders: Option<String> = row.get(7)?;
    Ok(TagRecord {
        request: row.get::<_, Text<_>>(0)?.0,
        tag: row.get::<_, Text<_>>(1)?.0,
        media: row.get(2)?,
        digest: row.get::<_, Text<_>>(3)?.0,
        size_bytes: row.get::<_, Count>(4)?.0,
        inline: row.get(5)?,
        on_server: row.get(6)?,
        holders: holders.iter().flat_map(|list| list.split(',')).filter_map(|id| id.parse().ok()).collect(),
    })
}

/// A tag of a plan.
pub(super) fn tag_of_plan(db: &Db<'_>, request: RequestId, plan: i64, tag: &Name) -> Outcome<Option<TagRecord>> {
    db.one(
        concat!("SELECT ", tag_columns!(), " FROM tags t WHERE t.request = ?2 AND t.plan = ?3 AND t.tag = ?4"),
        params![true, text(&request), plan, text(tag)],
        read_tag,
    )
}

/// A tag of a request, from its newest plan that has it.
pub(super) fn tag(db: &Db<'_>, request: RequestId, tag: &Name) -> Outcome<Option<TagRecord>> {
    db.one(
        concat!("SELECT ", tag_columns!(), " FROM tags t WHERE t.request = ?2 AND t.tag = ?3 ORDER BY t.plan DESC LIMIT 1"),
        params![true, text(&request), text(tag)],
        read_tag,
    )
}

/// Any tag with this digest, the one whose bytes are nearest first.
pub(super) fn tag_by_digest(db: &Db<'_>, digest: Digest) -> Outcome<Option<TagRecord>> {
    db.one(
        concat!(
            "SELECT ",
            tag_columns!(),
            " FROM tags t WHERE t.digest = ?2 ORDER BY t.inline IS NOT NULL DESC, t.on_server DESC LIMIT 1"
        ),
        params![true, text(&digest)],
        read_tag,
    )
}

/// A step's inputs with their ports, in the order of the ports and of the tags within one; those that exist.
pub(super) fn inputs_of(db: &Db<'_>, request: RequestId, plan: u32, step: &Name, with_bytes: bool) -> Outcome<Vec<(Name, TagRecord)>> {
    db.all(
        concat!(
            "SELECT ",
            tag_columns!(),
            ", i.port FROM step_inputs i JOIN tags t ON t.request = i.request AND t.plan = i.origin AND t.tag = i.tag \
             WHERE i.request = ?2 AND i.plan = ?3 AND i.step = ?4 ORDER BY i.port, i.position"
        ),
        params![with_bytes, text(&request), plan, text(step)],
        |row| Ok((row.get::<_, Text<_>>(8)?.0, read_tag(row)?)),
    )
}

/// Whether `node` may fetch the blob: an input of its live attempts, a result of its own, or the answer to its own request.
pub(super) fn may_get(db: &Db<'_>, node: NodeId, digest: Digest) -> Outcome<bool> {
    db.exists(
        "SELECT 1 FROM tags t JOIN step_inputs i ON i.request = t.request AND i.origin = t.plan AND i.tag = t.tag \
         JOIN attempts a ON a.request = i.request AND a.plan = i.plan AND a.step = i.step \
         WHERE t.digest = ?1 AND a.node = ?2 AND a.state = 'assigned' \
         UNION ALL SELECT 1 FROM tags t JOIN attempts a ON a.request = t.request AND a.plan = t.plan AND a.step = t.step \
         WHERE t.digest = ?1 AND a.node = ?2 AND a.state = 'committed' \
         UNION ALL SELECT 1 FROM tags t JOIN requests r ON r.id = t.request \
         WHERE t.digest = ?1 AND r.from_node = ?2 AND t.tag = r.answer AND t.plan > 0",
        params![text(&digest), text(&node)],
    )
}

/// Blobs that steps which have not ended read, or that are answers still to come, and that nobody holds but nodes that leave.
pub(super) fn held_alone(db: &Db<'_>, node: NodeId, limit: usize) -> Outcome<Vec<(Digest, u64)>> {
    db.all(
        "SELECT DISTINCT t.digest, t.size_bytes FROM holders h JOIN tags t ON t.digest = h.digest JOIN requests r ON r.id = t.request \
         WHERE h.node = ?1 AND r.ended IS NULL AND t.inline IS NULL AND NOT t.on_server \
         AND NOT EXISTS (SELECT 1 FROM holders o JOIN nodes n ON n.id = o.node WHERE o.digest = t.digest AND n.admin = 'active') \
         AND (t.tag = r.answer OR EXISTS (SELECT 1 FROM step_inputs i JOIN steps s ON s.request = i.request AND s.plan = i.plan AND s.id = i.step \
              WHERE i.request = t.request AND i.origin = t.plan AND i.tag = t.tag AND s.state IN ('blocked', 'ready', 'assigned'))) \
         ORDER BY t.size_bytes LIMIT ?2",
        params![text(&node), i64::try_from(limit).unwrap_or(i64::MAX)],
        |row| Ok((row.get::<_, Text<Digest>>(0)?.0, row.get::<_, Count>(1)?.0)),
    )
}

/// The server's disk has the bytes now: steps that missed them go on, requests whose answer they are end.
pub(super) fn keep_on_server(db: &Db<'_>, digest: Digest) -> Outcome<Vec<RequestId>> {
    let digest = text(&digest);
    let waiting = db.all(
        "SELECT DISTINCT t.request FROM tags t JOIN requests r ON r.id = t.request \
         WHERE t.digest = ?1 AND NOT t.on_server AND r.ended IS NULL",
        [&digest],
        |row| Ok(row.get::<_, Text<RequestId>>(0)?.0),
    )?;
    db.run("UPDATE tags SET on_server = 1 WHERE digest = ?1 AND NOT on_server", [&digest])?;
    let mut done = Vec::new();
    for request in waiting {
        if let Some(plan) = plans::active(db, request)? {
            plans::unblock(db, request, plan)?;
        }
        if ends::settle(db, request)? {
            done.push(request);
        }
    }
    Ok(done)
}
