//! Inference in a box of its own: candle and ONNX Runtime are seen nowhere else in the fleet.
//!
//! Everything here is synchronous and runs on the CPU. A language model is a GGUF file or a folder of SafeTensors ([`language_model`]), any other model
//! an ONNX file ([`onnx`]); whether the small local model's answer is good enough is a pure decision ([`deferral`]). Files
//! come from strangers: each is checked as a whole before anything is computed with it, and a bad one is an error that names
//! the path, the item and the remedy.

pub mod decoder;
pub mod deferral;
pub mod gguf;
pub mod grammar;
pub mod kernels;
pub mod language_model;
mod mapped_file;
pub mod onnx;
mod pool;
pub mod rates;
pub mod safetensors;
pub mod sampling;
pub mod threads;
pub mod tokens;

/// What logits depend on beside the model: the version, and the number of the arithmetic, which is raised whenever a change moves them.
/// Calibrations belong to one of these.
pub const BUILD: &str = concat!("ouro-engine ", env!("CARGO_PKG_VERSION"), "+2");
