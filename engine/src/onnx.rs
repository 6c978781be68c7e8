//! ONNX models through ONNX Runtime, which is loaded when it is first needed and is not part of this program.
//!
//! Three steps, each of which can fail with a remedy: find the library ([`Search`]), load it once a process
//! ([`OnnxRuntime::load`]), open a model with the tensors its manifest declares ([`OnnxModel::open`]). The runtime's handle is
//! the proof that it was loaded: without one nothing here can touch the library.

pub use error::{ImageProblem, LibraryProblem, OnnxError};
pub use model::OnnxModel;
pub use runtime::{OnnxRuntime, RuntimeInfo};
pub use search::{Search, standard_directories};

mod char_ngrams;
mod error;
mod hashing;
mod image_gray;
mod input;
mod labels;
mod library;
mod model;
mod runtime;
mod search;
mod word_ngrams;

#[cfg(test)]
mod tiny_model;
