//! The tokenizer of a folder: `tokenizer.json`, as the Hugging Face library writes it.
//!
//! Its steps are that library's own, taken one by one: only kinds that language models use, each of which works on any text.
//! Tokens that were added to the vocabulary are not among the steps, so that text a person typed can never produce one.

use super::TokenizerError;
use super::vocabulary::{TokenKind, Vocabulary, byte_of};
use crate::safetensors::{CheckpointError, CheckpointProblem, Document};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use tokenizers::models::bpe::BPE;
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper, Tokenizer as Pipeline};

/// Larger than any tokenizer.
const MAX_BYTES: u64 = 128 << 20;
/// Longer than any template.
const MAX_TEMPLATE_BYTES: u64 = 1 << 20;
const NORMALIZERS: [&str; 5] = ["Sequence", "Prepend", "Replace", "NFC", "NFKC"];
const PRE_TOKENIZERS: [&str; 5] = ["Sequence", "Split", "ByteLevel", "Metaspace", "Digits"];

/// How a folder's tokens become text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// A character for each byte.
    Bytes,
    /// Text with `▁` for spaces, and byte tokens.
    Pieces,
}

/// The steps of a folder's tokenizer.
pub(super) struct Steps {
    pub(super) spelling: Spelling,
    /// For a text's beginning, and for what follows a control token.
    first: Pipeline,
    later: Option<Pipeline>,
    /// Whether a text's first token begins with a space that is not the text's.
    pub(super) adds_space: bool,
}

/// All of a folder that concerns tokens.
pub(super) struct Published {
    pub(super) steps: Steps,
    pub(super) vocabulary: Vocabulary,
    /// The tokens before everything else.
    pub(super) start: Vec<u32>,
    /// Tokens that end an answer.
    pub(super) stops: BTreeSet<u32>,
    pub(super) template: String,
    /// Whether white space after the tokens of roles belongs to them.
    pub(super) strips: bool,
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    content: String,
    #[serde(default)]
    special: bool,
    #[serde(default)]
    rstrip: bool,
}

impl Published {
    pub(super) fn read(folder: &Path) -> Result<Self, TokenizerError> {
        let file = Document::read(&folder.join("tokenizer.json"), MAX_BYTES)?;
        let model = file.section("model")?.ok_or_else(|| file.error("model", CheckpointProblem::Missing))?;
        let kind = model.text("type")?.unwrap_or("BPE");
        if kind != "BPE" {
            return Ok(model.refuse("type", kind, "only BPE is supported")?);
        }
        let steps = Steps::read(&file, &model)?;
        let added: Vec<Added> = match file.get("added_tokens") {
            Some(list) => Vec::deserialize(list).map_err(|e| file.error("added_tokens", e.into()))?,
            None => vec![],
        };
        let vocabulary = vocabulary(&model, &added, steps.spelling)?;
        let start = start(&file, &vocabulary);
        let mut stops = BTreeSet::new();
        for name in ["generation_config.json", "config.json"] {
            stops.extend(ends(&folder.join(name), &vocabulary)?);
        }
        let strips = added.iter().any(|token| token.content == "<|user|>" && token.rstrip);
        Ok(Self { steps, vocabulary, start, stops, template: template(folder)?, strips })
    }
}

/// All `type`s in a description of steps.
fn kinds(value: &Value) -> Vec<&str> {
    let nested = |key: &str| value.get(key).and_then(Value::as_array).into_iter().flatten().flat_map(kinds);
    let own = value.get("type").and_then(Value::as_str);
    own.into_iter().chain(nested("normalizers")).chain(nested("pretokenizers")).collect()
}

/// The description of steps under a key, if all of them are of the kinds that are supported.
fn described<'f>(file: &'f Document, key: &str, supported: &[&str]) -> Result<Option<&'f Value>, CheckpointError> {
    let Some(value) = file.get(key) else { return Ok(None) };
    match kinds(value).into_iter().find(|kind| !supported.contains(kind)) {
        Some(other) => file.refuse(key, other, format!("only {} are supported", supported.join(", "))),
        None => Ok(Some(value)),
    }
}

impl Steps {
    fn read(file: &Document, model: &Document) -> Result<Self, CheckpointError> {
        let normalizer = described(file, "normalizer", &NORMALIZERS)?;
        let pre_tokenizer = described(file, "pre_tokenizer", &PRE_TOKENIZERS)?;
        let spelling = if pre_tokenizer.is_some_and(|steps| kinds(steps).contains(&"ByteLevel")) {
            Spelling::Bytes
        } else {
            Spelling::Pieces
        };
        for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
            if model.text(key)?.is_some_and(|text| !text.is_empty()) {
                return model.refuse(key, "a text", "it is not supported");
            }
        }
        if spelling == Spelling::Pieces && model.boolean("byte_fallback")? != Some(true) {
            return model.refuse("byte_fallback", false, "without it some texts could not be encoded");
        }
        let build = |pre_tokenizer: Option<&Value>| -> Result<Pipeline, CheckpointError> {
            let mut own = file.get("model").cloned().unwrap_or_default();
            if let Some(keys) = own.as_object_mut() {
                keys.retain(|key, _| key != "dropout");
                keys.insert("type".into(), json!("BPE"));
            }
            let model: BPE = parsed(file, "model", &own)?;
            let mut pipeline = Pipeline::new(model);
            if let Some(steps) = normalizer {
                let steps: NormalizerWrapper = parsed(file, "normalizer", steps)?;
                pipeline
                    .with_normalizer(Some(steps))
                    .or_else(|e| file.refuse("normalizer", e, "it must fit the vocabulary"))?;
            }
            if let Some(steps) = pre_tokenizer {
                let steps: PreTokenizerWrapper = parsed(file, "pre_tokenizer", steps)?;
                pipeline.with_pre_tokenizer(Some(steps));
            }
            Ok(pipeline)
        };
        let later = pre_tokenizer.and_then(without_first_space);
        let later = later.as_ref().map(|steps| build(Some(steps))).transpose()?;
        let adds_space = [normalizer, pre_tokenizer].into_iter().flatten().any(adds_space);
        Ok(Self { spelling, first: build(pre_tokenizer)?, later, adds_space })
    }

    /// Whether pieces get a space before a text that nothing precedes, and before no other.
    pub(super) fn only_first_has_space(&self) -> bool {
        self.spelling == Spelling::Pieces && self.later.is_some()
    }

    /// The tokens of a text; `first` where nothing stands before it.
    pub(super) fn encode(&self, text: &str, first: bool) -> Result<Vec<u32>, TokenizerError> {
        let pipeline = if first { &self.first } else { self.later.as_ref().unwrap_or(&self.first) };
        let encoding = pipeline.encode_fast(text, false).map_err(|problem| TokenizerError::Encode { problem })?;
        Ok(encoding.get_ids().to_vec())
    }
}

/// A step as the library reads it: from text only.
fn parsed<T: DeserializeOwned>(file: &Document, key: &str, value: &Value) -> Result<T, CheckpointError> {
    serde_json::from_str(&value.to_string()).map_err(|e| file.error(key, e.into()))
}

/// The steps within a step.
fn within(step: &Value) -> impl Iterator<Item = &Value> {
    let list = |key: &str| step.get(key).and_then(Value::as_array).into_iter().flatten();
    list("normalizers").chain(list("pretokenizers"))
}

/// Whether a step puts a space before a text.
fn adds_space(step: &Value) -> bool {
    let says = |key: &str, value: bool| step.get(key).and_then(Value::as_bool) == Some(value);
    let own = match step.get("type").and_then(Value::as_str) {
        Some("Prepend") => true,
        Some("ByteLevel") => says("add_prefix_space", true),
        Some("Metaspace") => step.get("prepend_scheme").is_none_or(|scheme| scheme != "never") && !says("add_prefix_space", false),
        _ => false,
    };
    own || within(step).any(adds_space)
}

/// The steps for a text that is not the first, if they are others.
fn without_first_space(step: &Value) -> Option<Value> {
    let mut other = step.clone();
    if step.get("prepend_scheme").is_some_and(|scheme| scheme == "first") {
        *other.get_mut("prepend_scheme")? = json!("never");
        return Some(other);
    }
    let mut changed = false;
    for inner in other.get_mut("pretokenizers")?.as_array_mut()? {
        if let Some(without) = without_first_space(inner) {
            (*inner, changed) = (without, true);
        }
    }
    changed.then_some(other)
}

/// All tokens by their numbers; numbers that nothing has are not in use.
fn vocabulary(model: &Document, added: &[Added], spelling: Spelling) -> Result<Vocabulary, CheckpointError> {
    let Some(entries) = model.get("vocab").and_then(Value::as_object) else {
        return Err(model.error("vocab", CheckpointProblem::Missing));
    };
    let unknown = model.text("unk_token")?;
    let mut tokens: Vec<(u32, &str, TokenKind)> = vec![];
    for (text, id) in entries {
        let Some(id) = id.as_u64().and_then(|id| u32::try_from(id).ok()) else {
            return model.refuse("vocab", id, "the number of a token is a whole number");
        };
        let kind = match spelling {
            _ if Some(text.as_str()) == unknown => TokenKind::Unknown,
            Spelling::Pieces if byte_of(text).is_some() => TokenKind::Byte,
            _ => TokenKind::Normal,
        };
        tokens.push((id, text, kind));
    }
    for token in added {
        let kind = if token.special { TokenKind::Control } else { TokenKind::UserDefined };
        // The unknown token is listed among the special ones, but no template may name it.
        let kind = if Some(token.content.as_str()) == unknown { TokenKind::Unknown } else { kind };
        tokens.push((token.id, &token.content, kind));
    }
    let size = tokens.iter().map(|(id, ..)| *id as usize + 1).max().unwrap_or_default();
    if size == 0 || size > 4 * tokens.len() + 1024 {
        return model.refuse("vocab", format!("a highest number of {size}"), format!("there are {} tokens", tokens.len()));
    }
    let (mut texts, mut kinds) = (vec![String::new(); size], vec![TokenKind::Unused; size]);
    for (id, text, kind) in tokens {
        texts[id as usize] = text.to_string();
        kinds[id as usize] = kind;
    }
    Ok(Vocabulary::new(texts, kinds))
}

/// The control tokens that the post-processor's template puts before a text.
fn start(file: &Document, vocabulary: &Vocabulary) -> Vec<u32> {
    let Some(all) = file.get("post_processor") else { return vec![] };
    let nested = all.get("processors").and_then(Value::as_array).into_iter().flatten();
    let template = std::iter::once(all).chain(nested).find_map(|step| step.get("single")?.as_array());
    let text = |piece: &Value| piece.get("SpecialToken")?.get("id")?.as_str().map(String::from);
    let texts = template.into_iter().flatten().map_while(text);
    texts.filter_map(|text| vocabulary.control(&text)).collect()
}

/// The tokens that a file of settings names as the end; none if there is no such file.
fn ends(path: &Path, vocabulary: &Vocabulary) -> Result<Vec<u32>, CheckpointError> {
    if !path.exists() {
        return Ok(vec![]);
    }
    let file = Document::read(path, MAX_TEMPLATE_BYTES)?;
    let ids = match file.get("eos_token_id") {
        Some(Value::Array(ids)) => ids.iter().filter_map(Value::as_u64).collect(),
        Some(id) => id.as_u64().into_iter().collect(),
        None => vec![],
    };
    let known = |id: u64| u32::try_from(id).ok().filter(|&id| (id as usize) < vocabulary.len());
    Ok(ids.into_iter().filter_map(known).collect())
}

/// The folder's chat template, which tells Mistral's prompts apart; empty if it has none.
fn template(folder: &Path) -> Result<String, CheckpointError> {
    let settings = folder.join("tokenizer_config.json");
    if settings.exists()
        && let Some(Value::String(template)) = Document::read(&settings, 8 * MAX_TEMPLATE_BYTES)?.get("chat_template")
    {
        return Ok(template.clone());
    }
    let path = folder.join("chat_template.jinja");
    match std::fs::metadata(&path) {
        Ok(about) if about.is_file() && about.len() <= MAX_TEMPLATE_BYTES => {
            std::fs::read_to_string(&path).map_err(|e| CheckpointError::new(path.clone(), "file", CheckpointProblem::Io(e)))
        }
        _ => Ok(String::new()),
    }
}
