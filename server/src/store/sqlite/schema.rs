//! The database's tables, and how an older database becomes a newer one.
//!
//! Every migration runs once, in order, in one transaction, and leaves a row behind. A database made by a newer build
//! is refused: reading it with older rules could lose what it knows.

use super::verb_error::{Outcome, VerbError};
use ouro_common::clock::WallTime;
use rusqlite::{Connection, OptionalExtension, params};

/// The migrations, oldest first; the schema's version is their count. Never change one that was released.
const MIGRATIONS: &[&str] = &[FIRST, STANDING, CHAINS, UNPLANNED, LESSONS];

/// Tags are named within a plan: `plan` is −1 for those that came with the request, and `step_inputs.origin` says which
/// plan's tag an input reads. Bytes of a tag are available if they are inline, on the server's disk or with a holder.
const FIRST: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('clock_ms', 0), ('generation', 1);

CREATE TABLE tokens (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, secret_hash TEXT NOT NULL, role TEXT NOT NULL, labels TEXT NOT NULL,
  uses_left INTEGER NOT NULL, expires INTEGER NOT NULL, revoked INTEGER NOT NULL DEFAULT 0, require_approval INTEGER NOT NULL
) STRICT;
CREATE TABLE credentials (
  spki TEXT PRIMARY KEY, token TEXT NOT NULL, role TEXT NOT NULL, id TEXT NOT NULL, name TEXT NOT NULL, certificate_pem TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE instances (id TEXT PRIMARY KEY, renewed INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE nodes (
  id TEXT PRIMARY KEY, name TEXT NOT NULL, admin TEXT NOT NULL, labels TEXT NOT NULL, spki TEXT NOT NULL, profile TEXT,
  announcement TEXT NOT NULL, announcement_digest TEXT NOT NULL, commits INTEGER NOT NULL DEFAULT 0,
  instance TEXT, session_epoch INTEGER NOT NULL DEFAULT 0, run TEXT, boot TEXT, offline_since INTEGER, offline_why TEXT
) STRICT;
CREATE UNIQUE INDEX nodes_name ON nodes (name) WHERE admin <> 'removed';

CREATE TABLE requests (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, principal TEXT NOT NULL, from_node TEXT, idempotency_key TEXT,
  content TEXT NOT NULL, private INTEGER NOT NULL, envelope TEXT NOT NULL, state TEXT NOT NULL, priority INTEGER NOT NULL,
  accepted INTEGER NOT NULL, accepted_wall INTEGER NOT NULL, deadline INTEGER NOT NULL, ended INTEGER,
  answer TEXT, refusal TEXT, fault TEXT, tags_dropped INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX requests_key ON requests (principal, idempotency_key);
CREATE INDEX requests_open ON requests (deadline) WHERE ended IS NULL;
CREATE INDEX requests_ended ON requests (ended) WHERE ended IS NOT NULL;

CREATE TABLE plans (
  request TEXT NOT NULL REFERENCES requests (id) ON DELETE CASCADE, n INTEGER NOT NULL, planner TEXT NOT NULL, answer TEXT NOT NULL,
  PRIMARY KEY (request, n)
) STRICT, WITHOUT ROWID;
CREATE TABLE steps (
  request TEXT NOT NULL, plan INTEGER NOT NULL, id TEXT NOT NULL, position INTEGER NOT NULL, state TEXT NOT NULL, step TEXT NOT NULL,
  priority INTEGER NOT NULL, age INTEGER NOT NULL, epochs INTEGER NOT NULL DEFAULT 0, step_key TEXT,
  lease_instance TEXT, lease_until INTEGER NOT NULL DEFAULT 0, refusal TEXT,
  PRIMARY KEY (request, plan, id), FOREIGN KEY (request, plan) REFERENCES plans (request, n) ON DELETE CASCADE
) STRICT;
CREATE INDEX steps_ready ON steps (priority DESC, age, position) WHERE state = 'ready';
CREATE TABLE step_inputs (
  request TEXT NOT NULL, plan INTEGER NOT NULL, step TEXT NOT NULL, port TEXT NOT NULL, position INTEGER NOT NULL,
  origin INTEGER NOT NULL, tag TEXT NOT NULL,
  PRIMARY KEY (request, plan, step, port, position),
  FOREIGN KEY (request, plan, step) REFERENCES steps (request, plan, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX step_inputs_tag ON step_inputs (request, origin, tag);

CREATE TABLE attempts (
  request TEXT NOT NULL, plan INTEGER NOT NULL, step TEXT NOT NULL, generation INTEGER NOT NULL, n INTEGER NOT NULL, node TEXT NOT NULL,
  state TEXT NOT NULL, class TEXT, why TEXT NOT NULL DEFAULT '', evidence TEXT, assigned INTEGER NOT NULL, ended INTEGER,
  predicted_ms REAL NOT NULL, decision TEXT NOT NULL, phases TEXT NOT NULL DEFAULT '{}',
  PRIMARY KEY (request, plan, step, generation, n),
  FOREIGN KEY (request, plan, step) REFERENCES steps (request, plan, id) ON DELETE CASCADE
) STRICT;
CREATE INDEX attempts_live ON attempts (node) WHERE state = 'assigned';

CREATE TABLE tags (
  request TEXT NOT NULL REFERENCES requests (id) ON DELETE CASCADE, plan INTEGER NOT NULL, tag TEXT NOT NULL, step TEXT,
  media TEXT NOT NULL, digest TEXT NOT NULL, size_bytes INTEGER NOT NULL, inline BLOB, on_server INTEGER NOT NULL,
  PRIMARY KEY (request, plan, tag)
) STRICT;
CREATE INDEX tags_digest ON tags (digest);
CREATE TABLE holders (digest TEXT NOT NULL, node TEXT NOT NULL, PRIMARY KEY (digest, node)) STRICT, WITHOUT ROWID;
CREATE INDEX holders_node ON holders (node);

CREATE TABLE events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, request TEXT NOT NULL REFERENCES requests (id) ON DELETE CASCADE,
  at INTEGER NOT NULL, kind TEXT NOT NULL, step TEXT, text TEXT NOT NULL
) STRICT;
CREATE INDEX events_request ON events (request);
";

/// What is held against nodes and work, and what happened in the fleet.
const STANDING: &str = "
ALTER TABLE nodes ADD COLUMN forgiven INTEGER NOT NULL DEFAULT 0;
CREATE TABLE pairs (node TEXT NOT NULL, container TEXT NOT NULL, state TEXT NOT NULL, PRIMARY KEY (node, container)) STRICT, WITHOUT ROWID;
CREATE TABLE losses (at INTEGER NOT NULL, node TEXT NOT NULL, PRIMARY KEY (at, node)) STRICT, WITHOUT ROWID;
CREATE TABLE poison (step_key TEXT PRIMARY KEY, at INTEGER NOT NULL, entry TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE fleet_events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, wall INTEGER NOT NULL, kind TEXT NOT NULL, node TEXT, request TEXT, text TEXT NOT NULL
) STRICT;
CREATE INDEX attempts_evidence ON attempts (node, ended) WHERE evidence IS NOT NULL;
CREATE INDEX steps_done ON steps (step_key) WHERE state = 'done';
";

/// The first step of the chain that an attempt went along with.
const CHAINS: &str = "ALTER TABLE attempts ADD COLUMN chain TEXT;";

/// Requests that wait for a plan, so that nobody looks through those that have one.
const UNPLANNED: &str = "CREATE INDEX requests_unplanned ON requests (seq) WHERE ended IS NULL AND state IN ('accepted', 'planning');";

/// What runs taught of each container on each node: the logarithm of actual / predicted, by phase.
const LESSONS: &str = "CREATE TABLE lessons (
  node TEXT NOT NULL, container TEXT NOT NULL, plug REAL NOT NULL, pre REAL NOT NULL, dec REAL NOT NULL, PRIMARY KEY (node, container)
) STRICT, WITHOUT ROWID;";

/// Brings the database to this build's schema.
pub(super) fn migrate(conn: &mut Connection, wall: WallTime) -> Outcome<()> {
    let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    tx.execute_batch("CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY, applied_unix_ms INTEGER NOT NULL) STRICT;")?;
    let version: Option<i64> = tx.query_row("SELECT max(version) FROM migrations", [], |row| row.get(0)).optional()?.flatten();
    let have = usize::try_from(version.unwrap_or(0)).unwrap_or(0);
    if have > MIGRATIONS.len() {
        return Err(VerbError::NewerSchema { found: have, known: MIGRATIONS.len() });
    }
    for (index, sql) in MIGRATIONS.iter().enumerate().skip(have) {
        tx.execute_batch(sql)?;
        tx.execute("INSERT INTO migrations VALUES (?1, ?2)", params![index as i64 + 1, wall.0 as i64])?;
    }
    tx.commit()?;
    Ok(())
}
