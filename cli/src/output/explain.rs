//! `ouroctl explain`: why a request waits or went where it went, and the nearest remedy first.

use super::page::Page;
use super::quantity::span_ms;
use super::{Style, Tone, placement, step, trace};
use ouro_common::document::{StepView, TraceDocument};
use ouro_common::step::{RequestState, StepState};

/// The explanation.
pub(crate) fn render(document: &TraceDocument, style: Style) -> String {
    let mut page = Page::new(style);
    trace::request(&mut page, document);
    page.heading("In short", "");
    for sentence in in_short(document) {
        page.text(2, &sentence);
    }
    if let Some(remedy) = nearest_remedy(document) {
        page.toned_item(2, "remedy", remedy, Some(Tone::Strong));
    }
    if let Some(report) = document.first_pass.as_ref().filter(|r| !r.answered) {
        trace::first_pass(&mut page, report);
    }
    if let Some(refusal) = &document.refusal {
        trace::refusal(&mut page, refusal);
    }
    for view in &document.steps {
        page.heading(&format!("Step {}", view.id), &format!("{}, {}", view.container, step::outcome(view)));
        match &view.decision {
            Some(decision) => {
                if let Some(why) = placement::why(decision) {
                    page.text(2, &why);
                }
                placement::render(&mut page, 2, decision);
            }
            None if view.state == StepState::Blocked => page.text(2, &blocked_on(document, view)),
            None => page.toned(2, "no decision was kept", Some(Tone::Dim)),
        }
    }
    page.finish()
}

/// The request's situation in sentences.
fn in_short(document: &TraceDocument) -> Vec<String> {
    let request = &document.request;
    if let Some(report) = document.first_pass.as_ref().filter(|r| r.answered) {
        let model = report.model_name.as_deref().unwrap_or("the local model");
        return vec![format!("It was answered on the machine where it was asked: {model} was sure enough of its answer.")];
    }
    if let Some(refusal) = &document.refusal {
        return vec![format!("There is no plan for it: {}", refusal.reason)];
    }
    match request.state {
        RequestState::Accepted | RequestState::Planning => vec!["It waits for the interpreter to write its plan.".into()],
        RequestState::Running => running(document),
        RequestState::Done => document.steps.iter().map(|s| format!("{} ({}): {}.", s.id, s.container, step::outcome(s))).collect(),
        RequestState::Cancelled => vec!["Somebody cancelled it.".into()],
        RequestState::Expired => {
            let mut lines = vec![format!("The {} it was given passed.", span_ms(request.budget_ms as f64))];
            lines.extend(unplaced(document));
            lines
        }
        RequestState::Failed => {
            let mut lines = match &request.fault {
                Some(fault) => vec![format!("It failed: {}", fault.problem)],
                None => vec!["It failed, and no reason was kept.".into()],
            };
            lines.extend(unplaced(document));
            lines
        }
    }
}

fn running(document: &TraceDocument) -> Vec<String> {
    let mut lines: Vec<_> = document
        .steps
        .iter()
        .filter(|s| s.state == StepState::Assigned)
        .map(|s| format!("{} ({}) is {}.", s.id, s.container, step::outcome(s)))
        .collect();
    for view in document.steps.iter().filter(|s| s.state == StepState::Ready) {
        if let Some(best) = view.decision.as_ref().and_then(placement::winner) {
            let queue = span_ms(best.terms.queue_s * 1000.0);
            lines.push(format!("{} ({}) waits for a slot on {}, free in about {queue}.", view.id, view.container, best.name));
        }
    }
    lines.extend(unplaced(document));
    if lines.is_empty() {
        lines.push("Its next step is about to be placed.".into());
    }
    lines
}

/// The steps that no node can run.
fn unplaced(document: &TraceDocument) -> Vec<String> {
    let stuck = document.steps.iter().filter(|s| s.state != StepState::Done);
    let stuck = stuck.filter_map(|s| s.decision.as_ref().filter(|d| d.winner.is_none()).map(|d| (s, d)));
    stuck
        .map(|(s, decision)| {
            let nodes: u32 = decision.refusals.iter().map(|r| r.count).sum();
            match decision.refusals.first() {
                Some(first) => {
                    format!("No node can run {} ({}): of {nodes}, {} fail with: {}.", s.id, s.container, first.count, first.reason)
                }
                None => format!("No node can run {} ({}): there are no nodes.", s.id, s.container),
            }
        })
        .collect()
}

/// The remedy of the first step that cannot be placed, or the request's own.
fn nearest_remedy(document: &TraceDocument) -> Option<&str> {
    let of_steps = document.steps.iter().find_map(|s| s.decision.as_ref().and_then(|d| d.remedy.as_deref()));
    let of_request = document.request.fault.as_ref().map(|f| f.remedy.as_str()).filter(|r| !r.is_empty());
    // The planner's refusal shows its own remedy.
    if document.refusal.is_some() { None } else { of_steps.or(of_request) }
}

/// The steps whose results a blocked step waits for.
fn blocked_on(document: &TraceDocument, view: &StepView) -> String {
    let tags: Vec<_> = view.inputs.values().flat_map(|t| t.iter()).collect();
    let waits: Vec<_> = document
        .steps
        .iter()
        .filter(|s| s.state != StepState::Done && s.outputs.values().any(|t| tags.contains(&t)))
        .map(|s| s.id.to_string())
        .collect();
    if waits.is_empty() {
        "it waits for its inputs".into()
    } else {
        format!("it waits for the result of {}", waits.join(" and "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sample;

    #[test]
    fn a_finished_request_is_explained_by_its_scores() {
        insta::assert_snapshot!(render(&sample::trace(), Style::PLAIN));
    }

    #[test]
    fn a_waiting_request_names_every_requirement_and_the_remedy() {
        insta::assert_snapshot!(render(&sample::waiting_trace(), Style::PLAIN));
    }
}
