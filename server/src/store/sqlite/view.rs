//! Reading a request whole: its trace, as people and scripts are shown it, from the rows the verbs wrote.

use super::columns::{Count, Json, Text, text};
use super::db::{Db, beginning};
use super::steps::{self, StepRow};
use super::verb_error::Outcome;
use super::{ends, plans, tags};
use crate::store::{PlacedAttempt, ProgressRecord, RequestRecord, TagRecord};
use ouro_common::clock::{Instant, WallTime};
use ouro_common::document::{AttemptView, DecisionView, RequestRow, RequestView, ResultView, StepView, TraceDocument, TraceEvent};
use ouro_common::envelope::{Envelope, Privacy};
use ouro_common::error::Fault;
use ouro_common::id::{Epoch, Name, RequestId};
use ouro_common::plan::Refusal;
use ouro_common::step::{AttemptState, RequestState};
use rusqlite::{Row, params};

/// How much of a result a trace shows, in bytes.
const RESULT_TEXT_BYTES: usize = 4096;
/// How much of a prompt a list shows, in bytes.
const ROW_PROMPT_BYTES: usize = 120;

/// A request's own row.
struct Asked {
    envelope: Envelope,
    state: RequestState,
    accepted: Instant,
    accepted_wall: WallTime,
    ended: Option<Instant>,
    answer: Option<Name>,
    refusal: Option<Refusal>,
    fault: Option<Fault>,
}

/// Everything about a request.
pub(super) fn view(db: &Db<'_>, request: RequestId) -> Outcome<Option<RequestRecord>> {
    let asked = db.one(
        "SELECT envelope, state, accepted, accepted_wall, ended, answer, refusal, fault FROM requests WHERE id = ?1",
        [text(&request)],
        |row| {
            Ok(Asked {
                envelope: row.get::<_, Json<_>>(0)?.0,
                state: row.get::<_, Text<_>>(1)?.0,
                accepted: Instant(row.get::<_, Count>(2)?.0),
                accepted_wall: WallTime(row.get::<_, Count>(3)?.0),
                ended: row.get::<_, Option<Count>>(4)?.map(|at| Instant(at.0)),
                answer: row.get::<_, Option<Text<_>>>(5)?.map(|name| name.0),
                refusal: row.get::<_, Option<Json<_>>>(6)?.map(|json| json.0),
                fault: row.get::<_, Option<Json<_>>>(7)?.map(|json| json.0),
            })
        },
    )?;
    let Some(asked) = asked else { return Ok(None) };
    let plan = plans::active(db, request)?;
    let answer = match (&asked.answer, plan) {
        (Some(tag), Some(plan)) if plan > 0 => tags::tag_of_plan(db, request, i64::from(plan), tag)?,
        _ => None,
    };
    let planner: Option<String> =
        db.one("SELECT planner FROM plans WHERE request = ?1 ORDER BY n DESC LIMIT 1", [text(&request)], |row| row.get(0))?;
    let mut shown = Vec::new();
    if let Some(plan) = plan {
        // Plan 0 is work as well: whoever wrote the plan did it on a node.
        for n in if plan > 0 { vec![0, plan] } else { vec![0] } {
            for row in steps::of_plan(db, request, n)? {
                shown.push(step_view(db, row)?);
            }
        }
    }
    let trace = TraceDocument {
        schema: "ouroboros.trace/1".into(),
        request: request_view(db, &asked),
        first_pass: asked.envelope.first_pass.clone(),
        planner: planner.or_else(|| asked.refusal.as_ref().map(|r| r.planner.clone())),
        refusal: asked.refusal,
        answer: asked.answer,
        steps: shown,
        events: events(db, request, asked.accepted, 0)?,
        result: answer.as_ref().filter(|_| asked.state == RequestState::Done).map(result_view),
    };
    let waiting = steps::waiting(db, request)?;
    let (envelope, state, accepted_wall) = (asked.envelope, asked.state, asked.accepted_wall);
    Ok(Some(RequestRecord { envelope, state, answer, accepted_wall, trace, waiting }))
}

/// How far a request is, and its events beyond the first `after`.
pub(super) fn progress(db: &Db<'_>, request: RequestId, after: usize) -> Outcome<Option<ProgressRecord>> {
    let read = |row: &Row<'_>| Ok((row.get::<_, Text<_>>(0)?.0, Instant(row.get::<_, Count>(1)?.0)));
    let Some((state, accepted)) = db.one("SELECT state, accepted FROM requests WHERE id = ?1", [text(&request)], read)? else {
        return Ok(None);
    };
    Ok(Some(ProgressRecord { state, events: events(db, request, accepted, after)? }))
}

fn request_view(db: &Db<'_>, asked: &Asked) -> RequestView {
    let envelope = &asked.envelope;
    RequestView {
        id: envelope.id,
        state: asked.state,
        fault: asked.fault.clone(),
        principal: envelope.principal.to_string(),
        served_by: "fleet".into(),
        prompt: (envelope.privacy == Privacy::Public).then(|| envelope.prompt.clone()),
        inputs: envelope.inputs.clone(),
        offload: envelope.offload.clone(),
        submitted_unix_ms: asked.accepted_wall.0,
        elapsed_ms: ms(asked.accepted, asked.ended.unwrap_or(db.now)),
        budget_ms: envelope.budget_ms,
    }
}

fn ms(from: Instant, to: Instant) -> u64 {
    to.0.saturating_sub(from.0)
}

fn step_view(db: &Db<'_>, row: StepRow) -> Outcome<StepView> {
    let key = params![text(&row.request), row.plan, text(&row.step.id)];
    let refusal = "SELECT refusal FROM steps WHERE request = ?1 AND plan = ?2 AND id = ?3 AND refusal IS NOT NULL";
    let mut decision: Option<DecisionView> = db.one(refusal, key, |r| Ok(r.get::<_, Json<_>>(0)?.0))?;
    let attempts = db.all(
        "SELECT a.generation, a.n, a.node, coalesce(n.name, a.node), a.state, a.why, a.predicted_ms, a.assigned, a.ended, a.phases, \
         a.decision FROM attempts a LEFT JOIN nodes n ON n.id = a.node \
         WHERE a.request = ?1 AND a.plan = ?2 AND a.step = ?3 ORDER BY a.generation, a.n",
        params![text(&row.request), row.plan, text(&row.step.id)],
        |r| {
            let assigned = Instant(r.get::<_, Count>(7)?.0);
            let ended = r.get::<_, Option<Count>>(8)?.map(|at| Instant(at.0));
            decision = Some(r.get::<_, Json<_>>(10)?.0);
            Ok(AttemptView {
                epoch: Epoch { generation: r.get(0)?, n: r.get(1)? },
                node: r.get::<_, Text<_>>(2)?.0,
                node_name: r.get(3)?,
                state: r.get::<_, Text<_>>(4)?.0,
                why: r.get(5)?,
                predicted_ms: r.get(6)?,
                actual_ms: ended.map(|ended| ms(assigned, ended) as f64),
                phases_ms: r.get::<_, Json<_>>(9)?.0,
            })
        },
    )?;
    let latest = attempts.last();
    Ok(StepView {
        state: row.state,
        node: latest.map(|a| a.node),
        node_name: latest.map(|a| a.node_name.clone()),
        attempt: row.epochs,
        epoch: latest.map(|a| a.epoch),
        predicted_ms: latest.map(|a| a.predicted_ms),
        actual_ms: latest.filter(|a| a.state == AttemptState::Committed).and_then(|a| a.actual_ms),
        decision,
        attempts,
        id: row.step.id,
        container: row.step.container,
        digest: row.step.digest,
        inputs: row.step.inputs,
        outputs: row.step.outputs,
    })
}

/// Every attempt at the steps of a request, oldest first.
pub(super) fn attempts(db: &Db<'_>, request: RequestId) -> Outcome<Vec<PlacedAttempt>> {
    db.all(
        "SELECT a.request, a.plan, a.step, a.generation, a.n, a.node, coalesce(n.name, a.node), a.state \
         FROM attempts a LEFT JOIN nodes n ON n.id = a.node WHERE a.request = ?1 ORDER BY a.rowid",
        [text(&request)],
        |row| {
            Ok(PlacedAttempt {
                key: ends::read_key(row, 0)?,
                node: row.get::<_, Text<_>>(5)?.0,
                node_name: row.get(6)?,
                live: row.get::<_, Text<AttemptState>>(7)?.0 == AttemptState::Assigned,
            })
        },
    )
}

fn events(db: &Db<'_>, request: RequestId, accepted: Instant, after: usize) -> Outcome<Vec<TraceEvent>> {
    let read = |row: &Row<'_>| {
        Ok(TraceEvent {
            at_ms: ms(accepted, Instant(row.get::<_, Count>(0)?.0)),
            kind: row.get(1)?,
            step: row.get::<_, Option<Text<_>>>(2)?.map(|name| name.0),
            text: row.get(3)?,
        })
    };
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let sql = "SELECT at, kind, step, text FROM events WHERE request = ?1 ORDER BY seq LIMIT -1 OFFSET ?2";
    db.all(sql, params![text(&request), after], read)
}

/// The result; its beginning if it is text and its bytes are here.
fn result_view(answer: &TagRecord) -> ResultView {
    let is_text = answer.media.starts_with("text/") || answer.media.starts_with("application/json");
    let words = answer.inline.as_deref().filter(|_| is_text).map(|bytes| {
        let head = &bytes[..bytes.len().min(RESULT_TEXT_BYTES + 4)];
        beginning(&String::from_utf8_lossy(head), RESULT_TEXT_BYTES).trim_end_matches('\u{fffd}').to_string()
    });
    ResultView {
        tag: Some(answer.tag.clone()),
        media: answer.media.clone(),
        size_bytes: answer.size_bytes,
        digest: answer.digest,
        text: words,
    }
}

/// The newest requests.
pub(super) fn requests(db: &Db<'_>, limit: usize) -> Outcome<Vec<RequestRow>> {
    db.all(
        "SELECT r.envelope, r.state, r.accepted, r.accepted_wall, r.ended, \
         (SELECT count(*) FROM steps s WHERE s.request = r.id AND s.plan = (SELECT max(n) FROM plans WHERE request = r.id) \
          AND s.state = 'done'), \
         (SELECT count(*) FROM steps s WHERE s.request = r.id AND s.plan = (SELECT max(n) FROM plans WHERE request = r.id)) \
         FROM requests r ORDER BY r.seq DESC LIMIT ?1",
        [i64::try_from(limit).unwrap_or(i64::MAX)],
        |row| {
            let envelope: Envelope = row.get::<_, Json<_>>(0)?.0;
            let ended = row.get::<_, Option<Count>>(4)?.map_or(db.now, |at| Instant(at.0));
            Ok(RequestRow {
                id: envelope.id,
                state: row.get::<_, Text<_>>(1)?.0,
                principal: envelope.principal.to_string(),
                served_by: "fleet".into(),
                submitted_unix_ms: row.get::<_, Count>(3)?.0,
                elapsed_ms: ms(Instant(row.get::<_, Count>(2)?.0), ended),
                steps_done: row.get(5)?,
                steps_total: row.get(6)?,
                prompt: (envelope.privacy == Privacy::Public).then(|| beginning(&envelope.prompt, ROW_PROMPT_BYTES).to_string()),
                last_heard: false,
            })
        },
    )
}
