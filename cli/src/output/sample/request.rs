//! One request as it goes: its plan, its decisions, its traces.

use super::{ASKED_MS, name, node_id};
use ouro_common::document::{
    AttemptView, Candidate, DecisionView, PlanDocument, PlannedStep, RefusalCount, RequestRow, RequestView, RequestsDocument, ResultView,
    StepView, TraceDocument, TraceEvent,
};
use ouro_common::envelope::{FirstPassReport, Input, OffloadFlag};
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::{Digest, Epoch, RequestId};
use ouro_common::mfpi::Terms;
use ouro_common::plan::{NearContainer, Plan, Refusal, Step, Tags};
use ouro_common::step::{AttemptState, RequestState, StepState};
use std::collections::BTreeMap;

pub(crate) fn request_id() -> RequestId {
    RequestId::from_parts(ASKED_MS, [0x5e; 10])
}

fn candidate(n: u8, name: &str, mfpi: f64, terms: Terms) -> Candidate {
    Candidate { node: node_id(n), name: name.into(), mfpi, total_s: terms.total_s(), terms, unknown: vec![] }
}

/// Two could, four could not.
pub(crate) fn decision() -> DecisionView {
    let odin = Terms { net_s: 0.026, queue_s: 0.0, plug_s: 0.0, pre_s: 0.084, dec_s: 0.201_8, retry_s: 0.000_2 };
    let lena = Terms { net_s: 0.011, queue_s: 0.12, plug_s: 0.912, pre_s: 0.11, dec_s: 0.258, retry_s: 0.001 };
    let mut second = candidate(2, "lena", 0.4, lena);
    second.unknown = vec!["clock_cap".into(), "mtbf".into()];
    DecisionView {
        winner: Some(node_id(1)),
        seed: 7,
        candidates: vec![candidate(1, "odin", 1.82, odin), second],
        refusals: vec![
            RefusalCount {
                reason: "container not present".into(),
                count: 5,
                examples: vec!["pi-1".into(), "pi-2".into(), "pi-3".into()],
            },
            RefusalCount { reason: "on battery below 20 %".into(), count: 1, examples: vec!["pixel: 12 %".into()] },
        ],
        remedy: None,
    }
}

/// Nobody could.
pub(crate) fn no_decision() -> DecisionView {
    DecisionView {
        winner: None,
        seed: 7,
        candidates: vec![],
        refusals: vec![
            RefusalCount { reason: "container not present".into(), count: 2, examples: vec!["odin".into(), "lena".into()] },
            RefusalCount {
                reason: "too little memory".into(),
                count: 1,
                examples: vec!["pixel: 1.2 GiB free, 2.1 GiB needed".into()],
            },
        ],
        remedy: Some("put the module that carries summarise:1.0.0 into odin, or free 0.9 GiB of memory on pixel".into()),
    }
}

fn step_view(id: &str, container: &str, inputs: &[(&str, &[&str])], output: (&str, &str)) -> StepView {
    let tags = |list: &[&str]| match list {
        [one] => Tags::One(name(one)),
        many => Tags::Many(many.iter().map(|t| name(t)).collect()),
    };
    StepView {
        id: name(id),
        container: container.parse().unwrap(),
        digest: Digest::sha256([0xa1; 32]),
        state: StepState::Blocked,
        inputs: inputs.iter().map(|(port, list)| (name(port), tags(list))).collect(),
        outputs: BTreeMap::from([(name(output.0), name(output.1))]),
        node: None,
        node_name: None,
        attempt: 0,
        epoch: None,
        predicted_ms: None,
        actual_ms: None,
        decision: None,
        attempts: vec![],
    }
}

fn three_steps() -> Vec<StepView> {
    vec![
        step_view("s1", "langid:1.2.0", &[("text", &["text"])], ("label", "language")),
        step_view("s2", "keypoints:1.0.0", &[("text", &["text"])], ("points", "points")),
        step_view("s3", "compose:1.0.0", &[("parts", &["language", "points"]), ("prompt", &["prompt"])], ("text", "answer")),
    ]
}

fn attempt(n: u32, node: u8, node_name: &str, state: AttemptState, why: &str, actual_ms: f64) -> AttemptView {
    AttemptView {
        epoch: Epoch { generation: 1, n },
        node: node_id(node),
        node_name: node_name.into(),
        state,
        why: why.into(),
        predicted_ms: 312.0,
        actual_ms: Some(actual_ms),
        phases_ms: BTreeMap::new(),
    }
}

fn finish(step: &mut StepView, attempts: Vec<AttemptView>) {
    let last = attempts.last().unwrap().clone();
    step.state = StepState::Done;
    step.node = Some(last.node);
    step.node_name = Some(last.node_name);
    step.attempt = u32::try_from(attempts.len()).unwrap();
    step.epoch = Some(last.epoch);
    step.predicted_ms = Some(last.predicted_ms);
    step.actual_ms = last.actual_ms;
    step.decision = Some(decision());
    step.attempts = attempts;
}

fn request(state: RequestState) -> RequestView {
    RequestView {
        id: request_id(),
        state,
        fault: None,
        principal: "client:ada".into(),
        served_by: "fleet".into(),
        prompt: Some("What language is this and what are its key points?".into()),
        inputs: vec![Input {
            tag: name("text"),
            media: "text/plain".into(),
            digest: Digest::blake3(b"letter"),
            size_bytes: 2_150,
            file_name: Some("letter.txt".into()),
        }],
        offload: vec![OffloadFlag::LowConfidence],
        submitted_unix_ms: ASKED_MS,
        elapsed_ms: 3_912,
        budget_ms: 600_000,
    }
}

fn event(at_ms: u64, kind: &str, step: Option<&str>, text: &str) -> TraceEvent {
    TraceEvent { at_ms, kind: kind.into(), step: step.map(name), text: text.into() }
}

/// A request that was offloaded, lost a node on the way, and is done.
pub(crate) fn trace() -> TraceDocument {
    let mut steps = three_steps();
    let mut committed = attempt(1, 1, "odin", AttemptState::Committed, "", 302.0);
    committed.phases_ms = BTreeMap::from([("fetch".into(), 4.2), ("plug".into(), 0.0), ("run".into(), 281.0)]);
    finish(&mut steps[0], vec![committed.clone()]);
    let lost = attempt(1, 2, "lena", AttemptState::Lost, "no heartbeat for 20 s", 3_100.0);
    let again = AttemptView { epoch: Epoch { generation: 1, n: 2 }, actual_ms: Some(410.0), ..committed.clone() };
    finish(&mut steps[1], vec![lost, again]);
    finish(&mut steps[2], vec![AttemptView { actual_ms: Some(120.0), ..committed }]);
    let answer = "The text is German (98 %).\n\nKey points:\n- the meeting moves to Tuesday\n- bring the draft";
    TraceDocument {
        schema: "ouroboros.trace/1".into(),
        request: request(RequestState::Done),
        first_pass: Some(first_pass()),
        planner: Some("rules-1".into()),
        refusal: None,
        answer: Some(name("answer")),
        steps,
        events: vec![
            event(0, "accepted", None, "from client:ada, 2.1 KiB with its inputs"),
            event(3, "planned", None, "3 steps by rules-1"),
            event(5, "assigned", Some("s2"), "to lena, epoch 1.1"),
            event(3_105, "lost", Some("s2"), "lena did not come back within 3 s"),
            event(3_911, "committed", Some("s3"), "on odin"),
        ],
        result: Some(ResultView {
            tag: Some(name("answer")),
            media: "text/markdown".into(),
            size_bytes: answer.len() as u64,
            digest: Digest::blake3(answer.as_bytes()),
            text: Some(answer.into()),
        }),
    }
}

fn first_pass() -> FirstPassReport {
    FirstPassReport {
        model: Some(Digest::blake3(b"model")),
        model_name: Some("phi-3-mini-4k".into()),
        engine: Some("candle 0.11.1".into()),
        prompt_tokens: 512,
        tokens: 32,
        mean_logprob: Some(-1.824),
        min_logprob: Some(-7.1),
        p10_logprob: Some(-4.25),
        mean_entropy: Some(2.031),
        calibration: Some("from 664 graded prompts".into()),
        feature: Some("mean".into()),
        threshold: Some(-0.9),
        answered: false,
        flags: vec![OffloadFlag::LowConfidence],
        why: "the model was not sure enough of its first 32 tokens".into(),
        elapsed_ms: 310,
        partial: Some("The language is".into()),
    }
}

/// The same request while nobody can run its third step.
pub(crate) fn waiting_trace() -> TraceDocument {
    let mut document = trace();
    document.request.state = RequestState::Running;
    document.request.elapsed_ms = 12_000;
    document.result = None;
    let third = &mut document.steps[2];
    *third = step_view("s3", "summarise:1.0.0", &[("text", &["points"])], ("text", "answer"));
    third.state = StepState::Ready;
    third.decision = Some(no_decision());
    document
        .steps
        .push(step_view("s4", "compose:1.0.0", &[("parts", &["answer", "language"])], ("text", "whole")));
    document
}

/// A request nobody could plan.
pub(crate) fn refused_trace() -> TraceDocument {
    let mut request = request(RequestState::Failed);
    request.fault = Some(Fault::new(FaultCode::PlanRefused, "no container translates into Klingon").remedy("ask for one of: de, en, fr"));
    request.inputs.clear();
    TraceDocument {
        schema: "ouroboros.trace/1".into(),
        request,
        first_pass: None,
        planner: None,
        refusal: Some(refusal()),
        answer: None,
        steps: vec![],
        events: vec![],
        result: None,
    }
}

fn refusal() -> Refusal {
    Refusal {
        planner: "rules-1".into(),
        reason: "no container translates into Klingon".into(),
        remedy: "plug in a module with a container that does, or ask for one of: de, en, fr".into(),
        nearest: vec![NearContainer {
            container: "translate:2.1.0".parse().unwrap(),
            summary: "translates text".into(),
            why: "its languages are de, en, fr".into(),
        }],
    }
}

/// The plan of the same request.
pub(crate) fn plan() -> PlanDocument {
    let steps = three_steps().into_iter().map(|view| Step {
        id: view.id,
        container: view.container,
        digest: view.digest,
        params: serde_json::json!({}),
        inputs: view.inputs,
        outputs: view.outputs,
    });
    let plan = Plan { planner: "rules-1".into(), steps: steps.collect(), answer: name("answer") };
    let placement = plan.steps.iter().map(|s| PlannedStep { step: s.id.clone(), decision: decision() }).collect();
    PlanDocument { schema: "ouroboros.plan/1".into(), plan: Some(plan), placement, refusal: None }
}

pub(crate) fn requests() -> RequestsDocument {
    let row = |n: u8, state, served_by: &str, done, total, prompt: Option<&str>| RequestRow {
        id: RequestId::from_parts(ASKED_MS, [n; 10]),
        state,
        principal: "client:ada".into(),
        served_by: served_by.into(),
        submitted_unix_ms: ASKED_MS + u64::from(n) * 60_000,
        elapsed_ms: u64::from(n) * 1_234,
        steps_done: done,
        steps_total: total,
        prompt: prompt.map(Into::into),
        last_heard: n == 4,
    };
    let long = "Summarise the letter below in three sentences, and then say who should answer it and until when, please";
    RequestsDocument {
        schema: "ouroboros.requests/1".into(),
        requests: vec![
            row(4, RequestState::Running, "fleet", 0, 0, Some("what is in this picture?")),
            row(3, RequestState::Running, "fleet", 1, 3, Some(long)),
            row(2, RequestState::Done, "local", 0, 0, Some("hello")),
            row(1, RequestState::Failed, "fleet", 2, 3, None),
        ],
    }
}
