//! The model of this repository, written as a folder of SafeTensors: it answers as its GGUF file does.

use ouro_engine::language_model::{GenerateOptions, Hooks, LanguageModel};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

#[path = "folder/published.rs"]
mod published;

const HOOKS: Hooks<'static> = Hooks { cancel: &|| false, now: &|| Duration::ZERO };

#[test]
fn a_folder_answers_as_the_file_it_was_made_from() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/first-pass-tiny/first-pass-tiny.gguf");
    let folder = tempfile::tempdir().unwrap();
    published::write(&path, folder.path());
    let (one, other) = (LanguageModel::open(&path).unwrap(), LanguageModel::open(folder.path()).unwrap());
    let options = GenerateOptions { max_tokens: 16, ..GenerateOptions::default() };
    for (prompt, known) in [
        ("What is the capital of France?", "Paris"),
        ("what is 17 + 25?", "42"),
        ("12 times 7", "84"),
        ("Grüße an 東京!", ""),
    ] {
        let answer = |model: &LanguageModel| model.generate(prompt, &options, &HOOKS, &mut |_| ControlFlow::Continue(())).unwrap();
        let (one, other) = (answer(&one), answer(&other));
        assert_eq!(one.prompt_tokens, other.prompt_tokens, "{prompt}");
        assert_eq!(one.text, other.text, "{prompt}");
        assert!(one.text.trim() == known || known.is_empty(), "{}", one.text);
        for (a, b) in one.logprobs.iter().zip(&other.logprobs) {
            assert!((a - b).abs() < 1e-3, "{prompt}: {a} {b}");
        }
    }
}
