//! Tensors of a model as the decoder computes with them, each checked against the shape its description demands.
//!
//! They are asked for by their names in GGUF files, wherever they lie.

use super::DecoderError;
use super::matrix::{Mapped, Matrix};
use super::published::{Published, published_name};
use crate::gguf::{Gguf, GgufProblem, TensorInfo, TensorType};
use crate::safetensors::{Checkpoint, CheckpointError, CheckpointProblem};
use candle_core::quantized::ggml_file::qtensor_from_ggml;
use candle_core::quantized::{QMatMul, QTensor};
use candle_core::{DType, Device, Tensor};
use std::sync::Arc;

/// Gives out the tensors of a model by name.
#[derive(Clone, Copy)]
pub(super) enum Weights<'a> {
    /// They lie in a GGUF file.
    Gguf(&'a Arc<Gguf>),
    /// They lie in a folder's SafeTensors files.
    Folder(&'a Checkpoint, &'a Published),
}

impl<'a> Weights<'a> {
    pub(super) fn has(self, name: &str) -> bool {
        match self {
            Self::Gguf(file) => file.tensor(name).is_some(),
            Self::Folder(checkpoint, published) => published.has(name, checkpoint),
        }
    }

    /// A matrix to multiply with, `rows` outputs from `width` inputs, that has no bias.
    pub(super) fn matrix(self, name: &str, rows: usize, width: usize) -> Result<Matrix, DecoderError> {
        self.refuse_bias(name)?;
        self.matrix_alone(name, rows, width)
    }

    /// A matrix and what is added to its results; nothing where the model has no bias.
    pub(super) fn matrix_and_bias(self, name: &str, rows: usize, width: usize) -> Result<(Matrix, Option<Vec<f32>>), DecoderError> {
        let bias = bias_of(name);
        let bias = if self.has(&bias) { Some(self.vector(&bias, rows)?) } else { None };
        Ok((self.matrix_alone(name, rows, width)?, bias))
    }

    /// Refuses what would be computed wrongly in silence: a bias that this build does not add.
    fn refuse_bias(self, name: &str) -> Result<(), DecoderError> {
        let bias = bias_of(name);
        if !self.has(&bias) {
            return Ok(());
        }
        let (value, expected) = ("a bias".to_string(), "biases are supported before attention only".to_string());
        Err(match self {
            Self::Gguf(file) => file.error(format!("tensor {bias:?}"), GgufProblem::OutOfRange { value, expected }).into(),
            Self::Folder(checkpoint, _) => {
                let item = format!("tensor {:?}", published_name(&bias));
                let problem = CheckpointProblem::OutOfRange { value, expected };
                CheckpointError::new(checkpoint.folder().to_path_buf(), item, problem).into()
            }
        })
    }

    fn matrix_alone(self, name: &str, rows: usize, width: usize) -> Result<Matrix, DecoderError> {
        let shape = [rows, width];
        let loaded = match self {
            Self::Gguf(file) => {
                let tensor = checked(file, name, &shape)?;
                if let Some(mapped) = Mapped::of(file.map(), tensor.bytes.clone(), tensor.kind, shape) {
                    return Ok(Matrix::Mapped(mapped));
                }
                let bytes = file.tensor_bytes(tensor);
                qtensor_from_ggml(tensor.kind.candle(), bytes, shape.to_vec(), &Device::Cpu).and_then(product)
            }
            Self::Folder(checkpoint, _) => {
                let (kind, map, bytes) = checkpoint.place(&published_name(name), &shape)?;
                if let Some(mapped) = Mapped::of(map, bytes, kind, shape) {
                    return Ok(Matrix::Mapped(mapped));
                }
                Ok(QMatMul::Tensor(published_tensor(checkpoint, name, &shape)?))
            }
        };
        loaded.map(Matrix::Loaded).map_err(DecoderError::compute("loading a matrix"))
    }

    /// A vector in `f32`.
    pub(super) fn vector(self, name: &str, width: usize) -> Result<Vec<f32>, DecoderError> {
        let vector = match self {
            Self::Gguf(file) => {
                let tensor = checked(file, name, &[width])?;
                qtensor_from_ggml(tensor.kind.candle(), file.tensor_bytes(tensor), vec![width], &Device::Cpu)
                    .and_then(|vector| vector.dequantize(&Device::Cpu)?.to_dtype(DType::F32))
            }
            Self::Folder(checkpoint, published) => match published.factors(name) {
                Some(factors) => return Ok(factors.clone()),
                None => Ok(published_tensor(checkpoint, name, &[width])?),
            },
        };
        vector.and_then(|vector| vector.to_vec1()).map_err(DecoderError::compute("loading a vector"))
    }
}

/// A matrix that candle multiplies with.
fn product(matrix: QTensor) -> candle_core::Result<QMatMul> {
    // candle's products of quantised matrices execute `sdot` without a look whether there is one.
    #[cfg(target_arch = "aarch64")]
    if !std::arch::is_aarch64_feature_detected!("dotprod") {
        return matrix.dequantize(&Device::Cpu).map(QMatMul::Tensor);
    }
    QMatMul::from_qtensor(matrix)
}

/// The tensor of this name, if it has this shape.
fn checked<'f>(file: &'f Gguf, name: &str, expected: &[usize]) -> Result<&'f TensorInfo, DecoderError> {
    let item = || format!("tensor {name:?}");
    let tensor = file.tensor(name).ok_or_else(|| file.error(item(), GgufProblem::Missing))?;
    let wanted: Vec<u64> = expected.iter().map(|&extent| extent as u64).collect();
    if tensor.shape != wanted {
        let problem = GgufProblem::WrongShape { found: tensor.shape.clone(), expected: wanted };
        return Err(file.error(item(), problem).into());
    }
    Ok(tensor)
}

/// A tensor of a folder in `f32`.
fn published_tensor(checkpoint: &Checkpoint, name: &str, shape: &[usize]) -> Result<Tensor, DecoderError> {
    let (kind, bytes) = checkpoint.tensor(&published_name(name), shape)?;
    let kind = match kind {
        TensorType::F16 => DType::F16,
        TensorType::BF16 => DType::BF16,
        _ => DType::F32,
    };
    // Copies what does not lie at a multiple of its size: SafeTensors aligns nothing.
    Tensor::from_raw_buffer(bytes, kind, shape, &Device::Cpu)
        .and_then(|tensor| tensor.to_dtype(DType::F32))
        .map_err(DecoderError::compute("loading a tensor"))
}

fn bias_of(name: &str) -> String {
    format!("{}.bias", name.trim_end_matches(".weight"))
}
