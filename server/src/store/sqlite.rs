//! The store in SQLite: one file beside its log, one writer with group commit, readers that see what is committed.
//!
//! The log is flushed at every commit of a promise (`synchronous = FULL`): what was acknowledged is there after a power cut.
//! Leases and plans are worked out again; they go along with the next flush. Two processes must not open one database; whoever starts the server locks its home for that.

mod accept;
mod backup;
mod blame;
mod chains;
mod claim;
mod clock;
mod collect;
mod columns;
mod commit;
mod db;
#[cfg(test)]
mod durability;
mod ends;
mod identity;
mod journal;
mod lessons;
mod nodes;
mod plans;
mod plugged;
mod poison;
mod repair;
mod schema;
mod standing;
mod steps;
mod tags;
mod threads;
mod verb_error;
mod verbs;
mod view;

pub use backup::DatabaseCopy;

use super::{StoreError, Ticker};
use clock::StoreClock;
use columns::Count;
use db::Db;
use ouro_common::clock::Instant;
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use threads::{Job, Reader, Verb, Writer};
use verb_error::{Outcome, Site, VerbError};

/// Threads that read.
const READERS: usize = 2;

/// The store of one server process.
pub struct SqliteStore {
    clock: Arc<StoreClock>,
    generation: u32,
    /// `None` only while the store is being dropped.
    queues: Option<Queues>,
    threads: Vec<JoinHandle<()>>,
}

struct Queues {
    writes: Sender<Box<dyn Job>>,
    reads: Sender<Box<dyn Job>>,
}

impl SqliteStore {
    /// Opens the database at `path`, making or migrating it as needed, and starts its threads.
    ///
    /// # Errors
    /// The file cannot be opened or written, was made by a newer build, or is damaged.
    pub fn open(path: &Path, ticker: Arc<dyn Ticker>) -> Result<Self, StoreError> {
        let site = Site::new(path);
        let (conn, persisted, generation) = prepare(path, ticker.wall()).map_err(|error| site.tell(error))?;
        conn.set_prepared_statement_cache_capacity(256);
        let clock = Arc::new(StoreClock::new(persisted, ticker));
        let (writes, write_queue) = channel();
        let (reads, read_queue) = channel();
        let read_queue = Arc::new(Mutex::new(read_queue));
        let mut store = Self { clock: clock.clone(), generation, queues: Some(Queues { writes, reads }), threads: Vec::new() };
        for _ in 0..READERS {
            let conn = connect(path).and_then(|conn| conn.pragma_update(None, "query_only", true).map(|()| conn));
            let conn = conn.map_err(|error| site.tell_sql(&error))?;
            conn.set_prepared_statement_cache_capacity(64);
            let reader = Reader { conn, clock: clock.clone(), generation, site: site.clone() };
            let queue: Arc<Mutex<Receiver<Box<dyn Job>>>> = read_queue.clone();
            store.spawn("store-reader", &site, move || reader.run(&queue))?;
        }
        let writer = Writer { conn, clock, generation, site: site.clone(), clock_written: persisted, flushes: true };
        store.spawn("store-writer", &site, move || writer.run(&write_queue))?;
        Ok(store)
    }

    /// Tells the database that it was restored from a backup: epochs given from now on are above all given before.
    ///
    /// Call it once, before the restored database is opened; it returns the new generation.
    ///
    /// # Errors
    /// The same as for [`SqliteStore::open`].
    pub fn raise_generation(path: &Path, ticker: &dyn Ticker) -> Result<u32, StoreError> {
        let site = Site::new(path);
        let raise = || -> Outcome<u32> {
            let (mut conn, now, generation) = prepare(path, ticker.wall())?;
            let tx = conn.transaction()?;
            tx.execute("UPDATE meta SET value = value + 1 WHERE key = 'generation'", [])?;
            backup::take_back_what_was_given(&Db { conn: &tx, now, wall: ticker.wall(), generation })?;
            tx.commit()?;
            Ok(generation + 1)
        };
        raise().map_err(|error| site.tell(error))
    }

    /// Copies the database at `from`, which a server may be using, to `to`, as it is at one moment; what the copy needs.
    ///
    /// # Errors
    /// One of the two files cannot be used.
    pub fn copy(from: &Path, to: &Path) -> Result<DatabaseCopy, StoreError> {
        let site = Site::new(to);
        create(to).and_then(|()| backup::copy(from, to)).map_err(|error| site.tell(error))
    }

    /// Checks that the database at `path` is whole; what it needs.
    ///
    /// # Errors
    /// It is damaged, or no database.
    pub fn check(path: &Path) -> Result<DatabaseCopy, StoreError> {
        backup::check(path).map_err(|error| Site::new(path).tell(error))
    }

    fn spawn(&mut self, name: &str, site: &Site, run: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
        let thread = std::thread::Builder::new().name(name.into()).spawn(run);
        self.threads.push(thread.map_err(|error| site.database(format!("its thread cannot be started: {error}")))?);
        Ok(())
    }

    /// Changes the store; the answer comes when that is on the disk.
    async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Db<'_>) -> Outcome<T> + Send + 'static,
    {
        self.change(work, true).await
    }

    /// Changes the store by what is worked out again if a power cut takes it; a killed process loses nothing.
    async fn note<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Db<'_>) -> Outcome<T> + Send + 'static,
    {
        self.change(work, false).await
    }

    async fn change<T, F>(&self, work: F, is_promise: bool) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Db<'_>) -> Outcome<T> + Send + 'static,
    {
        let (verb, answer) = Verb::queued(work, is_promise);
        let queues = self.queues.as_ref().ok_or(StoreError::Closed)?;
        queues.writes.send(verb).map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Reads what is committed.
    async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Db<'_>) -> Outcome<T> + Send + 'static,
    {
        let (verb, answer) = Verb::queued(work, false);
        let queues = self.queues.as_ref().ok_or(StoreError::Closed)?;
        queues.reads.send(verb).map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }
}

impl Drop for SqliteStore {
    /// Lets the threads finish what is queued; the writer, which is last, folds the log into the database.
    fn drop(&mut self) {
        self.queues = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

/// Makes the file readable by its owner only, if there is none: prompts lie in it. Its log gets the same mode.
fn create(path: &Path) -> Outcome<()> {
    let made = std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    made.map(drop).map_err(|error| {
        let path = path.display().to_string();
        VerbError::Refused(match error.kind() {
            std::io::ErrorKind::StorageFull => StoreError::DiskFull { path },
            _ => StoreError::Database { path, problem: error.to_string() },
        })
    })
}

/// A connection that flushes at every commit and waits for others.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open(path)?;
    conn.busy_timeout(Duration::from_secs(5))?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "foreign_keys", true)?;
    // A statement's plan depends on its text alone. Else many are planned anew whenever other values are bound.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(conn)
}

/// The writing connection to a database with this build's schema, the time it was last written at, and its generation.
fn prepare(path: &Path, wall: ouro_common::clock::WallTime) -> Outcome<(Connection, Instant, u32)> {
    create(path)?;
    let mut conn = connect(path)?;
    let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(VerbError::corrupt("journal_mode", format!("the file system under {} does not allow WAL", path.display())));
    }
    conn.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
    schema::migrate(&mut conn, wall)?;
    let clock = conn.query_row("SELECT value FROM meta WHERE key = 'clock_ms'", [], |row| row.get::<_, Count>(0))?;
    let generation = conn.query_row("SELECT value FROM meta WHERE key = 'generation'", [], |row| row.get(0))?;
    Ok((conn, Instant(clock.0), generation))
}
