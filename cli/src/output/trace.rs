//! `ouroctl trace`: first pass → offload reason → plan → scores of every candidate → steps → result.

use super::page::Page;
use super::quantity::{bytes, counted, decimals, span_ms};
use super::{Style, Tone, fault, graph, step, text};
use ouro_common::clock::WallTime;
use ouro_common::document::{RequestView, ResultView, TraceDocument, TraceEvent};
use ouro_common::envelope::FirstPassReport;
use ouro_common::plan::Refusal;
use ouro_common::step::RequestState;

/// Lines of a prompt or an answer that are shown.
const TEXT_LINES: usize = 12;

/// The whole story of a request.
pub(crate) fn render(document: &TraceDocument, style: Style) -> String {
    let mut page = Page::new(style);
    request(&mut page, document);
    if let Some(report) = &document.first_pass {
        first_pass(&mut page, report);
    }
    plan(&mut page, document);
    for view in &document.steps {
        step::render(&mut page, view);
    }
    events(&mut page, &document.events);
    if let Some(view) = &document.result {
        result(&mut page, view);
    }
    page.finish()
}

/// The request: its state in the heading, what was asked under it. What the first pass or the planner's refusal say
/// below is left to them.
pub(crate) fn request(page: &mut Page, document: &TraceDocument) {
    let request = &document.request;
    let time = span_ms(request.elapsed_ms as f64);
    let spent = match request.state {
        state if state.is_terminal() => format!("after {time}"),
        _ => format!("for {time} of {}", span_ms(request.budget_ms as f64)),
    };
    let state = page.style().paint(tone(request.state), request.state.as_str());
    // The colour does not count as width, so this heading is short enough never to be wrapped.
    page.block(&format!(
        "{}  {state} {spent}, {}\n",
        page.style().paint(Tone::Strong, &format!("Request {}", request.id.short())),
        served(request)
    ));
    match &request.prompt {
        Some(prompt) => excerpt(page, 2, prompt),
        None => page.toned(2, "(private)", Some(Tone::Dim)),
    }
    for (index, input) in request.inputs.iter().enumerate() {
        let file = input.file_name.as_ref().map(|f| format!(", from {f}")).unwrap_or_default();
        let line = format!("{}: {}, {}{file}", input.tag, input.media, bytes(input.size_bytes));
        page.item(2, if index == 0 { "inputs" } else { "" }, &line);
    }
    page.item(2, "id", &request.id.to_string());
    page.item(2, "asked", &format!("{} by {}", WallTime(request.submitted_unix_ms), request.principal));
    if document.first_pass.is_none() && !request.offload.is_empty() {
        let flags: Vec<_> = request.offload.iter().map(|f| f.name()).collect();
        page.item(2, "offloaded", &flags.join(", "));
    }
    if let Some(reason) = request.fault.as_ref().filter(|_| document.refusal.is_none()) {
        let label = if request.state.is_terminal() { "why" } else { "waits" };
        fault::item(page, 2, label, reason);
    }
}

fn served(request: &RequestView) -> &str {
    match request.served_by.as_str() {
        "local" => "on the machine where it was asked",
        "fleet" => "by the fleet",
        other => other,
    }
}

/// How a state is coloured.
pub(crate) fn tone(state: RequestState) -> Tone {
    match state {
        RequestState::Done => Tone::Good,
        RequestState::Failed | RequestState::Expired => Tone::Bad,
        RequestState::Cancelled => Tone::Warn,
        RequestState::Accepted | RequestState::Planning | RequestState::Running => Tone::Strong,
    }
}

/// The local attempt and its judgement of itself.
pub(crate) fn first_pass(page: &mut Page, report: &FirstPassReport) {
    let verdict = if report.answered { "answered here".to_string() } else { "offloaded".to_string() };
    let flags: Vec<_> = report.flags.iter().map(|f| f.name()).collect();
    let because = if flags.is_empty() { String::new() } else { format!(": {}", flags.join(", ")) };
    let model = report.model_name.as_deref().unwrap_or("not tried");
    page.heading("First pass", &format!("{model}, {} → {verdict}{because}", span_ms(report.elapsed_ms as f64)));
    if !report.why.is_empty() {
        page.text(2, &report.why);
    }
    let tokens = usize::try_from(report.tokens).unwrap_or(usize::MAX);
    if report.tokens > 0 || report.prompt_tokens > 0 {
        page.item(2, "tokens", &format!("{} in the prompt, {} made before the decision", report.prompt_tokens, tokens));
    }
    let logprobs = [("mean", report.mean_logprob), ("10 % quantile", report.p10_logprob), ("least", report.min_logprob)];
    let figures: Vec<_> = logprobs.into_iter().filter_map(|(name, value)| value.map(|v| format!("{name} {}", decimals(v)))).collect();
    if !figures.is_empty() {
        let limit = match (&report.feature, report.threshold) {
            (Some(feature), Some(threshold)) => format!("; {feature} must be at least {}", decimals(threshold)),
            _ => String::new(),
        };
        page.item(2, "log-prob.", &format!("{}{limit}", figures.join(", ")));
    }
    if let Some(calibration) = &report.calibration {
        page.item(2, "calibration", calibration);
    }
    if let Some(engine) = &report.engine {
        let digest = report.model.as_ref().map(|d| format!(", model {}…", d.short())).unwrap_or_default();
        page.item(2, "engine", &format!("{engine}{digest}"));
    }
    if let Some(partial) = report.partial.as_ref().filter(|p| !p.is_empty()) {
        page.item(2, "so far", &text::cut(partial, 300));
    }
}

fn plan(page: &mut Page, document: &TraceDocument) {
    if let Some(planner) = document.planner.as_ref().filter(|_| document.refusal.is_none()) {
        let answer = document.answer.as_ref().map(|a| format!(", the answer is {a}")).unwrap_or_default();
        page.heading("Plan", &format!("by {planner}, {}{answer}", counted(document.steps.len(), "step", "steps")));
        let nodes: Vec<_> = document.steps.iter().map(|s| graph::Node::of_trace(s, step::brief(s))).collect();
        page.block(&graph::render(&nodes, 2));
    }
    if let Some(refused) = &document.refusal {
        refusal(page, refused);
    }
}

/// Why there is no plan, and the containers that come nearest.
pub(crate) fn refusal(page: &mut Page, refusal: &Refusal) {
    page.heading("No plan", &format!("by {}", refusal.planner));
    page.toned_item(2, "why", &refusal.reason, Some(Tone::Bad));
    if !refusal.remedy.is_empty() {
        page.toned_item(2, "remedy", &refusal.remedy, Some(Tone::Strong));
    }
    for (index, near) in refusal.nearest.iter().enumerate() {
        let label = if index == 0 { "nearest" } else { "" };
        page.item(2, label, &format!("{} ({}): {}", near.container, near.summary, near.why));
    }
}

fn events(page: &mut Page, events: &[TraceEvent]) {
    if events.is_empty() {
        return;
    }
    page.heading("Events", "");
    let times: Vec<_> = events.iter().map(|e| format!("+{}", span_ms(e.at_ms as f64))).collect();
    let widest = times.iter().map(|t| text::width(t)).max().unwrap_or(0);
    for (event, time) in events.iter().zip(&times) {
        let label = format!("{}{time}", " ".repeat(widest - text::width(time)));
        let step = event.step.as_ref().map(|s| format!("{s} ")).unwrap_or_default();
        let tone = match event.kind.as_str() {
            "failed" | "poisoned" | "expired" => Some(Tone::Bad),
            "lost" | "released" | "cancelled" => Some(Tone::Warn),
            _ => None,
        };
        page.toned_item(2, &label, &format!("{step}{}: {}", event.kind, event.text), tone);
    }
}

fn result(page: &mut Page, result: &ResultView) {
    let tag = result.tag.as_ref().map_or_else(|| "of the first pass".to_string(), ToString::to_string);
    page.heading("Result", &format!("{tag}, {}, {}, {}…", result.media, bytes(result.size_bytes), result.digest.short()));
    if let Some(answer) = &result.text {
        excerpt(page, 2, answer);
    }
}

/// The beginning of a text from a person or a model.
fn excerpt(page: &mut Page, indent: usize, content: &str) {
    let lines = text::wrap(content.trim_end(), super::WIDTH - indent);
    for line in lines.iter().take(TEXT_LINES) {
        page.text(indent, line);
    }
    if lines.len() > TEXT_LINES {
        page.toned(indent, &format!("… {} more", counted(lines.len() - TEXT_LINES, "line", "lines")), Some(Tone::Dim));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{WIDTH, sample};

    #[test]
    fn a_finished_request_is_told_from_first_pass_to_result() {
        insta::assert_snapshot!(render(&sample::trace(), Style::PLAIN));
    }

    #[test]
    fn a_refused_request_names_the_nearest_containers() {
        insta::assert_snapshot!(render(&sample::refused_trace(), Style::PLAIN));
    }

    #[test]
    fn whatever_is_in_it_the_lines_fit() {
        let mut document = sample::trace();
        document.request.prompt = Some("word ".repeat(500) + &"漢".repeat(300) + "\x1b[31m");
        document.events[1].text = "x".repeat(400);
        document.steps[0].attempts[0].why = "y ".repeat(400);
        if let Some(decision) = &mut document.steps[1].decision {
            decision.candidates[0].name = "a-very-long-name-for-a-node-".repeat(4);
            decision.candidates[0].total_s = 123_456.789;
        }
        let text = render(&document, Style::PLAIN);
        for line in text.lines() {
            assert!(text::width(line) <= WIDTH, "{line}");
        }
        assert!(!text.contains('\x1b'));
        assert!(render(&document, Style { colour: true }).contains("\x1b[1m"));
    }
}
