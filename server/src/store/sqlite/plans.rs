//! Plans: a request without one, a request that gets one, and steps that become ready as their inputs come.

use super::columns::{Json, Text, counted, json, text};
use super::db::Db;
use super::steps::{self, StepRow, step_columns};
use super::tags::{self, GIVEN, available};
use super::verb_error::{Outcome, VerbError};
use super::{ends, poison};
use ouro_common::envelope::Envelope;
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::{Digest, Name, RequestId};
use ouro_common::plan::{Plan, Refusal, Step};
use ouro_common::step::{RequestState, StepState};
use rusqlite::params;
use std::collections::BTreeMap;

/// Requests that nobody works on and that have no plan but perhaps a finished plan 0, oldest first.
pub(super) fn unplanned(db: &Db<'_>, limit: usize) -> Outcome<Vec<Envelope>> {
    db.all(
        "SELECT r.envelope FROM requests r WHERE r.ended IS NULL AND r.state IN ('accepted', 'planning') AND NOT EXISTS \
         (SELECT 1 FROM steps s WHERE s.request = r.id AND s.state IN ('blocked', 'ready', 'assigned')) ORDER BY r.seq LIMIT ?1",
        [i64::try_from(limit).unwrap_or(i64::MAX)],
        |row| Ok(row.get::<_, Json<_>>(0)?.0),
    )
}

/// The number of a request's newest plan; older ones are superseded.
pub(super) fn active(db: &Db<'_>, request: RequestId) -> Outcome<Option<u32>> {
    Ok(db.one("SELECT max(n) FROM plans WHERE request = ?1", [text(&request)], |row| row.get(0))?.flatten())
}

/// Gives a request its plan; how many steps can be placed now.
pub(super) fn attach(db: &Db<'_>, request: RequestId, n: u32, plan: &Plan) -> Outcome<usize> {
    let found = db.one("SELECT state, priority, seq FROM requests WHERE id = ?1", [text(&request)], |row| {
        Ok((row.get::<_, Text<RequestState>>(0)?.0, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
    })?;
    let Some((state, priority, age)) = found else {
        return Err(VerbError::not_found("request", request));
    };
    if state.is_terminal() || active(db, request)?.is_some_and(|newest| newest >= n) {
        return Ok(0);
    }
    ends::cancel_open_steps(db, request, "another plan took its place")?;
    db.run(
        "INSERT INTO plans (request, n, planner, answer) VALUES (?1, ?2, ?3, ?4)",
        params![text(&request), n, plan.planner, text(&plan.answer)],
    )?;
    let origins = origins(db, request, n, plan)?;
    for (position, step) in plan.steps.iter().enumerate() {
        db.run(
            "INSERT INTO steps (request, plan, id, position, state, step, priority, age) VALUES (?1, ?2, ?3, ?4, 'blocked', ?5, ?6, ?7)",
            params![text(&request), n, text(&step.id), i64::try_from(position).unwrap_or(i64::MAX), json(step)?, priority, age],
        )?;
        bind_inputs(db, request, n, step, &origins)?;
    }
    let next = if n == 0 { RequestState::Planning } else { RequestState::Running };
    let answer = (n > 0).then(|| text(&plan.answer));
    db.run("UPDATE requests SET state = ?2, answer = ?3 WHERE id = ?1", params![text(&request), text(&next), answer])?;
    db.event(
        request,
        "planned",
        None,
        &format!("{} by {}, the answer is {}", counted(plan.steps.len(), "step"), plan.planner, plan.answer),
    )?;
    let ready = unblock(db, request, n)?;
    ends::settle(db, request)?;
    Ok(ready)
}

/// Which plan writes each tag that a step of plan `n` can read: this one, or else the newest before it.
fn origins(db: &Db<'_>, request: RequestId, n: u32, plan: &Plan) -> Outcome<BTreeMap<Name, i64>> {
    let earlier = db.all("SELECT tag, plan FROM tags WHERE request = ?1 ORDER BY plan", [text(&request)], |row| {
        Ok((row.get::<_, Text<Name>>(0)?.0, row.get::<_, i64>(1)?))
    })?;
    let own = plan.steps.iter().flat_map(|step| step.outputs.values()).map(|tag| (tag.clone(), i64::from(n)));
    Ok(earlier.into_iter().chain(own).collect())
}

fn bind_inputs(db: &Db<'_>, request: RequestId, n: u32, step: &Step, origins: &BTreeMap<Name, i64>) -> Outcome<()> {
    for (port, bound) in &step.inputs {
        for (position, tag) in bound.iter().enumerate() {
            let origin = origins.get(tag).copied().unwrap_or(GIVEN);
            db.run(
                "INSERT INTO step_inputs (request, plan, step, port, position, origin, tag) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![text(&request), n, text(&step.id), text(port), i64::try_from(position).unwrap_or(i64::MAX), origin, text(tag)],
            )?;
        }
    }
    Ok(())
}

/// Makes the blocked steps ready whose inputs are all there; how many can be placed.
///
/// A step that an earlier plan of the request has done with the same key is done at once, which may unblock others.
pub(super) fn unblock(db: &Db<'_>, request: RequestId, plan: u32) -> Outcome<usize> {
    let mut ready = 0;
    loop {
        let rows = db.all(
            concat!(
                "SELECT ",
                step_columns!(),
                " FROM steps s WHERE s.request = ?1 AND s.plan = ?2 AND s.state = 'blocked' AND NOT EXISTS \
                 (SELECT 1 FROM step_inputs i LEFT JOIN tags t ON t.request = i.request AND t.plan = i.origin AND t.tag = i.tag \
                 WHERE i.request = s.request AND i.plan = s.plan AND i.step = s.id AND (t.tag IS NULL OR NOT ",
                available!(),
                ")) ORDER BY s.position"
            ),
            params![text(&request), plan],
            steps::read_step,
        )?;
        let mut reused = false;
        for mut row in rows {
            row.become_state(db, StepState::Ready)?;
            let Some(key) = row.key(db)? else {
                ready += 1;
                continue;
            };
            steps::keep_key(db, &row, key)?;
            if poison::stop(db, &mut row, key)? {
                return Ok(0);
            }
            if reuse(db, &mut row, key)? {
                reused = true;
            } else {
                ready += 1;
            }
        }
        if !reused {
            return Ok(ready);
        }
    }
}

/// Takes the results over that a step of an earlier plan of the same request left under the same key.
fn reuse(db: &Db<'_>, row: &mut StepRow, key: Digest) -> Outcome<bool> {
    let earlier = db.one(
        concat!(
            "SELECT ",
            step_columns!(),
            " FROM steps s WHERE s.request = ?1 AND s.plan < ?2 AND s.step_key = ?3 AND s.state = 'done' ORDER BY s.plan DESC LIMIT 1"
        ),
        params![text(&row.request), row.plan, text(&key)],
        steps::read_step,
    )?;
    match earlier {
        Some(earlier) => take_over(db, row, &earlier),
        None => Ok(false),
    }
}

/// After a loss: takes over what the same work has left in any request that may be shown to whoever asked for this one.
/// The steps after it go on then; whether it did.
pub(super) fn reuse_after_loss(db: &Db<'_>, row: &mut StepRow) -> Outcome<bool> {
    let others = db.all(
        concat!(
            "SELECT ",
            step_columns!(),
            " FROM steps own JOIN steps s ON s.step_key = own.step_key AND s.state = 'done' JOIN requests r ON r.id = s.request \
             JOIN requests mine ON mine.id = own.request WHERE own.request = ?1 AND own.plan = ?2 AND own.id = ?3 \
             AND (r.principal = mine.principal OR NOT (r.private OR mine.private)) ORDER BY r.seq DESC LIMIT 4"
        ),
        params![text(&row.request), row.plan, text(&row.step.id)],
        steps::read_step,
    )?;
    for other in others {
        if take_over(db, row, &other)? {
            unblock(db, row.request, row.plan)?;
            ends::settle(db, row.request)?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// Gives a step the results of another one that did the same work, if they can still be read.
fn take_over(db: &Db<'_>, row: &mut StepRow, earlier: &StepRow) -> Outcome<bool> {
    let mut found = Vec::new();
    for (port, tag) in &row.step.outputs {
        let Some(old) = earlier.step.outputs.get(port) else {
            return Ok(false);
        };
        match tags::tag_of_plan(db, earlier.request, i64::from(earlier.plan), old)? {
            Some(record) if record.inline.is_some() || record.on_server || !record.holders.is_empty() => found.push((tag, record)),
            _ => return Ok(false),
        }
    }
    for (tag, record) in found {
        db.run(
            "INSERT OR REPLACE INTO tags (request, plan, tag, step, media, digest, size_bytes, inline, on_server) \
             SELECT ?1, ?2, ?3, ?4, media, digest, size_bytes, inline, on_server FROM tags WHERE request = ?7 AND plan = ?5 AND tag = ?6",
            params![
                text(&row.request),
                row.plan,
                text(tag),
                text(&row.step.id),
                earlier.plan,
                text(&record.tag),
                text(&earlier.request)
            ],
        )?;
    }
    row.become_state(db, StepState::Done)?;
    let words = if earlier.request == row.request {
        format!("the results of {} in plan {} are taken over", earlier.step.id, earlier.plan)
    } else {
        format!("the results of the same work, {} of request {}, are taken over", earlier.step.id, earlier.request)
    };
    db.event(row.request, "reused", Some(&row.step.id), &words)?;
    Ok(true)
}

/// Ends a request that no plan can be written for.
pub(super) fn refuse(db: &Db<'_>, request: RequestId, refusal: &Refusal) -> Outcome<()> {
    let fault = Fault::new(FaultCode::PlanRefused, refusal.reason.clone()).remedy(refusal.remedy.clone());
    let ended = ends::end(db, request, RequestState::Failed, Some(&fault), &refusal.reason)?;
    if ended.state == RequestState::Failed {
        db.run("UPDATE requests SET refusal = ?2 WHERE id = ?1 AND refusal IS NULL", params![text(&request), json(refusal)?])?;
    }
    Ok(())
}
