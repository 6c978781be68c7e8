//! One step of a trace: where it ran, what was predicted and what came of it, and every attempt.

use super::page::Page;
use super::quantity::{compared, counted, span_ms};
use super::{Tone, placement};
use ouro_common::document::{AttemptView, StepView};
use ouro_common::step::{AttemptState, StepState};

/// The whole paragraph.
pub(crate) fn render(page: &mut Page, step: &StepView) {
    page.heading(&format!("Step {}", step.id), &format!("{}  {}", step.container, outcome(step)));
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

/// A step's end in a few words: `done on odin in 302 ms (predicted 312 ms, 3 % faster)`.
pub(crate) fn outcome(step: &StepView) -> String {
    let node = step.node_name.as_deref().map(|n| format!(" on {n}")).unwrap_or_default();
    let tries = if step.attempt > 1 { format!(", attempt {}", step.attempt) } else { String::new() };
    match (step.state, step.actual_ms, step.predicted_ms) {
        (StepState::Done, Some(actual), Some(predicted)) => format!(
            "done{node} in {}{tries} (predicted {}, {})",
            span_ms(actual),
            span_ms(predicted),
            compared(actual, predicted)
        ),
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

/// `1.2 on lena: lost after 3.1 s of 312 ms predicted, no heartbeat for 20 s`.
fn attempt_line(attempt: &AttemptView) -> (String, Option<Tone>) {
    let time = match attempt.actual_ms {
        Some(actual) => format!(" after {}", span_ms(actual)),
        None => String::new(),
    };
    let mut text = format!("on {}, epoch {}: {}{time}, predicted {}", attempt.node_name, attempt.epoch, attempt.state, span_ms(attempt.predicted_ms));
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
