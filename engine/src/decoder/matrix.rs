//! A matrix of a model: mapped, where there are kernels for its format and this processor, else loaded by candle.

use crate::gguf::{Gguf, TensorInfo};
use crate::kernels::{Activations, Format, Level, Output, ROWS_AT_A_TIME, multiply};
use crate::pool::Pool;
use candle_core::quantized::QMatMul;
use candle_core::{Device, Module, Result, Tensor, bail};
use std::cell::OnceCell;
use std::ops::Range;
use std::sync::Arc;

/// Rows of activations that several matrices are multiplied with. They are rounded once for all of them.
#[derive(Debug)]
pub(super) struct Input<'a> {
    values: &'a [f32],
    width: usize,
    by_32: OnceCell<Activations>,
    by_256: OnceCell<Activations>,
}

impl<'a> Input<'a> {
    /// Whole rows of `width` values.
    pub(super) fn new(values: &'a [f32], width: usize) -> Self {
        Self { values, width, by_32: OnceCell::new(), by_256: OnceCell::new() }
    }

    fn rounded(&self, group: usize, pool: &Pool) -> &Activations {
        let cell = if group == 32 { &self.by_32 } else { &self.by_256 };
        cell.get_or_init(|| Activations::quantise(self.values, self.width, group, pool))
    }
}

/// Rows of results: `stride` values each, of which a matrix writes its own from the column `first` on.
#[derive(Debug)]
pub(super) struct Results<'a> {
    pub(super) values: &'a mut [f32],
    pub(super) stride: usize,
    pub(super) first: usize,
}

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

    fn multiply(&self, x: &Input<'_>, results: &mut Results<'_>, pool: &Pool) {
        let x = x.rounded(self.format.activation_group(), pool);
        let (out, weights) = (Output::new(results.values, results.stride, results.first), self.weights());
        // Whole pieces of 64 rows, so that panels are never cut.
        let pieces = self.rows.div_ceil(ROWS_AT_A_TIME);
        pool.each(pieces, 1, &|pieces| {
            let rows = pieces.start * ROWS_AT_A_TIME..(pieces.end * ROWS_AT_A_TIME).min(self.rows);
            // SAFETY: the level was detected, every piece is given out once, and the file was found to hold whole rows.
            unsafe { multiply(self.level, self.format, weights, x, out, rows) }
        });
    }
}

impl Matrix {
    /// Products of the rows of `x` with the matrix's rows.
    pub(super) fn multiply(&self, x: &Input<'_>, mut results: Results<'_>, pool: &Pool) -> Result<()> {
        match self {
            Self::Mapped(mapped) if x.width == mapped.width => mapped.multiply(x, &mut results, pool),
            Self::Mapped(mapped) => bail!("activations are {} wide, the matrix {}", x.width, mapped.width),
            Self::Loaded(matrix) => {
                let rows = x.values.len() / x.width;
                let product = matrix.forward(&Tensor::from_slice(x.values, (rows, x.width), &Device::Cpu)?)?;
                let width = product.dim(1)?;
                let product = product.flatten_all()?.to_vec1::<f32>()?;
                for (to, from) in results.values.chunks_exact_mut(results.stride).zip(product.chunks_exact(width)) {
                    to[results.first..][..width].copy_from_slice(from);
                }
            }
        }
        Ok(())
    }

    /// The rows with these numbers, one after the other.
    pub(super) fn embedding(&self, ids: &[u32]) -> Result<Vec<f32>> {
        match self {
            Self::Loaded(matrix) => matrix.embedding(&Tensor::new(ids, &Device::Cpu)?)?.flatten_all()?.to_vec1(),
            Self::Mapped(mapped) => {
                let row_bytes = mapped.width / mapped.format.block_values() * mapped.format.block_bytes();
                let mut values = vec![0.0; ids.len() * mapped.width];
                for (&id, row) in ids.iter().zip(values.chunks_exact_mut(mapped.width)) {
                    let Some(bytes) = mapped.weights().get(id as usize * row_bytes..).and_then(|rest| rest.get(..row_bytes)) else {
                        bail!("row {id} is outside the matrix of {}", mapped.rows)
                    };
                    mapped.format.dequantise(bytes, row);
                }
                Ok(values)
            }
        }
    }
}
