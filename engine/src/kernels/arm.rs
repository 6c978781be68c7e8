//! Kernels for 64-bit Arm: dot products of 8-bit numbers (`sdot`), and products of two rows with two rows (`smmla`) where the
//! processor has them.
//!
//! A block of 256 values becomes sixteen registers of signed bytes, offsets already taken away: with exact sums of 32 bits nothing can
//! saturate. Both instructions are written as assembly, because their intrinsics are not stable.

use super::format::{half, scales_and_minima};
use super::{Activations, Format, Level, Output};
use std::arch::aarch64::*;
use std::arch::asm;
use std::ops::Range;

/// Rows of activations that share one reading of the weights.
const DOT_TOKENS: usize = 4;

/// 256 values of a row, and what scales them.
struct Unpacked {
    quants: [int8x16_t; 16],
    /// For each 16 values of a K format its whole scale; for each 32 of a small format nothing.
    scales: [i32; 16],
    /// For each 32 values its minimum.
    minima: [i16; 8],
    /// The block's unit of scale, or those of eight small blocks.
    units: [f32; 8],
    least: f32,
}

/// # Safety
/// 16 bytes are there.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load(bytes: *const u8) -> uint8x16_t {
    // SAFETY: the caller's promise.
    unsafe { vld1q_u8(bytes) }
}

#[inline]
#[target_feature(enable = "neon")]
fn low(bytes: uint8x16_t) -> uint8x16_t {
    vandq_u8(bytes, vdupq_n_u8(15))
}

/// The scales and minima of Q4_K and Q5_K.
fn k_scales(block: &[u8], to: &mut Unpacked) {
    let mut packed = [0; 12];
    packed.copy_from_slice(&block[4..16]);
    let (scales, minima) = scales_and_minima(&packed);
    let (scales, minima) = (scales.to_le_bytes(), minima.to_le_bytes());
    for group in 0..8 {
        to.scales[2 * group] = i32::from(scales[group]);
        to.scales[2 * group + 1] = i32::from(scales[group]);
        to.minima[group] = i16::from(minima[group]);
    }
    to.units[0] = half(block, 0);
    to.least = half(block, 2);
}

#[inline]
#[target_feature(enable = "neon")]
fn unpack_k(block: &[u8], fifth: bool, to: &mut Unpacked) {
    k_scales(block, to);
    let nibbles = &block[if fifth { 48 } else { 16 }..];
    for part in 0..8 {
        // SAFETY: 128 bytes of nibbles, and before them 32 of fifth bits where there are any, belong to the block.
        let (bytes, bits) = unsafe {
            let bits = if fifth { load(block[16 + part % 2 * 16..][..16].as_ptr()) } else { vdupq_n_u8(0) };
            (load(nibbles[16 * part..][..16].as_ptr()), bits)
        };
        let group = part / 2 * 2;
        let bit = |group: usize| {
            let set = vtstq_u8(bits, vdupq_n_u8(1 << group));
            vandq_u8(set, vdupq_n_u8(16))
        };
        to.quants[2 * group + part % 2] = vreinterpretq_s8_u8(vorrq_u8(low(bytes), bit(group)));
        to.quants[2 * group + 2 + part % 2] = vreinterpretq_s8_u8(vorrq_u8(vshrq_n_u8::<4>(bytes), bit(group + 1)));
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn unpack_q6k(block: &[u8], to: &mut Unpacked) {
    let offset = vdupq_n_s8(32);
    for (place, scale) in to.scales.iter_mut().zip(&block[192..208]) {
        *place = i32::from(scale.cast_signed());
    }
    to.units[0] = half(block, 208);
    for part in 0..2 {
        for sixteen in 0..2 {
            // SAFETY: 128 bytes of low bits and 64 of high ones belong to the block.
            let (near, far, high) = unsafe {
                (
                    load(block[64 * part + 16 * sixteen..][..16].as_ptr()),
                    load(block[64 * part + 32 + 16 * sixteen..][..16].as_ptr()),
                    load(block[128 + 32 * part + 16 * sixteen..][..16].as_ptr()),
                )
            };
            let two = vdupq_n_u8(0x30);
            let quarters = [
                vorrq_u8(low(near), vandq_u8(vshlq_n_u8::<4>(high), two)),
                vorrq_u8(low(far), vandq_u8(vshlq_n_u8::<2>(high), two)),
                vorrq_u8(vshrq_n_u8::<4>(near), vandq_u8(high, two)),
                vorrq_u8(vshrq_n_u8::<4>(far), vandq_u8(vshrq_n_u8::<2>(high), two)),
            ];
            for (quarter, quants) in quarters.into_iter().enumerate() {
                to.quants[8 * part + 2 * quarter + sixteen] = vsubq_s8(vreinterpretq_s8_u8(quants), offset);
            }
        }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn unpack_small(format: Format, blocks: &[u8], to: &mut Unpacked) {
    for (index, block) in blocks.chunks_exact(format.block_bytes()).enumerate() {
        to.units[index] = half(block, 0);
        // SAFETY: 16 or 32 bytes of quants follow the scale.
        let (first, second) = unsafe {
            let first = load(block[2..18].as_ptr());
            if format == Format::Q8_0 {
                (vreinterpretq_s8_u8(first), vreinterpretq_s8_u8(load(block[18..34].as_ptr())))
            } else {
                let offset = vdupq_n_s8(8);
                let (low, high) = (vreinterpretq_s8_u8(low(first)), vreinterpretq_s8_u8(vshrq_n_u8::<4>(first)));
                (vsubq_s8(low, offset), vsubq_s8(high, offset))
            }
        };
        to.quants[2 * index] = first;
        to.quants[2 * index + 1] = second;
    }
}

/// The values of a row from the `index`th 256 on; of a small format perhaps fewer, and then zeros.
#[inline]
#[target_feature(enable = "neon")]
fn unpack(format: Format, row: &[u8], index: usize) -> Unpacked {
    let zero = vdupq_n_s8(0);
    let mut made = Unpacked { quants: [zero; 16], scales: [0; 16], minima: [0; 8], units: [0.0; 8], least: 0.0 };
    let bytes = format.block_bytes() * (256 / format.block_values());
    let blocks = &row[index * bytes..((index + 1) * bytes).min(row.len())];
    match format {
        Format::Q4K => unpack_k(blocks, false, &mut made),
        Format::Q5K => unpack_k(blocks, true, &mut made),
        Format::Q6K => unpack_q6k(blocks, &mut made),
        Format::Q8_0 | Format::Q4_0 => unpack_small(format, blocks, &mut made),
    }
    made
}

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

/// Adds the products of two rows of eight bytes with two others: first with first, first with second, and so on.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn smmla(mut sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: as above.
    unsafe {
        asm!("smmla {0:v}.4s, {1:v}.16b, {2:v}.16b", inout(vreg) sum, in(vreg) a, in(vreg) b, options(pure, nomem, nostack, preserves_flags));
    }
    sum
}

/// 16 rounded activations; the padding makes that possible for the last of a row too.
#[inline]
#[target_feature(enable = "neon")]
fn quants_at(x: &Activations, at: usize) -> int8x16_t {
    let part = &x.quants[at..at + 16];
    // SAFETY: the slice is 16 bytes long.
    unsafe { vld1q_s8(part.as_ptr()) }
}

/// What a block's minima take away from a row of activations.
#[inline]
#[target_feature(enable = "neon")]
fn below(block: &Unpacked, x: &Activations, at: usize) -> f32 {
    let sums = &x.sums32[at / 32..at / 32 + 8];
    // SAFETY: both are eight words long.
    let (minima, sums) = unsafe { (vld1q_s16(block.minima.as_ptr()), vld1q_s16(sums.as_ptr())) };
    let products = vmlal_high_s16(vmull_s16(vget_low_s16(minima), vget_low_s16(sums)), minima, sums);
    block.least * vaddvq_s32(products) as f32
}

/// A row of weights with `M` rows of activations.
#[target_feature(enable = "neon,dotprod")]
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
                    sdot(sum, block.quants[2 * group + half], values)
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
fn two_rows(format: Format, rows: [&[u8]; 2], x: &Activations) -> Vec<[[f32; 2]; 2]> {
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
        let height = if two { 2 } else { 1 };
        if two {
            // SAFETY: the level was just seen.
            let found = unsafe { two_rows(format, [row_at(row), row_at(row + 1)], x) };
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
            let mut token = if two { x.rows / 2 * 2 } else { 0 };
            while token < x.rows {
                let count = if x.rows - token >= DOT_TOKENS { DOT_TOKENS } else { 1 };
                let mut found = [0.0; DOT_TOKENS];
                // SAFETY: every level here has the dot product.
                unsafe {
                    if count == DOT_TOKENS {
                        found = dot::<DOT_TOKENS>(format, row_at(row), x, token);
                    } else {
                        found[..1].copy_from_slice(&dot::<1>(format, row_at(row), x, token));
                    }
                }
                for (m, value) in found[..count].iter().enumerate() {
                    // SAFETY: as above.
                    unsafe { out.set(token + m, row, *value) };
                }
                token += count;
            }
        }
        row += height;
    }
}
