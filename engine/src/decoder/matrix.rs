//! A matrix of a model: mapped, where there are kernels for its format and this processor, else loaded by candle.

use crate::gguf::{Gguf, TensorInfo};
use crate::kernels::{Activations, Format, Level, Output, ROWS_AT_A_TIME, multiply};
use crate::pool::Pool;
use candle_core::quantized::QMatMul;
use candle_core::{CpuStorage, CustomOp1, Layout, Module, Result, Shape, Tensor, bail};
use std::ops::Range;
use std::sync::Arc;

/// A matrix to multiply with.
#[derive(Debug, Clone)]
pub(super) enum Matrix {
    /// It stays in the file.
    Mapped(Mapped),
    /// candle holds it.
    Loaded(QMatMul),
}

/// Where in a file a matrix lies.
#[derive(Debug, Clone)]
pub(super) struct Mapped {
    file: Arc<Gguf>,
    bytes: Range<usize>,
    format: Format,
    level: Level,
    rows: usize,
    width: usize,
}

impl Mapped {
    /// The matrix of a tensor of two extents, if there are kernels for it.
    pub(super) fn of(file: &Arc<Gguf>, tensor: &TensorInfo) -> Option<Self> {
        let (format, level) = (Format::of(tensor.kind)?, Level::in_use()?);
        let &[rows, width] = &tensor.shape[..] else { return None };
        let (rows, width) = (usize::try_from(rows).ok()?, usize::try_from(width).ok()?);
        Some(Self { file: Arc::clone(file), bytes: tensor.bytes.clone(), format, level, rows, width })
    }

    fn weights(&self) -> &[u8] {
        self.file.bytes(self.bytes.clone())
    }

    fn product(&self, values: &[f32]) -> Vec<f32> {
        let x = Activations::quantise(values, self.width, self.format.activation_group());
        let mut found = vec![0.0; values.len() / self.width * self.rows];
        let (out, weights) = (Output::new(&mut found, self.rows), self.weights());
        // Whole pieces of 64 rows, so that panels are never cut.
        let pieces = self.rows.div_ceil(ROWS_AT_A_TIME);
        Pool::of_process().each(pieces, 1, &|pieces| {
            let rows = pieces.start * ROWS_AT_A_TIME..(pieces.end * ROWS_AT_A_TIME).min(self.rows);
            // SAFETY: the level was detected, every piece is given out once, and the file was found to hold whole rows.
            unsafe { multiply(self.level, self.format, weights, &x, out, rows) }
        });
        found
    }
}

impl CustomOp1 for Mapped {
    fn name(&self) -> &'static str {
        "mapped-product"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (Some((start, end)), CpuStorage::F32(values)) = (layout.contiguous_offsets(), storage) else {
            bail!("a product needs contiguous activations of 32 bits")
        };
        let (tokens, width) = layout.shape().dims2()?;
        if width != self.width {
            bail!("activations are {width} wide, the matrix {}", self.width)
        }
        Ok((CpuStorage::F32(self.product(&values[start..end])), Shape::from((tokens, self.rows))))
    }
}

impl Matrix {
    /// Products of rows of `x`, `[tokens, width]`, with the matrix's rows.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Mapped(mapped) => x.contiguous()?.apply_op1_no_bwd(mapped),
            Self::Loaded(matrix) => matrix.forward(x),
        }
    }

    /// The rows with these numbers.
    pub(super) fn embedding(&self, ids: &[u32]) -> Result<Tensor> {
        let device = candle_core::Device::Cpu;
        match self {
            Self::Loaded(matrix) => matrix.embedding(&Tensor::new(ids, &device)?),
            Self::Mapped(mapped) => {
                let row_bytes = mapped.width / mapped.format.block_values() * mapped.format.block_bytes();
                let mut values = vec![0.0; ids.len() * mapped.width];
                for (&id, row) in ids.iter().zip(values.chunks_exact_mut(mapped.width)) {
                    let Some(bytes) = mapped.weights().get(id as usize * row_bytes..).and_then(|rest| rest.get(..row_bytes)) else {
                        bail!("row {id} is outside the matrix of {}", mapped.rows)
                    };
                    mapped.format.dequantise(bytes, row);
                }
                Tensor::from_vec(values, (ids.len(), mapped.width), &device)
            }
        }
    }
}
