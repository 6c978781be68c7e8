//! Failures and losses: what is recorded against whom, and what becomes of the step. Loss is not guilt.

use super::columns::{Text, json, text};
use super::commit::load_attempt;
use super::db::{Db, beginning};
use super::journal::{self, About};
use super::steps::{self, StepRow, moment};
use super::verb_error::Outcome;
use super::{chains, ends, plans, poison, repair, standing};
use crate::store::FailOutcome;
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::{AttemptKey, NodeId};
use ouro_common::step::{AttemptState, Evidence, FailureClass, LossReason, StepState, StepVerdict, after_failure};
use rusqlite::params;
use std::collections::BTreeSet;

/// The longest reason that is kept, in bytes.
const MAX_WHY_BYTES: usize = 2000;

/// How an attempt ended without a result.
struct Failure<'a> {
    state: AttemptState,
    class: FailureClass,
    why: &'a str,
    evidence: Option<&'a Evidence>,
}

/// Records a failure and judges the step by everything that is known against it.
pub(super) fn fail(
    db: &Db<'_>,
    key: &AttemptKey,
    node: NodeId,
    class: FailureClass,
    why: &str,
    evidence: Option<&Evidence>,
) -> Outcome<FailOutcome> {
    let Some((attempt, row)) = load_attempt(db, key)? else {
        return Ok(FailOutcome::NotYours);
    };
    if attempt.node != node {
        return Ok(FailOutcome::NotYours);
    }
    let evidence = match evidence {
        Some(Evidence::Rebooted) if standing::lost_among_many(db, node)? => None,
        other => other,
    };
    match attempt.state {
        AttemptState::Assigned => {
            standing::pair_failed(db, &row, node, class)?;
            record(db, key, &Failure { state: AttemptState::Failed, class, why, evidence })?;
            db.event(key.request, "failed", Some(&key.step), &format!("on {}: {}, {why}", name_of(db, node)?, class.name()))?;
            judge(db, key, node, row).map(FailOutcome::Judged)
        }
        // The node was given up, and now it is known that the step had killed it.
        AttemptState::Lost | AttemptState::Released if evidence.is_some() && attempt.class.is_some() && !attempt.has_evidence => {
            record(db, key, &Failure { state: attempt.state, class, why, evidence })?;
            db.event(key.request, "evidence", Some(&key.step), &format!("on {}: {}, {why}", name_of(db, node)?, class.name()))?;
            match row.state {
                StepState::Ready | StepState::Assigned => judge_late(db, key, node, row),
                _ => Ok(FailOutcome::Stale),
            }
        }
        _ => Ok(FailOutcome::Stale),
    }
}

fn record(db: &Db<'_>, key: &AttemptKey, failure: &Failure<'_>) -> Outcome<()> {
    db.run(
        "UPDATE attempts SET state = ?6, class = ?7, why = ?8, evidence = ?9, ended = ?10 \
         WHERE request = ?1 AND plan = ?2 AND step = ?3 AND generation = ?4 AND n = ?5",
        params![
            text(&key.request),
            key.plan,
            text(&key.step),
            key.epoch.generation,
            key.epoch.n,
            text(&failure.state),
            text(&failure.class),
            beginning(failure.why, MAX_WHY_BYTES),
            failure.evidence.map(json).transpose()?,
            moment(db.now)
        ],
    )?;
    Ok(())
}

/// Moves a step whose attempt has just ended to where the rules want it; its request ends unless that is `Ready`.
fn judge(db: &Db<'_>, key: &AttemptKey, node: NodeId, mut row: StepRow) -> Outcome<StepVerdict> {
    let history = row.history(db)?;
    let verdict = after_failure(&history);
    match verdict {
        StepVerdict::Ready => {
            let there = chains::inputs_there(db, &row, &BTreeSet::new())?;
            row.become_state(db, if there { StepState::Ready } else { StepState::Blocked })?;
            chains::give_back(db, row.request, row.plan)?;
            // It may have failed because an input is gone; then that comes first.
            repair::repair(db, row.request, row.plan)?;
        }
        StepVerdict::Failed => {
            row.become_state(db, StepState::Failed)?;
            ends::fail(db, row.request, &fault(db, &row, key, node, verdict)?)?;
        }
        StepVerdict::Poisoned => {
            row.become_state(db, StepState::Poisoned)?;
            poison::keep(db, &row, key)?;
            ends::fail(db, row.request, &fault(db, &row, key, node, verdict)?)?;
        }
    }
    Ok(verdict)
}

/// Evidence that comes late can only make things worse: a step that goes on elsewhere is left alone otherwise.
fn judge_late(db: &Db<'_>, key: &AttemptKey, node: NodeId, mut row: StepRow) -> Outcome<FailOutcome> {
    if after_failure(&row.history(db)?) != StepVerdict::Poisoned {
        return Ok(if row.state == StepState::Ready { FailOutcome::Judged(StepVerdict::Ready) } else { FailOutcome::Stale });
    }
    row.become_state(db, StepState::Poisoned)?;
    poison::keep(db, &row, key)?;
    ends::fail(db, row.request, &fault(db, &row, key, node, StepVerdict::Poisoned)?)?;
    Ok(FailOutcome::Judged(StepVerdict::Poisoned))
}

/// What the person who asked is told.
fn fault(db: &Db<'_>, row: &StepRow, key: &AttemptKey, node: NodeId, verdict: StepVerdict) -> Outcome<Fault> {
    let (class, why) = db
        .one(
            "SELECT class, why FROM attempts WHERE request = ?1 AND plan = ?2 AND step = ?3 AND generation = ?4 AND n = ?5",
            params![text(&key.request), key.plan, text(&key.step), key.epoch.generation, key.epoch.n],
            |r| Ok((r.get::<_, Text<FailureClass>>(0)?.0, r.get::<_, String>(1)?)),
        )?
        .unwrap_or((FailureClass::Error, String::new()));
    let (step, container) = (&row.step.id, &row.step.container);
    let what = match verdict {
        StepVerdict::Poisoned => "was stopped because it killed workers on two nodes, last",
        StepVerdict::Ready | StepVerdict::Failed => "failed, last",
    };
    let problem = format!("step {step} ({container}) {what} on {}: {}, {why}", name_of(db, node)?, class.name());
    let remedy = match (verdict, class) {
        (StepVerdict::Poisoned, _) => format!("check the input and the container {container} before you submit it again"),
        (_, FailureClass::InvalidInput) => format!("give an input that {container} takes; 'ouroctl modules' shows what that is"),
        _ => format!("'ouroctl trace {}' shows every attempt", row.request),
    };
    Ok(Fault::new(FaultCode::WorkFailed, problem).at(format!("{}/{}/{step}", row.request, row.plan)).remedy(remedy))
}

pub(super) fn name_of(db: &Db<'_>, node: NodeId) -> Outcome<String> {
    let name = db.one("SELECT name FROM nodes WHERE id = ?1", [text(&node)], |row| row.get(0))?;
    Ok(name.unwrap_or_else(|| node.to_string()))
}

/// Takes a node's attempts back, but for those in `keep`; those that were taken.
pub(super) fn release(db: &Db<'_>, node: NodeId, reason: LossReason, keep: &[AttemptKey]) -> Outcome<Vec<AttemptKey>> {
    let (state, class, why) = match reason {
        LossReason::NodeLost => (AttemptState::Lost, FailureClass::Lost, "its node did not come back in time"),
        LossReason::AgentRestarted => (AttemptState::Lost, FailureClass::Lost, "its node came back as a new process"),
        LossReason::Rejected => (AttemptState::Released, FailureClass::Rejected, "its node could not take it"),
        LossReason::Drained => (AttemptState::Released, FailureClass::Drained, "its node is being emptied"),
        LossReason::ModuleRemoved => (AttemptState::Released, FailureClass::ModuleRemoved, "the module with its container was pulled out"),
    };
    let live = db.all(
        "SELECT request, plan, step, generation, n FROM attempts WHERE node = ?1 AND state = 'assigned' ORDER BY rowid",
        [text(&node)],
        |row| ends::read_key(row, 0),
    )?;
    let name = name_of(db, node)?;
    if state == AttemptState::Lost && live.iter().any(|key| !keep.contains(key)) {
        journal::note(db, "lost", About::Node(node), &format!("{why}; its steps went back"))?;
    }
    let mut taken = Vec::new();
    for key in live.into_iter().filter(|key| !keep.contains(key)) {
        // A request that ended through an earlier item has no live attempts any more.
        let Some((attempt, row)) = load_attempt(db, &key)? else { continue };
        if attempt.state == AttemptState::Assigned {
            record(db, &key, &Failure { state, class, why, evidence: None })?;
            db.event(
                key.request,
                if state == AttemptState::Lost { "lost" } else { "released" },
                Some(&key.step),
                &format!("{name}: {why}"),
            )?;
            judge(db, &key, node, row)?;
            // Only after a loss: whoever failed by its own doing is to be tried again.
            let again = steps::load(db, key.request, key.plan, &key.step)?.filter(|row| row.state == StepState::Ready);
            again.map(|mut row| plans::reuse_after_loss(db, &mut row)).transpose()?;
        }
        taken.push(key);
    }
    Ok(taken)
}
