//! Chains: steps that go along with the one before them to its node, blocked as they are, and what becomes of them.
//!
//! A step of a chain is assigned before its inputs exist. It has its key, and is known for poison, once they do; and it is
//! given back, without blame and without counting, when nobody makes them any more.

use super::columns::{Text, text};
use super::db::Db;
use super::poison;
use super::steps::{self, StepRow, moment};
use super::tags::{self, available};
use super::verb_error::Outcome;
use crate::store::{Follower, PendingInput};
use ouro_common::id::{AttemptKey, Epoch, Name, RequestId};
use ouro_common::plan::{Step, Tags, followers};
use ouro_common::step::StepState;
use rusqlite::params;
use std::collections::BTreeSet;

/// The steps that can only follow a ready one. One that was tried before goes by itself: there may be something against it.
pub(super) fn after(db: &Db<'_>, ready: &StepRow) -> Outcome<Vec<Follower>> {
    if !may_be_followed(db, ready)? {
        return Ok(vec![]);
    }
    let plan = steps::of_plan(db, ready.request, ready.plan)?;
    let Some(head) = plan.iter().position(|row| row.step.id == ready.step.id).filter(|_| plan.len() > 1) else {
        return Ok(vec![]);
    };
    let places = followers(&plan.iter().map(|row| (&row.step, row.state)).collect::<Vec<_>>(), head);
    let mut chain = Vec::with_capacity(places.len());
    for row in places.into_iter().map(|place| &plan[place]) {
        if row.epochs > 0 {
            break;
        }
        let inputs = tags::inputs_of(db, row.request, row.plan, &row.step.id, false)?;
        chain.push(Follower { step: row.step.clone(), expected_epoch: row.epochs, inputs });
    }
    Ok(chain)
}

/// Whether some blocked step misses nothing but what a step with a single output makes: only then is the plan worth reading.
fn may_be_followed(db: &Db<'_>, ready: &StepRow) -> Outcome<bool> {
    let mut outputs = ready.step.outputs.values();
    let (Some(output), None) = (outputs.next(), outputs.next()) else {
        return Ok(true);
    };
    db.exists(
        concat!(
            "SELECT 1 FROM step_inputs i JOIN steps s ON s.request = i.request AND s.plan = i.plan AND s.id = i.step \
             WHERE i.request = ?1 AND i.origin = ?2 AND i.tag = ?3 AND i.plan = ?2 AND s.state = 'blocked' AND NOT EXISTS \
             (SELECT 1 FROM step_inputs o LEFT JOIN tags t ON t.request = o.request AND t.plan = o.origin AND t.tag = o.tag \
             WHERE o.request = i.request AND o.plan = i.plan AND o.step = i.step AND NOT (o.origin = ?2 AND o.tag = ?3) \
             AND (t.tag IS NULL OR NOT ",
            available!(),
            "))"
        ),
        params![text(&ready.request), ready.plan, text(output)],
    )
}

/// Whether all inputs of a step are there, but for those in `coming`.
pub(super) fn inputs_there(db: &Db<'_>, row: &StepRow, coming: &BTreeSet<Name>) -> Outcome<bool> {
    let missing = db.all(
        concat!(
            "SELECT i.tag FROM step_inputs i LEFT JOIN tags t ON t.request = i.request AND t.plan = i.origin AND t.tag = i.tag \
             WHERE i.request = ?1 AND i.plan = ?2 AND i.step = ?3 AND (t.tag IS NULL OR NOT ",
            available!(),
            ")"
        ),
        params![text(&row.request), row.plan, text(&row.step.id)],
        |r| Ok(r.get::<_, Text<Name>>(0)?.0),
    )?;
    Ok(missing.iter().all(|tag| coming.contains(tag)))
}

/// The inputs that other live attempts are still making for an assigned step.
pub(super) fn pending(db: &Db<'_>, request: RequestId, plan: u32, step: &Step, known: &[Name]) -> Outcome<Vec<PendingInput>> {
    let wanted = step.inputs.iter().flat_map(|(port, tags)| tags.iter().map(move |tag| (port, tag))).enumerate();
    let missing: Vec<_> = wanted.filter(|(_, (_, tag))| !known.contains(tag)).collect();
    if missing.is_empty() {
        return Ok(vec![]);
    }
    let rows = steps::of_plan(db, request, plan)?;
    let mut pending = Vec::with_capacity(missing.len());
    for (place, (port, tag)) in missing {
        let writer = rows
            .iter()
            .find_map(|row| row.step.outputs.iter().find(|(_, written)| *written == tag).map(|(made, _)| (row, made)));
        let Some((writer, made_port)) = writer.filter(|(row, _)| row.state == StepState::Assigned) else {
            continue;
        };
        let epoch = Epoch { generation: db.generation, n: writer.epochs };
        let made_by = AttemptKey { request, plan, step: writer.step.id.clone(), epoch };
        pending.push(PendingInput { place, port: port.clone(), tag: tag.clone(), made_by, made_port: made_port.clone() });
    }
    Ok(pending)
}

/// A step of the plan is done: the one after it in its chain has its inputs now, and so its key.
pub(super) fn advance(db: &Db<'_>, request: RequestId, plan: u32) -> Outcome<()> {
    let rows = db.all(
        concat!(
            "SELECT ",
            steps::step_columns!(),
            " FROM steps s WHERE s.request = ?1 AND s.plan = ?2 AND s.state = 'assigned' AND s.step_key IS NULL"
        ),
        params![text(&request), plan],
        steps::read_step,
    )?;
    for mut row in rows {
        if let Some(key) = row.key(db)? {
            steps::keep_key(db, &row, key)?;
            if poison::stop(db, &mut row, key)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Gives back the assigned steps of a plan whose inputs nobody makes any more.
pub(super) fn give_back(db: &Db<'_>, request: RequestId, plan: u32) -> Outcome<()> {
    let mut rows = steps::of_plan(db, request, plan)?;
    let mut coming: BTreeSet<Name> = BTreeSet::new();
    for row in rows.iter_mut().filter(|row| row.state == StepState::Assigned) {
        if inputs_there(db, row, &coming)? {
            coming.extend(row.step.outputs.values().cloned());
            continue;
        }
        db.run(
            "UPDATE attempts SET state = 'released', ended = ?4, why = 'the step before it in its chain came to nothing' \
             WHERE request = ?1 AND plan = ?2 AND step = ?3 AND state = 'assigned'",
            params![text(&row.request), row.plan, text(&row.step.id), moment(db.now)],
        )?;
        row.become_state(db, StepState::Blocked)?;
        db.event(request, "released", Some(&row.step.id), "the step before it in its chain came to nothing")?;
    }
    Ok(())
}

/// The tags that a step reads, as they are named in the plan.
pub(super) fn reads(step: &Step) -> impl Iterator<Item = &Name> {
    step.inputs.values().flat_map(Tags::iter)
}
