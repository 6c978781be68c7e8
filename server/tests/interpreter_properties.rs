//! Whatever is asked, and whatever the fleet has: the planner ends, does not panic, and its plans are sound.

use ouro_common::container::{Container, Manifest, MediaType};
use ouro_common::id::{Digest, Name};
use ouro_common::plan::{Catalogue, validate};
use ouro_server::interpreter::{Interpreter, InterpreterRequest, Next, Outputs, RequestInput, RuleInterpreter};
use proptest::prelude::*;
use std::sync::LazyLock;

static RULES: LazyLock<RuleInterpreter> = LazyLock::new(RuleInterpreter::new);

const MEDIA: [&str; 6] = ["text/plain", "text/csv", "image/png", "audio/wav", "application/json", "application/pdf"];
const SAMPLES: [&str; 8] = [
    include_str!("../../models/containers/langid/container.toml"),
    include_str!("../../models/containers/sentiment/container.toml"),
    include_str!("../../models/containers/digits/container.toml"),
    include_str!("../../models/containers/keywords/container.toml"),
    include_str!("../../models/containers/summarize/container.toml"),
    include_str!("../../models/containers/csv-stats/container.toml"),
    include_str!("../../models/containers/compose/container.toml"),
    include_str!("../../models/containers/noop/container.toml"),
];
const WORDS: [&str; 40] = [
    "summarise",
    "language",
    "mood",
    "keywords",
    "digit",
    "average",
    "translate",
    "not",
    "don't",
    "only",
    "but",
    "and",
    "or",
    "of the",
    "summary",
    "the result",
    "everything",
    "except",
    "each",
    "analyse",
    "then",
    ",",
    ".",
    ":",
    "\n",
    "\"",
    "'",
    "t0",
    "t1",
    "nicht",
    "fasse",
    "zusammen",
    "要約",
    "しないで",
    "不要",
    "总结",
    "only tell me",
    "use",
    "langid",
    "mystery",
];

fn container(toml: &str) -> Container {
    let manifest = Manifest::from_toml(toml).unwrap();
    Container { digest: Digest::blake3(&manifest.canonical_json()), manifest }
}

/// Any ports over six media types: cycles are the rule, not the exception.
fn random_container() -> impl Strategy<Value = Container> {
    let port = prop::sample::select([MEDIA.as_slice(), &["text/*", "*/*"]].concat());
    (
        0..12usize,
        prop::collection::vec((port, any::<bool>()), 0..3),
        prop::collection::vec(prop::sample::select(MEDIA.to_vec()), 1..3),
        prop::sample::select(WORDS.to_vec()),
    )
        .prop_map(|(n, inputs, outputs, word)| {
            let ports = |ports: Vec<String>| ports.join(", ");
            let takes = inputs
                .iter()
                .enumerate()
                .map(|(i, (m, many))| format!("{{ port = \"i{i}\", media = \"{m}\", many = {many} }}"))
                .collect();
            let gives = outputs.iter().enumerate().map(|(i, m)| format!("{{ port = \"text{i}\", media = \"{m}\" }}")).collect();
            let summary = serde_json::to_string(&format!("Does {word}")).unwrap();
            container(&format!(
                "name = \"mystery-{n}\"\nversion = \"1.{n}.0\"\nsummary = {summary}\nruntime = \"oci\"\ninputs = [{}]\noutputs = [{}]\n\
                 [oci]\nargs = [\"/bin/tool\"]\n[needs]\nmemory_bytes = 67108864",
                ports(takes),
                ports(gives)
            ))
        })
}

fn inputs() -> impl Strategy<Value = Vec<RequestInput>> {
    prop::collection::vec(prop::sample::select(MEDIA.to_vec()), 0..5).prop_map(|media| {
        let input = |(i, m): (usize, &str)| RequestInput {
            tag: Name::from_text(&format!("t{i}"), "t"),
            media: m.parse::<MediaType>().unwrap(),
            file_name: (i % 2 == 0).then(|| format!("t{i}.txt")),
        };
        media.into_iter().enumerate().map(input).collect()
    })
}

fn check(prompt: String, inputs: Vec<RequestInput>, containers: Vec<Container>) {
    let catalogue = Catalogue::new(containers);
    let request = InterpreterRequest { prompt, inputs };
    match RULES.next(&request, &catalogue, &Outputs::default()) {
        Next::Plan(plan) => assert_eq!(validate(&plan, &catalogue, &request.given()), Ok(()), "{request:?}"),
        Next::Refusal(refusal) => assert!(refusal.nearest.len() <= 3 && !refusal.remedy.is_empty()),
        Next::RunStep(_) => panic!("rules never ask for a step"),
    }
    assert_eq!(RULES.next(&request, &catalogue, &Outputs::default()), RULES.next(&request, &catalogue, &Outputs::default()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_on_any_part_of_the_samples(prompt in "\\PC{0,120}", inputs in inputs(), chosen in prop::sample::subsequence(SAMPLES.to_vec(), 0..=8)) {
        check(prompt, inputs, chosen.into_iter().map(container).collect());
    }

    #[test]
    fn any_sequence_of_known_words_on_any_catalogue(
        words in prop::collection::vec(prop::sample::select(WORDS.to_vec()), 0..16),
        inputs in inputs(),
        more in prop::collection::vec(random_container(), 0..10),
        chosen in prop::sample::subsequence(SAMPLES.to_vec(), 0..=8),
    ) {
        check(words.join(" "), inputs, chosen.into_iter().map(container).chain(more).collect());
    }
}
