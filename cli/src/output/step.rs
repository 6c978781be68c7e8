//! One step of a trace: where it ran, what was predicted and what came of it, and every attempt.

use super::page::Page;
use super::quantity::{compared, counted, span_ms};
use super::{Tone, placement};
use ouro_common::document::{AttemptView, StepView};
use ouro_common::step::{AttemptState, StepState};

/// The whole paragraph.
pub(crate) fn render(page: &mut Page, step: &StepView) {
    page.heading(&format!("Step {}", step.id), &format!("{}, {}", step.container, outcome(step)));
    page.item(2, "digest", &format!("{}…", step.digest.short()));
    for (index, attempt) in step.attempts.iter().enumerate() {
        let (text, tone) = attempt_line(attempt);
        page.toned_item(2, &format!("attempt {}", index + 1), &text, tone);
    }
    if let Some(decision) = &step.decision {
        if let Some(why) = placement::why(decision) {
            page.item(2, "placed", &why);
        }
        placement::render(page, 2, decision);
    }
}

/// A step's end in a few words: `done on odin in 302 ms (18 % faster than the 370 ms predicted)`.
pub(crate) fn outcome(step: &StepView) -> String {
    let node = step.node_name.as_deref().map(|n| format!(" on {n}")).unwrap_or_default();
    let tries = if step.attempt > 1 { format!(", attempt {}", step.attempt) } else { String::new() };
    match (step.state, step.actual_ms, step.predicted_ms) {
        (StepState::Done, Some(actual), Some(predicted)) => {
            let compared = compared(actual, predicted);
            format!("done{node} in {}{tries} ({compared}{} predicted)", span_ms(actual), span_ms(predicted))
        }
        (StepState::Done, Some(actual), None) => format!("done{node} in {}{tries}", span_ms(actual)),
        (StepState::Done, None, _) => format!("done{node}; its result was there already"),
        (StepState::Assigned, _, Some(predicted)) => format!("running{node}{tries} (predicted {})", span_ms(predicted)),
        (StepState::Assigned, ..) => format!("running{node}{tries}"),
        (StepState::Blocked, ..) => "waits for earlier steps".into(),
        (StepState::Ready, ..) if step.attempts.is_empty() => "waits for a node".into(),
        (StepState::Ready, ..) => format!("waits for a node again, after {}", counted(step.attempts.len(), "attempt", "attempts")),
        (StepState::Poisoned, ..) => "poisoned: it killed its workers on two nodes and is kept away from the others".into(),
        (StepState::Failed | StepState::Cancelled, ..) => format!("{}{node}{tries}", step.state),
    }
}

/// A step's end in two or three words, for the tree: `odin, 302 ms`.
pub(crate) fn brief(step: &StepView) -> String {
    let node = step.node_name.as_deref().unwrap_or("?");
    match (step.state, step.actual_ms) {
        (StepState::Done, Some(actual)) => format!("{node}, {}", span_ms(actual)),
        (StepState::Done, None) => "reused".into(),
        (StepState::Assigned, _) => format!("runs on {node}"),
        (StepState::Ready | StepState::Blocked, _) => "waits".into(),
        (StepState::Failed | StepState::Poisoned | StepState::Cancelled, _) => step.state.to_string(),
    }
}

/// `lena: lost after 3.10 s of 312 ms predicted, epoch 1.2; no heartbeat for 20 s`.
fn attempt_line(attempt: &AttemptView) -> (String, Option<Tone>) {
    let predicted = span_ms(attempt.predicted_ms);
    let time = match attempt.actual_ms {
        Some(actual) => format!(" after {} of {predicted} predicted", span_ms(actual)),
        None => format!(", {predicted} predicted"),
    };
    let mut text = format!("{}: {}{time}, epoch {}", attempt.node_name, attempt.state, attempt.epoch);
    if !attempt.phases_ms.is_empty() {
        let phases: Vec<_> = attempt.phases_ms.iter().map(|(name, ms)| format!("{name} {}", span_ms(*ms))).collect();
        text.push_str(&format!("; {}", phases.join(" · ")));
    }
    if !attempt.why.is_empty() {
        text.push_str(&format!("; {}", attempt.why));
    }
    let tone = match attempt.state {
        AttemptState::Failed => Some(Tone::Bad),
        AttemptState::Lost | AttemptState::Released => Some(Tone::Warn),
        AttemptState::Assigned | AttemptState::Committed | AttemptState::Cancelled => None,
    };
    (text, tone)
}
