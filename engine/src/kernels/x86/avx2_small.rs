//! Dot products of Q8_0 and Q4_0 with AVX2: the scales of eight blocks of 32 are gathered at once.
//!
//! Quants of 8 bits with an offset would overflow the 16-bit sums of pairs (255 · 127 · 2), so Q8_0 is multiplied as
//! magnitudes, with the signs moved to the activations; 128 · 127 · 2 fits.

use super::super::ask_for;
use super::super::{Activations, Format};
use super::AHEAD;
use super::avx2::{add_up, load};
use super::rows::{Sums, whole_row};
use std::arch::x86_64::*;

/// Blocks whose scales are gathered together.
const TOGETHER: usize = 8;

/// Four bits of each of 32 values, and the half that scales them.
///
/// # Safety
/// A block of Q4_0 is there.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn q4_0_quants(block: *const u8) -> __m256i {
    // SAFETY: 16 bytes follow the scale.
    let q = unsafe { _mm_loadu_si128(block.add(2).cast()) };
    let shifted = _mm256_srlv_epi32(_mm256_broadcastsi128_si256(q), _mm256_set_epi32(4, 4, 4, 4, 0, 0, 0, 0));
    _mm256_and_si256(shifted, _mm256_set1_epi8(15))
}

/// The scales of so many blocks; zero for those up to eight that are not there.
///
/// # Safety
/// The blocks, each of `bytes` bytes, are there.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn scales<const COUNT: usize>(start: *const u8, bytes: usize) -> __m256 {
    let mut halves = [0_i16; TOGETHER];
    for (k, half) in halves[..COUNT].iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *half = i16::from_le(unsafe { start.add(k * bytes).cast::<i16>().read_unaligned() });
    }
    let [a, b, c, d, e, f, g, h] = halves;
    _mm256_cvtph_ps(_mm_setr_epi16(a, b, c, d, e, f, g, h))
}

/// Adds the products of `COUNT` blocks of Q8_0, or of Q4_0, `at` groups of 32 after the activations' beginning. Every other one goes
/// to the second sum, so that an addition waits for the last but one.
///
/// # Safety
/// The blocks and the activations are there.
#[inline]
#[target_feature(enable = "avx2,f16c,fma")]
unsafe fn add_blocks<const FOUR: bool, const M: usize, const COUNT: usize>(
    sums: &mut Sums<__m256, M>,
    start: *const u8,
    x: &Activations,
    at: usize,
) {
    let bytes = if FOUR { Format::Q4_0 } else { Format::Q8_0 }.block_bytes();
    let ones = _mm256_set1_epi16(1);
    // SAFETY: the caller's promise; what is read of the activations after the last block is not used.
    unsafe {
        ask_for(start.wrapping_add(AHEAD), COUNT * bytes);
        let d = scales::<COUNT>(start, bytes);
        let (mut units, mut offsets) = ([d; M], [_mm256_setzero_si256(); M]);
        for m in 0..M {
            let at = at + m * (x.width / 32);
            units[m] = _mm256_mul_ps(d, _mm256_loadu_ps(x.scales.as_ptr().add(at)));
            // Eight times the activations' sum, shared out evenly over the eight lanes that are added up later.
            offsets[m] = _mm256_cvtepi16_epi32(_mm_loadu_si128(x.sums32.as_ptr().add(at).cast()));
        }
        for k in 0..COUNT {
            let block = start.add(k * bytes);
            let quants = if FOUR { q4_0_quants(block) } else { load(block.add(2)) };
            let which = _mm256_set1_epi32(k as i32);
            for m in 0..M {
                let values = load(x.quants.as_ptr().add(32 * (at + k) + m * x.width).cast());
                let sum = if FOUR {
                    let whole = _mm256_madd_epi16(_mm256_maddubs_epi16(quants, values), ones);
                    _mm256_sub_epi32(whole, _mm256_permutevar8x32_epi32(offsets[m], which))
                } else {
                    let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(quants), _mm256_sign_epi8(values, quants));
                    _mm256_madd_epi16(pairs, ones)
                };
                let unit = _mm256_permutevar8x32_ps(units[m], which);
                sums[m][k % 2] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), unit, sums[m][k % 2]);
            }
        }
    }
}

whole_row!(small, "avx2,f16c,fma", add_blocks by TOGETHER, 1; either Format::Q4_0, or Format::Q8_0;
    _mm256_setzero_ps, _mm256_add_ps, add_up);
