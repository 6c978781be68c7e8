//! The tokens of a model: their texts, kinds and scores, as the GGUF file lists them.

use crate::gguf::{Gguf, GgufError, GgufProblem};
use std::collections::HashMap;

/// What a token is for; the numbers are those of `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A piece of text.
    Normal,
    /// Stands for what cannot be encoded.
    Unknown,
    /// Structure: start, end, roles. Never part of a text.
    Control,
    /// Added by the model's makers; treated as structure here.
    UserDefined,
    /// Not in use.
    Unused,
    /// One byte, like `<0x0A>`.
    Byte,
}

impl TokenKind {
    fn from_number(number: i32) -> Option<Self> {
        Some(match number {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => return None,
        })
    }
}

/// The texts and kinds of all tokens; the index is the token's id.
#[derive(Debug)]
pub(super) struct Vocabulary {
    pub(super) texts: Vec<String>,
    pub(super) kinds: Vec<TokenKind>,
    /// Normal pieces only: what a person's text may turn into.
    pieces: HashMap<String, u32>,
    /// Control and user-defined tokens: what a template may name.
    controls: HashMap<String, u32>,
}

impl Vocabulary {
    pub(super) fn from_gguf(file: &Gguf) -> Result<Self, GgufError> {
        let key = "tokenizer.ggml.tokens";
        let texts = file.strings(key)?.ok_or_else(|| file.error(key, GgufProblem::Missing))?;
        if texts.is_empty() || u32::try_from(texts.len()).is_err() {
            let expected = "a vocabulary has 1 to 4294967295 tokens".into();
            return Err(file.error(key, GgufProblem::OutOfRange { value: texts.len().to_string(), expected }));
        }
        let kinds = Self::kinds(file, &texts)?;
        Ok(Self::new(texts.into_iter().map(String::from).collect(), kinds))
    }

    /// A vocabulary of as many kinds as texts.
    pub(super) fn new(texts: Vec<String>, kinds: Vec<TokenKind>) -> Self {
        let mut pieces = HashMap::with_capacity(texts.len());
        let mut controls = HashMap::new();
        for (id, (text, kind)) in (0_u32..).zip(texts.iter().zip(&kinds)) {
            match kind {
                TokenKind::Normal => _ = pieces.entry(text.clone()).or_insert(id),
                TokenKind::Control | TokenKind::UserDefined => _ = controls.entry(text.clone()).or_insert(id),
                TokenKind::Unknown | TokenKind::Unused | TokenKind::Byte => {}
            }
        }
        Self { texts, kinds, pieces, controls }
    }

    /// The kinds the file lists; without a list, what stands in `<|…|>` is structure, `<0x41>` a byte, the rest text.
    fn kinds(file: &Gguf, texts: &[&str]) -> Result<Vec<TokenKind>, GgufError> {
        let key = "tokenizer.ggml.token_type";
        let refuse = |value: String, expected: String| file.error(key, GgufProblem::OutOfRange { value, expected });
        let Some(numbers) = file.i32s(key)? else {
            return Ok(texts.iter().map(|text| Self::guess(text)).collect());
        };
        if numbers.len() != texts.len() {
            return Err(refuse(format!("{} kinds", numbers.len()), format!("there are {} tokens", texts.len())));
        }
        let known = |number: &i32| TokenKind::from_number(*number).ok_or_else(|| refuse(number.to_string(), "the kinds are 1 to 6".into()));
        numbers.iter().map(known).collect()
    }

    fn guess(text: &str) -> TokenKind {
        match text {
            "<s>" | "</s>" => TokenKind::Control,
            "<unk>" => TokenKind::Unknown,
            _ if byte_of(text).is_some() => TokenKind::Byte,
            _ if text.starts_with("<|") && text.ends_with("|>") => TokenKind::Control,
            _ => TokenKind::Normal,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    /// The normal token with this text.
    pub(super) fn piece(&self, text: &str) -> Option<u32> {
        self.pieces.get(text).copied()
    }

    /// All normal tokens.
    pub(super) fn pieces(&self) -> impl Iterator<Item = (&str, u32)> {
        self.pieces.iter().map(|(text, id)| (text.as_str(), *id))
    }

    /// The control token with this text.
    pub(super) fn control(&self, text: &str) -> Option<u32> {
        self.controls.get(text).copied()
    }

    /// The text and kind of a token.
    pub(super) fn get(&self, id: u32) -> Option<(&str, TokenKind)> {
        let index = id as usize;
        Some((self.texts.get(index)?, *self.kinds.get(index)?))
    }
}

/// The byte that a token like `<0x0A>` stands for.
pub(super) fn byte_of(text: &str) -> Option<u8> {
    let hex = text.strip_prefix("<0x")?.strip_suffix('>')?;
    if hex.len() == 2 { u8::from_str_radix(hex, 16).ok() } else { None }
}
