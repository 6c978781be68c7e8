//! What is dropped when its time is over: tags an hour after the end, whole requests after a week.

use super::columns::{Json, Text, json, text};
use super::db::Db;
use super::steps::moment;
use super::verb_error::Outcome;
use ouro_common::clock::Instant;
use ouro_common::envelope::Envelope;
use ouro_common::id::{Digest, RequestId};
use rusqlite::params;
use std::time::Duration;

/// A private request's bytes stay only so long after its end that the answer can be fetched.
const PRIVATE_TAGS: Duration = Duration::from_secs(60);

/// Drops tags and requests whose time is over, at most `limit` requests of each; the digests nobody needs any more.
pub(super) fn collect(db: &Db<'_>, tags: Duration, traces: Duration, limit: usize) -> Outcome<Vec<Digest>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let due = db.all(
        "SELECT id, private FROM requests WHERE ended IS NOT NULL AND NOT tags_dropped \
         AND (ended <= ?1 OR (private AND ended <= ?2)) ORDER BY ended LIMIT ?3",
        params![before(db, tags), before(db, tags.min(PRIVATE_TAGS)), limit],
        |row| Ok((row.get::<_, Text<RequestId>>(0)?.0, row.get::<_, bool>(1)?)),
    )?;
    let mut dropped = Vec::new();
    for (request, private) in due {
        let request = text(&request);
        dropped.extend(db.all("SELECT DISTINCT digest FROM tags WHERE request = ?1", [&request], |row| row.get::<_, String>(0))?);
        db.run("DELETE FROM tags WHERE request = ?1", [&request])?;
        db.run("UPDATE requests SET tags_dropped = 1 WHERE id = ?1", [&request])?;
        if private {
            forget_prompt(db, &request)?;
        }
    }
    db.run(
        "DELETE FROM requests WHERE id IN (SELECT id FROM requests WHERE ended <= ?1 AND tags_dropped ORDER BY ended LIMIT ?2)",
        params![before(db, traces), limit],
    )?;
    dropped.sort_unstable();
    dropped.dedup();
    let mut unneeded = Vec::new();
    for digest in dropped {
        if !db.exists("SELECT 1 FROM tags WHERE digest = ?1", [&digest])? {
            db.run("DELETE FROM holders WHERE digest = ?1", [&digest])?;
            unneeded.extend(digest.parse::<Digest>().ok());
        }
    }
    Ok(unneeded)
}

/// The moment `age` ago; before the clock's zero nothing has happened.
fn before(db: &Db<'_>, age: Duration) -> i64 {
    u64::try_from(age.as_millis())
        .ok()
        .and_then(|age| db.now.0.checked_sub(age))
        .map_or(-1, |at| moment(Instant(at)))
}

/// Takes the words of a private request out of its envelope; its content digest stays.
fn forget_prompt(db: &Db<'_>, request: &str) -> Outcome<()> {
    let envelope = db.one("SELECT envelope FROM requests WHERE id = ?1", [request], |row| Ok(row.get::<_, Json<Envelope>>(0)?.0))?;
    let Some(mut envelope) = envelope else { return Ok(()) };
    envelope.prompt.clear();
    if let Some(report) = &mut envelope.first_pass {
        report.partial = None;
    }
    db.run("UPDATE requests SET envelope = ?2 WHERE id = ?1", params![request, json(&envelope)?])?;
    Ok(())
}
