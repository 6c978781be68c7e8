//! The threads that own the connections: one writes, two read.
//!
//! The writer drains its queue into one transaction, a savepoint for every verb, and answers after the commit: many
//! verbs share one flush to disk. A verb that fails takes back only itself; a commit that fails takes back all. A transaction
//! of nothing but what can be worked out again is not flushed: the next flush takes it along, in its order.

use super::clock::StoreClock;
use super::columns::count;
use super::db::Db;
use super::verb_error::{Outcome, Site};
use crate::store::StoreError;
use ouro_common::clock::Instant;
use rusqlite::Connection;
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// The most verbs that share a transaction.
const BATCH: usize = 100;
/// A transaction that changed nothing is committed only to carry the clock forward: no more often than this while a request is open,
/// whose deadline runs on it.
const CLOCK_STEP: Duration = Duration::from_secs(10);
/// And no more often than this while none is: then the clock measures only how long what has ended is kept, and what a killed process
/// had not written of it is waited for once more.
const IDLE_CLOCK_STEP: Duration = Duration::from_secs(3600);

/// A verb in the queue.
pub(super) trait Job: Send {
    /// Does its work inside a savepoint.
    fn work(&mut self, db: &Db<'_>, site: &Site) -> Result<(), StoreError>;
    /// Whether it must be on the disk before the caller hears of it.
    fn is_promise(&self) -> bool;
    /// Tells the caller, once it is known whether the transaction was committed.
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

/// A closure with the place where its answer goes.
pub(super) struct Verb<T, F> {
    work: Option<F>,
    is_promise: bool,
    outcome: Result<T, StoreError>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Verb<T, F>
where
    T: Send + 'static,
    F: FnOnce(&Db<'_>) -> Outcome<T> + Send + 'static,
{
    /// The verb, and where its answer comes.
    pub(super) fn queued(work: F, is_promise: bool) -> (Box<dyn Job>, oneshot::Receiver<Result<T, StoreError>>) {
        let (reply, answer) = oneshot::channel();
        (Box::new(Self { work: Some(work), is_promise, outcome: Err(StoreError::Closed), reply }), answer)
    }
}

impl<T, F> Job for Verb<T, F>
where
    T: Send,
    F: FnOnce(&Db<'_>) -> Outcome<T> + Send,
{
    fn work(&mut self, db: &Db<'_>, site: &Site) -> Result<(), StoreError> {
        if let Some(work) = self.work.take() {
            self.outcome = work(db).map_err(|error| site.tell(error));
        }
        self.outcome.as_ref().map(|_| ()).map_err(Clone::clone)
    }

    fn is_promise(&self) -> bool {
        self.is_promise
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        // A caller that has gone away needs no answer; its verb counts all the same.
        let _ = self.reply.send(self.outcome.and_then(|value| committed.map(|()| value)));
    }
}

/// Begins or ends something, by a statement that is kept.
fn control(conn: &Connection, sql: &str) -> rusqlite::Result<()> {
    conn.prepare_cached(sql)?.execute([]).map(drop)
}

/// The thread that writes.
pub(super) struct Writer {
    pub(super) conn: Connection,
    pub(super) clock: Arc<StoreClock>,
    pub(super) generation: u32,
    pub(super) site: Site,
    pub(super) clock_written: Instant,
    /// Whether a commit is flushed now.
    pub(super) flushes: bool,
}

impl Writer {
    /// Works until the store is dropped, then folds the log into the database.
    pub(super) fn run(mut self, queue: &Receiver<Box<dyn Job>>) {
        while let Ok(first) = queue.recv() {
            let mut batch = VecDeque::from([first]);
            batch.extend(queue.try_iter().take(BATCH - 1));
            while !batch.is_empty() {
                self.transaction(&mut batch);
            }
        }
        if let Err(error) = self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
            tracing::warn!(path = %self.site.path().display(), %error, "the log was not folded into the database; the next start reads it");
        }
    }

    /// Takes verbs from `batch` into one transaction; leaves those that come after one that SQLite ended.
    fn transaction(&mut self, batch: &mut VecDeque<Box<dyn Job>>) {
        let begun = self.flush(batch.iter().any(|job| job.is_promise())).and_then(|()| control(&self.conn, "BEGIN IMMEDIATE"));
        if let Err(error) = begun {
            let error = self.site.tell_sql(&error);
            batch.drain(..).for_each(|job| job.answer(Err(error.clone())));
            return;
        }
        let before = self.conn.total_changes();
        let mut taken = Vec::with_capacity(batch.len());
        let mut outcome = Ok(());
        while let Some(mut job) = batch.pop_front() {
            let result = self.savepoint(job.as_mut());
            taken.push(job);
            if self.conn.is_autocommit() {
                // SQLite ends the whole transaction when it runs out of disk in the wrong place.
                outcome = result.and_then(|()| Err(self.site.database("the transaction was rolled back".into())));
                break;
            }
        }
        if outcome.is_ok() {
            outcome = self.commit(self.conn.total_changes() != before);
        }
        taken.into_iter().for_each(|job| job.answer(outcome.clone()));
    }

    /// Sets whether commits are flushed from now on.
    fn flush(&mut self, flushes: bool) -> rusqlite::Result<()> {
        if self.flushes != flushes {
            self.conn.pragma_update(None, "synchronous", if flushes { "FULL" } else { "NORMAL" })?;
            self.flushes = flushes;
        }
        Ok(())
    }

    fn savepoint(&self, job: &mut dyn Job) -> Result<(), StoreError> {
        let control = |sql| control(&self.conn, sql).map_err(|e| self.site.tell_sql(&e));
        control("SAVEPOINT verb")?;
        let db = Db { conn: &self.conn, now: self.clock.now(), wall: self.clock.wall(), generation: self.generation };
        let result = job.work(&db, &self.site);
        if !self.conn.is_autocommit() {
            if result.is_err() {
                control("ROLLBACK TO verb")?;
            }
            control("RELEASE verb")?;
        }
        result
    }

    /// Whether the clock is to be written although nothing else is. If that cannot be found out, it is.
    fn clock_is_due(&self, now: Instant) -> bool {
        let unwritten = now.since(self.clock_written);
        let is_open = || {
            let found = self.conn.prepare_cached("SELECT 1 FROM requests WHERE ended IS NULL").and_then(|mut open| open.exists([]));
            found.unwrap_or(true)
        };
        unwritten >= IDLE_CLOCK_STEP || (unwritten >= CLOCK_STEP && is_open())
    }

    fn commit(&mut self, changed: bool) -> Result<(), StoreError> {
        let now = self.clock.now();
        let end = if changed || self.clock_is_due(now) {
            self.conn
                .prepare_cached("UPDATE meta SET value = ?1 WHERE key = 'clock_ms'")
                .and_then(|mut statement| statement.execute([count(now.0)]))
                .and_then(|_| control(&self.conn, "COMMIT"))
                .map(|()| self.clock_written = now)
        } else {
            control(&self.conn, "ROLLBACK")
        };
        end.map_err(|error| {
            let error = self.site.tell_sql(&error);
            if !self.conn.is_autocommit()
                && let Err(error) = control(&self.conn, "ROLLBACK")
            {
                tracing::error!(path = %self.site.path().display(), %error, "a failed transaction could not be rolled back");
            }
            error
        })
    }
}

/// A thread that reads what is committed.
pub(super) struct Reader {
    pub(super) conn: Connection,
    pub(super) clock: Arc<StoreClock>,
    pub(super) generation: u32,
    pub(super) site: Site,
}

impl Reader {
    /// Works until the store is dropped; every query sees one state of the database.
    pub(super) fn run(self, queue: &Mutex<Receiver<Box<dyn Job>>>) {
        loop {
            let job: Result<_, RecvError> = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(mut job) = job else { return };
            let begun = control(&self.conn, "BEGIN").map_err(|error| self.site.tell_sql(&error));
            if begun.is_ok() {
                let db = Db { conn: &self.conn, now: self.clock.now(), wall: self.clock.wall(), generation: self.generation };
                // The job keeps its own outcome and gives it in its answer.
                let _ = job.work(&db, &self.site);
                if let Err(error) = control(&self.conn, "ROLLBACK") {
                    tracing::warn!(path = %self.site.path().display(), %error, "a reading transaction did not end");
                }
            }
            job.answer(begun);
        }
    }
}
