//! The models of this repository, against what their training code computed for the same bytes (`golden.json` beside each).
//!
//! A checkout without the models, or a machine without ONNX Runtime, cannot run these; each then says so and why.

use ouro_common::container::Manifest;
use ouro_engine::deferral::{Feature, Rule};
use ouro_engine::language_model::{FirstPassOptions, GenerateOptions, Hooks, LanguageModel};
use ouro_engine::onnx::{OnnxModel, OnnxRuntime, Search, standard_directories};
use ouro_engine::sampling::Sampling;
use serde_json::Value;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

const HOOKS: Hooks<'static> = Hooks { cancel: &|| false, now: &|| Duration::ZERO };

fn models() -> PathBuf {
    let models = std::env::var_os("OURO_TEST_MODELS").map(PathBuf::from);
    models.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../models"))
}

#[expect(clippy::print_stderr, reason = "a test that cannot run must say so")]
fn golden(directory: &str) -> Option<Value> {
    let path = models().join(directory).join("golden.json");
    match std::fs::read(&path) {
        Ok(bytes) => Some(serde_json::from_slice(&bytes).unwrap()),
        Err(error) => {
            eprintln!("skipped: {}: {error}", path.display());
            None
        }
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect()
}

#[test]
fn first_pass_tiny_answers_as_its_training_code_does() {
    let Some(golden) = golden("first-pass-tiny") else { return };
    let model = LanguageModel::open(&models().join("first-pass-tiny").join(golden["model"].as_str().unwrap())).unwrap();
    let max_tokens = usize::try_from(golden["max_answer_tokens"].as_u64().unwrap()).unwrap();
    let options = GenerateOptions { max_tokens, sampling: Sampling::GREEDY };
    let cases = golden["cases"].as_array().unwrap();
    assert!(cases.len() >= 10 && cases.iter().any(|case| case["stable"] == true));
    for case in cases {
        let prompt = case["prompt"].as_str().unwrap();
        assert_eq!(model.tokenizer().encode_chat(prompt).unwrap(), ids(&case["prompt_ids"]), "{prompt}");
        let answer = model.generate(prompt, &options, &HOOKS, &mut |_| ControlFlow::Continue(())).unwrap();
        // Where two tokens nearly tie, the choice is not comparable; its beginning still is.
        let expected = ids(&case["answer_ids"]);
        if case["stable"] == true {
            assert_eq!(answer.tokens, expected, "{prompt}");
            assert_eq!(answer.text.trim(), case["answer"].as_str().unwrap().trim(), "{prompt}");
        }
        let same = answer.tokens.iter().zip(&expected).take_while(|(a, b)| a == b).count();
        for (found, expected) in answer.logprobs.iter().zip(numbers(&case["log_probs"])).take(same) {
            assert!((found - expected).abs() < 2e-2, "{prompt}: {found} instead of {expected}");
        }
    }
}

#[test]
fn first_pass_tiny_answers_what_it_knows_and_offloads_the_rest() {
    let Some(golden) = golden("first-pass-tiny") else { return };
    let directory = models().join("first-pass-tiny");
    let model = LanguageModel::open(&directory.join(golden["model"].as_str().unwrap())).unwrap();
    let evaluation: Value = serde_json::from_slice(&std::fs::read(directory.join("evaluation.json")).unwrap()).unwrap();
    let threshold = evaluation["decision"]["threshold"].as_f64().unwrap();
    let rule = Rule { feature: Feature::MinLogprob, threshold, ..Rule::default() };
    let generate = GenerateOptions { max_tokens: 16, sampling: Sampling::GREEDY };
    let (mut answered, mut offloaded) = (0, 0);
    for case in golden["cases"].as_array().unwrap().iter().filter(|case| case["stable"] == true) {
        let expected = numbers(&case["log_probs"]).into_iter().fold(0.0, f64::min) >= threshold;
        let mut shown = String::new();
        let show = &mut |text: &str| {
            shown.push_str(text);
            ControlFlow::Continue(())
        };
        let prompt = case["prompt"].as_str().unwrap();
        let pass = model.first_pass(prompt, &FirstPassOptions { generate, rule }, &HOOKS, show).unwrap();
        assert_eq!(pass.report.answered, expected, "{prompt}: {}", pass.report.why);
        assert_eq!(shown.is_empty(), !expected, "{prompt}");
        if expected { answered += 1 } else { offloaded += 1 }
    }
    assert!(answered > 0, "{answered} answered, {offloaded} offloaded");
    let outlier = model
        .first_pass("Write an essay about the sea.", &FirstPassOptions { generate, rule }, &HOOKS, &mut |_| panic!("shown"))
        .unwrap();
    assert!(!outlier.report.answered && outlier.report.partial.is_some());
}

fn runtime() -> Option<OnnxRuntime> {
    let mut directories = standard_directories(Path::new("/"), std::env::var_os("HOME").as_deref().map(Path::new));
    directories.extend(std::env::var_os("VIRTUAL_ENV").map(|venv| PathBuf::from(venv).join("lib/python3.11/site-packages")));
    let search = Search { configured: std::env::var_os("OURO_TEST_ORT").map(PathBuf::from), directories, ..Search::default() };
    report(OnnxRuntime::load(&search))
}

#[expect(clippy::print_stderr, reason = "a test that cannot run must say so")]
fn report<T, E: std::fmt::Display>(result: Result<T, E>) -> Option<T> {
    result.inspect_err(|reason| eprintln!("skipped: {reason}")).ok()
}

#[test]
fn langid_answers_as_its_training_code_does() {
    let (Some(golden), Some(runtime)) = (golden("containers/langid"), runtime()) else {
        return;
    };
    let directory = models().join("containers/langid");
    let manifest = Manifest::from_toml(&std::fs::read_to_string(directory.join("container.toml")).unwrap()).unwrap();
    let path = directory.join(manifest.model_file());
    let mut model = OnnxModel::open(&runtime, &path, manifest.tensors.as_ref().unwrap(), 1).unwrap();
    let cases = golden.as_array().unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let text = case["text"].as_str().unwrap();
        let answer: Value = serde_json::from_slice(&model.run(text.as_bytes()).unwrap()).unwrap();
        assert_eq!(answer["language"], case["language"], "{text}");
        let mut pairs = vec![(&answer["confidence"], &case["confidence"])];
        let alternatives = answer["alternatives"].as_array().unwrap().iter().zip(case["alternatives"].as_array().unwrap());
        pairs.extend(alternatives.map(|(found, expected)| (&found["confidence"], &expected["confidence"])));
        for (found, expected) in pairs {
            assert!((found.as_f64().unwrap() - expected.as_f64().unwrap()).abs() < 1e-4, "{text}: {found} {expected}");
        }
    }
}

/// A shipped container's model, and what its manifest declares.
fn container(runtime: &OnnxRuntime, name: &str) -> OnnxModel {
    let directory = models().join("containers").join(name);
    let manifest = Manifest::from_toml(&std::fs::read_to_string(directory.join("container.toml")).unwrap()).unwrap();
    let path = directory.join(manifest.model_file());
    OnnxModel::open(runtime, &path, manifest.tensors.as_ref().unwrap(), 1).unwrap()
}

/// The same label, and confidences that differ by rounding only.
fn assert_same(answer: &[u8], expected: &Value, key: &str, what: &str) {
    let answer: Value = serde_json::from_slice(answer).unwrap();
    assert_eq!(answer[key], expected[key], "{what}");
    let confidence = |of: &Value| of["confidence"].as_f64().unwrap();
    assert!((confidence(&answer) - confidence(expected)).abs() < 1e-4, "{what}: {answer} instead of {expected}");
}

#[test]
fn sentiment_answers_as_its_training_code_does() {
    let (Some(golden), Some(runtime)) = (golden("containers/sentiment"), runtime()) else {
        return;
    };
    let mut model = container(&runtime, "sentiment");
    let cases = golden.as_array().unwrap();
    assert!(cases.len() >= 10);
    for case in cases {
        let text = case["text"].as_str().unwrap();
        assert_same(&model.run(text.as_bytes()).unwrap(), case, "sentiment", text);
    }
}

#[test]
fn digits_answers_as_its_training_code_does() {
    let (Some(golden), Some(runtime)) = (golden("containers/digits"), runtime()) else {
        return;
    };
    let mut model = container(&runtime, "digits");
    let cases = golden.as_array().unwrap();
    assert!(cases.len() >= 3);
    for case in cases {
        let image = case["image"].as_str().unwrap();
        let png = std::fs::read(models().join("containers/digits").join(image)).unwrap();
        assert_same(&model.run(&png).unwrap(), case, "digit", image);
    }
    let error = model.run(b"not an image").unwrap_err();
    assert!(error.is_invalid_input(), "{error}");
}
