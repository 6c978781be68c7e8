//! Who shares a batch changes nothing for anybody: not a bit of any answer, and no token comes late by more than a part of a prompt.

use super::super::generate::tests::{CALM, model};
use super::*;
use crate::decoder::random_model::RandomModel;
use crate::gguf::TensorType;
use crate::gguf::writer::GgufWriter;
use crate::sampling::Sampling;
use crate::tokens::tests::write_byte_level;
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::LazyLock;

/// A random model with a tokenizer, its matrices in this format: small, or wide enough for panels.
fn model_of((matrices, wide): (TensorType, bool)) -> LanguageModel {
    let vocabulary = write_byte_level(&mut GgufWriter::new(), "qwen2");
    let shape = RandomModel { vocabulary, seed: 3, context: 200, matrices, ..RandomModel::default() };
    let shape = match wide {
        true => RandomModel { hidden: 256, feed_forward: 256, rope_width: 64, layers: 1, ..shape },
        false => RandomModel { original_context: Some(80), ..shape },
    };
    let mut made = shape.make();
    write_byte_level(&mut made.writer, "qwen2");
    // Nothing ends an answer early, so that sequences get long.
    made.writer.u32("tokenizer.ggml.eos_token_id", 0);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.gguf");
    std::fs::write(&path, made.writer.finish()).unwrap();
    LanguageModel::open(&path).unwrap()
}

static MODELS: LazyLock<Vec<LanguageModel>> = LazyLock::new(|| {
    let small = [TensorType::F32, TensorType::F16, TensorType::Q8_0].map(|format| (format, false));
    small.into_iter().chain([(TensorType::Q4K, true), (TensorType::Q8_0, true)]).map(model_of).collect()
});

/// A request, when it comes, and when it leaves.
#[derive(Debug, Clone)]
struct Guest {
    ask: Ask,
    joins: usize,
    leaves: Option<usize>,
}

fn guest() -> impl Strategy<Value = Guest> {
    let prompt = (
        prop::sample::select(vec!["hello ", "a b c ", "ähm "]),
        1..30_usize,
        prop::sample::select(vec!["", "x", "why?"]),
    );
    let prompt = prompt.prop_map(|(word, times, end)| word.repeat(times) + end);
    let sampling = prop_oneof![
        Just(Sampling::GREEDY),
        any::<u64>().prop_map(|seed| Sampling { temperature: 1.2, top_p: 0.95, seed, repetition_penalty: 1.1, ..Sampling::GREEDY }),
    ];
    let scope = prop::sample::select(vec![None, Some("ada".to_string()), Some("bob".to_string())]);
    let form = json!({"type": "array", "items": {"type": "boolean"}, "maxItems": 4});
    let schema = prop::sample::select(vec![None, None, Some(form)]);
    (prompt, 0..20_usize, sampling, (schema, scope), 0..25_usize, prop::option::weighted(0.2, 0..40_usize)).prop_map(
        |(prompt, max_tokens, sampling, (schema, scope), joins, leaves)| Guest {
            ask: Ask { prompt, options: GenerateOptions { max_tokens, sampling }, schema, scope },
            joins,
            leaves: leaves.map(|after| joins + after),
        },
    )
}

/// The tokens that each request got, and how it ended.
type Heard = BTreeMap<u64, (Vec<TokenEvent>, Option<Generation>)>;

fn still() -> Duration {
    Duration::ZERO
}

/// Lets guests come and go until all are done.
fn party(model: &LanguageModel, options: BatchOptions, guests: &[Guest]) -> (Heard, BatchState) {
    let mut batch = Batch::new(model, options);
    let mut heard = Heard::new();
    for step in 0.. {
        for (job, guest) in guests.iter().enumerate().filter(|(_, guest)| guest.joins == step) {
            batch.join(job as u64, guest.ask.clone()).unwrap();
        }
        let left = |job: u64| guests[job as usize].leaves.is_some_and(|at| at <= step);
        let hooks = BatchHooks { left: &left, now: &still };
        batch.step(&hooks, &mut |job, said| {
            assert!(!left(job), "{job} has left");
            let (tokens, ended) = heard.entry(job).or_default();
            assert!(ended.is_none());
            match said {
                Said::Token(event) => tokens.push(event),
                Said::Ended(made) => *ended = Some(*made),
                Said::Failed(why) => panic!("{why}"),
            }
        });
        let state = batch.state();
        assert!(state.running <= state.most && state.cache_bytes + state.prefix_bytes <= state.cache_limit_bytes, "{state:?}");
        if step > 30 && batch.is_idle() {
            break;
        }
        assert!(step < 5_000, "it ends some time");
    }
    (heard, batch.state())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Each answer among others is the same, to the bit of each log-probability, as alone; one that left has the beginning of it.
    #[test]
    fn whoever_shares_the_batch_changes_nothing(
        guests in prop::collection::vec(guest(), 1..8),
        most in 1..6_usize,
        pages in 7..30_u64,
        which in 0..5_usize,
    ) {
        let model = &MODELS[which];
        let cache_bytes = pages * model.decoder.cache_bytes(PAGE);
        let (heard, _) = party(model, BatchOptions { most, cache_bytes }, &guests);
        for (job, guest) in guests.iter().enumerate() {
            let calm = Guest { joins: 0, leaves: None, ask: Ask { scope: None, ..guest.ask.clone() } };
            let (alone, _) = party(model, BatchOptions { most: 1, cache_bytes }, &[calm]);
            let (tokens, ended) = &alone[&0];
            let nothing = (vec![], None);
            let among = heard.get(&(job as u64)).unwrap_or(&nothing);
            prop_assert_eq!(&among.0[..], &tokens[..among.0.len()]);
            if guest.leaves.is_none() || among.1.is_some() {
                prop_assert_eq!(&among.1, ended);
            }
            // One sequence by itself, the plain way.
            if model.decoder.cuts_freely() {
                let Ask { prompt, options, schema, .. } = &guest.ask;
                let go_on = &mut |_: &TokenEvent| ControlFlow::Continue(());
                let plain = match schema {
                    Some(schema) => model.generate_json(prompt, schema, options, &CALM, go_on),
                    None => model.generate(prompt, options, &CALM, go_on),
                };
                let plain = plain.unwrap();
                prop_assert_eq!(Some(&plain), ended.as_ref());
            }
        }
    }
}

fn ask(prompt: &str, max_tokens: usize, scope: Option<&str>) -> Ask {
    Ask {
        prompt: prompt.into(),
        options: GenerateOptions { max_tokens, ..GenerateOptions::default() },
        schema: None,
        scope: scope.map(Into::into),
    }
}

fn plenty(most: usize) -> BatchOptions {
    BatchOptions { most, cache_bytes: 1 << 30 }
}

#[test]
fn a_long_prompt_holds_the_others_up_for_one_part_at_most() {
    let model = &MODELS[3];
    let mut batch = Batch::new(model, plenty(4));
    let hooks = BatchHooks { left: &|_| false, now: &still };
    batch.join(1, ask("hello", 40, None)).unwrap();
    batch.step(&hooks, &mut |_, _| ());
    let (long, short) = ("ab ".repeat(45), "ab ".repeat(4));
    batch.join(2, ask(&long, 2, None)).unwrap();
    batch.join(3, ask(&short, 2, None)).unwrap();
    let parts = model.count_tokens(&long).unwrap().div_ceil(PAGE);
    assert!(parts >= 4, "{parts}");
    let mut firsts = BTreeMap::new();
    for step in 0..parts + 2 {
        let mut tokens = 0;
        batch.step(&hooks, &mut |job, said| match said {
            Said::Token(_) if job == 1 => tokens += 1,
            Said::Token(_) => drop(firsts.entry(job).or_insert(step)),
            _ => {}
        });
        assert_eq!(tokens, 1, "a token in every step, also in step {step}");
    }
    assert_eq!(firsts[&3], 1, "prompts take turns: the short one waits for one part of the long one");
    assert_eq!(firsts[&2], parts, "and the long one for the short one");
}

#[test]
fn beginnings_are_reused_by_the_same_asker_only() {
    let model = &MODELS[3];
    let start = "ab ".repeat(30);
    let run = |scopes: [Option<&str>; 2]| {
        let guest = |n: usize| Guest { ask: ask(&format!("{start} {n}"), 3, scopes[n]), joins: 20 * n, leaves: None };
        let (heard, state) = party(model, plenty(2), &[guest(0), guest(1)]);
        (heard, state.reused_tokens, state.prefixes)
    };
    let (alone, none, kept) = run([None, None]);
    assert_eq!((none, kept), (0, 0), "who is not known shares with nobody, not even with himself");
    for scopes in [[Some("ada"), Some("bob")], [Some("ada"), None], [None, Some("ada")]] {
        let (heard, reused, _) = run(scopes);
        assert_eq!(reused, 0, "{scopes:?}");
        assert_eq!(heard, alone);
    }
    let (heard, reused, kept) = run([Some("ada"), Some("ada")]);
    assert!(reused >= PAGE as u64 && reused.is_multiple_of(PAGE as u64), "{reused}");
    assert_eq!((heard, kept), (alone, 2));
}

#[test]
fn what_could_never_have_room_is_refused_and_the_rest_waits_its_turn() {
    let model = &MODELS[2];
    let page = model.decoder.cache_bytes(PAGE);
    let options = BatchOptions { most: 4, cache_bytes: 3 * page };
    let mut batch = Batch::new(model, options);
    let error = batch.join(1, ask("hello", 150, None)).unwrap_err();
    assert!(matches!(error, ModelError::CacheTooSmall { needed, limit, .. } if needed > limit), "{error}");
    assert!(error.to_string().contains("workers.cache_bytes"), "{error}");
    assert!(matches!(batch.join(1, ask(" ", 1, None)), Err(ModelError::PromptEmpty)));
    for job in 0..3 {
        batch.join(job, ask("hello", 40, Some("ada"))).unwrap();
    }
    let hooks = BatchHooks { left: &|_| false, now: &still };
    let mut order = vec![];
    while !batch.is_idle() {
        batch.step(&hooks, &mut |job, said| order.extend(matches!(said, Said::Ended(_)).then_some(job)));
        assert!(batch.state().running <= 1, "two pages each");
    }
    assert_eq!(order, [0, 1, 2]);
    assert!(batch.state().prefix_bytes <= 3 * page);
}

#[test]
fn a_damaged_model_fails_each_request_by_itself() {
    let broken = model(3, |writer| writer.tensor_f32("output_norm.weight", &[64], &[f32::NAN; 64]));
    let mut batch = Batch::new(&broken, plenty(2));
    batch.join(7, ask("hello", 4, None)).unwrap();
    let mut said = vec![];
    batch.step(&BatchHooks { left: &|_| false, now: &still }, &mut |job, word| said.push((job, word)));
    assert!(matches!(&said[..], [(7, Said::Failed(why))] if why.contains("not finite")), "{said:?}");
    assert!(batch.is_idle());
}

#[test]
fn when_all_have_left_a_step_ends_between_layers() {
    let model = &MODELS[0];
    let mut batch = Batch::new(model, plenty(2));
    batch.join(1, ask("hello", 4, None)).unwrap();
    let asked = std::cell::Cell::new(0);
    let left = |_: u64| {
        asked.set(asked.get() + 1);
        asked.get() > 2
    };
    batch.step(&BatchHooks { left: &left, now: &still }, &mut |_, said| panic!("{said:?}"));
    batch.step(&BatchHooks { left: &|_| true, now: &still }, &mut |_, said| panic!("{said:?}"));
    assert!(batch.is_idle());
}
