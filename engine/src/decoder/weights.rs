//! Tensors of a file as the decoder computes with them, each checked against the shape the metadata demand.

use super::matrix::{Mapped, Matrix};
use super::{DecoderError, refuse_bias};
use crate::gguf::{Gguf, GgufProblem, TensorInfo};
use candle_core::quantized::ggml_file::qtensor_from_ggml;
use candle_core::quantized::{QMatMul, QTensor};
use candle_core::{DType, Device};
use std::sync::Arc;

/// Gives out the tensors of a file by name.
pub(super) struct Weights<'a> {
    file: &'a Arc<Gguf>,
}

impl<'a> Weights<'a> {
    pub(super) fn new(file: &'a Arc<Gguf>) -> Self {
        Self { file }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.file.tensor(name).is_some()
    }

    /// The tensor of this name, if it has this shape and no bias.
    fn checked(&self, name: &str, expected: &[usize]) -> Result<&'a TensorInfo, DecoderError> {
        let item = || format!("tensor {name:?}");
        let tensor = self.file.tensor(name).ok_or_else(|| self.file.error(item(), GgufProblem::Missing))?;
        let wanted: Vec<u64> = expected.iter().map(|&extent| extent as u64).collect();
        if tensor.shape != wanted {
            let problem = GgufProblem::WrongShape { found: tensor.shape.clone(), expected: wanted };
            return Err(self.file.error(item(), problem).into());
        }
        refuse_bias(self.file, name)?;
        Ok(tensor)
    }

    fn load(&self, name: &str, expected: &[usize]) -> Result<QTensor, DecoderError> {
        let tensor = self.checked(name, expected)?;
        let bytes = self.file.tensor_bytes(tensor);
        qtensor_from_ggml(tensor.kind.candle(), bytes, expected.to_vec(), &Device::Cpu).map_err(DecoderError::compute("loading a tensor"))
    }

    /// A matrix to multiply with, `rows` outputs from `width` inputs.
    pub(super) fn matrix(&self, name: &str, rows: usize, width: usize) -> Result<Matrix, DecoderError> {
        if let Some(mapped) = Mapped::of(self.file, self.checked(name, &[rows, width])?) {
            return Ok(Matrix::Mapped(mapped));
        }
        let loaded = QMatMul::from_qtensor(self.load(name, &[rows, width])?);
        loaded.map(Matrix::Loaded).map_err(DecoderError::compute("loading a matrix"))
    }

    /// A vector in `f32`.
    pub(super) fn vector(&self, name: &str, width: usize) -> Result<Vec<f32>, DecoderError> {
        let vector = self.load(name, &[width])?.dequantize(&Device::Cpu).and_then(|vector| vector.to_dtype(DType::F32)?.to_vec1());
        vector.map_err(DecoderError::compute("loading a vector"))
    }
}
