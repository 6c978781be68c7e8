//! What can go wrong between a container's ONNX file and its answer, and what to do about it.

use std::path::PathBuf;

/// Why a file is not the ONNX Runtime this build can use.
#[derive(Debug, thiserror::Error)]
pub enum LibraryProblem {
    /// There is no such file.
    #[error("there is no such file ({0})")]
    Missing(std::io::Error),
    /// The system's loader refuses it.
    #[error("{0}")]
    Open(libloading::Error),
    /// A library, but another one.
    #[error("it is not ONNX Runtime")]
    Other,
    /// Its version cannot be used.
    #[error("its version is {found:?}, 1.{needed} or newer is needed")]
    Version {
        /// What it says.
        found: String,
        /// The oldest minor version that works.
        needed: u32,
    },
    /// It was sound when examined, and yet refused.
    #[error("{0}")]
    Refused(ort::LoadDynamicError),
    /// An earlier attempt of this process failed half-way, and a process has only one.
    #[error("an earlier library failed half-way, start the process again")]
    Spoilt,
}

/// Why an image cannot be an input.
#[derive(Debug, thiserror::Error)]
pub enum ImageProblem {
    /// It does not decode.
    #[error("it is not a sound PNG file ({0}); convert it to PNG")]
    Decode(png::DecodingError),
    /// It has more pixels than are read.
    #[error("it is {width} x {height} pixels, at most {most} x {most} are read; scale it down")]
    TooLarge {
        /// Its columns.
        width: u32,
        /// Its rows.
        height: u32,
        /// The most of either.
        most: u32,
    },
    /// Nothing stands out from the background.
    #[error("it is blank: nothing stands out from its background; send the whole drawing with some space round it")]
    Blank,
}

/// ONNX Runtime or a model cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// No library was found.
    #[error(
        "ONNX Runtime was not found ({}); install it with `pip install onnxruntime` or name libonnxruntime.so in the configuration",
        searched(searched_in)
    )]
    NotFound {
        /// Where it was looked for.
        searched_in: Vec<PathBuf>,
    },
    /// The library does not load: it is missing, something else, or too old.
    #[error("{}: ONNX Runtime cannot be loaded: {problem}; install 1.24 or newer with `pip install onnxruntime` or correct the path", path.display())]
    Load {
        /// The library.
        path: PathBuf,
        /// Why not.
        problem: LibraryProblem,
    },
    /// The library loaded but did not start.
    #[error("{}: ONNX Runtime does not start: {problem}; install it again", path.display())]
    Start {
        /// The library.
        path: PathBuf,
        /// What it said.
        problem: ort::Error,
    },
    /// The model file cannot be read.
    #[error("{}: the model cannot be read: {problem}; check the path and that it may be read", path.display())]
    File {
        /// The model.
        path: PathBuf,
        /// What the system said.
        problem: std::io::Error,
    },
    /// The file is no model that ONNX Runtime takes.
    #[error("{}: not a usable ONNX model: {problem}; fetch the container again or export it with opset 17", path.display())]
    Model {
        /// The model.
        path: PathBuf,
        /// What ONNX Runtime said.
        problem: ort::Error,
    },
    /// The manifest's `[tensors]` cannot be carried out.
    #[error("{field}: {problem}; correct container.toml")]
    Tensors {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The manifest and the model disagree.
    #[error("{}: tensor {name:?}: {problem}; correct [tensors] in container.toml or export the model again", path.display())]
    Signature {
        /// The model.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// In what they disagree.
        problem: String,
    },
    /// The input is not text. It would fail on every node, so the step fails for good (`INVALID_INPUT`).
    #[error("the input is not UTF-8 text: byte {offset} cannot be read; convert it to UTF-8")]
    InvalidInput {
        /// Where the first wrong byte is.
        offset: usize,
    },
    /// The input is not an image that can be read, on any node.
    #[error("the image cannot be used: {0}")]
    InvalidImage(ImageProblem),
    /// The computation failed.
    #[error("the model failed: {problem}; free memory or try another node")]
    Run {
        /// What ONNX Runtime said.
        problem: ort::Error,
    },
    /// The model computed something else than it declared.
    #[error("the model's output {name:?} is not usable: {problem}; export the model again")]
    Output {
        /// The tensor's name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl OnnxError {
    /// Whether the input is to blame, so that no other node can do better.
    pub fn is_invalid_input(&self) -> bool {
        matches!(self, Self::InvalidInput { .. } | Self::InvalidImage(_))
    }
}

fn searched(directories: &[PathBuf]) -> String {
    match directories.len() {
        0 => "there was nowhere to look".to_string(),
        count => {
            let shown: Vec<_> = directories.iter().take(4).map(|directory| directory.display().to_string()).collect();
            let more = if count > 4 { format!(" and {} more", count - 4) } else { String::new() };
            format!("searched {}{more}", shown.join(", "))
        }
    }
}
