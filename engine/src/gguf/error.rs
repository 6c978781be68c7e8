//! What can be wrong with a GGUF file, where, and what to do about it.

use super::ValueKind;
use std::path::PathBuf;

/// A GGUF file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {item}: {problem}; {}", path.display(), problem.remedy())]
pub struct GgufError {
    /// The file.
    pub path: PathBuf,
    /// The metadata key, tensor or part of the header it concerns.
    pub item: String,
    /// What is wrong.
    pub problem: GgufProblem,
}

/// What is wrong with an item of a GGUF file.
#[derive(Debug, thiserror::Error)]
pub enum GgufProblem {
    /// The file could not be opened or mapped.
    #[error("cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// The first four bytes are not `GGUF`.
    #[error("this is not a GGUF file")]
    NotGguf,
    /// A file for big-endian machines.
    #[error("the file is big-endian")]
    BigEndian,
    /// A version this build does not read.
    #[error("GGUF version {0} is not supported, only 2 and 3 are")]
    Version(u32),
    /// The file ends too early.
    #[error("needs {needed} bytes at offset {offset}, but the file has {file_bytes}")]
    Truncated {
        /// Where the item begins.
        offset: u64,
        /// How many bytes it needs.
        needed: u64,
        /// How long the file is.
        file_bytes: u64,
    },
    /// A count that the file cannot hold or that no model has.
    #[error("{count} is more than the {limit} that are possible here")]
    TooMany {
        /// What the file claims.
        count: u64,
        /// What is possible.
        limit: u64,
    },
    /// A string is not UTF-8.
    #[error("the text is not UTF-8")]
    NotUtf8,
    /// A value type the specification does not name.
    #[error("value type {0} does not exist")]
    UnknownValueType(u32),
    /// A tensor type this build cannot compute with.
    #[error("tensor type {0} is not supported")]
    UnknownTensorType(u32),
    /// Arrays nested too deeply.
    #[error("arrays are nested more than {0} deep")]
    TooDeep(usize),
    /// A key or a tensor stands there twice.
    #[error("it stands in the file twice")]
    Duplicate,
    /// A shape that cannot be.
    #[error("the shape {0:?} is not possible")]
    Shape(Vec<u64>),
    /// An offset or the alignment itself is wrong.
    #[error("{value} is not a multiple of {alignment}")]
    Alignment {
        /// The offset or alignment.
        value: u64,
        /// What it should be a multiple of.
        alignment: u64,
    },
    /// Two tensors claim the same bytes.
    #[error("its bytes are also those of tensor {other:?}")]
    Overlap {
        /// The tensor before it.
        other: String,
    },
    /// Something the model needs is not there.
    #[error("it is missing")]
    Missing,
    /// A metadata value has another type than the model needs.
    #[error("it is {found}, expected {expected}")]
    WrongKind {
        /// What the file has.
        found: ValueKind,
        /// What is needed.
        expected: &'static str,
    },
    /// A metadata value that makes no sense.
    #[error("{value} is not usable: {expected}")]
    OutOfRange {
        /// What the file has.
        value: String,
        /// What would be usable.
        expected: String,
    },
    /// A tensor has another shape than the metadata demand.
    #[error("its shape is {found:?}, expected {expected:?}")]
    WrongShape {
        /// What the file has, rows first.
        found: Vec<u64>,
        /// What the metadata demand, rows first.
        expected: Vec<u64>,
    },
    /// A model this build cannot run.
    #[error("the architecture {found:?} is not supported, only {supported} are")]
    Architecture {
        /// What the file names.
        found: String,
        /// What would work, separated by commas.
        supported: String,
    },
}

impl GgufProblem {
    /// What a person can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Io(_) => "check the path and that it may be read",
            Self::NotGguf => "give a model in GGUF format",
            Self::BigEndian | Self::Version(_) => "convert the model again with a current llama.cpp, little-endian",
            Self::Truncated { .. } => "the download was probably cut short: fetch the file again",
            Self::UnknownTensorType(_) => "quantise the model to Q4_K_M, Q8_0 or F16",
            Self::Architecture { .. } => "choose a model of a supported architecture, like Phi-3",
            Self::Missing | Self::WrongKind { .. } | Self::OutOfRange { .. } | Self::WrongShape { .. } => {
                "convert the model again with a current convert_hf_to_gguf.py"
            }
            _ => "the file is damaged: fetch it again",
        }
    }
}
