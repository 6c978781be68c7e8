//! Results that are gone: when every holder of a needed tag has left, its producer runs again, without blame.
//!
//! What must run again is decided by a pure function over the plan: backwards from what is needed to who writes it,
//! then forwards from what is missing to who must wait.

use super::columns::{Text, text};
use super::db::Db;
use super::steps::{self, StepRow, moment};
use super::tags::available;
use super::verb_error::Outcome;
use super::{chains, plans};
use ouro_common::id::{Digest, Name, NodeId, RequestId};
use ouro_common::plan::{Step, Tags};
use ouro_common::step::StepState;
use rusqlite::params;
use std::collections::BTreeSet;

/// What the steps of a plan, in its order, must become when `lost` tags cannot be read any more.
fn after_loss(steps: &[(&Step, StepState)], lost: &BTreeSet<Name>, answer: &Name) -> Vec<StepState> {
    let mut states: Vec<StepState> = steps.iter().map(|(_, state)| *state).collect();
    let reads = |step: &Step, tag: &Name| step.inputs.values().flat_map(Tags::iter).any(|input| input == tag);
    for index in (0..steps.len()).rev() {
        let needed = |tag: &Name, states: &[StepState]| {
            let waiting = |(i, (step, _)): (usize, &(&Step, StepState))| {
                matches!(states[i], StepState::Blocked | StepState::Ready) && reads(step, tag)
            };
            tag == answer || steps.iter().enumerate().any(waiting)
        };
        let missed = steps[index].0.outputs.values().any(|tag| lost.contains(tag) && needed(tag, &states));
        if states[index] == StepState::Done && missed {
            states[index] = StepState::Ready;
        }
    }
    for (index, (step, _)) in steps.iter().enumerate() {
        if states[index] == StepState::Ready && lost.iter().any(|tag| reads(step, tag)) {
            states[index] = StepState::Blocked;
        }
    }
    states
}

/// Puts the steps of a plan back whose results are needed and gone; how many must run again.
pub(super) fn repair(db: &Db<'_>, request: RequestId, plan: u32) -> Outcome<usize> {
    let lost: BTreeSet<Name> = db
        .all(
            concat!("SELECT t.tag FROM tags t WHERE t.request = ?1 AND t.plan = ?2 AND NOT ", available!()),
            params![text(&request), plan],
            |row| Ok(row.get::<_, Text<Name>>(0)?.0),
        )?
        .into_iter()
        .collect();
    if lost.is_empty() {
        return Ok(0);
    }
    let answer = db.one("SELECT answer FROM plans WHERE request = ?1 AND n = ?2", params![text(&request), plan], |row| {
        Ok(row.get::<_, Text<Name>>(0)?.0)
    })?;
    let Some(answer) = answer else { return Ok(0) };
    let mut rows = steps::of_plan(db, request, plan)?;
    let next = after_loss(&rows.iter().map(|row| (&row.step, row.state)).collect::<Vec<_>>(), &lost, &answer);
    let mut again = 0;
    for (row, next) in rows.iter_mut().zip(next) {
        if row.state == StepState::Done && next != StepState::Done {
            again += 1;
            run_again(db, row)?;
        }
        if row.state != next {
            row.become_state(db, next)?;
        }
        // The last step of a chain may have been done before those in front of it: what it read was never committed.
        if row.state == StepState::Ready && !chains::inputs_there(db, row, &BTreeSet::new())? {
            row.become_state(db, StepState::Blocked)?;
        }
    }
    Ok(again)
}

/// Takes a step's committed attempt back, which is nobody's fault and counts for nothing.
fn run_again(db: &Db<'_>, row: &mut StepRow) -> Outcome<()> {
    row.become_state(db, StepState::Ready)?;
    db.run(
        "UPDATE attempts SET state = 'lost', ended = ?4, why = 'its result was lost with the nodes that held it' \
         WHERE request = ?1 AND plan = ?2 AND step = ?3 AND state = 'committed'",
        params![text(&row.request), row.plan, text(&row.step.id), moment(db.now)],
    )?;
    db.event(row.request, "recompute", Some(&row.step.id), "its result is needed and no node holds it any more")
}

/// Forgets that a node holds a blob, or all of them; how many steps must run again.
pub(super) fn drop_holder(db: &Db<'_>, node: NodeId, digest: Option<Digest>) -> Outcome<usize> {
    let (node, digest) = (text(&node), digest.as_ref().map(text));
    let touched = db.all(
        "SELECT DISTINCT t.request FROM holders h JOIN tags t ON t.digest = h.digest JOIN requests r ON r.id = t.request \
         WHERE h.node = ?1 AND (?2 IS NULL OR h.digest = ?2) AND r.ended IS NULL",
        params![node, digest],
        |row| Ok(row.get::<_, Text<RequestId>>(0)?.0),
    )?;
    db.run("DELETE FROM holders WHERE node = ?1 AND (?2 IS NULL OR digest = ?2)", params![node, digest])?;
    let mut again = 0;
    for request in touched {
        if let Some(plan) = plans::active(db, request)? {
            again += repair(db, request, plan)?;
        }
    }
    Ok(again)
}

#[cfg(test)]
mod tests {
    use super::*;
    use StepState::{Assigned, Blocked, Done, Ready};

    fn step(id: &str, reads: &str, writes: &str) -> Step {
        let name = |s: &str| s.parse::<Name>().unwrap();
        Step {
            id: name(id),
            container: "x:1.0.0".parse().unwrap(),
            digest: Digest::blake3(b"x"),
            params: serde_json::json!({}),
            inputs: [(name("in"), Tags::One(name(reads)))].into(),
            outputs: [(name("out"), name(writes))].into(),
        }
    }

    fn chain(states: [StepState; 3], lost: &[&str]) -> Vec<StepState> {
        let steps = [step("s1", "prompt", "a"), step("s2", "a", "b"), step("s3", "b", "c")];
        let lost = lost.iter().map(|tag| tag.parse().unwrap()).collect();
        after_loss(&steps.iter().zip(states).collect::<Vec<_>>(), &lost, &"c".parse().unwrap())
    }

    #[test]
    fn only_what_is_needed_runs_again() {
        assert_eq!(chain([Done, Done, Ready], &["b"]), [Done, Ready, Blocked]);
        assert_eq!(chain([Done, Done, Ready], &["a"]), [Done, Done, Ready], "nobody needs a any more");
        assert_eq!(chain([Done, Done, Ready], &["a", "b"]), [Ready, Blocked, Blocked], "the producer's own input is gone too");
        assert_eq!(chain([Done, Done, Assigned], &["b"]), [Done, Done, Assigned], "whoever runs may have fetched it");
        assert_eq!(chain([Done, Done, Done], &["c"]), [Done, Done, Ready], "the answer itself");
        assert_eq!(chain([Done, Assigned, Blocked], &[]), [Done, Assigned, Blocked]);
    }
}
