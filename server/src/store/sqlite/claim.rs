//! Claiming: ready steps are leased to one server instance, which decides, and given to nodes under a new epoch.

use super::columns::{Count, Text, json, text};
use super::db::{Db, beginning};
use super::steps::{self, Asked, asked_columns, moment, read_step, step_columns};
use super::verb_error::{Outcome, VerbError};
use super::{chains, ends, tags};
use crate::store::{AssignOutcome, Assignment, Ended, LiveAttempt, ReadyStep, RefusedStep, Take};
use ouro_common::clock::Instant;
use ouro_common::document::DecisionView;
use ouro_common::error::Fault;
use ouro_common::id::{Epoch, InstanceId, Name, NodeId};
use ouro_common::step::{AdminState, StepState};
use rusqlite::{Row, params};
use std::collections::BTreeSet;
use std::time::Duration;

/// The winner and the best sixteen others.
const MAX_CANDIDATES: usize = 17;
/// Nodes named for each reason of refusal.
const MAX_EXAMPLES: usize = 3;
/// The most bytes a decision takes in the database.
const MAX_DECISION_BYTES: usize = 16 * 1024;

/// Leases ready steps to an instance, by priority and then by the age of their requests; its own come again, unless it only
/// wants what it does not know.
///
/// A lease with more than half of its time left is not written anew, so that asking often costs nothing.
pub(super) fn take_ready(db: &Db<'_>, instance: InstanceId, limit: usize, (lease, take): (Duration, Take)) -> Outcome<Vec<ReadyStep>> {
    let instance = text(&instance);
    let until = db.now.after(lease);
    let soon = db.now.after(lease / 2);
    // Its own that it took lately have more time left than this.
    let known = match take {
        Take::All => Instant(i64::MAX as u64),
        Take::New => soon,
    };
    let rows = db.all(
        concat!(
            "SELECT ",
            step_columns!(),
            ", ",
            asked_columns!(),
            ", s.lease_until FROM steps s JOIN requests r ON r.id = s.request \
             WHERE s.state = 'ready' AND (s.lease_instance IS NULL OR (s.lease_instance = ?1 AND s.lease_until <= ?4) OR s.lease_until <= ?2) AND r.deadline > ?2 \
             ORDER BY s.priority DESC, s.age, s.position LIMIT ?3"
        ),
        params![instance, moment(db.now), i64::try_from(limit).unwrap_or(i64::MAX), moment(known)],
        |row| Ok((read_step(row)?, Asked::read(row, 5)?, Instant(row.get::<_, Count>(11)?.0))),
    )?;
    let mut taken = Vec::with_capacity(rows.len());
    for (row, asked, leased_until) in rows {
        if leased_until <= soon {
            db.run(
                "UPDATE steps SET lease_instance = ?4, lease_until = ?5 WHERE request = ?1 AND plan = ?2 AND id = ?3",
                params![text(&row.request), row.plan, text(&row.step.id), instance, moment(until)],
            )?;
        }
        taken.push(steps::ready_step(db, row, asked)?);
    }
    Ok(taken)
}

/// Gives steps to nodes; every item stands for itself.
pub(super) fn assign(db: &Db<'_>, items: Vec<Assignment>) -> Outcome<Vec<AssignOutcome>> {
    items.into_iter().map(|item| assign_one(db, item)).collect()
}

fn assign_one(db: &Db<'_>, item: Assignment) -> Outcome<AssignOutcome> {
    let Some(row) = steps::load(db, item.request, item.plan, &item.step)? else {
        return Ok(AssignOutcome::Raced);
    };
    let in_time = db.exists(
        "SELECT 1 FROM requests WHERE id = ?1 AND ended IS NULL AND deadline > ?2",
        params![text(&item.request), moment(db.now)],
    )?;
    if row.state != StepState::Ready || row.epochs != item.expected_epoch || !in_time {
        return Ok(AssignOutcome::Raced);
    }
    let name = match room(db, &row, &item)? {
        Ok(name) => name,
        Err(refused) => return Ok(refused),
    };
    let suspect = must_be_alone(db, &row)?;
    let mut coming: BTreeSet<Name> = row.step.outputs.values().cloned().collect();
    let epoch = give(db, row, item.node, None, (item.decision, item.predicted_ms))?;
    db.event(item.request, "assigned", Some(&item.step), &format!("to {name}, predicted {:.0} ms", item.predicted_ms))?;
    let mut chain = Vec::new();
    // A step with evidence against it runs with nothing behind it either.
    for link in item.chain.into_iter().filter(|_| !suspect) {
        let Some(row) = steps::load(db, item.request, item.plan, &link.step)? else {
            break;
        };
        let fits = row.state == StepState::Blocked && row.epochs == link.expected_epoch;
        let follows = chains::reads(&row.step).any(|tag| coming.contains(tag));
        if !fits || !follows || !chains::inputs_there(db, &row, &coming)? {
            break;
        }
        coming.extend(row.step.outputs.values().cloned());
        let epoch = give(db, row, item.node, Some(&item.step), (link.decision, link.predicted_ms))?;
        let words = format!("to {name} behind {}, predicted {:.0} ms in all", item.step, link.predicted_ms);
        db.event(item.request, "assigned", Some(&link.step), &words)?;
        chain.push((link.step, epoch));
    }
    Ok(AssignOutcome::Assigned { epoch, chain })
}

/// The node's name, if it can be given a step now.
fn room(db: &Db<'_>, row: &steps::StepRow, item: &Assignment) -> Outcome<Result<String, AssignOutcome>> {
    let node = text(&item.node);
    let found = db.one(
        "SELECT name, admin, session_epoch, instance IS NOT NULL AND offline_since IS NULL FROM nodes WHERE id = ?1",
        [&node],
        |r| Ok((r.get::<_, String>(0)?, r.get::<_, Text<AdminState>>(1)?.0, r.get::<_, Count>(2)?.0, r.get::<_, bool>(3)?)),
    )?;
    let Some((name, AdminState::Active, epoch, true)) = found else {
        return Ok(Err(AssignOutcome::NodeGone));
    };
    if epoch != item.session_epoch {
        return Ok(Err(AssignOutcome::NodeGone));
    }
    // A chain is one assignment: its steps run one after the other.
    let live = db.one(
        "SELECT count(*) FROM (SELECT DISTINCT request, plan, coalesce(chain, step) FROM attempts WHERE node = ?1 AND state = 'assigned')",
        [&node],
        |r| r.get::<_, i64>(0),
    )?;
    let live = live.unwrap_or(0);
    if live > i64::from(item.slots) || (live > 0 && (must_be_alone(db, row)? || runs_alone(db, &node)?)) {
        return Ok(Err(AssignOutcome::NodeFull));
    }
    Ok(Ok(name))
}

/// Makes an attempt of a step under a new epoch.
fn give(
    db: &Db<'_>,
    mut row: steps::StepRow,
    node: NodeId,
    chain: Option<&Name>,
    (decision, predicted_ms): (DecisionView, f64),
) -> Outcome<Epoch> {
    let epoch = Epoch { generation: db.generation, n: row.epochs + 1 };
    row.become_state(db, StepState::Assigned)?;
    let key = (text(&row.request), row.plan, text(&row.step.id));
    db.run(
        "UPDATE steps SET epochs = ?4 WHERE request = ?1 AND plan = ?2 AND id = ?3",
        params![key.0, key.1, key.2, epoch.n],
    )?;
    db.run(
        "INSERT INTO attempts (request, plan, step, generation, n, node, state, assigned, predicted_ms, decision, chain) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'assigned', ?7, ?8, ?9, ?10)",
        params![
            key.0,
            key.1,
            key.2,
            epoch.generation,
            epoch.n,
            text(&node),
            moment(db.now),
            if predicted_ms.is_finite() { predicted_ms } else { 0.0 },
            within_budget(decision)?,
            chain.map(text)
        ],
    )?;
    Ok(epoch)
}

/// Whether there is evidence against a step: it runs with nothing beside it then.
fn must_be_alone(db: &Db<'_>, row: &steps::StepRow) -> Outcome<bool> {
    db.exists(
        "SELECT 1 FROM attempts WHERE request = ?1 AND plan = ?2 AND step = ?3 AND evidence IS NOT NULL",
        params![text(&row.request), row.plan, text(&row.step.id)],
    )
}

/// Whether a step with evidence against it runs on a node.
fn runs_alone(db: &Db<'_>, node: &str) -> Outcome<bool> {
    db.exists(
        "SELECT 1 FROM attempts l JOIN attempts e ON e.request = l.request AND e.plan = l.plan AND e.step = l.step \
         WHERE l.node = ?1 AND l.state = 'assigned' AND e.evidence IS NOT NULL",
        [node],
    )
}

/// Ends the request of a step that no node could ever take, and keeps the decision about the step. One that is not ready any
/// more was decided about too late: its request stands as it is.
pub(super) fn refuse(db: &Db<'_>, refused: RefusedStep, fault: &Fault) -> Outcome<Ended> {
    let request = refused.request;
    let row = steps::load(db, request, refused.plan, &refused.step)?;
    if row.is_some_and(|row| row.state != StepState::Ready) {
        let state = db.one("SELECT state FROM requests WHERE id = ?1", [text(&request)], |row| Ok(row.get::<_, Text<_>>(0)?.0))?;
        let state = state.ok_or_else(|| VerbError::not_found("request", request))?;
        return Ok(Ended { request, state, attempts: vec![] });
    }
    keep_refusal(db, refused)?;
    ends::fail(db, request, fault)
}

fn keep_refusal(db: &Db<'_>, refused: RefusedStep) -> Outcome<()> {
    let key = (text(&refused.request), refused.plan, text(&refused.step));
    db.run(
        "UPDATE steps SET refusal = ?4 WHERE request = ?1 AND plan = ?2 AND id = ?3",
        params![key.0, key.1, key.2, within_budget(refused.decision)?],
    )?;
    Ok(())
}

/// The decision as JSON, trimmed until it keeps within its budget. Figures that JSON cannot hold are left out.
fn within_budget(mut decision: DecisionView) -> rusqlite::Result<String> {
    decision.candidates.retain(|c| c.mfpi.is_finite() && c.total_s.is_finite() && c.terms.total_s().is_finite());
    decision.candidates.truncate(MAX_CANDIDATES);
    for refusal in &mut decision.refusals {
        refusal.examples.truncate(MAX_EXAMPLES);
        refusal.examples.iter_mut().for_each(|example| *example = beginning(example, 200).to_string());
    }
    loop {
        let stored = json(&decision)?;
        if stored.len() <= MAX_DECISION_BYTES {
            return Ok(stored);
        }
        if decision.candidates.len() > 1 {
            decision.candidates.pop();
        } else if decision.refusals.pop().is_none() {
            decision.candidates.clear();
            decision.remedy = None;
        }
    }
}

macro_rules! live_attempts {
    () => {
        "SELECT a.node, a.request, a.plan, a.step, a.generation, a.n, a.assigned, a.predicted_ms, r.deadline, r.answer, s.request, s.plan, \
         s.state, s.epochs, s.step, EXISTS (SELECT 1 FROM attempts e WHERE e.request = a.request AND e.plan = a.plan AND e.step = a.step \
         AND e.evidence IS NOT NULL), a.chain, r.principal FROM attempts a JOIN steps s ON s.request = a.request AND s.plan = a.plan AND s.id = a.step \
         JOIN requests r ON r.id = a.request WHERE a.state = 'assigned'"
    };
}

/// Live attempts of one node, or of all, oldest first.
pub(super) fn live_attempts(db: &Db<'_>, node: Option<NodeId>) -> Outcome<Vec<LiveAttempt>> {
    let mut attempts = match node {
        Some(node) => db.all(concat!(live_attempts!(), " AND a.node = ?1 ORDER BY a.assigned, a.rowid"), [text(&node)], |row| {
            read_live(row, db.now)
        })?,
        None => db.all(concat!(live_attempts!(), " ORDER BY a.assigned, a.rowid"), [], |row| read_live(row, db.now))?,
    };
    for attempt in &mut attempts {
        attempt.inputs = tags::inputs_of(db, attempt.key.request, attempt.key.plan, &attempt.key.step, true)?;
        let known: Vec<Name> = attempt.inputs.iter().map(|(_, tag)| tag.tag.clone()).collect();
        attempt.pending = chains::pending(db, attempt.key.request, attempt.key.plan, &attempt.step, &known)?;
    }
    Ok(attempts)
}

fn read_live(row: &Row<'_>, now: Instant) -> rusqlite::Result<LiveAttempt> {
    let answer: Option<Name> = row.get::<_, Option<Text<_>>>(9)?.map(|name| name.0);
    let step = steps::StepRow {
        request: row.get::<_, Text<_>>(10)?.0,
        plan: row.get(11)?,
        state: row.get::<_, Text<_>>(12)?.0,
        epochs: row.get(13)?,
        step: row.get::<_, super::columns::Json<_>>(14)?.0,
    };
    Ok(LiveAttempt {
        node: row.get::<_, Text<_>>(0)?.0,
        key: ends::read_key(row, 1)?,
        assigned: Instant(row.get::<_, Count>(6)?.0),
        predicted_ms: row.get(7)?,
        remaining_ms: row.get::<_, Count>(8)?.0.saturating_sub(now.0),
        answers: step.answers(answer.as_ref()),
        alone: row.get(15)?,
        chain: row.get::<_, Option<Text<_>>>(16)?.map(|name| name.0),
        principal: row.get::<_, Text<_>>(17)?.0,
        pending: vec![],
        inputs: vec![],
        step: step.step,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ouro_common::document::{Candidate, RefusalCount};

    #[test]
    fn a_decision_keeps_its_winner_and_its_budget() {
        let candidate = |mfpi| Candidate {
            node: NodeId::from_parts(1, [1; 10]),
            name: "n".repeat(900),
            mfpi,
            total_s: 1.0,
            terms: ouro_common::mfpi::Terms::default(),
            unknown: vec![],
        };
        let decision = DecisionView {
            candidates: (0..400).map(|i| candidate(f64::from(1000 - i))).chain([candidate(f64::NAN)]).collect(),
            refusals: vec![RefusalCount { reason: "r".into(), count: 90, examples: vec!["é".repeat(5000); 90] }],
            ..DecisionView::default()
        };
        let stored = within_budget(decision).unwrap();
        assert!(stored.len() <= MAX_DECISION_BYTES, "{}", stored.len());
        let back: DecisionView = serde_json::from_str(&stored).unwrap();
        assert!((2..=MAX_CANDIDATES).contains(&back.candidates.len()), "{}", back.candidates.len());
        assert_eq!(back.candidates[0].mfpi, 1000.0);
        assert_eq!(back.refusals[0].examples.len(), MAX_EXAMPLES);
    }
}
