//! What happened in the fleet, for `ouroctl events`: a bounded list that a reader follows with a cursor.

use super::columns::{Count, Text, count, text};
use super::db::Db;
use super::verb_error::Outcome;
use ouro_common::document::FleetEvent;
use ouro_common::id::{Name, NodeId, RequestId};
use rusqlite::params;

/// Events that are kept; the oldest go first.
const KEPT: i64 = 20_000;

/// Whom an event is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum About {
    /// The fleet as a whole.
    Fleet,
    /// A node.
    Node(NodeId),
    /// A request.
    Request(RequestId),
    /// A request's work on a node.
    Work(RequestId, NodeId),
}

/// Writes an event.
pub(super) fn note(db: &Db<'_>, kind: &str, about: About, words: &str) -> Outcome<()> {
    let (request, node) = match about {
        About::Fleet => (None, None),
        About::Node(node) => (None, Some(node)),
        About::Request(request) => (Some(request), None),
        About::Work(request, node) => (Some(request), Some(node)),
    };
    db.run(
        "INSERT INTO fleet_events (wall, kind, node, request, text) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![count(db.wall.0), kind, node.as_ref().map(text), request.as_ref().map(text), words],
    )?;
    db.run("DELETE FROM fleet_events WHERE seq <= ?1", [db.conn.last_insert_rowid() - KEPT])?;
    Ok(())
}

/// A node may be given more or less than before.
pub(super) fn gate(db: &Db<'_>, node: NodeId, level: &str, words: &str) -> Outcome<()> {
    note(db, level, About::Node(node), words)?;
    let name: Option<String> = db.one("SELECT name FROM nodes WHERE id = ?1", [text(&node)], |row| row.get(0))?;
    let told = format!("{} is {level}: {words}", name.unwrap_or_else(|| node.to_string()));
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, Text<RequestId>>(0)?.0, row.get::<_, Text<Name>>(1)?.0));
    let working = db.all("SELECT request, step FROM attempts WHERE node = ?1 AND state = 'assigned'", [text(&node)], read)?;
    working.iter().try_for_each(|(request, step)| db.event(*request, level, Some(step), &told))
}

/// Nothing is left on a draining node that anybody needs.
pub(super) fn drained(db: &Db<'_>, node: NodeId) -> Outcome<()> {
    note(db, "drained", About::Node(node), "it runs nothing, and nobody needs what it holds: it can be switched off")
}

/// Events after the cursor, oldest first; without a cursor the newest.
pub(super) fn since(db: &Db<'_>, cursor: Option<u64>, limit: usize) -> Outcome<Vec<FleetEvent>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let read = |row: &rusqlite::Row<'_>| {
        Ok(FleetEvent {
            seq: row.get::<_, Count>(0)?.0,
            at_unix_ms: row.get::<_, Count>(1)?.0,
            kind: row.get(2)?,
            node: row.get::<_, Option<Text<_>>>(3)?.map(|id| id.0),
            node_name: row.get(4)?,
            request: row.get::<_, Option<Text<_>>>(5)?.map(|id| id.0),
            text: row.get(6)?,
        })
    };
    macro_rules! events {
        ($rest:literal) => {
            concat!(
                "SELECT e.seq, e.wall, e.kind, e.node, n.name, e.request, e.text FROM fleet_events e LEFT JOIN nodes n ON n.id = e.node ",
                $rest
            )
        };
    }
    match cursor {
        Some(cursor) => db.all(events!("WHERE e.seq > ?1 ORDER BY e.seq LIMIT ?2"), params![count(cursor), limit], read),
        None => {
            let mut newest = db.all(events!("ORDER BY e.seq DESC LIMIT ?1"), [limit], read)?;
            newest.reverse();
            Ok(newest)
        }
    }
}
