//! Dot products of a row of weights with one or some rows of activations, by `sdot` or by the multiplications that every
//! 64-bit Arm has.
//!
//! A row of weights is unpacked once for the activations that share it; with exact sums of 32 bits nothing can saturate.

use super::unpacked::{below, quants_at, unpack};
use std::arch::aarch64::*;
use std::arch::asm;

/// Rows of activations that share one reading of the weights.
const TOKENS: usize = 4;

/// Adds to each lane the products of four bytes.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot(mut sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the instruction only computes with its three registers, and the function requires that it exists.
    unsafe {
        asm!("sdot {0:v}.4s, {1:v}.16b, {2:v}.16b", inout(vreg) sum, in(vreg) a, in(vreg) b, options(pure, nomem, nostack, preserves_flags));
    }
    sum
}

/// The same products without that instruction: 2 · 128 · 127 fits the 16 bits in which two of them meet. The sums' lanes hold other
/// products than `sdot`'s; all are added up in the end.
#[inline]
#[target_feature(enable = "neon")]
fn widened(sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    let low = vmull_s8(vget_low_s8(a), vget_low_s8(b));
    vpadalq_s16(sum, vmlal_high_s8(low, a, b))
}

/// A level's module, whose `multiply` takes one row of weights with all rows of activations from some one on.
macro_rules! level {
    (mod $module:ident = $features:literal; $add_products:ident) => {
        pub(super) mod $module {
            use super::*;
            use crate::kernels::{Activations, Format, Output};

            /// A row of weights with `M` rows of activations.
            #[target_feature(enable = $features)]
            fn dot<const M: usize>(format: Format, row: &[u8], x: &Activations, token: usize) -> [f32; M] {
                let mut sums = [0.0_f32; M];
                let small = format.block_values() == 32;
                for index in 0..x.width.div_ceil(256) {
                    let block = unpack(format, row, index);
                    let groups = (x.width / 32 - 8 * index).min(8);
                    for (m, sum) in sums.iter_mut().enumerate() {
                        let at = (token + m) * x.width + 256 * index;
                        let mut whole = vdupq_n_s32(0);
                        for group in 0..groups {
                            let of_half = |half: usize, sum: int32x4_t| {
                                let values = quants_at(x, at + 32 * group + 16 * half);
                                $add_products(sum, block.quants[2 * group + half], values)
                            };
                            let zero = vdupq_n_s32(0);
                            if small {
                                let whole = vaddvq_s32(of_half(1, of_half(0, zero))) as f32;
                                *sum += whole * block.units[group] * x.scales[at / 32 + group];
                            } else {
                                whole = vmlaq_n_s32(whole, of_half(0, zero), block.scales[2 * group]);
                                whole = vmlaq_n_s32(whole, of_half(1, zero), block.scales[2 * group + 1]);
                            }
                        }
                        if !small {
                            let value = vaddvq_s32(whole) as f32 * block.units[0] - below(&block, x, at);
                            *sum += value * x.scales[at / 32];
                        }
                    }
                }
                sums
            }

            /// Multiplies the row of weights with the number `row` with the activations from `token` on.
            ///
            /// # Safety
            /// The processor has these instructions, and nobody else writes this column.
            #[target_feature(enable = $features)]
            pub(in crate::kernels::arm) unsafe fn multiply(
                format: Format,
                weights: &[u8],
                x: &Activations,
                out: Output,
                (row, token): (usize, usize),
            ) {
                let mut token = token;
                while token < x.rows {
                    let count = if x.rows - token >= TOKENS { TOKENS } else { 1 };
                    let mut found = [0.0; TOKENS];
                    if count == TOKENS {
                        found = dot::<TOKENS>(format, weights, x, token);
                    } else {
                        [found[0]] = dot::<1>(format, weights, x, token);
                    }
                    for (m, value) in found[..count].iter().enumerate() {
                        // SAFETY: the caller promised that the column is this call's.
                        unsafe { out.set(token + m, row, *value) };
                    }
                    token += count;
                }
            }
        }
    };
}

level! { mod dotprod = "neon,dotprod"; sdot }
level! { mod plain = "neon"; widened }
