//! Why a model cannot be loaded or computed.

use crate::gguf::GgufError;
use crate::safetensors::CheckpointError;
use std::ops::Range;

/// A model cannot be loaded or computed.
#[derive(Debug, thiserror::Error)]
pub enum DecoderError {
    /// The file is not usable.
    #[error(transparent)]
    File(#[from] GgufError),
    /// The folder is not usable.
    #[error(transparent)]
    Folder(#[from] CheckpointError),
    /// A computation failed, most likely for want of memory.
    #[error("{what} failed: {problem}; free memory or choose a smaller model")]
    Compute {
        /// Which part.
        what: &'static str,
        /// What candle said.
        problem: candle_core::Error,
    },
    /// A token that the model does not have.
    #[error("token {id} is outside the model's vocabulary of {vocabulary}; the tokenizer does not belong to this model")]
    NoSuchToken {
        /// The token.
        id: u32,
        /// How many there are.
        vocabulary: usize,
    },
    /// A row of a sequence that was not given with the rows.
    #[error("a row names sequence {index}, but {count} were given; this is a mistake of the caller")]
    NoSuchSequence {
        /// The number in the row.
        index: usize,
        /// How many sequences there were.
        count: usize,
    },
    /// A row that does not go on where its sequence ends.
    #[error("a row of sequence {sequence} is for position {found}, but {expected} comes next; give every position once, in order")]
    OutOfOrder {
        /// The sequence's number.
        sequence: usize,
        /// The row's position.
        found: usize,
        /// The next position.
        expected: usize,
    },
    /// Only some of the layers were loaded, and this part is not among them.
    #[error("the {part} is not among the layers {}..{} that were loaded here; ask the part of the model that has it", layers.start, layers.end)]
    Elsewhere {
        /// What was asked for.
        part: &'static str,
        /// What there is.
        layers: Range<usize>,
    },
    /// More tokens than the session was made for.
    #[error("{needed} tokens do not fit a context of {capacity}; shorten the prompt or allow fewer tokens of answer")]
    ContextFull {
        /// How many there would be.
        needed: usize,
        /// How many there may be.
        capacity: usize,
    },
    /// The model computed something that is no number.
    #[error("the model's output is not finite at token {position}; its weights are damaged: fetch the file again")]
    NotFinite {
        /// Where in the context.
        position: usize,
    },
}

impl DecoderError {
    pub(super) fn compute(what: &'static str) -> impl FnOnce(candle_core::Error) -> Self {
        move |problem| Self::Compute { what, problem }
    }
}
