//! Rows of steps: how they are read, and the only place where a step changes its state.

use super::columns::{Json, Text, count, text};
use super::db::Db;
use super::verb_error::{Outcome, VerbError};
use super::{chains, tags};
use crate::store::ReadyStep;
use ouro_common::clock::Instant;
use ouro_common::envelope::Principal;
use ouro_common::id::{Digest, Name, NodeId, RequestId};
use ouro_common::plan::Step;
use ouro_common::step::{BlameRow, FailureClass, StepState};
use rusqlite::{Row, params};
use std::collections::BTreeSet;

/// A step as it stands.
#[derive(Debug, Clone)]
pub(super) struct StepRow {
    pub(super) request: RequestId,
    pub(super) plan: u32,
    pub(super) state: StepState,
    /// The count of attempts so far.
    pub(super) epochs: u32,
    pub(super) step: Step,
}

/// The columns that [`read_step`] reads.
macro_rules! step_columns {
    () => {
        "s.request, s.plan, s.state, s.epochs, s.step"
    };
}
pub(super) use step_columns;

pub(super) fn read_step(row: &Row<'_>) -> rusqlite::Result<StepRow> {
    Ok(StepRow {
        request: row.get::<_, Text<_>>(0)?.0,
        plan: row.get(1)?,
        state: row.get::<_, Text<_>>(2)?.0,
        epochs: row.get(3)?,
        step: row.get::<_, Json<_>>(4)?.0,
    })
}

/// One step.
pub(super) fn load(db: &Db<'_>, request: RequestId, plan: u32, step: &Name) -> Outcome<Option<StepRow>> {
    db.one(
        concat!("SELECT ", step_columns!(), " FROM steps s WHERE s.request = ?1 AND s.plan = ?2 AND s.id = ?3"),
        params![text(&request), plan, text(step)],
        read_step,
    )
}

/// The steps of a plan in its order.
pub(super) fn of_plan(db: &Db<'_>, request: RequestId, plan: u32) -> Outcome<Vec<StepRow>> {
    db.all(
        concat!("SELECT ", step_columns!(), " FROM steps s WHERE s.request = ?1 AND s.plan = ?2 ORDER BY s.position"),
        params![text(&request), plan],
        read_step,
    )
}

impl StepRow {
    /// Moves the step to another state, if the rules allow it, and ends whatever lease it was under.
    pub(super) fn become_state(&mut self, db: &Db<'_>, next: StepState) -> Outcome<()> {
        if !self.state.can_become(next) {
            let problem = format!("step {} of {} cannot go from {} to {next}", self.step.id, self.request, self.state);
            return Err(VerbError::corrupt("steps.state", problem));
        }
        db.run(
            "UPDATE steps SET state = ?4, lease_instance = NULL, lease_until = 0 WHERE request = ?1 AND plan = ?2 AND id = ?3",
            params![text(&self.request), self.plan, text(&self.step.id), text(&next)],
        )?;
        self.state = next;
        Ok(())
    }

    /// Whether one of its outputs is the request's answer.
    pub(super) fn answers(&self, answer: Option<&Name>) -> bool {
        self.plan > 0 && answer.is_some_and(|answer| self.step.outputs.values().any(|tag| tag == answer))
    }

    /// Names what the step computes: equal keys, equal results. `None` while an input is missing.
    pub(super) fn key(&self, db: &Db<'_>) -> Outcome<Option<Digest>> {
        let inputs = tags::inputs_of(db, self.request, self.plan, &self.step.id, false)?;
        if inputs.len() != self.step.inputs.values().map(|tags| tags.iter().count()).sum::<usize>() {
            return Ok(None);
        }
        let mut hasher = blake3::Hasher::new();
        let mut field = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        field(text(&self.step.digest).as_bytes());
        field(self.step.params.to_string().as_bytes());
        for (port, tag) in &inputs {
            field(port.as_str().as_bytes());
            field(text(&tag.digest).as_bytes());
        }
        Ok(Some(Digest::from_blake3(hasher.finalize())))
    }

    /// Every attempt that ended with a failure or a loss, oldest first.
    pub(super) fn history(&self, db: &Db<'_>) -> Outcome<Vec<BlameRow>> {
        db.all(
            "SELECT node, class, evidence FROM attempts WHERE request = ?1 AND plan = ?2 AND step = ?3 AND class IS NOT NULL \
             ORDER BY ended, generation, n",
            params![text(&self.request), self.plan, text(&self.step.id)],
            |row| {
                Ok(BlameRow {
                    node: row.get::<_, Text<NodeId>>(0)?.0,
                    class: row.get::<_, Text<FailureClass>>(1)?.0,
                    evidence: row.get::<_, Option<Json<_>>>(2)?.map(|json| json.0),
                })
            },
        )
    }
}

/// What placing a step needs to know about its request.
pub(super) struct Asked {
    priority: u8,
    deadline: Instant,
    answer: Option<Name>,
    private: bool,
    principal: Principal,
    age: u64,
}

/// The columns that [`Asked::read`] reads.
macro_rules! asked_columns {
    () => {
        "r.priority, r.deadline, r.answer, r.private, r.principal, r.seq"
    };
}
pub(super) use asked_columns;

impl Asked {
    /// The columns [`asked_columns`] of requests, from column `first` on.
    pub(super) fn read(row: &Row<'_>, first: usize) -> rusqlite::Result<Self> {
        Ok(Self {
            priority: row.get(first)?,
            deadline: Instant(row.get::<_, super::columns::Count>(first + 1)?.0),
            answer: row.get::<_, Option<Text<_>>>(first + 2)?.map(|name| name.0),
            private: row.get(first + 3)?,
            principal: row.get::<_, Text<_>>(first + 4)?.0,
            age: row.get::<_, super::columns::Count>(first + 5)?.0,
        })
    }
}

/// The step with everything placing it needs.
pub(super) fn ready_step(db: &Db<'_>, row: StepRow, asked: Asked) -> Outcome<ReadyStep> {
    let history = row.history(db)?;
    let nodes = |counts: fn(FailureClass) -> bool| -> Vec<NodeId> {
        let nodes: BTreeSet<NodeId> = history.iter().filter(|h| counts(h.class)).map(|h| h.node).collect();
        nodes.into_iter().collect()
    };
    Ok(ReadyStep {
        inputs: tags::inputs_of(db, row.request, row.plan, &row.step.id, false)?,
        followers: chains::after(db, &row)?,
        answers: row.answers(asked.answer.as_ref()),
        request: row.request,
        plan: row.plan,
        expected_epoch: row.epochs,
        failed_on: nodes(FailureClass::counts_against_step),
        too_large_for: nodes(|class| class == FailureClass::DoesNotFit),
        alone: history.iter().any(|h| h.evidence.is_some()),
        priority: asked.priority,
        age: asked.age,
        private: asked.private,
        principal: asked.principal,
        remaining_ms: asked.deadline.0.saturating_sub(db.now.0),
        step: row.step,
    })
}

/// The ready steps of one request, whoever has leased them.
pub(super) fn waiting(db: &Db<'_>, request: RequestId) -> Outcome<Vec<ReadyStep>> {
    let rows = db.all(
        concat!(
            "SELECT ",
            step_columns!(),
            ", ",
            asked_columns!(),
            " FROM steps s JOIN requests r ON r.id = s.request \
             WHERE s.request = ?1 AND s.state = 'ready' ORDER BY s.plan, s.position"
        ),
        [text(&request)],
        |row| Ok((read_step(row)?, Asked::read(row, 5)?)),
    )?;
    rows.into_iter().map(|(row, asked)| ready_step(db, row, asked)).collect()
}

/// Records what the step computes.
pub(super) fn keep_key(db: &Db<'_>, row: &StepRow, key: Digest) -> Outcome<()> {
    db.run(
        "UPDATE steps SET step_key = ?4 WHERE request = ?1 AND plan = ?2 AND id = ?3",
        params![text(&row.request), row.plan, text(&row.step.id), text(&key)],
    )?;
    Ok(())
}

/// A moment as a column takes it.
pub(super) fn moment(instant: Instant) -> i64 {
    count(instant.0)
}
