//! A matrix of a model: mapped, where there are kernels for its format and this processor, else loaded by candle.

use super::rows::Parts;
use crate::gguf::TensorType;
use crate::kernels::halves::{self, HALF_BYTES, Half, Singles};
use crate::kernels::{Activations, Format, Level, Manner, Output, ROWS_AT_A_TIME, multiply};
use crate::mapped_file::MappedFile;
use crate::pool::Pool;
use candle_core::quantized::QMatMul;
use candle_core::{Device, Module, Result, Tensor, bail};
use std::cell::OnceCell;
use std::ops::Range;

/// Rows of activations that several matrices are multiplied with. They are rounded once for all of them.
#[derive(Debug)]
pub(super) struct Input<'a> {
    values: &'a [f32],
    width: usize,
    parts: Parts,
    by_32: OnceCell<[Activations; 2]>,
    by_256: OnceCell<[Activations; 2]>,
}

impl<'a> Input<'a> {
    /// Whole rows of `width` values.
    pub(super) fn new(values: &'a [f32], width: usize, parts: Parts) -> Self {
        Self { values, width, parts, by_32: OnceCell::new(), by_256: OnceCell::new() }
    }

    /// The rows of a prompt that are multiplied in another manner than the others; none where all are multiplied together.
    fn prompt(&self) -> usize {
        match self.parts {
            Parts::Together => 0,
            Parts::Steady { prompt } => prompt,
        }
    }

    /// The prompt's rows and the others.
    fn rounded(&self, group: usize, pool: &Pool) -> &[Activations; 2] {
        let cell = if group == 32 { &self.by_32 } else { &self.by_256 };
        let (prompt, others) = self.values.split_at(self.prompt() * self.width);
        let manner = if self.parts == Parts::Together { Manner::Cheapest } else { Manner::Dots };
        let round = |values, manner| Activations::quantise(values, self.width, group, pool).by(manner);
        cell.get_or_init(|| [round(prompt, Manner::Panels), round(others, manner)])
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

/// How a file stores a matrix that there are kernels for.
#[derive(Debug, Clone, Copy)]
enum Stored {
    /// In blocks of quantised numbers.
    Blocks(Format),
    /// In half precision.
    Halves(Half),
}

impl Stored {
    /// How matrices of a type are multiplied where they lie, if they are here.
    fn of(kind: TensorType) -> Option<(Level, Self)> {
        let level = Level::in_use()?;
        let stored = Format::of(kind).map(Stored::Blocks).or_else(|| Half::of(kind).map(Stored::Halves))?;
        Some((level, stored))
    }

    fn row_bytes(self, width: usize) -> usize {
        match self {
            Self::Blocks(format) => width / format.block_values() * format.block_bytes(),
            Self::Halves(_) => width * HALF_BYTES,
        }
    }
}

/// Where in a file a matrix lies.
#[derive(Debug, Clone)]
pub(super) struct Mapped {
    file: MappedFile,
    bytes: Range<usize>,
    stored: Stored,
    level: Level,
    rows: usize,
    width: usize,
}

impl Mapped {
    /// The matrix of a tensor, if there are kernels for its type. It may begin anywhere in the file.
    pub(super) fn of(file: &MappedFile, bytes: Range<usize>, kind: TensorType, [rows, width]: [usize; 2]) -> Option<Self> {
        let (level, stored) = Stored::of(kind)?;
        Some(Self { file: file.clone(), bytes, stored, level, rows, width })
    }

    fn weights(&self) -> &[u8] {
        self.file.get(self.bytes.clone()).unwrap_or_default()
    }

    /// Shares the rows out in whole pieces of 64, so that panels are never cut.
    fn in_pieces(&self, pool: &Pool, work: &(dyn Fn(Range<usize>) + Sync)) {
        pool.each(self.rows.div_ceil(ROWS_AT_A_TIME), 1, &|pieces| {
            work(pieces.start * ROWS_AT_A_TIME..(pieces.end * ROWS_AT_A_TIME).min(self.rows));
        });
    }

    fn multiply(&self, x: &Input<'_>, results: &mut Results<'_>, pool: &Pool) {
        let weights = self.weights();
        match self.stored {
            Stored::Blocks(format) => {
                let (prompt, others) = results.values.split_at_mut(x.prompt() * results.stride);
                let outputs = [prompt, others].map(|values| Output::new(values, results.stride, results.first));
                let parts: Vec<(&Activations, Output)> = x.rounded(format.activation_group(), pool).iter().zip(outputs).collect();
                self.in_pieces(pool, &|rows| {
                    // The second part finds a piece in the cache.
                    for (x, out) in parts.iter().filter(|(x, _)| !x.is_empty()) {
                        // SAFETY: the level was detected, every piece is given out once, and the file was found to hold whole rows.
                        unsafe { multiply(self.level, format, weights, x, *out, rows.clone()) }
                    }
                });
            }
            // What a row computes does not depend on the rows beside it: nothing has to be taken apart.
            Stored::Halves(half) => {
                let (x, out) = (Singles::new(x.values, x.width), Output::new(results.values, results.stride, results.first));
                self.in_pieces(pool, &|rows| {
                    // SAFETY: as above.
                    unsafe { halves::multiply(self.level, half, weights, x, out, rows) }
                });
            }
        }
    }

    /// Reads the row with this number, if there is one.
    fn read(&self, row: usize, values: &mut [f32]) -> Option<()> {
        let bytes = self.stored.row_bytes(self.width);
        let bytes = self.weights().get(row.checked_mul(bytes)?..)?.get(..bytes)?;
        match self.stored {
            Stored::Blocks(format) => format.dequantise(bytes, values),
            Stored::Halves(half) => {
                values.iter_mut().zip(bytes.as_chunks().0).for_each(|(value, bytes)| *value = half.single(*bytes));
            }
        }
        Some(())
    }
}

/// Products of some rows with a matrix that candle holds, written from the row `first` on.
fn product(matrix: &QMatMul, values: &[f32], width: usize, results: &mut Results<'_>, first: usize) -> Result<()> {
    let product = matrix.forward(&Tensor::from_slice(values, (values.len() / width, width), &Device::Cpu)?)?;
    let columns = product.dim(1)?;
    let product = product.flatten_all()?.to_vec1::<f32>()?;
    let places = results.values.chunks_exact_mut(results.stride).skip(first);
    for (to, from) in places.zip(product.chunks_exact(columns)) {
        to[results.first..][..columns].copy_from_slice(from);
    }
    Ok(())
}

/// Whether matrices of a type stay in their file on this machine.
pub(crate) fn stays_mapped(kind: TensorType) -> bool {
    Stored::of(kind).is_some()
}

impl Matrix {
    /// Whether what it computes for rows of a prompt does not depend on how many are computed together.
    pub(super) fn is_mapped(&self) -> bool {
        matches!(self, Self::Mapped(_))
    }

    /// Products of the rows of `x` with the matrix's rows.
    pub(super) fn multiply(&self, x: &Input<'_>, mut results: Results<'_>, pool: &Pool) -> Result<()> {
        match self {
            Self::Mapped(mapped) if x.width == mapped.width => mapped.multiply(x, &mut results, pool),
            Self::Mapped(mapped) => bail!("activations are {} wide, the matrix {}", x.width, mapped.width),
            Self::Loaded(matrix) => {
                let rows = x.values.len() / x.width;
                // A product of several rows may add up in another order than one of each alone.
                let alone = if x.parts == Parts::Together { rows } else { x.prompt() };
                let ends = std::iter::once(alone).chain(alone + 1..=rows);
                let mut start = 0;
                for end in ends.filter(|end| *end > 0) {
                    product(matrix, &x.values[start * x.width..end * x.width], x.width, &mut results, start)?;
                    start = end;
                }
            }
        }
        Ok(())
    }

    /// What a product with it reads, if it stays in its file.
    pub(super) fn mapped_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Mapped(mapped) => Some(mapped.weights()),
            Self::Loaded(_) => None,
        }
    }

    /// The rows with these numbers, one after the other.
    pub(super) fn embedding(&self, ids: &[u32]) -> Result<Vec<f32>> {
        match self {
            Self::Loaded(matrix) => matrix.embedding(&Tensor::new(ids, &Device::Cpu)?)?.flatten_all()?.to_vec1(),
            Self::Mapped(mapped) => {
                let mut values = vec![0.0; ids.len() * mapped.width];
                for (&id, row) in ids.iter().zip(values.chunks_exact_mut(mapped.width)) {
                    let Some(()) = mapped.read(id as usize, row) else {
                        bail!("row {id} is outside the matrix of {}", mapped.rows)
                    };
                }
                Ok(values)
            }
        }
    }
}
