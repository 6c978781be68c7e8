//! Products of two rows of weights with two rows of activations by one instruction, `smmla`, for many rows of activations.
//!
//! It is written as assembly, because its intrinsics are not stable.

use super::unpacked::{Unpacked, below, quants_at, unpack};
use crate::kernels::{Activations, Format};
use std::arch::aarch64::*;
use std::arch::asm;

/// Adds the products of two rows of eight bytes with two others: first with first, first with second, and so on.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn smmla(mut sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the instruction only computes with its three registers, and the function requires that it exists.
    unsafe {
        asm!("smmla {0:v}.4s, {1:v}.16b, {2:v}.16b", inout(vreg) sum, in(vreg) a, in(vreg) b, options(pure, nomem, nostack, preserves_flags));
    }
    sum
}

/// Two rows' values in pairs of eight.
#[inline]
#[target_feature(enable = "neon")]
fn pairs(a: int8x16_t, b: int8x16_t) -> [int8x16_t; 2] {
    let (a, b) = (vreinterpretq_s64_s8(a), vreinterpretq_s64_s8(b));
    [vreinterpretq_s8_s64(vzip1q_s64(a, b)), vreinterpretq_s8_s64(vzip2q_s64(a, b))]
}

/// For two rows with two rows of activations: first with first, first with second, second with first, second with second.
#[inline]
#[target_feature(enable = "neon")]
fn lanes(rows: [f32; 2], tokens: [f32; 2]) -> float32x4_t {
    let four = [rows[0] * tokens[0], rows[0] * tokens[1], rows[1] * tokens[0], rows[1] * tokens[1]];
    // SAFETY: four numbers are there.
    unsafe { vld1q_f32(four.as_ptr()) }
}

/// Two unpacked rows.
struct Two {
    blocks: [Unpacked; 2],
    /// Their quants, eight of the one beside eight of the other.
    quants: [[int8x16_t; 2]; 16],
}

/// The products of 256 values of two rows with those of two rows of activations, `at` values on.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn two_by_two(format: Format, two: &Two, groups: usize, x: &Activations, at: [usize; 2]) -> float32x4_t {
    let small = format.block_values() == 32;
    let units = |group: usize| [x.scales[at[0] / 32 + group], x.scales[at[1] / 32 + group]];
    let mut sums = vdupq_n_f32(0.0);
    let mut whole = vdupq_n_s32(0);
    for sixteen in 0..2 * groups {
        let values = pairs(quants_at(x, at[0] + 16 * sixteen), quants_at(x, at[1] + 16 * sixteen));
        let start = if small && sixteen % 2 == 1 { whole } else { vdupq_n_s32(0) };
        let weights = two.quants[sixteen];
        let part = smmla(smmla(start, weights[0], values[0]), weights[1], values[1]);
        if !small {
            let scale = |row: usize| vdup_n_s32(two.blocks[row].scales[sixteen]);
            whole = vmlaq_s32(whole, part, vcombine_s32(scale(0), scale(1)));
            continue;
        }
        whole = part;
        if sixteen % 2 == 1 {
            let group = sixteen / 2;
            let scales = lanes([two.blocks[0].units[group], two.blocks[1].units[group]], units(group));
            sums = vfmaq_f32(sums, vcvtq_f32_s32(whole), scales);
        }
    }
    if small {
        return sums;
    }
    let scales = lanes([two.blocks[0].units[0], two.blocks[1].units[0]], units(0));
    let [s, t] = units(0);
    let [a, b] = &two.blocks;
    let least = [below(a, x, at[0]) * s, below(a, x, at[1]) * t, below(b, x, at[0]) * s, below(b, x, at[1]) * t];
    // SAFETY: four numbers are there.
    vsubq_f32(vmulq_f32(vcvtq_f32_s32(whole), scales), unsafe { vld1q_f32(least.as_ptr()) })
}

/// Two rows of weights, each unpacked once, with all whole pairs of rows of activations.
#[target_feature(enable = "neon,i8mm")]
pub(super) fn two_rows(format: Format, rows: [&[u8]; 2], x: &Activations) -> Vec<[[f32; 2]; 2]> {
    let mut sums = vec![vdupq_n_f32(0.0); x.rows / 2];
    for index in 0..x.width.div_ceil(256) {
        let blocks = [unpack(format, rows[0], index), unpack(format, rows[1], index)];
        let mut two = Two { quants: [[vdupq_n_s8(0); 2]; 16], blocks };
        for sixteen in 0..16 {
            two.quants[sixteen] = pairs(two.blocks[0].quants[sixteen], two.blocks[1].quants[sixteen]);
        }
        let groups = (x.width / 32 - 8 * index).min(8);
        for (pair, sum) in sums.iter_mut().enumerate() {
            let at = 2 * pair * x.width + 256 * index;
            *sum = vaddq_f32(*sum, two_by_two(format, &two, groups, x, [at, at + x.width]));
        }
    }
    let mut found = vec![[[0.0; 2]; 2]; sums.len()];
    for (found, sum) in found.iter_mut().zip(sums) {
        // SAFETY: four numbers have room.
        unsafe { vst1q_f32(found.as_mut_ptr().cast(), sum) };
    }
    found
}
