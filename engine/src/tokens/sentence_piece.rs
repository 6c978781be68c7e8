//! SentencePiece BPE (`llama` in GGUF): neighbouring pieces merge while the merged piece has a score, best score first.
//!
//! What no piece covers is spelled in byte tokens, so that every text can be encoded. The order of merges is that of
//! SentencePiece's `bpe_model.cc`: highest score, then leftmost.

use super::vocabulary::{TokenKind, Vocabulary, byte_of};
use crate::gguf::{Gguf, GgufError, GgufProblem};
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// Stands for a space inside pieces.
const SPACE: char = '\u{2581}';

/// The SentencePiece half of a tokenizer.
#[derive(Debug)]
pub(super) struct SentencePiece {
    scores: Vec<f32>,
    byte_tokens: Vec<Option<u32>>,
    unknown: Option<u32>,
    add_space_prefix: bool,
}

/// A run of text that is one piece so far; `None` neighbours are the ends.
struct Symbol {
    start: usize,
    end: usize,
    previous: Option<usize>,
    next: Option<usize>,
    alive: bool,
}

/// Two neighbours that could merge; `end` tells whether they are still what they were.
#[derive(PartialEq)]
struct Candidate {
    score: f32,
    left: usize,
    right: usize,
    end: usize,
    middle: usize,
}

impl Eq for Candidate {}
impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then_with(|| Reverse(self.left).cmp(&Reverse(other.left)))
    }
}
impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl SentencePiece {
    pub(super) fn from_gguf(file: &Gguf, vocabulary: &Vocabulary) -> Result<Self, GgufError> {
        let key = "tokenizer.ggml.scores";
        let scores = file.f32s(key)?.ok_or_else(|| file.error(key, GgufProblem::Missing))?;
        if scores.len() != vocabulary.len() {
            let expected = format!("there are {} tokens", vocabulary.len());
            return Err(file.error(key, GgufProblem::OutOfRange { value: format!("{} scores", scores.len()), expected }));
        }
        let mut byte_tokens = vec![None; 256];
        for (id, (text, kind)) in (0_u32..).zip(vocabulary.texts.iter().zip(&vocabulary.kinds)) {
            if let (TokenKind::Byte, Some(byte)) = (kind, byte_of(text)) {
                byte_tokens[usize::from(byte)].get_or_insert(id);
            }
        }
        let unknown = file.integer("tokenizer.ggml.unknown_token_id")?.and_then(|id| u32::try_from(id).ok());
        let unknown = unknown.filter(|&id| (id as usize) < vocabulary.len());
        if unknown.is_none() && byte_tokens.contains(&None) {
            return Err(file.error("tokenizer.ggml.unknown_token_id", GgufProblem::Missing));
        }
        let add_space_prefix = file.boolean("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
        Ok(Self { scores, byte_tokens, unknown, add_space_prefix })
    }

    /// Whether a text gets a space before its first word.
    pub(super) fn adds_space(&self) -> bool {
        self.add_space_prefix
    }

    pub(super) fn encode(&self, text: &str, vocabulary: &Vocabulary) -> Vec<u32> {
        if text.is_empty() {
            return vec![];
        }
        let prefix = if self.add_space_prefix { " " } else { "" };
        let text: String = prefix.chars().chain(text.chars()).map(|c| if c == ' ' { SPACE } else { c }).collect();
        let mut ids = Vec::new();
        for piece in self.merge(&text, vocabulary) {
            match vocabulary.piece(piece) {
                Some(id) => ids.push(id),
                None => self.spell(piece, &mut ids),
            }
        }
        ids
    }

    /// Byte tokens for what no piece covers; the unknown token where the vocabulary has no such byte.
    fn spell(&self, piece: &str, ids: &mut Vec<u32>) {
        for byte in piece.bytes() {
            ids.extend(self.byte_tokens[usize::from(byte)].or(self.unknown));
        }
    }

    fn merge<'t>(&self, text: &'t str, vocabulary: &Vocabulary) -> Vec<&'t str> {
        let mut symbols: Vec<Symbol> = text
            .char_indices()
            .enumerate()
            .map(|(index, (start, c))| Symbol {
                start,
                end: start + c.len_utf8(),
                previous: index.checked_sub(1),
                next: Some(index + 1),
                alive: true,
            })
            .collect();
        if let Some(last) = symbols.last_mut() {
            last.next = None;
        }
        let candidate = |symbols: &[Symbol], left: usize, right: usize| {
            let (start, end) = (symbols[left].start, symbols[right].end);
            let id = vocabulary.piece(&text[start..end])?;
            Some(Candidate { score: self.scores[id as usize], left, right, end, middle: symbols[right].start })
        };
        let mut heap: BinaryHeap<Candidate> = (1..symbols.len()).filter_map(|right| candidate(&symbols, right - 1, right)).collect();
        while let Some(best) = heap.pop() {
            let fresh = symbols[best.left].alive
                && symbols[best.right].alive
                && symbols[best.left].end == best.middle
                && symbols[best.right].end == best.end;
            if !fresh {
                continue;
            }
            let next = symbols[best.right].next;
            symbols[best.right].alive = false;
            symbols[best.left].end = best.end;
            symbols[best.left].next = next;
            if let Some(next) = next {
                symbols[next].previous = Some(best.left);
                heap.extend(candidate(&symbols, best.left, next));
            }
            if let Some(previous) = symbols[best.left].previous {
                heap.extend(candidate(&symbols, previous, best.left));
            }
        }
        symbols.iter().filter(|s| s.alive).map(|s| &text[s.start..s.end]).collect()
    }
}

/// The bytes a token of a vocabulary of pieces stands for.
pub(super) fn spelled(id: u32, vocabulary: &Vocabulary) -> Vec<u8> {
    match vocabulary.get(id) {
        Some((text, TokenKind::Normal)) => text.replace(SPACE, " ").into_bytes(),
        Some((text, TokenKind::Byte)) => byte_of(text).into_iter().collect(),
        _ => vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::super::Tokenizer;
    use super::super::tests::{open, text_of};
    use crate::gguf::writer::GgufWriter;

    fn writer() -> GgufWriter {
        let mut tokens: Vec<(String, f32, i32)> = vec![("<unk>".into(), 0.0, 2), ("<s>".into(), 0.0, 3), ("</s>".into(), 0.0, 3)];
        tokens.extend((0..=255_u8).map(|b| (format!("<0x{b:02X}>"), 0.0, 6)));
        let scored = ["▁a", "ab", "▁ab", "bc", "▁", "a", "b", "c", "▁abc"];
        tokens.extend(scored.iter().zip(0_u8..).map(|(t, rank)| ((*t).to_string(), -f32::from(rank), 1)));
        tokens.extend(["<|user|>", "<|end|>", "<|assistant|>"].map(|t| (t.to_string(), 0.0, 3)));
        let mut writer = GgufWriter::new();
        writer.string("tokenizer.ggml.model", "llama");
        writer.strings("tokenizer.ggml.tokens", &tokens.iter().map(|t| t.0.as_str()).collect::<Vec<_>>());
        writer.f32s("tokenizer.ggml.scores", &tokens.iter().map(|t| t.1).collect::<Vec<_>>());
        writer.i32s("tokenizer.ggml.token_type", &tokens.iter().map(|t| t.2).collect::<Vec<_>>());
        writer.u32("tokenizer.ggml.bos_token_id", 1);
        writer.u32("tokenizer.ggml.eos_token_id", 2);
        writer.u32("tokenizer.ggml.unknown_token_id", 0);
        writer
    }

    #[test]
    fn merges_follow_scores_and_the_rest_is_spelled_in_bytes() {
        let tokenizer = Tokenizer::from_gguf(&open(&writer())).unwrap();
        let texts = |text: &str| {
            let ids = tokenizer.encode(text).unwrap();
            ids.iter().map(|&id| tokenizer.vocabulary.get(id).unwrap().0.to_string()).collect::<Vec<_>>()
        };
        // ▁+a scores best, then ▁a+b; bc would need the b that is taken; ▁ab+c is in the vocabulary.
        assert_eq!(texts("abc"), ["▁abc"]);
        assert_eq!(texts("bcab"), ["▁", "bc", "ab"]);
        assert_eq!(texts("é"), ["▁", "<0xC3>", "<0xA9>"]);
        assert_eq!(texts("<s>")[0], "▁", "text cannot make a control token");
        assert!(!tokenizer.encode("</s><|end|>").unwrap().contains(&2));
        for text in ["abc", " ab  ca", "東京\n🐍 a", "x"] {
            assert_eq!(text_of(&tokenizer, &tokenizer.encode(text).unwrap()), text);
        }
    }

    #[test]
    fn phi_3s_controls_eat_the_white_space_after_them() {
        let tokenizer = Tokenizer::from_gguf(&open(&writer())).unwrap();
        let ids = tokenizer.encode_chat("abc").unwrap();
        let texts: Vec<_> = ids.iter().map(|&id| tokenizer.vocabulary.get(id).unwrap().0).collect();
        assert_eq!(texts, ["<s>", "<|user|>", "▁abc", "<|end|>", "<|assistant|>"]);
    }

    #[test]
    fn mistrals_markers_are_control_tokens_where_the_file_has_them() {
        let mut writer = writer();
        writer.string("tokenizer.chat_template", "[INST] {{ prompt }} [/INST]");
        let texts = |writer: &GgufWriter| {
            let tokenizer = Tokenizer::from_gguf(&open(writer)).unwrap();
            let ids = tokenizer.encode_chat("abc").unwrap();
            ids.iter().map(|&id| tokenizer.vocabulary.get(id).unwrap().0.to_string()).collect::<Vec<_>>()
        };
        // Without Phi-3's controls, so that the template decides.
        let mut tokens: Vec<String> =
            open(&writer).strings("tokenizer.ggml.tokens").unwrap().unwrap().iter().map(|t| t.replace('|', "!")).collect();
        writer.strings("tokenizer.ggml.tokens", &tokens);
        assert!(texts(&writer).len() > 10, "markers are spelled");
        let last = tokens.len() - 2;
        tokens[last] = "[INST]".into();
        tokens[last + 1] = "[/INST]".into();
        writer.strings("tokenizer.ggml.tokens", &tokens);
        assert_eq!(texts(&writer), ["<s>", "[INST]", "▁abc", "[/INST]"]);
    }
}
