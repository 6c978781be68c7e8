//! A request's way as a person sees it: answered here, offloaded, refused, too late, cancelled; always an end with a reason.

use ouro_common::document::{PlanDocument, RequestsDocument, ResultDocument, TraceDocument};
use ouro_common::envelope::OffloadFlag;
use ouro_common::error::FaultCode;
use ouro_common::step::RequestState;
use ouro_tests::{Fleet, LONG, NodeOptions, SHORT, assets, eventually, skipped, texts};
use serde_json::Value;

const INSIDE: &str = "What is the capital of France?";
const OUTSIDE: &str = "Turn these meeting minutes into a to-do list with owners";
const QUESTION: &str = "What language is this and what are its key points?";

#[test]
fn the_first_pass_answers_on_the_spot_with_the_server_there_or_not() {
    let home = NodeOptions::new("here", &[]).with_model(assets::first_pass_model());
    let mut fleet = Fleet::of(&[home]);
    let here = fleet.node("here").ouroctl();
    for server_away in [false, true] {
        if server_away {
            fleet.server.stop();
        }
        let outcome = here.run(&["submit", INSIDE, "--output", "json"]).exits(0);
        let result: ResultDocument = outcome.json();
        assert_eq!((result.served_by.as_str(), result.low_confidence), ("local", false), "{}", outcome.both());
        assert!(result.text.as_deref().is_some_and(|t| t.contains("Paris")), "{}", outcome.both());
    }
    // The agent's own journal knows both, and what the first pass measured.
    let trace: TraceDocument = here.run(&["trace", "last", "--output", "json"]).exits(0).json();
    let report = trace.first_pass.unwrap();
    assert!(report.answered && report.tokens > 0 && report.mean_logprob.is_some_and(|p| p <= 0.0), "{report:?}");
    assert_eq!(trace.request.served_by, "local");
}

#[test]
fn what_the_local_model_is_not_sure_of_is_handed_over_marked_when_the_server_is_away() {
    let home = NodeOptions::new("here", &[]).with_model(assets::first_pass_model());
    let mut fleet = Fleet::of(&[home]);
    fleet.server.kill();
    let here = fleet.node("here").ouroctl();
    let spoken = here.run(&["submit", OUTSIDE]).exits(0);
    assert!(spoken.stderr.contains("low confidence") && !spoken.stdout.trim().is_empty(), "{}", spoken.both());
    let result: ResultDocument = here.run(&["submit", OUTSIDE, "--output", "json"]).exits(0).json();
    assert!(result.low_confidence && result.served_by == "local" && result.state == RequestState::Done, "{result:?}");
    assert_eq!(result.fault.map(|f| f.code), Some(FaultCode::ServerUnreachable));
}

#[test]
fn a_server_that_is_just_stopping_counts_as_away() {
    let mut fleet = Fleet::of(&[NodeOptions::new("here", &[]).with_model(assets::first_pass_model())]);
    let here = fleet.node("here").ouroctl();
    fleet.server.begin_to_stop();
    // Its connections are open for a moment, and take nothing new.
    let result: ResultDocument = here.run(&["submit", OUTSIDE, "--output", "json"]).exits(0).json();
    assert!(result.low_confidence && result.served_by == "local", "{result:?}");
}

#[test]
fn without_a_model_the_request_is_offloaded_and_without_a_server_it_says_so() {
    let mut fleet = Fleet::of(&[NodeOptions::new("here", &["keywords"])]);
    let here = fleet.node("here").ouroctl();
    let letter = fleet.file("letter.txt", texts::LETTER);
    let file = format!("text={}", letter.display());
    let result: ResultDocument = here.run(&["submit", "Key phrases, please.", "--file", &file, "--output", "json"]).exits(0).json();
    assert_eq!(result.served_by, "fleet");
    let trace: TraceDocument = here.run(&["trace", "last", "--output", "json"]).exits(0).json();
    assert_eq!(trace.request.offload, [OffloadFlag::ModelMissing], "{:?}", trace.request);
    assert!(trace.request.principal.starts_with("node:"), "{}", trace.request.principal);
    fleet.server.stop();
    let refused = here.run(&["submit", INSIDE, "--output", "json"]).exits(1);
    assert!(refused.stdout.contains("OB0013"), "{}", refused.both());
}

/// A fleet whose containers lie on two nodes, so that no node can do a document question alone.
fn two_nodes() -> Option<Fleet> {
    if assets::onnxruntime().is_none() {
        skipped("the ONNX Runtime library is not on this machine; `make prepare` fetches it");
        return None;
    }
    let fleet = Fleet::of(&[
        NodeOptions::new("east", &["langid"]).recorded(assets::recorded_machine("minipc-arc")),
        NodeOptions::new("west", &["summarize", "keywords"]),
    ]);
    fleet.wait_container("east", "langid");
    fleet.wait_container("west", "summarize");
    Some(fleet)
}

#[test]
fn a_document_question_runs_as_a_graph_over_two_nodes_and_its_trace_tells_everything() {
    let Some(mut fleet) = two_nodes() else { return };
    let letter = fleet.file("letter.txt", texts::LETTER);
    let file = format!("text={}", letter.display());
    let west = fleet.node("west").ouroctl();
    let outcome = west.run(&["submit", QUESTION, "--file", &file]).exits(0);
    assert!(outcome.stdout.contains("German") && outcome.stdout.contains("Solaranlage"), "{}", outcome.both());
    let printed = west.run(&["trace", "last", "--output", "json"]).exits(0);
    let trace: TraceDocument = printed.json();
    assert_eq!(trace.planner.as_deref(), Some("rules-1"));
    let used: Vec<&str> = trace.steps.iter().map(|s| s.container.name.as_str()).collect();
    assert_eq!(used.len(), 3, "{used:?}");
    for name in ["langid", "summarize", "compose"] {
        assert!(used.contains(&name), "{used:?}");
    }
    for step in &trace.steps {
        check_step(step);
    }
    let nodes: std::collections::BTreeSet<_> = trace.steps.iter().filter_map(|s| s.node_name.clone()).collect();
    assert_eq!(nodes.len(), 2, "the graph ran over both nodes: {nodes:?}");
    assert!(trace.result.is_some_and(|r| r.text.is_some_and(|t| t.contains("German"))));
    check_names_of_the_schema(&printed.json());
    // For people, the same trace: every node and container is on it.
    let shown = west.run(&["trace", "last"]).exits(0);
    for word in ["langid", "summarize", "compose", "east", "west", "rules-1"] {
        assert!(shown.stdout.contains(word), "{word} is missing\n{}", shown.stdout);
    }
    let widest = shown.stdout.lines().map(|l| l.chars().count()).max().unwrap_or(0);
    assert!(widest <= 100, "{widest} columns\n{}", shown.stdout);
}

/// Every step names its node, container, attempt, epoch, times, and the candidates with their terms, or refusals.
fn check_step(step: &ouro_common::document::StepView) {
    assert!(step.node.is_some() && step.node_name.is_some() && step.attempt >= 1 && step.epoch.is_some(), "{step:?}");
    assert!(step.predicted_ms.is_some_and(|ms| ms > 0.0) && step.actual_ms.is_some_and(|ms| ms > 0.0), "{step:?}");
    let decision = step.decision.as_ref().unwrap();
    assert_eq!(decision.winner, step.node);
    let best = decision.candidates.first().unwrap();
    assert_eq!(Some(best.node), decision.winner, "the winner comes first");
    let others: u32 = decision.refusals.iter().map(|r| r.count).sum();
    assert_eq!(decision.candidates.len() + others as usize, 2, "every node is a candidate or refused: {decision:?}");
    if step.container.name.as_str() != "compose" {
        assert_eq!(decision.refusals.len(), 1, "only one node has {}", step.container);
    }
    let attempt = step.attempts.last().unwrap();
    assert_eq!(Some(attempt.epoch), step.epoch);
    assert!(attempt.phases_ms.contains_key("run"), "{attempt:?}");
}

/// The names that scripts rely on, read without the types that wrote them.
fn check_names_of_the_schema(trace: &Value) {
    assert_eq!(trace["schema"], "ouroboros.trace/1");
    for step in trace["steps"].as_array().unwrap() {
        for name in [
            "id",
            "container",
            "digest",
            "state",
            "in",
            "out",
            "node",
            "node_name",
            "attempt",
            "epoch",
            "predicted_ms",
            "actual_ms",
        ] {
            assert!(!step[name].is_null(), "steps[].{name} of {step}");
        }
        let candidate = &step["decision"]["candidates"][0];
        for name in ["node", "name", "terms", "mfpi"] {
            assert!(!candidate[name].is_null(), "candidates[].{name} of {candidate}");
        }
        let terms = candidate["terms"].as_object().unwrap();
        assert!(
            terms.len() >= 5 && terms.keys().all(|k| k.ends_with("_s")) && terms.values().all(Value::is_number),
            "seconds per term: {terms:?}"
        );
    }
}

#[test]
fn without_a_terminal_a_plan_is_shown_and_nothing_runs() {
    let Some(mut fleet) = two_nodes() else { return };
    let letter = fleet.file("letter.txt", texts::LETTER);
    let file = format!("text={}", letter.display());
    let west = fleet.node("west").ouroctl();
    let outcome = west.run(&["submit", "--plan", QUESTION, "--file", &file, "--output", "json"]).exits(0);
    let document: PlanDocument = outcome.json();
    let plan = document.plan.unwrap();
    assert_eq!(plan.planner, "rules-1");
    assert_eq!(plan.steps.len(), 3);
    let answer = plan.steps.iter().find(|s| s.outputs.values().any(|t| *t == plan.answer)).unwrap();
    assert_eq!(answer.container.name.as_str(), "compose");
    assert!(document.placement.iter().any(|p| p.decision.winner.is_some()), "{:?}", document.placement);
    let raw: Value = outcome.json();
    for name in ["id", "container", "in", "out"] {
        assert!(!raw["plan"]["steps"][0][name].is_null(), "plan.steps[].{name}");
    }
    let list: RequestsDocument = west.run(&["requests", "--output", "json"]).exits(0).json();
    assert!(list.requests.is_empty(), "a plan is not kept: {list:?}");
    let done = west.run(&["submit", "--plan", "--yes", QUESTION, "--file", &file]).exits(0);
    assert!(done.stdout.contains("German"), "{}", done.both());
}

#[test]
fn what_nothing_can_serve_is_refused_with_what_comes_near() {
    let mut fleet = Fleet::of(&[NodeOptions::new("here", &["keywords", "summarize"])]);
    let here = fleet.node("here").ouroctl();
    let refused = here.run(&["submit", "book me a flight to Lisbon"]).exits(3);
    assert!(refused.stdout.is_empty() && !refused.stderr.trim().is_empty(), "{}", refused.both());
    let plan: PlanDocument = here.run(&["submit", "--plan", "book me a flight to Lisbon", "--output", "json"]).exits(3).json();
    let refusal = plan.refusal.unwrap();
    assert!(refusal.planner == "rules-1" && !refusal.reason.is_empty() && !refusal.remedy.is_empty(), "{refusal:?}");
    let trace: TraceDocument = here.run(&["trace", "last", "--output", "json"]).exits(0).json();
    assert_eq!(trace.request.state, RequestState::Failed);
    assert!(trace.refusal.is_some() && trace.steps.is_empty(), "{trace:?}");
}

#[test]
fn a_deadline_that_passes_ends_the_request_with_124() {
    let mut fleet = Fleet::of(&[NodeOptions::new("here", &["summarize"])]);
    let text = fleet.file("long.txt", texts::register(60 << 20));
    let file = format!("text={}", text.display());
    let here = fleet.node("here").ouroctl();
    let late = here.run(&["submit", "Summarize this", "--file", &file, "--deadline", "1s"]).exits(124);
    assert!(!late.stderr.trim().is_empty(), "{}", late.both());
    let trace: TraceDocument = here.run(&["trace", "last", "--output", "json"]).exits(0).json();
    assert_eq!(trace.request.state, RequestState::Expired);
    // The node is free again: its step was stopped.
    let mut client = fleet.client();
    eventually("the node to be free", SHORT, || client.nodes().nodes.iter().all(|n| n.busy == 0).then_some(()));
}

#[test]
fn detached_requests_are_listed_cancelled_and_found_as_last() {
    let mut fleet = Fleet::of(&[NodeOptions::new("here", &["summarize"])]);
    let text = fleet.file("long.txt", texts::register(60 << 20));
    let file = format!("text={}", text.display());
    let here = fleet.node("here").ouroctl();
    let detached: Value = here.run(&["submit", "Summarize this", "--file", &file, "--detach", "--output", "json"]).exits(0).json();
    let id = detached["id"].as_str().unwrap().to_string();
    let list: RequestsDocument = here.run(&["requests", "--output", "json"]).exits(0).json();
    assert_eq!(list.requests[0].id.to_string(), id);
    assert!(!list.requests[0].state.is_terminal(), "{list:?}");
    let _ = here.run(&["cancel", "last"]).exits(0);
    let trace: TraceDocument = here.run(&["trace", &id, "--output", "json"]).exits(0).json();
    assert_eq!((trace.request.state, trace.request.id.to_string()), (RequestState::Cancelled, id));
}

#[test]
fn a_waiting_submit_whose_request_is_cancelled_exits_130() {
    let mut fleet = Fleet::of(&[NodeOptions::new("here", &["summarize"])]);
    let text = fleet.file("long.txt", texts::register(60 << 20));
    let file = format!("text={}", text.display());
    let log = fleet.path("submit.log");
    let here = fleet.node("here").ouroctl();
    let mut waiting = here.start(&["submit", "Summarize this", "--file", &file], &log);
    eventually("the request in the list", SHORT, || {
        let list: RequestsDocument = here.run(&["requests", "--output", "json"]).exits(0).json();
        list.requests.first().filter(|r| !r.state.is_terminal()).map(drop)
    });
    let _ = here.run(&["cancel", "last"]).exits(0);
    assert_eq!(waiting.wait(LONG).code(), Some(130), "{}", waiting.log());
}

#[test]
fn errors_are_json_where_json_was_asked_for() {
    let mut fleet = Fleet::of(&[NodeOptions::new("here", &[])]);
    let here = fleet.node("here").ouroctl();
    let cases: [(&[&str], i32, &str); 4] = [
        (&["trace", "00000000", "--output", "json"], 1, "OB0003"),
        (&["submit", "  ", "--output", "json"], 2, "OB0002"),
        (&["submit", "x", "--file", "text=no-such-file.txt", "--output", "json"], 2, "OB0002"),
        (&["nonsense", "--output", "json"], 2, "OB0002"),
    ];
    for (line, code, fault) in cases {
        let outcome = here.run(line).exits(code);
        let document: Value = outcome.json();
        assert_eq!(document["schema"], "ouroboros.error/1", "{line:?}");
        assert_eq!(document["error"]["code"], fault, "{line:?}: {document}");
        assert!(document["error"]["problem"].as_str().is_some_and(|p| !p.is_empty()));
    }
}

#[test]
fn an_operator_logs_in_from_another_machine_with_a_token() {
    let fleet = Fleet::of(&[NodeOptions::new("here", &[])]);
    let token: Value = fleet.operator().run(&["token", "create", "--role", "client", "--output", "json"]).exits(0).json();
    let home = fleet.path("laptop");
    std::fs::create_dir(&home).unwrap();
    let laptop = ouro_tests::Ouroctl::new(&home);
    let _ = laptop.run(&["nodes"]).exits(1);
    let _ = laptop.run(&["login", fleet.server.address(), "--token", token["token"].as_str().unwrap()]).exits(0);
    let nodes = laptop.run(&["nodes"]).exits(0);
    assert!(nodes.stdout.contains("here"), "{}", nodes.both());
    let denied = laptop.run(&["token", "create", "--output", "json"]).exits(1);
    assert!(denied.stdout.contains("OB0004"), "{}", denied.both());
}
