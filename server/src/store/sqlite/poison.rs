//! Poison: work that killed workers on two nodes is named by its step key and run nowhere until somebody releases it.
//!
//! An end is final, so the request in which it was found out has failed; what is kept away is the same work in any request.

use super::columns::{Json, Text, json, text};
use super::commit::load_attempt;
use super::db::Db;
use super::ends;
use super::journal::{self, About};
use super::steps::{StepRow, moment};
use super::verb_error::{Outcome, VerbError};
use ouro_common::document::{PoisonDeath, PoisonEntry};
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::{AttemptKey, Digest, NodeId};
use ouro_common::step::{Evidence, StepState};
use rusqlite::params;

/// Records that a step has turned out to be poison.
pub(super) fn keep(db: &Db<'_>, row: &StepRow, key: &AttemptKey) -> Outcome<()> {
    let step_key: Option<Option<Text<Digest>>> = db.one(
        "SELECT step_key FROM steps WHERE request = ?1 AND plan = ?2 AND id = ?3",
        params![text(&row.request), row.plan, text(&row.step.id)],
        |r| r.get(0),
    )?;
    // A step that ran had its inputs, and so it has its key.
    let Some(step_key) = step_key.flatten().map(|key| key.0) else {
        return Ok(());
    };
    let deaths = db.all(
        "SELECT a.node, coalesce(n.name, a.node), a.class, a.why, a.evidence FROM attempts a LEFT JOIN nodes n ON n.id = a.node \
         WHERE a.request = ?1 AND a.plan = ?2 AND a.step = ?3 AND a.evidence IS NOT NULL ORDER BY a.ended, a.generation, a.n",
        params![text(&row.request), row.plan, text(&row.step.id)],
        |r| {
            Ok(PoisonDeath {
                node: r.get::<_, Text<NodeId>>(0)?.0,
                node_name: r.get(1)?,
                class: r.get::<_, Text<_>>(2)?.0,
                why: r.get(3)?,
                evidence: r.get::<_, Json<Evidence>>(4)?.0,
            })
        },
    )?;
    let entry = PoisonEntry {
        id: step_key.short(),
        step_key,
        container: row.step.container.clone(),
        container_digest: row.step.digest,
        request: row.request,
        step: row.step.id.clone(),
        since_unix_ms: db.wall.0,
        deaths,
    };
    db.run(
        "INSERT OR REPLACE INTO poison (step_key, at, entry) VALUES (?1, ?2, ?3)",
        params![text(&step_key), moment(db.now), json(&entry)?],
    )?;
    let words = format!("step {} ({}) is poison {}: it killed workers on two nodes", row.step.id, row.step.container, entry.id);
    let about = match load_attempt(db, key)? {
        Some((attempt, _)) => About::Work(row.request, attempt.node),
        None => About::Request(row.request),
    };
    journal::note(db, "poisoned", about, &words)
}

/// Ends the request of a step whose work is known to be poison; whether it was.
pub(super) fn stop(db: &Db<'_>, row: &mut StepRow, step_key: Digest) -> Outcome<bool> {
    let entry: Option<PoisonEntry> =
        db.one("SELECT entry FROM poison WHERE step_key = ?1", [text(&step_key)], |r| Ok(r.get::<_, Json<_>>(0)?.0))?;
    let Some(entry) = entry else { return Ok(false) };
    row.become_state(db, StepState::Poisoned)?;
    let nodes: Vec<&str> = entry.deaths.iter().map(|death| death.node_name.as_str()).collect();
    let problem = format!(
        "step {} ({}) is not run: the same work killed workers before, on {}, in request {}",
        row.step.id,
        row.step.container,
        nodes.join(" and "),
        entry.request
    );
    let remedy = format!("'ouroctl poison show {0}' says how; 'ouroctl poison release {0}' lets it run again", entry.id);
    let fault = Fault::new(FaultCode::WorkFailed, problem)
        .at(format!("{}/{}/{}", row.request, row.plan, row.step.id))
        .remedy(remedy);
    ends::fail(db, row.request, &fault)?;
    Ok(true)
}

/// All of it, newest first.
pub(super) fn list(db: &Db<'_>) -> Outcome<Vec<PoisonEntry>> {
    db.all("SELECT entry FROM poison ORDER BY at DESC, step_key", [], |r| Ok(r.get::<_, Json<_>>(0)?.0))
}

/// Lets work run again; what was released.
pub(super) fn release(db: &Db<'_>, id: &str, by: &str) -> Outcome<PoisonEntry> {
    let found = list(db)?.into_iter().find(|entry| entry.id == id || entry.step_key.to_string() == id);
    let entry = found.ok_or_else(|| VerbError::not_found("poison", id))?;
    db.run("DELETE FROM poison WHERE step_key = ?1", [text(&entry.step_key)])?;
    let words = format!("poison {} ({}) was released by {by}", entry.id, entry.container);
    journal::note(db, "poison_released", About::Fleet, &words)?;
    Ok(entry)
}
