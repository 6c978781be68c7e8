//! What can be wrong with a model's folder, where, and what to do about it.

use std::path::PathBuf;

/// A folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {item}: {problem}; {}", path.display(), problem.remedy())]
pub struct CheckpointError {
    /// The file, or the folder itself.
    pub path: PathBuf,
    /// The key, tensor or part of the file it concerns.
    pub item: String,
    /// What is wrong.
    pub problem: Box<CheckpointProblem>,
}

impl CheckpointError {
    /// An error about an item of a file.
    pub(crate) fn new(path: impl Into<PathBuf>, item: impl Into<String>, problem: CheckpointProblem) -> Self {
        Self { path: path.into(), item: item.into(), problem: Box::new(problem) }
    }
}

/// What is wrong with an item of a folder.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointProblem {
    /// A file could not be opened or mapped.
    #[error("cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// A file is not JSON, or not the JSON that belongs there.
    #[error("is not what it should be: {0}")]
    Json(#[from] serde_json::Error),
    /// The header of a SafeTensors file is wrong.
    #[error("the SafeTensors header does not fit the file: {0}")]
    Header(#[from] safetensors::SafeTensorError),
    /// A file is larger than any of its kind.
    #[error("{bytes} bytes are more than the {limit} that such a file may have")]
    TooLarge {
        /// How large it is.
        bytes: u64,
        /// What is possible.
        limit: u64,
    },
    /// Something the model needs is not there.
    #[error("it is missing")]
    Missing,
    /// The index names a file that is none of the folder.
    #[error("{0:?} is no name of a .safetensors file in this folder")]
    FileName(String),
    /// Two files have a tensor of the same name.
    #[error("it is also in {other}")]
    Duplicate {
        /// The file before it.
        other: String,
    },
    /// The index promises a tensor that the file does not have.
    #[error("the index says that it is in {file}, but it is not")]
    NotThere {
        /// The file.
        file: String,
    },
    /// A tensor's type that this build does not compute with.
    #[error("the type {0} is not supported, only F32, F16 and BF16 are")]
    Type(String),
    /// A tensor has another shape than the configuration demands.
    #[error("its shape is {found:?}, expected {expected:?}")]
    WrongShape {
        /// What the file has, rows first.
        found: Vec<u64>,
        /// What the configuration demands, rows first.
        expected: Vec<u64>,
    },
    /// A value that makes no sense or is not supported.
    #[error("{value} is not usable: {expected}")]
    OutOfRange {
        /// What the file has.
        value: String,
        /// What would be usable.
        expected: String,
    },
    /// A model this build cannot run.
    #[error("the architecture {found:?} is not supported, only {supported} are")]
    Architecture {
        /// What the folder names.
        found: String,
        /// What would work, separated by commas.
        supported: String,
    },
}

impl CheckpointProblem {
    /// What a person can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Io(_) => "check the path and that it may be read",
            Self::Missing => "give a folder with config.json, tokenizer.json and model.safetensors, complete",
            Self::Type(_) => "convert the model to one of these types, or give it as GGUF",
            Self::Architecture { .. } | Self::OutOfRange { .. } | Self::WrongShape { .. } => "choose another model, or give it as GGUF",
            _ => "the folder is damaged: fetch it again",
        }
    }
}
