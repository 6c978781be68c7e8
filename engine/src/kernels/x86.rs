//! Kernels for x86-64: which function computes which format, and from how many activations on in panels.

use super::{Activations, Format, Level, Output};
use std::ops::Range;

mod avx2;
mod avx2_panel;
mod avx2_small;
mod avx512;
mod avx512_panel;
mod avx512_small;
mod panels;
mod rows;

pub(super) use avx2::add_up;

/// How far ahead of the block in work memory is asked for, in bytes: past the end of the page, where the processor's own
/// reading ahead stops.
const AHEAD: usize = 8192;

/// From so many rows of activations on, unpacking panels costs less than reading the weights again; measured.
const fn panel_tokens(level: Level, format: Format) -> usize {
    match (level, format) {
        (Level::Avx512Vnni, Format::Q6K) => 12,
        (Level::Avx512Vnni, Format::Q4_0) => 4,
        (Level::Avx512Vnni, _) => 6,
        (_, Format::Q4_0) => 3,
        (_, Format::Q5K) => 4,
        _ => 5,
    }
}

/// Multiplies some rows of a matrix with all rows of activations.
///
/// # Safety
/// The processor has `level`; no other thread writes these columns of `out`; `weights` holds whole rows of `format`.
pub(super) unsafe fn multiply(level: Level, format: Format, weights: &[u8], x: &Activations, out: Output, rows: Range<usize>) {
    let mut rows = rows;
    if x.in_panels(panel_tokens(level, format)) && x.width.is_multiple_of(256) {
        let height = if level == Level::Avx512Vnni { avx512_panel::ROWS } else { avx2_panel::ROWS };
        let panels = rows.len() / height * height;
        let ready = rows.start..rows.start + panels;
        rows.start = ready.end;
        // SAFETY: the caller's promises; each level's functions are called at that level only.
        unsafe {
            match level {
                _ if ready.is_empty() => {}
                Level::Avx512Vnni => avx512_panel::multiply(format, weights, x, out, ready),
                _ => avx2_panel::multiply(format, weights, x, out, ready),
            }
        }
    }
    // SAFETY: as above.
    unsafe {
        match level {
            Level::Avx512Vnni => avx512::multiply(format, weights, x, out, rows),
            _ => avx2::multiply(format, weights, x, out, rows),
        }
    }
}
