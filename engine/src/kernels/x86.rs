//! Kernels for x86-64: which function computes which format, and how rows and tokens are gone through.

use super::{Activations, Format, Level, Output};
use std::ops::Range;

mod avx2;
mod avx2_panel;
mod avx512;
mod avx512_panel;

/// So many rows of activations share one reading of the weights in a dot product.
const DOT_TOKENS: usize = 4;
/// From so many rows of activations on, unpacking panels costs less than reading the weights again.
const fn panel_tokens(level: Level) -> usize {
    match level {
        Level::Avx512Vnni => 5,
        _ => 4,
    }
}

/// Neighbouring rows of a matrix, read without a check in the inner loops: whoever makes one has seen that they are there.
#[derive(Clone, Copy)]
struct Rows {
    /// The first row's first byte.
    start: *const u8,
    /// Bytes of a row.
    bytes: usize,
}

impl Rows {
    /// The bytes of the `index`th row.
    ///
    /// # Safety
    /// It is there.
    unsafe fn row<'a>(self, index: usize) -> &'a [u8] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts(self.start.add(index * self.bytes), self.bytes) }
    }
}

/// Multiplies some rows of a matrix with all rows of activations.
///
/// # Safety
/// The processor has `level`; no other thread writes these columns of `out`; `weights` holds whole rows of `format`.
pub(super) unsafe fn multiply(level: Level, format: Format, weights: &[u8], x: &Activations, out: Output, rows: Range<usize>) {
    let mut rows = rows;
    if x.in_panels(panel_tokens(level)) && x.width.is_multiple_of(256) {
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

/// Goes through rows of weights and for each through the activations, at most [`DOT_TOKENS`] at a time: two rows together as
/// long as the registers hold the sums of both.
macro_rules! each_row {
    ($dot:ident, $bytes:expr, $weights:expr, $x:expr, $out:expr, $rows:expr) => {{
        let (weights, x, out): (&[u8], &Activations, Output) = ($weights, $x, $out);
        let (bytes, all): (usize, Range<usize>) = ($bytes, $rows);
        let mut row = all.start;
        macro_rules! some {
            ($height:literal, $count:literal, $token:ident) => {{
                let start = weights[row * bytes..][..$height * bytes].as_ptr();
                // SAFETY: the rows were just seen to be there, and the tokens are counted below.
                let found = unsafe { $dot::<$height, $count>(Rows { start, bytes }, x, $token) };
                for (r, found) in found.into_iter().enumerate() {
                    for (m, value) in found.into_iter().enumerate() {
                        // SAFETY: the caller of this kernel promised that the columns are its own.
                        unsafe { out.set($token + m, row + r, value) };
                    }
                }
                $token += $count;
            }};
        }
        while row < all.end {
            let height = if row + 2 <= all.end && x.rows <= 2 { 2 } else { 1 };
            let mut token = 0;
            while token < x.rows {
                match (height, (x.rows - token).min(DOT_TOKENS)) {
                    (2, 1) => some!(2, 1, token),
                    (2, _) => some!(2, 2, token),
                    (_, 1) => some!(1, 1, token),
                    (_, 2) => some!(1, 2, token),
                    (_, 3) => some!(1, 3, token),
                    _ => some!(1, 4, token),
                }
            }
            row += height;
        }
    }};
}
use each_row;

/// Goes through the activations, as many at a time as the registers hold.
macro_rules! all_tokens {
    ($run:ident, $panels:expr, $x:expr, $place:expr, $out:expr, $($least:literal => $count:literal),+) => {{
        let mut token = 0;
        while token < $x.rows {
            match $x.rows - token {
                // SAFETY: the caller of this kernel promised that the columns are its own; so many tokens are left.
                $($least.. => { unsafe { $run::<$count>($panels, $x, token, $place, $out) }; token += $count; })+
                0 => break,
            }
        }
    }};
}
use all_tokens;
