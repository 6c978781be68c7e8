//! `ouro-agent run-model` and `bench` on the real program and the model of this repository.

use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Output};

fn model() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../models/first-pass-tiny/first-pass-tiny.gguf")
}

fn agent(words: &[&str], file: &std::path::Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ouro-agent"));
    command.arg(words[0]).arg(file).args(&words[1..]).output().unwrap()
}

#[test]
fn a_prompt_is_answered_and_each_token_has_its_probability() {
    let answer = agent(&["run-model", "What is the capital of France?"], &model());
    assert_eq!(String::from_utf8_lossy(&answer.stdout).trim(), "Paris", "{answer:?}");
    let tokens = agent(&["run-model", "What is the capital of France?", "--logprobs", "-t", "1"], &model());
    let tokens: Vec<Value> = String::from_utf8(tokens.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let text: String = tokens.iter().map(|token| token["text"].as_str().unwrap()).collect();
    assert_eq!(text.trim(), "Paris");
    assert!(tokens.iter().all(|token| token["logprob"].as_f64().is_some_and(|p| p <= 0.0)), "{tokens:?}");
}

#[test]
fn a_measurement_has_all_its_figures() {
    let made = agent(&["bench", "-p", "32", "-n", "4", "-r", "1", "-t", "1", "--output", "json"], &model());
    let figures: Value = serde_json::from_slice(&made.stdout).unwrap();
    for figure in [
        &figures["prefill"]["per_s"],
        &figures["prefill"]["per_cpu_s"],
        &figures["decode"]["per_s"],
        &figures["first_token_s"],
    ] {
        assert!(figure.as_f64().is_some_and(|n| n > 0.0), "{figures}");
    }
    assert_eq!((figures["threads"].as_u64(), figures["prompt_tokens"].as_u64()), (Some(1), Some(32)));
    assert_eq!(figures["file_bytes"].as_u64(), Some(std::fs::metadata(model()).unwrap().len()));
}

#[test]
fn what_is_no_model_is_named_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("no-model.gguf");
    std::fs::write(&file, b"GGUF but not really").unwrap();
    for words in [&["run-model", "hello"][..], &["bench"]] {
        let refused = agent(words, &file);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && refused.stdout.is_empty(), "{said}");
        assert!(said.matches("no-model.gguf").count() == 1 && said.contains("OB"), "{said}");
    }
}
