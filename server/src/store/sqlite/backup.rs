//! Copies of the database, and what a restored one must forget: every attempt that it thinks is under way.

use super::columns::{Count, Text};
use super::db::Db;
use super::steps::moment;
use super::tags::available;
use super::verb_error::{Outcome, VerbError};
use ouro_common::id::Digest;
use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};
use std::path::Path;
use std::time::Duration;

/// What a copy of the database holds and needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseCopy {
    /// Requests in it.
    pub requests: u64,
    /// Nodes in it that were not removed.
    pub nodes: u64,
    /// The generation of its epochs.
    pub generation: u32,
    /// Blobs that belong to it: bytes on the server's disk.
    pub blobs: Vec<Digest>,
}

/// Copies a database that may be in use. A reader sees one moment, and who writes is not held up.
pub(super) fn copy(from: &Path, to: &Path) -> Outcome<DatabaseCopy> {
    let source = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    source.busy_timeout(Duration::from_secs(5))?;
    let mut target = Connection::open(to)?;
    {
        let backup = Backup::new(&source, &mut target)?;
        backup.run_to_completion(i32::MAX, Duration::from_millis(50), None)?;
    }
    // One file, without a log beside it.
    target.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
    whole(&target)?;
    inventory(&target)
}

/// Looks at a database that nobody uses.
pub(super) fn check(path: &Path) -> Outcome<DatabaseCopy> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    whole(&conn)?;
    inventory(&conn)
}

fn whole(conn: &Connection) -> Outcome<()> {
    let found: String = conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(VerbError::corrupt("integrity_check", found)) }
}

fn inventory(conn: &Connection) -> Outcome<DatabaseCopy> {
    let count = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, Count>(0).map(|count| count.0));
    let mut statement = conn.prepare("SELECT DISTINCT digest FROM tags WHERE on_server AND inline IS NULL ORDER BY digest")?;
    let blobs = statement.query_map([], |row| Ok(row.get::<_, Text<Digest>>(0)?.0))?.collect::<Result<_, _>>()?;
    Ok(DatabaseCopy {
        requests: count("SELECT count(*) FROM requests")?,
        nodes: count("SELECT count(*) FROM nodes WHERE admin <> 'removed'")?,
        generation: conn.query_row("SELECT value FROM meta WHERE key = 'generation'", [], |row| row.get(0))?,
        blobs,
    })
}

/// Takes every live attempt back, without blame and without counting it: nodes may be anywhere by now.
pub(super) fn take_back_what_was_given(db: &Db<'_>) -> Outcome<()> {
    db.run(
        "UPDATE attempts SET state = 'released', ended = ?1, why = 'the store was restored from a backup' WHERE state = 'assigned'",
        [moment(db.now)],
    )?;
    db.run(
        concat!(
            "UPDATE steps SET lease_instance = NULL, lease_until = 0, state = CASE WHEN EXISTS (SELECT 1 FROM step_inputs i \
             LEFT JOIN tags t ON t.request = i.request AND t.plan = i.origin AND t.tag = i.tag WHERE i.request = steps.request \
             AND i.plan = steps.plan AND i.step = steps.id AND (t.tag IS NULL OR NOT ",
            available!(),
            ")) THEN 'blocked' ELSE 'ready' END WHERE state = 'assigned'"
        ),
        [],
    )?;
    Ok(())
}
