//! Models as Hugging Face publishes them: a folder with `config.json`, `tokenizer.json` and weights in SafeTensors files.
//!
//! The files are mapped and their headers read by the crate `safetensors`, which accepts only tensors that lie one after the
//! other, fill the file and have as many bytes as their shapes say. As with GGUF, nothing is believed before that, and a bad
//! folder is an error that names the file, the item and the remedy.

pub use checkpoint::Checkpoint;
pub use error::{CheckpointError, CheckpointProblem};

pub(crate) use document::Document;

mod checkpoint;
mod document;
mod error;
#[cfg(test)]
pub(crate) mod tiny_folder;
