//! GGUF files, memory-mapped and validated before use.
//!
//! The layout is that of the GGUF specification (ggml repository, `docs/gguf.md`), versions 2 and 3, little-endian. Nothing
//! in a file is believed: every count is bounded by the bytes that are there before memory is asked for, and every tensor
//! lies inside the file, or the file is refused.

pub use error::{GgufError, GgufProblem};
pub use file::Gguf;
pub use tensor::{TensorInfo, TensorType};
pub use value::{Array, Value, ValueKind};

mod error;
mod file;
mod header;
mod tensor;
mod value;
#[cfg(test)]
pub(crate) mod writer;
