//! The tile that every level multiplies halves with: the same code for all widths of registers.
//!
//! A tile is some rows of weights and some of activations, whose sums stay in registers; lanes run along a block of the rows and are
//! added up at its end, so that nothing has to be rearranged. With many rows of activations a block of a few stays in the first-level
//! cache while all rows of weights pass; with few the weights are read from end to end, as memory likes it. Each sum is made
//! block by block either way: what a row of activations computes does not depend, to the bit, on how many there are.

/// Columns of a block: six rows of activations take half of a first-level cache, and a sum of lanes is rare.
pub(super) const BLOCK: usize = 1024;
/// From so many rows of activations on they are gone through block by block.
pub(super) const MANY: usize = 8;

/// A level's module, whose `multiply` takes so many rows of weights at a time, and so many of activations: as many as are left, the
/// most first. With one or two rows of activations it takes four of weights.
macro_rules! level {
    (mod $module:ident = $features:literal;
     lanes = $lanes:literal; zero = $zero:ident; values = $values:ident; f16 = $f16:ident; bf16 = $bf16:ident;
     multiply_add = $multiply_add:ident; add_up = $add_up:ident;
     rows = $height:literal; tokens = $($most:literal),+;) => {
        pub(super) mod $module {
            use super::*;
            use crate::kernels::Output;
            use crate::kernels::halves::tile::{BLOCK, MANY};
            use crate::kernels::halves::{HALF_BYTES, Half, Singles};
            use crate::kernels::ask_for;
            use std::ops::Range;

            /// A part of a product: some rows of weights with some of activations, from one column to another.
            #[derive(Clone, Copy)]
            struct Part {
                row: usize,
                height: usize,
                token: usize,
                /// Rows of activations from `token` on.
                tokens: usize,
                from: usize,
                to: usize,
            }

            /// The sums of a part.
            ///
            /// # Safety
            /// They are there: rows of `width` halves from `row` on, and of `width` values from `x` on, both beginning with the
            /// part's first column, of which `count` are left.
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn tile<const BRAIN: bool, const R: usize, const M: usize>(
                row: *const u8,
                x: *const f32,
                width: usize,
                count: usize,
            ) -> [[f32; M]; R] {
                let mut sums = [[$zero(); M]; R];
                let mut at = 0;
                while at + $lanes <= count {
                    for r in 0..R {
                        // SAFETY: so many halves and values are left, by the caller's promise.
                        unsafe {
                            let bytes = row.add((r * width + at) * HALF_BYTES);
                            if at % 32 == 0 {
                                ask_for(bytes.wrapping_add(R * width * HALF_BYTES), 1);
                            }
                            let weights = if BRAIN { $bf16(bytes) } else { $f16(bytes) };
                            for m in 0..M {
                                sums[r][m] = $multiply_add(weights, $values(x.add(m * width + at)), sums[r][m]);
                            }
                        }
                    }
                    at += $lanes;
                }
                let half = if BRAIN { Half::BF16 } else { Half::F16 };
                let mut found = [[0.0; M]; R];
                for r in 0..R {
                    for m in 0..M {
                        let mut sum = $add_up(sums[r][m]);
                        for k in at..count {
                            // SAFETY: as above.
                            unsafe {
                                let bytes = row.add((r * width + k) * HALF_BYTES).cast::<[u8; HALF_BYTES]>().read();
                                sum += half.single(bytes) * *x.add(m * width + k);
                            }
                        }
                        found[r][m] = sum;
                    }
                }
                found
            }

            /// Adds a part to its results, with as many rows of activations as a tile holds; how many these were.
            ///
            /// # Safety
            /// The processor has these instructions, nobody else writes these columns, and the part is in both matrices.
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn add<const BRAIN: bool>(weights: &[u8], x: Singles<'_>, out: Output, part: Part) -> usize {
                let Part { row, height, token, tokens, from, to } = part;
                let (width, count) = (x.width, to - from);
                macro_rules! some {
                    ($rows:literal, $count:literal) => {{
                        // SAFETY: by the caller's promise the rows are there, and so many tokens are left.
                        let found = unsafe {
                            let start = weights.as_ptr().add((row * width + from) * HALF_BYTES);
                            tile::<BRAIN, $rows, $count>(start, x.values.as_ptr().add(token * width + from), width, count)
                        };
                        for (r, found) in found.into_iter().enumerate() {
                            for (m, value) in found.into_iter().enumerate() {
                                // SAFETY: the caller promised that the columns are this call's.
                                unsafe {
                                    match from {
                                        0 => out.set(token + m, row + r, value),
                                        _ => out.add(token + m, row + r, value),
                                    }
                                }
                            }
                        }
                        $count
                    }};
                }
                match (height, tokens) {
                    (1, 4..) => some!(1, 4),
                    (1, _) => some!(1, 1),
                    $(($height, $most..) => some!($height, $most),)+
                    (_, 2) => some!(4, 2),
                    _ => some!(4, 1),
                }
            }

            /// # Safety
            /// The processor has these instructions, nobody else writes these columns, and the rows are in both matrices.
            #[target_feature(enable = $features)]
            pub(in crate::kernels::halves) unsafe fn multiply<const BRAIN: bool>(weights: &[u8], x: Singles<'_>, out: Output, rows: Range<usize>) {
                let (width, tokens) = (x.width, x.rows());
                let tall = if tokens > 2 { $height } else { 4 };
                let height_at = |row: usize| if row + tall <= rows.end { tall } else { 1 };
                let blocks = || (0..width).step_by(BLOCK).map(|from| (from, (from + BLOCK).min(width)));
                let some = |row: usize, first: usize, end: usize, (from, to): (usize, usize)| {
                    let mut token = first;
                    while token < end {
                        let part = Part { row, height: height_at(row), token, tokens: end - token, from, to };
                        // SAFETY: it is a part of what the caller promised.
                        token += unsafe { add::<BRAIN>(weights, x, out, part) };
                    }
                };
                let each_row = |work: &mut dyn FnMut(usize)| {
                    let mut row = rows.start;
                    while row < rows.end {
                        work(row);
                        row += height_at(row);
                    }
                };
                if tokens < MANY {
                    each_row(&mut |row| blocks().for_each(|block| some(row, 0, tokens, block)));
                    return;
                }
                let together = [$($most),+][0];
                for block in blocks() {
                    for first in (0..tokens).step_by(together) {
                        each_row(&mut |row| some(row, first, (first + together).min(tokens), block));
                    }
                }
            }
        }
    };
}
pub(super) use level;
