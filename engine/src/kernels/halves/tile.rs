//! The tile that every level multiplies halves with: the same code for all widths of registers.
//!
//! A tile is some rows of weights and some of activations, whose sums stay in registers; lanes run along the rows and are added
//! up once at their end, so that nothing has to be rearranged. What a row of activations computes does not depend, to the bit, on
//! how many there are.

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
            use crate::kernels::halves::{HALF_BYTES, Half, Singles};
            use crate::kernels::prefetch::ask_for;
            use std::ops::Range;

            /// The products of `R` neighbouring rows with `M` rows of activations.
            ///
            /// # Safety
            /// They are there: rows of weights of `width` halves, activations of `width` values.
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn tile<const BRAIN: bool, const R: usize, const M: usize>(
                row: *const u8,
                x: *const f32,
                width: usize,
            ) -> [[f32; M]; R] {
                let mut sums = [[$zero(); M]; R];
                let mut at = 0;
                while at + $lanes <= width {
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
                        for k in at..width {
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

            /// # Safety
            /// The processor has these instructions, and nobody else writes these columns.
            #[target_feature(enable = $features)]
            pub(in crate::kernels::halves) unsafe fn multiply<const BRAIN: bool>(weights: &[u8], x: Singles<'_>, out: Output, rows: Range<usize>) {
                let (width, tokens) = (x.width, x.rows());
                let mut row = rows.start;
                while row < rows.end {
                    let tall = if tokens > 2 { $height } else { 4 };
                    let height = if row + tall <= rows.end { tall } else { 1 };
                    let start = weights[row * width * HALF_BYTES..][..height * width * HALF_BYTES].as_ptr();
                    let mut token = 0;
                    macro_rules! some {
                        ($rows:literal, $count:literal) => {{
                            // SAFETY: the rows were just seen to be there, and so many tokens are left.
                            let found = unsafe { tile::<BRAIN, $rows, $count>(start, x.values.as_ptr().add(token * width), width) };
                            for (r, found) in found.into_iter().enumerate() {
                                for (m, value) in found.into_iter().enumerate() {
                                    // SAFETY: the caller promised that the columns are this call's.
                                    unsafe { out.set(token + m, row + r, value) };
                                }
                            }
                            token += $count;
                        }};
                    }
                    while token < tokens {
                        match (height, tokens - token) {
                            (1, 4..) => some!(1, 4),
                            (1, _) => some!(1, 1),
                            $(($height, $most..) => some!($height, $most),)+
                            (_, 2) => some!(4, 2),
                            _ => some!(4, 1),
                        }
                    }
                    row += height;
                }
            }
        }
    };
}
pub(super) use level;
