//! What a verb works with: the connection inside a transaction, the moment, and the generation.

use super::columns::{count, text};
use super::verb_error::Outcome;
use ouro_common::clock::{Instant, WallTime};
use ouro_common::id::{Name, RequestId};
use rusqlite::{Connection, OptionalExtension, Params, Row, params};

/// One verb's view of the database.
pub(super) struct Db<'c> {
    pub(super) conn: &'c Connection,
    /// The store's time at which the verb happens.
    pub(super) now: Instant,
    /// The same moment for people.
    pub(super) wall: WallTime,
    /// Part of every epoch.
    pub(super) generation: u32,
}

impl Db<'_> {
    /// Runs a statement; the count of changed rows.
    pub(super) fn run(&self, sql: &str, params: impl Params) -> Outcome<usize> {
        Ok(self.conn.prepare_cached(sql)?.execute(params)?)
    }

    /// The first row, if there is one.
    pub(super) fn one<T>(&self, sql: &str, params: impl Params, read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>) -> Outcome<Option<T>> {
        Ok(self.conn.prepare_cached(sql)?.query_row(params, read).optional()?)
    }

    /// Every row.
    pub(super) fn all<T>(&self, sql: &str, params: impl Params, read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>) -> Outcome<Vec<T>> {
        let mut statement = self.conn.prepare_cached(sql)?;
        let rows = statement.query_map(params, read)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Whether there is a row.
    pub(super) fn exists(&self, sql: &str, params: impl Params) -> Outcome<bool> {
        Ok(self.conn.prepare_cached(sql)?.exists(params)?)
    }

    /// Writes a row of the trace.
    pub(super) fn event(&self, request: RequestId, kind: &str, step: Option<&Name>, words: &str) -> Outcome<()> {
        self.run(
            "INSERT INTO events (request, at, kind, step, text) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![text(&request), count(self.now.0), kind, step.map(text), words],
        )?;
        Ok(())
    }
}

/// At most `bytes` bytes of `words`, cut between characters.
pub(super) fn beginning(words: &str, bytes: usize) -> &str {
    let mut end = bytes.min(words.len());
    while !words.is_char_boundary(end) {
        end -= 1;
    }
    &words[..end]
}
