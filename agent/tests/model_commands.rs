//! `ouro-agent run-model` and `bench` on the real program and the model of this repository.

use ouro_agent::runtimes::local_model::LocalModel;
use ouro_agent::workers::protocol::{AttemptOrder, Word};
use ouro_engine::deferral::Wish;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

#[path = "../../engine/tests/folder/published.rs"]
mod published;

fn model() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../models/first-pass-tiny/first-pass-tiny.gguf")
}

fn agent(words: &[&str], file: &Path) -> Output {
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
    let made = agent(&["bench", "-p", "32", "-n", "4", "-r", "1", "-t", "1", "--batch", "2,3", "--output", "json"], &model());
    let figures: Value = serde_json::from_slice(&made.stdout).unwrap();
    for figure in [
        &figures["prefill"]["per_s"],
        &figures["prefill"]["per_cpu_s"],
        &figures["decode"]["per_s"],
        &figures["first_token_s"],
    ] {
        assert!(figure.as_f64().is_some_and(|n| n > 0.0), "{figures}");
    }
    for (index, size) in [2, 3].into_iter().enumerate() {
        let batch = &figures["batches"][index];
        assert_eq!(batch["sequences"].as_u64(), Some(size));
        assert!(batch["decode"]["per_s"].as_f64().is_some_and(|n| n > 0.0), "{figures}");
    }
    assert_eq!((figures["threads"].as_u64(), figures["prompt_tokens"].as_u64()), (Some(1), Some(32)));
    assert_eq!(figures["file_bytes"].as_u64(), Some(std::fs::metadata(model()).unwrap().len()));
}

/// The model of this repository against prompts it was made for and prompts it was not, some of each.
#[test]
fn doubts_are_evaluated_beside_length_and_chance() {
    let models = model().parent().unwrap().to_path_buf();
    let some = |name: &str| -> String {
        let text = std::fs::read_to_string(models.join(name)).unwrap();
        text.lines().step_by(20).map(|line| format!("{line}\n")).collect()
    };
    let folder = tempfile::tempdir().unwrap();
    let prompts = folder.path().join("prompts.jsonl");
    std::fs::write(&prompts, some("heldout.jsonl") + &some("outliers.jsonl")).unwrap();
    let file = model();
    let evaluate = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ouro-agent"));
        command
            .args(["first-pass", "eval"])
            .arg(&prompts)
            .arg("--model")
            .arg(&file)
            .args(["-n", "16"])
            .args(more)
            .output()
            .unwrap()
    };
    let json = evaluate(&["--output", "json"]);
    let report: Value = serde_json::from_slice(&json.stdout).unwrap_or_else(|_| panic!("{json:?}"));
    let curve = |by: &str| report["curves"].as_array().unwrap().iter().find(|curve| curve["by"] == by).unwrap().clone();
    let (own, chance) = (curve("min_logprob"), curve("random"));
    assert!(own["auroc"].as_f64().unwrap() > 0.9, "{report}");
    assert_eq!(chance["auroc"].as_f64(), Some(0.5));
    assert!(own["mean_risk"].as_f64() < chance["mean_risk"].as_f64(), "{report}");
    assert!(curve("prompt_length")["auroc"].is_number());
    assert_eq!(evaluate(&["--output", "json"]).stdout, json.stdout, "the same bytes give the same decision");
    let table = String::from_utf8(evaluate(&["--risk", "0"]).stdout).unwrap();
    assert!(table.contains("AUROC") && table.contains("for a risk of at most 0.0 %"), "{table}");
    let calibration = folder.path().join("calibration.json");
    assert!(evaluate(&["--save", calibration.to_str().unwrap()]).status.success());
    doubts_follow_a_calibration(&file, &calibration);
    std::fs::write(&prompts, "{\"prompt\": 3}\n").unwrap();
    let refused = String::from_utf8(evaluate(&[]).stderr).unwrap();
    assert!(refused.contains("prompts.jsonl, line 1") && refused.contains("OB"), "{refused}");
}

/// The first pass takes its threshold from what was found, for this model and this engine alone.
fn doubts_follow_a_calibration(model: &Path, calibration: &Path) {
    let attempt = |calibration: &Path, wish: Option<Wish>| {
        let mut opened = LocalModel::open(model, Some(calibration), None).unwrap();
        let prompt = "What is the capital of France?".to_string();
        let order = AttemptOrder { prompt, inputs: 0, max_tokens: 16, budget_ms: 600_000, feature: None, threshold: None, wish };
        match opened.attempt(&order, &mut |_| {}).unwrap() {
            Word::Attempted { report, .. } => *report,
            other => panic!("{other:?}"),
        }
    };
    let kept = attempt(calibration, Some(Wish::Risk(0.05)));
    assert!(kept.answered && kept.calibration.as_ref().is_some_and(|c| c.contains("graded prompts")), "{kept:?}");
    let none = attempt(calibration, Some(Wish::Share(0.0)));
    assert!(!none.answered || none.threshold >= kept.threshold, "who keeps least is strictest: {none:?}");
    assert_eq!(attempt(calibration, None).calibration, None, "without a wish the model's own rule holds");
    let mut other: Value = serde_json::from_slice(&std::fs::read(calibration).unwrap()).unwrap();
    other["key"]["engine"] = "ouro-engine 0.0.1+1".into();
    let path = calibration.with_file_name("other.json");
    std::fs::write(&path, other.to_string()).unwrap();
    let fallen_back = attempt(&path, Some(Wish::Share(0.0)));
    assert!(fallen_back.answered && fallen_back.calibration.unwrap().contains("not used: the calibration is of the engine"));
    std::fs::write(&path, "{").unwrap();
    assert!(attempt(&path, None).calibration.unwrap().contains("is no calibration"));
}

#[test]
fn an_empty_prompt_is_refused() {
    for prompt in ["", "  "] {
        let refused = agent(&["run-model", prompt], &model());
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && refused.stdout.is_empty() && said.contains("the prompt is empty"), "{said}");
    }
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

#[test]
fn an_answer_is_held_to_a_schema() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    };
    let schema = write(
        "schema.json",
        r#"{"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"], "additionalProperties": false}"#,
    );
    let ask = |schema: &str, more: &[&str]| {
        let words = [&["run-model", "What is the capital of France?", "--json-schema", schema], more].concat();
        agent(&words, &model())
    };
    let answer = ask(&schema, &[]);
    let value: Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert!(["Paris", "Rome"].contains(&value["city"].as_str().unwrap()), "{value}");
    assert!(
        answer.status.success() && String::from_utf8_lossy(&answer.stderr).contains("Phi3, GGUF, 1 file"),
        "{answer:?}"
    );

    let cut = ask(&schema, &["-n", "2"]);
    assert!(!cut.status.success() && String::from_utf8_lossy(&cut.stderr).contains("cut off after 2 tokens"), "{cut:?}");
    for (text, words) in [("{", "is no JSON"), ("7", "expected an object"), (r#"{"type": "mood"}"#, "mood")] {
        let refused = ask(&write("bad.json", text), &[]);
        assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains(words), "{refused:?}");
        assert!(refused.stdout.is_empty(), "{refused:?}");
    }
}

#[test]
fn a_folder_that_is_no_model_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let refused = agent(&["run-model", "hello"], folder.path());
    assert!(
        !refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("config.json: file: it is missing"),
        "{refused:?}"
    );
}

/// What works with a GGUF file works with a folder as Hugging Face publishes them.
#[test]
fn a_folder_is_asked_measured_and_evaluated_like_a_file() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("tiny");
    std::fs::create_dir(&folder).unwrap();
    published::write(&model(), &folder);
    let answer = agent(&["run-model", "What is the capital of France?"], &folder);
    assert_eq!(String::from_utf8_lossy(&answer.stdout).trim(), "Paris", "{answer:?}");
    assert!(String::from_utf8_lossy(&answer.stderr).contains("SafeTensors, 1 file"), "{answer:?}");
    let made = agent(&["bench", "-p", "8", "-n", "2", "-r", "1", "-t", "1", "--output", "json"], &folder);
    let figures: Value = serde_json::from_slice(&made.stdout).unwrap_or_else(|_| panic!("{made:?}"));
    assert_eq!(figures["file_bytes"].as_u64(), Some(std::fs::metadata(folder.join("model.safetensors")).unwrap().len()));
    assert!(figures["decode"]["per_s"].as_f64().is_some_and(|n| n > 0.0), "{figures}");
    let (prompts, calibration) = (place.path().join("p.jsonl"), place.path().join("c.json"));
    std::fs::write(&prompts, "{\"prompt\": \"What is the capital of France?\", \"answer\": \"Paris\"}\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ouro-agent"));
    command.args(["first-pass", "eval"]).arg(&prompts).arg("--model").arg(&folder).arg("--save").arg(&calibration);
    let evaluated = command.args(["--output", "json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&evaluated.stdout).unwrap_or_else(|_| panic!("{evaluated:?}"));
    assert_eq!((report["right"].as_u64(), report["prompts"].as_u64()), (Some(1), Some(1)));
    let opened = |digests| LocalModel::open(&folder, Some(&calibration), digests).unwrap();
    let order = |wish| AttemptOrder {
        prompt: "What is the capital of France?".into(),
        inputs: 0,
        max_tokens: 16,
        budget_ms: 600_000,
        feature: None,
        threshold: None,
        wish,
    };
    let Word::Attempted { report: kept, text } = opened(None).attempt(&order(Some(Wish::Share(1.0))), &mut |_| {}).unwrap() else {
        panic!("no report")
    };
    assert_eq!(
        (text.trim(), kept.model.map(|digest| digest.to_string())),
        ("Paris", report["key"]["model"].as_str().map(String::from))
    );
    assert!(kept.calibration.is_some_and(|word| word.contains("1 graded")), "the calibration is the folder's");
}
