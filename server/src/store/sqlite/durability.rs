//! What only this backend can show: the conformance suite on its files, a process killed at any moment, a full disk.

use super::SqliteStore;
use crate::store::conformance::{Ground, HandTicker, Make, Node, chain, conformance_suite};
use crate::store::{AcceptOutcome, CommitOutcome, FailOutcome, Store, StoreError, Ticker};
use ouro_common::envelope::{Envelope, Principal};
use ouro_common::id::RequestId;
use ouro_common::step::{FailureClass, LossReason, RequestState};
use rusqlite::Connection;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// A storage in a folder of its own, which goes with the function.
fn fresh() -> Make {
    let home = TempDir::new().unwrap();
    Box::new(move |ticker: Arc<dyn Ticker>| Arc::new(SqliteStore::open(&home.path().join("fleet.db"), ticker).unwrap()))
}

conformance_suite!(fresh);

fn open(path: &Path) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(path, Arc::new(HandTicker::default()))
}

fn envelope(n: u8, prompt: &str) -> Envelope {
    Envelope::new(RequestId::from_parts(9, [n; 10]), Principal::Operator("ada".into()), prompt)
}

#[tokio::test]
async fn a_process_killed_at_any_moment_loses_nothing_acknowledged() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("fleet.db");
    let store = open(&path).unwrap();
    for n in 1..=5_u8 {
        let outcomes = futures::future::join_all((0..8).map(|i| {
            let envelope = envelope(n * 10 + i, "hello");
            let store = &store;
            async move { store.accept_request(&envelope).await.unwrap() }
        }));
        assert!(outcomes.await.iter().all(|o| *o == AcceptOutcome::Accepted));
        // What a dead process leaves: the files as they are now.
        let left = home.path().join(format!("left-{n}.db"));
        std::fs::copy(&path, &left).unwrap();
        std::fs::copy(home.path().join("fleet.db-wal"), home.path().join(format!("left-{n}.db-wal"))).unwrap();
        let check: String = Connection::open(&left).unwrap().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
        assert_eq!(open(&left).unwrap().requests(1000).await.unwrap().len(), usize::from(n) * 8);
    }
}

#[tokio::test]
async fn a_full_disk_is_named_loses_nothing_and_ends_when_there_is_room() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("fleet.db");
    let store = open(&path).unwrap();
    assert_eq!(store.accept_request(&envelope(1, "hello")).await.unwrap(), AcceptOutcome::Accepted);
    let limit = async |pages: i64| {
        store
            .write(move |db| Ok(db.conn.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?))
            .await
            .unwrap();
    };
    // The limit becomes the number of pages there are, if that is more.
    limit(1).await;
    let long = "x".repeat(500_000);
    let outcomes = futures::future::join_all((2..10).map(|n| {
        let (envelope, store) = (envelope(n, &long), &store);
        async move { store.accept_request(&envelope).await }
    }));
    for outcome in outcomes.await {
        let error = outcome.unwrap_err();
        assert!(matches!(&error, StoreError::DiskFull { path: named } if Path::new(named) == path), "{error}");
    }
    assert_eq!(store.requests(10).await.unwrap().len(), 1, "earlier rows are there, and no others");
    assert_eq!(store.view(envelope(1, "").id).await.unwrap().unwrap().envelope.prompt, "hello");
    limit(1_000_000).await;
    assert_eq!(store.accept_request(&envelope(2, &long)).await.unwrap(), AcceptOutcome::Accepted);
    drop(store);
    assert_eq!(open(&path).unwrap().requests(10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_failing_verb_takes_only_itself_back() {
    let home = TempDir::new().unwrap();
    let store = open(&home.path().join("fleet.db")).unwrap();
    let (good, bad, other) = (envelope(1, "a"), envelope(2, "b"), envelope(3, "c"));
    let spoiled = store.write(move |db| {
        super::accept::accept(db, &bad)?;
        Err::<(), _>(super::VerbError::not_found("thing", "x"))
    });
    let (first, second, third) = tokio::join!(store.accept_request(&good), spoiled, store.accept_request(&other));
    assert!(first.is_ok() && third.is_ok());
    assert!(matches!(second, Err(StoreError::NotFound { what: "thing", .. })));
    assert_eq!(store.requests(10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_restored_backup_gives_higher_epochs_and_a_newer_schema_is_refused() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("fleet.db");
    let before = open(&path).unwrap().generation();
    assert_eq!(SqliteStore::raise_generation(&path, &HandTicker::default()).unwrap(), before + 1);
    assert_eq!(open(&path).unwrap().generation(), before + 1);
    Connection::open(&path).unwrap().execute("INSERT INTO migrations VALUES (99, 0)", []).unwrap();
    let Err(error) = open(&path) else { panic!("it was opened") };
    assert!(error.to_string().contains("version 99"), "{error}");
}

#[tokio::test]
async fn what_was_given_out_before_a_restore_is_stale_after_it() {
    let home = TempDir::new().unwrap();
    let (path, copy) = (home.path().join("fleet.db"), home.path().join("copy.db"));
    let at = |path: &Path| -> Make {
        let path = path.to_path_buf();
        Box::new(move |ticker: Arc<dyn Ticker>| Arc::new(SqliteStore::open(&path, ticker).unwrap()))
    };
    let ground = Ground::new(&at(&path));
    let node = ground.node("host").await;
    let request = ground.request(&chain()).await;
    ground.run(request, "s1", &node, false).await;
    let before = ground.place(request, "s2", &node).await;
    let inventory = SqliteStore::copy(&path, &copy).unwrap();
    assert_eq!((inventory.requests, inventory.nodes, inventory.generation), (1, 1, 1));
    // What happens after the backup is unknown to the restored store.
    ground.store.release_attempts(node.id, LossReason::NodeLost, &[]).await.unwrap();
    let after = ground.place(request, "s2", &node).await;
    assert_eq!(after.epoch.n, before.epoch.n + 1);
    drop(ground);
    SqliteStore::raise_generation(&copy, &HandTicker::default()).unwrap();
    assert_eq!(SqliteStore::check(&copy).unwrap(), crate::store::DatabaseCopy { generation: 2, ..inventory });
    let ground = Ground::new(&at(&copy));
    assert!(ground.store.live_attempts(None).await.unwrap().is_empty());
    for old in [&before, &after] {
        assert_eq!(ground.commit(old, &node, false).await, CommitOutcome::Stale, "{old}");
        assert!(!matches!(ground.fail(old, &node, FailureClass::Error, None).await, FailOutcome::Judged(_)), "{old}");
    }
    let node = Node { session_epoch: ground.online(node.id).await, ..node };
    let fresh = ground.place(request, "s2", &node).await;
    assert_eq!((fresh.epoch.generation, fresh.epoch.n), (2, 2));
    assert!(fresh.epoch > after.epoch);
    assert!(matches!(ground.commit(&fresh, &node, false).await, CommitOutcome::Committed { .. }));
    ground.run(request, "s3", &node, false).await;
    assert_eq!(ground.state(request).await, RequestState::Done);
}

#[test]
fn a_database_that_cannot_be_opened_is_named() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("absent").join("fleet.db");
    let Err(error) = open(&path) else { panic!("it was opened") };
    assert!(error.to_string().contains("absent/fleet.db"), "{error}");
    let path = home.path().join("noise.db");
    std::fs::write(&path, "x".repeat(8192)).unwrap();
    let Err(error) = open(&path) else { panic!("it was opened") };
    assert!(matches!(&error, StoreError::Corrupt { problem, .. } if problem.contains("noise.db")), "{error}");
}

#[tokio::test]
async fn a_store_that_is_dropped_leaves_one_file() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("fleet.db");
    let store = open(&path).unwrap();
    store.accept_request(&envelope(1, "hello")).await.unwrap();
    for file in ["fleet.db", "fleet.db-wal"] {
        let mode = std::fs::metadata(home.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "prompts are in {file}");
    }
    drop(store);
    let left: Vec<_> = std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["fleet.db"]);
}

#[tokio::test]
async fn asking_for_nothing_writes_nothing() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("fleet.db");
    let ticker = Arc::new(HandTicker::default());
    let store = SqliteStore::open(&path, ticker.clone()).unwrap();
    store.accept_request(&envelope(1, "hello")).await.unwrap();
    // The log's length and time: once it is folded in, it is written over from its beginning.
    let log = || std::fs::read(home.path().join("fleet.db-wal")).unwrap();
    let ask = async |seconds: u64| {
        for _ in 0..seconds {
            ticker.pass(Duration::from_secs(1));
            store.expire(10).await.unwrap();
        }
    };
    let before = log();
    ask(9).await;
    assert_eq!(log(), before);
    ask(10).await;
    assert!(log() != before, "the clock is carried forward while a deadline runs on it");
    store.cancel_request(envelope(1, "").id, "ada").await.unwrap();
    let before = log();
    ask(3500).await;
    assert!(log() == before, "nothing waits");
    ask(200).await;
    assert!(log() != before, "it goes on for what has ended, now and then");
}

#[tokio::test]
async fn a_killed_process_takes_ten_seconds_of_a_deadline_with_it_at_most() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("fleet.db");
    let ticker = Arc::new(HandTicker::default());
    let store = SqliteStore::open(&path, ticker.clone()).unwrap();
    store.accept_request(&envelope(1, "hello")).await.unwrap();
    let begun = store.now();
    for _ in 0..95 {
        ticker.pass(Duration::from_secs(1));
        store.expire(10).await.unwrap();
    }
    let left = home.path().join("left.db");
    std::fs::copy(&path, &left).unwrap();
    std::fs::copy(home.path().join("fleet.db-wal"), home.path().join("left.db-wal")).unwrap();
    let passed = open(&left).unwrap().now().since(begun);
    assert!(passed >= Duration::from_secs(85) && passed <= Duration::from_secs(95), "{passed:?}");
}

#[tokio::test]
async fn promises_are_flushed_and_what_can_be_worked_out_again_is_not() {
    let home = TempDir::new().unwrap();
    let store = open(&home.path().join("fleet.db")).unwrap();
    let level = |db: &super::db::Db<'_>| Ok(db.conn.query_row("PRAGMA synchronous", [], |row| row.get::<_, i64>(0))?);
    let (full, normal) = (2, 1);
    for _ in 0..2 {
        assert_eq!(store.note(level).await.unwrap(), normal);
        assert_eq!(store.write(level).await.unwrap(), full);
    }
    // In one transaction the promise decides.
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let busy = store.write(move |_| Ok(held.recv().is_ok()));
    let rest = async {
        let (lease, promise) = tokio::join!(biased; store.note(level), store.write(level));
        (lease.unwrap(), promise.unwrap())
    };
    let release = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        hold.send(()).unwrap();
    };
    let (_, levels, ()) = tokio::join!(biased; busy, rest, release);
    assert_eq!(levels, (full, full));
}

#[tokio::test]
async fn a_statement_is_planned_once_whatever_is_bound() {
    let home = TempDir::new().unwrap();
    let store = open(&home.path().join("fleet.db")).unwrap();
    let planned_anew = store
        .write(|db| {
            let mut planned_anew = 0;
            let sql = "SELECT id FROM steps WHERE request = ?1 AND plan = ?2 AND state = ?3 AND step_key = ?4";
            let mut statement = db.conn.prepare(sql)?;
            for state in ["done", "ready", "done", "assigned"] {
                statement.exists(rusqlite::params!["r", 1, state, state])?;
                planned_anew += statement.get_status(rusqlite::StatementStatus::RePrepare);
            }
            Ok(planned_anew)
        })
        .await;
    assert_eq!(planned_anew.unwrap(), 0);
}
