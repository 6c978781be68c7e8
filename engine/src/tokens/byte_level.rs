//! Byte-level BPE (`gpt2` in GGUF): text is cut into words by a pattern, and the words' bytes are merged by rank.

use super::TokenizerError;
use super::vocabulary::{TokenKind, Vocabulary};
use crate::gguf::{Gguf, GgufError, GgufProblem};
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel as ByteLevelWords;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{PreTokenizerWrapper, SplitDelimiterBehavior, Tokenizer as Pipeline};

/// The patterns of llama.cpp's `llama-vocab.cpp`, by the names that `tokenizer.ggml.pre` carries.
const GPT2: &[&str] = &[r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"];
const QWEN2: &[&str] = &[concat!(
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)];
const LLAMA3: &[&str] = &[concat!(
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)];
const GPT4O: &[&str] = &[concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)];
const DEFAULT: &[&str] = &[
    r"[\p{P}\$\+<=>\^~\|]+",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
    r"\p{N}+",
    r"[0-9][0-9][0-9]",
];
const PATTERNS: &[(&str, &[&str])] = &[
    ("qwen2", QWEN2),
    ("gpt-2", GPT2),
    ("gpt2", GPT2),
    ("llama-bpe", LLAMA3),
    ("llama3", LLAMA3),
    ("dbrx", LLAMA3),
    ("smaug-bpe", LLAMA3),
    ("gpt-4o", GPT4O),
    ("default", DEFAULT),
];

/// The byte-level half of a tokenizer.
pub(super) struct ByteLevel {
    pipeline: Pipeline,
}

impl ByteLevel {
    pub(super) fn from_gguf(file: &Gguf, vocabulary: &Vocabulary) -> Result<Self, TokenizerError> {
        let name = file.text("tokenizer.ggml.pre")?.unwrap_or("default");
        let Some((_, patterns)) = PATTERNS.iter().find(|(known, _)| *known == name) else {
            let supported = PATTERNS.iter().map(|(known, _)| *known).collect::<Vec<_>>().join(", ");
            return Err(TokenizerError::PreTokenizer { path: file.path().to_path_buf(), found: name.to_string(), supported });
        };
        let refuse = |problem| TokenizerError::Merges { path: file.path().to_path_buf(), problem };
        let mut steps: Vec<PreTokenizerWrapper> = Vec::new();
        for pattern in *patterns {
            let pattern = SplitPattern::Regex((*pattern).to_string());
            steps.push(Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(refuse)?.into());
        }
        steps.push(ByteLevelWords::new(false, false, false).into());
        let model = Self::merges(file, vocabulary, std::ptr::eq(*patterns, LLAMA3) || std::ptr::eq(*patterns, GPT4O))?;
        let mut pipeline = Pipeline::new(model);
        pipeline.with_pre_tokenizer(Some(Sequence::new(steps)));
        // Qwen's models were trained on composed characters; the files do not say so.
        if std::ptr::eq(*patterns, QWEN2) {
            pipeline.with_normalizer(Some(NFC)).map_err(refuse)?;
        }
        Ok(Self { pipeline })
    }

    fn merges(file: &Gguf, vocabulary: &Vocabulary, whole_words_first: bool) -> Result<BPE, TokenizerError> {
        for byte in 0..=255 {
            if vocabulary.piece(char_of(byte).encode_utf8(&mut [0; 4])).is_none() {
                let expected = format!("byte {byte:#04x} has no token, so some texts could not be encoded");
                return Err(file
                    .error("tokenizer.ggml.tokens", GgufProblem::OutOfRange { value: "the vocabulary".into(), expected })
                    .into());
            }
        }
        let key = "tokenizer.ggml.merges";
        let lines = file.strings(key)?.ok_or_else(|| file.error(key, GgufProblem::Missing))?;
        let pair = |line: &str| -> Result<(String, String), GgufError> {
            let (left, right) = line.split_once(' ').ok_or_else(|| {
                let expected = "a merge is two pieces with a space between".into();
                file.error(key, GgufProblem::OutOfRange { value: format!("{line:?}"), expected })
            })?;
            Ok((left.to_string(), right.to_string()))
        };
        let merges = lines.into_iter().map(pair).collect::<Result<Vec<_>, _>>()?;
        let pieces: tokenizers::models::bpe::Vocab = vocabulary.pieces().map(|(text, id)| (text.to_string(), id)).collect();
        BPE::builder()
            .vocab_and_merges(pieces, merges)
            .ignore_merges(whole_words_first)
            .build()
            .map_err(|problem| TokenizerError::Merges { path: file.path().to_path_buf(), problem })
    }

    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self.pipeline.encode_fast(text, false).map_err(|problem| TokenizerError::Encode { problem })?;
        Ok(encoding.get_ids().to_vec())
    }
}

/// The bytes a token of a byte-level vocabulary stands for.
pub(super) fn spelled(id: u32, vocabulary: &Vocabulary) -> Vec<u8> {
    match vocabulary.get(id) {
        Some((text, TokenKind::Normal)) => text.chars().flat_map(bytes_of).collect(),
        _ => vec![],
    }
}

/// The printable character that stands for a byte in byte-level vocabularies (GPT-2's `bytes_to_unicode`).
pub(crate) fn char_of(byte: u8) -> char {
    let code = match byte {
        b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => u32::from(byte),
        0..=0x20 => 0x100 + u32::from(byte),
        0x7f..=0xa0 => 0x100 + 0x21 + u32::from(byte - 0x7f),
        0xad => 0x143,
    };
    char::from_u32(code).unwrap_or('\u{fffd}')
}

/// The byte a character stands for; a character outside the table stands for itself.
fn bytes_of(character: char) -> Vec<u8> {
    let byte = match u32::from(character) {
        code @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => u8::try_from(code).ok(),
        code @ 0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        code @ 0x121..=0x142 => u8::try_from(code - 0x121 + 0x7f).ok(),
        0x143 => Some(0xad),
        _ => None,
    };
    byte.map_or_else(|| character.to_string().into_bytes(), |byte| vec![byte])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn bytes_and_characters_are_one_to_one() {
        let characters: BTreeSet<char> = (0..=255).map(char_of).collect();
        assert_eq!(characters.len(), 256);
        for byte in 0..=255 {
            assert_eq!(bytes_of(char_of(byte)), [byte]);
        }
        assert_eq!((char_of(b' '), char_of(b'\n'), char_of(0x7f)), ('Ġ', 'Ċ', 'ġ'));
    }
}
