//! 256 values of a row of weights as sixteen registers of signed bytes, offsets already taken away, and what scales them.

use crate::kernels::format::{half, scales_and_minima};
use crate::kernels::{Activations, Format};
use std::arch::aarch64::*;

/// 256 values of a row, and what scales them.
pub(super) struct Unpacked {
    pub(super) quants: [int8x16_t; 16],
    /// For each 16 values of a K format its whole scale; for each 32 of a small format nothing.
    pub(super) scales: [i32; 16],
    /// For each 32 values its minimum.
    pub(super) minima: [i16; 8],
    /// The block's unit of scale, or those of eight small blocks.
    pub(super) units: [f32; 8],
    pub(super) least: f32,
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
pub(super) fn unpack(format: Format, row: &[u8], index: usize) -> Unpacked {
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

/// 16 rounded activations; the padding makes that possible for the last of a row too.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn quants_at(x: &Activations, at: usize) -> int8x16_t {
    let part = &x.quants[at..at + 16];
    // SAFETY: the slice is 16 bytes long.
    unsafe { vld1q_s8(part.as_ptr()) }
}

/// What a block's minima take away from a row of activations.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn below(block: &Unpacked, x: &Activations, at: usize) -> f32 {
    let sums = &x.sums32[at / 32..at / 32 + 8];
    // SAFETY: both are eight words long.
    let (minima, sums) = unsafe { (vld1q_s16(block.minima.as_ptr()), vld1q_s16(sums.as_ptr())) };
    let products = vmlal_high_s16(vmull_s16(vget_low_s16(minima), vget_low_s16(sums)), minima, sums);
    block.least * vaddvq_s32(products) as f32
}
