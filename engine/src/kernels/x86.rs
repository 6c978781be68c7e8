//! Kernels for x86-64: which function computes which format, and how rows and tokens are gone through.

use super::{Activations, Format, Level, Output};
use std::ops::Range;

mod avx2;
mod avx512;
mod avx512_panel;

/// So many rows of activations share one reading of the weights in a dot product.
const DOT_TOKENS: usize = 4;
/// From so many rows of activations on, unpacking panels costs less than reading the weights again.
const PANEL_TOKENS: usize = 5;
/// Rows of weights in a panel.
const PANEL_ROWS: usize = 16;

/// Multiplies some rows of a matrix with all rows of activations.
///
/// # Safety
/// The processor has `level`; no other thread writes these columns of `out`; `weights` holds whole rows of `format`.
pub(super) unsafe fn multiply(level: Level, format: Format, weights: &[u8], x: &Activations, out: Output, rows: Range<usize>) {
    let mut rows = rows;
    if level == Level::Avx512Vnni && x.rows >= PANEL_TOKENS && x.width.is_multiple_of(256) {
        let panels = rows.len() / PANEL_ROWS * PANEL_ROWS;
        let ready = rows.start..rows.start + panels;
        rows.start = ready.end;
        if !ready.is_empty() {
            // SAFETY: the caller's promises, and the level was just seen.
            unsafe { avx512_panel::multiply(format, weights, x, out, ready) };
        }
    }
    // SAFETY: the caller's promises; each level's functions are called at that level only.
    unsafe {
        match level {
            Level::Avx512Vnni => avx512::multiply(format, weights, x, out, rows),
            Level::Avx2 => avx2::multiply(format, weights, x, out, rows),
        }
    }
}

/// Goes through rows of weights and, for each, through the activations, at most [`DOT_TOKENS`] at a time.
macro_rules! each_row {
    ($dot:ident, $bytes:expr, $weights:expr, $x:expr, $out:expr, $rows:expr) => {{
        let (weights, x, out): (&[u8], &Activations, Output) = ($weights, $x, $out);
        let row_bytes = $bytes;
        for row in $rows {
            let bytes = &weights[row * row_bytes..][..row_bytes];
            let mut token = 0;
            while token < x.rows {
                macro_rules! some {
                    ($count:literal) => {{
                        let found = $dot::<$count>(bytes, x, token);
                        for (i, value) in found.into_iter().enumerate() {
                            // SAFETY: the caller of this kernel promised that the columns are its own.
                            unsafe { out.set(token + i, row, value) };
                        }
                        token += $count;
                    }};
                }
                match (x.rows - token).min(DOT_TOKENS) {
                    1 => some!(1),
                    2 => some!(2),
                    3 => some!(3),
                    _ => some!(4),
                }
            }
        }
    }};
}
use each_row;
