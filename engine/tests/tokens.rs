//! Tokens against transformers: a thousand texts in ten scripts and more, with five kinds of tokenizers, each read from a GGUF
//! file and from `tokenizer.json`.
//!
//! `parity/tokens.py` wrote `parity/tokens`: the tokenizers, the texts, and the ids that transformers gives them.

use data_encoding::BASE64;
use ouro_engine::gguf::Gguf;
use ouro_engine::tokens::Tokenizer;
use serde_json::Value;
use std::path::{Path, PathBuf};

const KINDS: [&str; 5] = ["llama", "llama-bpe", "qwen2", "gpt-2", "gpt-4o"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/tokens")
}

fn texts() -> Vec<Value> {
    let lines = std::fs::read_to_string(folder().join("texts.jsonl")).unwrap();
    // Only `\n` ends a line here: texts have other separators in them.
    lines.split_terminator('\n').map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The ids, 16 bits each.
fn ids(text: &Value, kind: &str) -> Vec<u32> {
    let bytes = BASE64.decode(text[kind].as_str().unwrap().as_bytes()).unwrap();
    bytes.chunks(2).map(|pair| u32::from(u16::from_le_bytes([pair[0], pair[1]]))).collect()
}

fn tokenizers(kind: &str) -> [(&'static str, Tokenizer); 2] {
    let folder = folder().join(kind);
    let file = Gguf::open(&folder.join("tokens.gguf")).unwrap();
    [
        ("tokens.gguf", Tokenizer::from_gguf(&file).unwrap()),
        ("tokenizer.json", Tokenizer::from_folder(&folder).unwrap()),
    ]
}

#[test]
fn a_thousand_texts_become_the_tokens_that_transformers_makes_of_them() {
    let texts = texts();
    assert!(texts.len() >= 1000, "{}", texts.len());
    for kind in KINDS {
        for (source, tokenizer) in tokenizers(kind) {
            let mut tokens = 0;
            let mut wrong = vec![];
            for line in &texts {
                let text = line["text"].as_str().unwrap();
                let (found, expected) = (tokenizer.encode(text).unwrap(), ids(line, kind));
                tokens += expected.len();
                if found != expected {
                    wrong.push(format!("{text:?}: {found:?} instead of {expected:?}"));
                }
            }
            assert!(
                wrong.is_empty(),
                "{kind}, {source}: {} of {} differ; {}",
                wrong.len(),
                texts.len(),
                wrong[..wrong.len().min(3)].join("\n")
            );
            assert!(tokens > 20_000, "{kind}: {tokens}");
        }
    }
}

/// What was encoded comes out again, token by token; Qwen composes characters first, so only what it made is compared.
#[test]
fn tokens_become_the_texts_they_were_made_of() {
    for kind in KINDS {
        for (source, tokenizer) in tokenizers(kind) {
            let decoded = |ids: &[u32]| {
                let mut stream = tokenizer.text_stream();
                let mut text: String = ids.iter().map(|&id| stream.push(id)).collect();
                text.push_str(&stream.finish());
                text
            };
            for line in &texts() {
                let text = line["text"].as_str().unwrap();
                let once = decoded(&ids(line, kind));
                match kind {
                    // `▁` in a text and a space are the same piece.
                    "llama" => assert_eq!(once, text.replace('▁', " "), "{source}"),
                    "qwen2" => assert_eq!(decoded(&tokenizer.encode(&once).unwrap()), once, "{source}"),
                    _ => assert_eq!(once, text, "{kind}, {source}"),
                }
            }
        }
    }
}
