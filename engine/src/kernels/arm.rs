//! Kernels for 64-bit Arm: products of two rows with two rows (`smmla`) and dot products of 8-bit numbers (`sdot`) where the
//! processor has them, and multiplications of single bytes where it has not.

use super::{Activations, Format, Level, Output};
use std::ops::Range;

mod dot;
mod two_rows;
mod unpacked;

/// Multiplies some rows of a matrix with all rows of activations.
///
/// # Safety
/// The processor has `level`; no other thread writes these columns of `out`; `weights` holds whole rows of `format`.
pub(super) unsafe fn multiply(level: Level, format: Format, weights: &[u8], x: &Activations, out: Output, rows: Range<usize>) {
    let bytes = x.width / format.block_values() * format.block_bytes();
    let row_at = |row: usize| &weights[row * bytes..][..bytes];
    let mut row = rows.start;
    while row < rows.end {
        let two = level == Level::NeonI8mm && row + 2 <= rows.end && x.in_panels(2);
        let (height, done) = if two { (2, x.rows / 2 * 2) } else { (1, 0) };
        if two {
            // SAFETY: the level was just seen.
            let found = unsafe { two_rows::two_rows(format, [row_at(row), row_at(row + 1)], x) };
            for (pair, found) in found.into_iter().enumerate() {
                for (r, found) in found.into_iter().enumerate() {
                    for (m, value) in found.into_iter().enumerate() {
                        // SAFETY: the caller promised that the columns are this call's.
                        unsafe { out.set(2 * pair + m, row + r, value) };
                    }
                }
            }
        }
        for row in row..row + height {
            // SAFETY: every level but the least has the dot product; the columns are this call's.
            unsafe {
                match level {
                    Level::Neon => dot::plain::multiply(format, row_at(row), x, out, (row, done)),
                    _ => dot::dotprod::multiply(format, row_at(row), x, out, (row, done)),
                }
            }
        }
        row += height;
    }
}
