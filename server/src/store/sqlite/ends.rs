//! How requests end: with an answer, a fault, on somebody's word, or by their deadline. An end is final.

use super::columns::{Count, Text, json, text};
use super::db::Db;
use super::journal::{self, About};
use super::plans;
use super::steps::moment;
use super::verb_error::{Outcome, VerbError};
use crate::store::Ended;
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::{AttemptKey, Epoch, NodeId, RequestId};
use ouro_common::step::RequestState;
use rusqlite::{Row, params};

/// The columns `request, plan, step, generation, n` of attempts, from column `first` on.
pub(super) fn read_key(row: &Row<'_>, first: usize) -> rusqlite::Result<AttemptKey> {
    Ok(AttemptKey {
        request: row.get::<_, Text<_>>(first)?.0,
        plan: row.get(first + 1)?,
        step: row.get::<_, Text<_>>(first + 2)?.0,
        epoch: Epoch { generation: row.get(first + 3)?, n: row.get(first + 4)? },
    })
}

/// Cancels every open step and live attempt of a request; the attempts that nodes must be told to stop.
pub(super) fn cancel_open_steps(db: &Db<'_>, request: RequestId, why: &str) -> Outcome<Vec<(NodeId, AttemptKey)>> {
    let request = text(&request);
    let live = db.all(
        "SELECT node, request, plan, step, generation, n FROM attempts WHERE request = ?1 AND state = 'assigned'",
        [&request],
        |row| Ok((row.get::<_, Text<_>>(0)?.0, read_key(row, 1)?)),
    )?;
    db.run(
        "UPDATE attempts SET state = 'cancelled', ended = ?2, why = ?3 WHERE request = ?1 AND state = 'assigned'",
        params![request, moment(db.now), why],
    )?;
    db.run(
        "UPDATE steps SET state = 'cancelled', lease_instance = NULL, lease_until = 0 \
         WHERE request = ?1 AND state IN ('blocked', 'ready', 'assigned')",
        [&request],
    )?;
    Ok(live)
}

/// Ends a request, unless it has ended before.
pub(super) fn end(db: &Db<'_>, request: RequestId, state: RequestState, fault: Option<&Fault>, words: &str) -> Outcome<Ended> {
    let now = db.one("SELECT state FROM requests WHERE id = ?1", [text(&request)], |row| Ok(row.get::<_, Text<RequestState>>(0)?.0))?;
    match now {
        None => return Err(VerbError::not_found("request", request)),
        Some(now) if now.is_terminal() => return Ok(Ended { request, state: now, attempts: vec![] }),
        Some(_) => {}
    }
    let attempts = cancel_open_steps(db, request, words)?;
    let fault = fault.map(json).transpose()?;
    db.run(
        "UPDATE requests SET state = ?2, ended = ?3, fault = ?4 WHERE id = ?1",
        params![text(&request), text(&state), moment(db.now), fault],
    )?;
    db.event(request, state.as_str(), None, words)?;
    journal::note(db, state.as_str(), About::Request(request), words)?;
    Ok(Ended { request, state, attempts })
}

/// Whether a request has ended.
pub(super) fn has_ended(db: &Db<'_>, request: RequestId) -> Outcome<bool> {
    db.exists("SELECT 1 FROM requests WHERE id = ?1 AND ended IS NOT NULL", [text(&request)])
}

/// Ends a request as done if the answer of its plan is where the server can read it; whether it did.
pub(super) fn settle(db: &Db<'_>, request: RequestId) -> Outcome<bool> {
    let Some(plan) = plans::active(db, request)?.filter(|n| *n > 0) else {
        return Ok(false);
    };
    let answered = db.exists(
        "SELECT 1 FROM requests r JOIN tags t ON t.request = r.id AND t.plan = ?2 AND t.tag = r.answer \
         WHERE r.id = ?1 AND r.ended IS NULL AND (t.inline IS NOT NULL OR t.on_server)",
        params![text(&request), plan],
    )?;
    if answered {
        end(db, request, RequestState::Done, None, "the answer is there")?;
    }
    Ok(answered)
}

/// Ends a request with a fault.
pub(super) fn fail(db: &Db<'_>, request: RequestId, fault: &Fault) -> Outcome<Ended> {
    end(db, request, RequestState::Failed, Some(fault), &fault.problem)
}

/// Ends a request on somebody's word.
pub(super) fn cancel(db: &Db<'_>, request: RequestId, by: &str) -> Outcome<Ended> {
    let words = format!("cancelled by {by}");
    end(db, request, RequestState::Cancelled, Some(&Fault::new(FaultCode::Cancelled, words.clone())), &words)
}

/// Ends requests whose deadline has passed on the store's clock.
pub(super) fn expire(db: &Db<'_>, limit: usize) -> Outcome<Vec<Ended>> {
    let late = db.all(
        "SELECT id, deadline - accepted, EXISTS (SELECT 1 FROM plans p WHERE p.request = id), \
         EXISTS (SELECT 1 FROM steps s WHERE s.request = id AND s.state = 'assigned') \
         FROM requests WHERE ended IS NULL AND deadline <= ?1 ORDER BY deadline LIMIT ?2",
        params![moment(db.now), i64::try_from(limit).unwrap_or(i64::MAX)],
        |row| Ok((row.get::<_, Text<RequestId>>(0)?.0, row.get::<_, Count>(1)?.0, row.get::<_, bool>(2)?, row.get::<_, bool>(3)?)),
    )?;
    late.into_iter()
        .map(|(request, budget_ms, planned, running)| {
            let stood = match (planned, running) {
                (false, _) => "it had no plan yet",
                (true, false) => "none of its steps was running",
                (true, true) => "a step was still running",
            };
            let budget_s = budget_ms.div_ceil(1000);
            let fault = Fault::new(FaultCode::DeadlineExceeded, format!("the request was not done within its {budget_s} s; {stood}"))
                .remedy(format!("give it more time, or see what it waited for with 'ouroctl explain {request}'"));
            end(db, request, RequestState::Expired, Some(&fault), &fault.problem)
        })
        .collect()
}
