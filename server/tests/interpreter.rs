//! The rule planner against requests as people write them, with the sample catalogue of six.
//!
//! The requests are data: `requests.toml`, and `requests_held_out.toml`, which was written before the rules were.

use ouro_common::container::{Container, Manifest, MediaType};
use ouro_common::id::{Digest, Name};
use ouro_common::plan::{Catalogue, Plan, Refusal, Step, Tags, validate};
use ouro_server::interpreter::{Interpreter, InterpreterRequest, Next, Outputs, RequestInput, RuleInterpreter};
use serde::Deserialize;
use std::collections::BTreeSet;

const SAMPLES: [&str; 8] = [
    include_str!("catalogue/langid.toml"),
    include_str!("catalogue/sentiment.toml"),
    include_str!("catalogue/digits.toml"),
    include_str!("catalogue/keywords.toml"),
    include_str!("catalogue/summarize.toml"),
    include_str!("catalogue/csv-stats.toml"),
    include_str!("catalogue/compose.toml"),
    include_str!("catalogue/noop.toml"),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Corpus {
    request: Vec<Case>,
}

/// One request: what is planned for it, or the containers its refusal names.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    prompt: String,
    /// `tag=file name`
    #[serde(default)]
    inputs: Vec<String>,
    /// The containers in the order of the steps.
    expect: Option<Vec<String>>,
    /// `reader<tag` or `writer>reader`; unless given, every step but a last `compose` reads only what was attached,
    /// and `compose` reads everything else.
    edges: Option<Vec<String>>,
    /// Containers that a refusal names.
    refuse: Option<Vec<String>>,
    #[serde(default)]
    any_order: bool,
}

fn container(toml: &str) -> Container {
    let manifest = Manifest::from_toml(toml).unwrap_or_else(|e| panic!("{e}\n{toml}"));
    Container { digest: Digest::blake3(&manifest.canonical_json()), manifest }
}

fn samples() -> Catalogue {
    Catalogue::new(SAMPLES.map(container))
}

fn tool(name: &str, summary: &str, takes: &str, gives: &str) -> Container {
    container(&format!(
        "name = \"{name}\"\nversion = \"1.0.0\"\nsummary = \"{summary}\"\nruntime = \"oci\"\n\
         inputs = [{{ port = \"in\", media = \"{takes}\" }}]\noutputs = [{{ port = \"out\", media = \"{gives}\" }}]"
    ))
}

fn with(more: impl IntoIterator<Item = Container>) -> Catalogue {
    Catalogue::new(SAMPLES.map(container).into_iter().chain(more))
}

fn request(prompt: &str, inputs: &[&str]) -> InterpreterRequest {
    let input = |text: &&str| {
        let (tag, file) = text.split_once('=').expect("an input is written tag=file");
        RequestInput {
            tag: tag.parse().expect("a tag"),
            media: MediaType::from_file_name(file),
            file_name: Some(file.to_string()),
        }
    };
    InterpreterRequest { prompt: prompt.to_string(), inputs: inputs.iter().map(input).collect() }
}

fn next(prompt: &str, inputs: &[&str], catalogue: &Catalogue) -> Next {
    let (rules, request) = (RuleInterpreter::new(), request(prompt, inputs));
    let next = rules.next(&request, catalogue, &Outputs::default());
    if let Next::Plan(plan) = &next {
        assert_eq!(validate(plan, catalogue, &request.given()), Ok(()), "{prompt}");
    }
    next
}

fn planned(prompt: &str, inputs: &[&str], catalogue: &Catalogue) -> Plan {
    match next(prompt, inputs, catalogue) {
        Next::Plan(plan) => plan,
        other => panic!("{prompt}: {other:?}"),
    }
}

fn refused(prompt: &str, inputs: &[&str], catalogue: &Catalogue) -> Refusal {
    match next(prompt, inputs, catalogue) {
        Next::Refusal(refusal) => refusal,
        other => panic!("{prompt}: {other:?}"),
    }
}

fn names(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(|s| s.container.name.to_string()).collect()
}

/// `writer>reader` for each edge, the writer being a container or a tag that came with the request.
fn edges(plan: &Plan) -> BTreeSet<String> {
    let writer = |tag: &Name| plan.writer(tag).map_or(tag.to_string(), |s: &Step| s.container.name.to_string());
    let of = |step: &Step| -> Vec<String> {
        step.inputs
            .values()
            .flat_map(Tags::iter)
            .map(|tag| format!("{}>{}", writer(tag), step.container.name))
            .collect()
    };
    plan.steps.iter().flat_map(of).collect()
}

/// The edges of a plan whose steps work side by side: each on what was given, and `compose` on all of them.
fn is_side_by_side(plan: &Plan) -> bool {
    plan.steps.iter().all(|step| {
        let reads_steps = plan.dependencies(step).count();
        if step.container.name.as_str() == "compose" { reads_steps == plan.steps.len() - 1 } else { reads_steps == 0 }
    })
}

fn mismatch(case: &Case, next: &Next) -> Option<String> {
    match (next, &case.expect, &case.refuse) {
        (Next::Plan(plan), Some(expect), None) => {
            let (mut got, mut want) = (names(plan), expect.clone());
            if case.any_order {
                got.sort();
                want.sort();
            }
            let wired = match &case.edges {
                Some(wanted) => edges(plan) == wanted.iter().cloned().collect(),
                None => is_side_by_side(plan),
            };
            (got != want || !wired).then(|| format!("planned {got:?} {:?}, expected {want:?} {:?}", edges(plan), case.edges))
        }
        (Next::Refusal(refusal), None, Some(nearest)) => {
            let named: Vec<&str> = refusal.nearest.iter().map(|n| n.container.name.as_str()).collect();
            let complete = !refusal.remedy.is_empty() && !refusal.reason.is_empty() && refusal.planner == "rules-1";
            let missing = nearest.iter().any(|n| !named.contains(&n.as_str()));
            (missing || !complete).then(|| format!("refused naming {named:?} ({}), expected {nearest:?}", refusal.reason))
        }
        (Next::Plan(plan), None, _) => Some(format!("planned {:?}, expected a refusal", names(plan))),
        (Next::Refusal(refusal), Some(expect), _) => Some(format!("refused ({}), expected {expect:?}", refusal.reason)),
        _ => Some("neither a plan nor a refusal, or both expected".into()),
    }
}

fn run(corpus: &str, at_least: usize) {
    let corpus: Corpus = toml::from_str(corpus).expect("the corpus reads");
    let (rules, catalogue) = (RuleInterpreter::new(), samples());
    let mut wrong = Vec::new();
    for case in &corpus.request {
        let inputs: Vec<&str> = case.inputs.iter().map(String::as_str).collect();
        let request = request(&case.prompt, &inputs);
        let next = rules.next(&request, &catalogue, &Outputs::default());
        if let Next::Plan(plan) = &next {
            assert_eq!(validate(plan, &catalogue, &request.given()), Ok(()), "{}", case.prompt);
        }
        wrong.extend(mismatch(case, &next).map(|m| format!("{:?}: {m}", case.prompt)));
    }
    assert!(corpus.request.len() >= at_least, "only {} requests", corpus.request.len());
    assert!(wrong.is_empty(), "{} of {} went wrong:\n{}", wrong.len(), corpus.request.len(), wrong.join("\n"));
}

#[test]
fn the_held_out_requests_are_planned_as_expected() {
    run(include_str!("requests_held_out.toml"), 30);
}

#[test]
fn requests_are_planned_as_expected() {
    run(include_str!("requests.toml"), 80);
}
