//! Results: a result is taken iff its node owns the attempt, no later attempt took its place, and the step is open.

use super::columns::{Text, count, json, text};
use super::db::Db;
use super::steps::{self, StepRow, moment};
use super::verb_error::{Outcome, VerbError};
use super::{chains, ends, plans, standing};
use crate::store::{CommitOutcome, OutputRecord};
use ouro_common::id::{AttemptKey, Name, NodeId};
use ouro_common::plan::Step;
use ouro_common::step::{AttemptState, FailureClass, StepState};
use rusqlite::params;
use std::collections::BTreeMap;

/// An attempt as it stands.
pub(super) struct AttemptRow {
    pub(super) node: NodeId,
    pub(super) state: AttemptState,
    pub(super) class: Option<FailureClass>,
    pub(super) has_evidence: bool,
}

/// The attempt and its step.
pub(super) fn load_attempt(db: &Db<'_>, key: &AttemptKey) -> Outcome<Option<(AttemptRow, StepRow)>> {
    let attempt = db.one(
        "SELECT node, state, class, evidence IS NOT NULL FROM attempts \
         WHERE request = ?1 AND plan = ?2 AND step = ?3 AND generation = ?4 AND n = ?5",
        params![text(&key.request), key.plan, text(&key.step), key.epoch.generation, key.epoch.n],
        |row| {
            Ok(AttemptRow {
                node: row.get::<_, Text<_>>(0)?.0,
                state: row.get::<_, Text<_>>(1)?.0,
                class: row.get::<_, Option<Text<_>>>(2)?.map(|class| class.0),
                has_evidence: row.get(3)?,
            })
        },
    )?;
    let Some(attempt) = attempt else { return Ok(None) };
    let step = steps::load(db, key.request, key.plan, &key.step)?;
    Ok(step.map(|step| (attempt, step)))
}

/// Takes a result, if the rules allow it.
pub(super) fn commit(
    db: &Db<'_>,
    key: &AttemptKey,
    node: NodeId,
    outputs: Vec<OutputRecord>,
    phases_ms: BTreeMap<String, f64>,
) -> Outcome<CommitOutcome> {
    let found = load_attempt(db, key)?;
    // What was given out before a restore, or after the backup: nobody knows any more what became of it.
    if found.is_none() && key.epoch.generation < db.generation {
        return Ok(CommitOutcome::Stale);
    }
    let Some((attempt, mut row)) = found.filter(|(attempt, _)| attempt.node == node) else {
        return Ok(CommitOutcome::NotYours);
    };
    if attempt.state == AttemptState::Committed {
        return Ok(CommitOutcome::Repeat);
    }
    // A step taken back but not given away again is still this node's to finish.
    let open = matches!(row.state, StepState::Assigned | StepState::Ready);
    if !open || row.epochs != key.epoch.n || key.epoch.generation != db.generation {
        return Ok(CommitOutcome::Stale);
    }
    let bound = bind(&row.step, outputs).map_err(|port| VerbError::not_found("output port", format!("{port} of {key}")))?;
    for (tag, output) in bound {
        keep_output(db, key, node, &tag, output)?;
    }
    row.become_state(db, StepState::Done)?;
    let phases: BTreeMap<_, _> = phases_ms.into_iter().filter(|(_, ms)| ms.is_finite()).collect();
    db.run(
        "UPDATE attempts SET state = 'committed', ended = ?6, class = NULL, why = '', phases = ?7 \
         WHERE request = ?1 AND plan = ?2 AND step = ?3 AND generation = ?4 AND n = ?5",
        params![
            text(&key.request),
            key.plan,
            text(&key.step),
            key.epoch.generation,
            key.epoch.n,
            moment(db.now),
            json(&phases)?
        ],
    )?;
    db.run("UPDATE nodes SET commits = commits + 1 WHERE id = ?1", [text(&node)])?;
    let name: Option<String> = db.one("SELECT name FROM nodes WHERE id = ?1", [text(&node)], |r| r.get(0))?;
    db.event(key.request, "committed", Some(&key.step), &format!("by {}", name.unwrap_or_else(|| node.to_string())))?;
    standing::committed(db, &row, node)?;
    chains::advance(db, key.request, key.plan)?;
    let now_ready = plans::unblock(db, key.request, key.plan)?;
    let request_done = ends::settle(db, key.request)? || ends::has_ended(db, key.request)?;
    Ok(CommitOutcome::Committed { now_ready: if request_done { 0 } else { now_ready }, request_done })
}

/// The outputs by their tags; every port of the plan once and no other, or the port that is wrong.
fn bind(step: &Step, outputs: Vec<OutputRecord>) -> Result<BTreeMap<Name, OutputRecord>, Name> {
    let mut bound = BTreeMap::new();
    for output in outputs {
        let Some(tag) = step.outputs.get(&output.port) else {
            return Err(output.port);
        };
        if let Some(twice) = bound.insert(tag.clone(), output) {
            return Err(twice.port);
        }
    }
    match step.outputs.iter().find(|(_, tag)| !bound.contains_key(*tag)) {
        Some((port, _)) => Err(port.clone()),
        None => Ok(bound),
    }
}

fn keep_output(db: &Db<'_>, key: &AttemptKey, node: NodeId, tag: &Name, output: OutputRecord) -> Outcome<()> {
    let digest = text(&output.digest);
    if output.inline.is_none() {
        db.run("INSERT OR IGNORE INTO holders (digest, node) VALUES (?1, ?2)", params![digest, text(&node)])?;
    }
    db.run(
        "INSERT OR REPLACE INTO tags (request, plan, tag, step, media, digest, size_bytes, inline, on_server) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            text(&key.request),
            key.plan,
            text(tag),
            text(&key.step),
            output.media,
            digest,
            count(output.size_bytes),
            output.inline,
            output.on_server
        ],
    )?;
    Ok(())
}
