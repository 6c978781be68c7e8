//! Kernels for x86-64: which function computes which format, and how rows and tokens are gone through.

use super::{Activations, Format, Level, Output};
use std::ops::Range;

mod avx2;
mod avx2_panel;
mod avx2_small;
mod avx512;
mod avx512_panel;
mod avx512_small;

/// So many rows of activations share one reading of the weights in a dot product.
const DOT_TOKENS: usize = 4;
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

/// Neighbouring rows of a matrix, read without a check in the inner loops: whoever makes one has seen that they are there.
#[derive(Clone, Copy)]
struct Rows {
    /// The first row's first byte.
    start: *const u8,
    /// Bytes of a row.
    bytes: usize,
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

/// Goes through rows of weights one after the other, and for each through the activations, at most [`DOT_TOKENS`] at a time.
macro_rules! each_row {
    ($dot:ident $(::<$fixed:literal>)?, $bytes:expr, $weights:expr, $x:expr, $out:expr, $rows:expr) => {{
        let (weights, x, out): (&[u8], &Activations, Output) = ($weights, $x, $out);
        let (bytes, rows): (usize, Range<usize>) = ($bytes, $rows);
        for row in rows {
            let start = weights[row * bytes..][..bytes].as_ptr();
            let mut token = 0;
            macro_rules! some {
                ($count:literal) => {{
                    // SAFETY: the row was just seen to be there, and so many tokens are left.
                    let found = unsafe { $dot::<$($fixed,)? $count>(start, x, token) };
                    for (m, value) in found.into_iter().enumerate() {
                        // SAFETY: the caller of this kernel promised that the columns are its own.
                        unsafe { out.set(token + m, row, value) };
                    }
                    token += $count;
                }};
            }
            while token < x.rows {
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

/// So many rows of activations and fewer go through a panel's rows to their end before the next rows are unpacked.
const FEW: usize = 32;

/// Goes through rows of weights panel by panel: unpacks some blocks of a panel's rows and multiplies them with all activations.
///
/// With few activations the memory sets the pace: rows are finished block by block, one panel after the other. With many the
/// activations' part that belongs to some blocks stays in the first-level cache for all panels. The next panel's rows, one
/// stretch of memory, are asked for meanwhile, as the processor does not follow so many streams by itself.
macro_rules! panels {
    ($panel:ident, $height:expr, $together:expr, $format:expr, $weights:expr, $x:expr, $rows:expr,
     |$some:ident, $index:ident, $place:ident| $unpack:expr, |$ready:ident, $block:ident, $column:ident| $run:expr) => {{
        let (bytes, all): (usize, Range<usize>) = ($x.width / $format.block_values() * $format.block_bytes(), $rows);
        let mut unpacked = [$panel::EMPTY; $together];
        let (few, blocks, height) = ($x.rows <= super::FEW, $x.width / 256, $height * bytes);
        let together = $together;
        let (columns, parts) = (all.len() / $height, blocks.div_ceil(together));
        crate::kernels::prefetch::ask_for($weights[all.start * bytes..].as_ptr(), height);
        for step in 0..columns * parts {
            let (at, part) = if few { (step / parts, step % parts) } else { (step % columns, step / columns) };
            let $column = all.start + at * $height;
            let $some = Rows { start: $weights[$column * bytes..][..height].as_ptr(), bytes };
            let $block = part * together;
            let count = together.min(blocks - $block);
            let (next, half) = ($some.start.wrapping_add(height), height / blocks / 2);
            for (i, $place) in unpacked[..count].iter_mut().enumerate() {
                let $index = $block + i;
                match (at + 1 < columns, few) {
                    (true, true) => crate::kernels::prefetch::ask_for(next.wrapping_add($index * 2 * half), half),
                    (true, false) if part == 0 => {
                        crate::kernels::prefetch::ask_for(next.wrapping_add(i * (height / count)), height / count)
                    }
                    _ => {}
                }
                // SAFETY: the rows were just seen to be there, and have `blocks` blocks of 256 values.
                unsafe { $unpack };
                if few && at + 1 < columns {
                    crate::kernels::prefetch::ask_for(next.wrapping_add($index * 2 * half + half), half);
                }
            }
            let $ready = &unpacked[..count];
            $run
        }
    }};
}
use panels;
