//! Dot products with AVX2, for processors without AVX-512: the same plan in registers of half the width.
//!
//! Quants of 8 bits with an offset would overflow the 16-bit sums of pairs (255 · 127 · 2), so Q8_0 is multiplied as
//! magnitudes, with the signs moved to the activations; 128 · 127 · 2 fits.

use super::super::format::scales_and_minima;
use super::super::{Activations, Format, Output};
use super::{DOT_TOKENS, Rows, each_row};
use std::arch::x86_64::*;
use std::ops::Range;

/// # Safety
/// 32 bytes are there.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn load(bytes: *const u8) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe { _mm256_loadu_si256(bytes.cast()) }
}

/// # Safety
/// Two bytes are there.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) unsafe fn half_at(bytes: *const u8) -> f32 {
    // SAFETY: the caller's promise.
    let bits = u16::from_le(unsafe { bytes.cast::<u16>().read_unaligned() });
    _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(bits))))
}

#[inline]
#[target_feature(enable = "avx2")]
fn add_up(v: __m256) -> f32 {
    let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
    let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
    _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)))
}

/// A block's quants, unsigned, in order.
pub(super) type Quants = [__m256i; 8];

#[inline]
#[target_feature(enable = "avx2")]
unsafe fn nibbles(bytes: *const u8) -> Quants {
    let low = _mm256_set1_epi8(15);
    let mut quants = [_mm256_setzero_si256(); 8];
    for i in 0..4 {
        // SAFETY: the caller promises 128 bytes.
        let q = unsafe { load(bytes.add(32 * i)) };
        quants[2 * i] = _mm256_and_si256(q, low);
        quants[2 * i + 1] = _mm256_and_si256(_mm256_srli_epi16::<4>(q), low);
    }
    quants
}

/// # Safety
/// A whole block is there; so for the two below.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn q4k_quants(block: *const u8) -> Quants {
    // SAFETY: a block is 144 bytes long.
    unsafe { nibbles(block.add(16)) }
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn q5k_quants(block: *const u8) -> Quants {
    // SAFETY: a block is 176 bytes long.
    let (mut quants, fifth) = unsafe { (nibbles(block.add(48)), load(block.add(16))) };
    for (i, q) in quants.iter_mut().enumerate() {
        let bit = _mm256_set1_epi8((1_u8 << i).cast_signed());
        let set = _mm256_cmpeq_epi8(_mm256_and_si256(fifth, bit), bit);
        *q = _mm256_or_si256(*q, _mm256_and_si256(set, _mm256_set1_epi8(16)));
    }
    quants
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn q6k_quants(block: *const u8) -> Quants {
    let (four, two) = (_mm256_set1_epi8(15), _mm256_set1_epi8(0x30));
    let mut quants = [_mm256_setzero_si256(); 8];
    for part in 0..2 {
        // SAFETY: a block is 210 bytes long.
        let (a, b, high) = unsafe { (load(block.add(64 * part)), load(block.add(64 * part + 32)), load(block.add(128 + 32 * part))) };
        let tops = [_mm256_slli_epi16::<4>(high), _mm256_slli_epi16::<2>(high), high, _mm256_srli_epi16::<2>(high)];
        let lows = [a, b, _mm256_srli_epi16::<4>(a), _mm256_srli_epi16::<4>(b)];
        for i in 0..4 {
            quants[4 * part + i] = _mm256_or_si256(_mm256_and_si256(lows[i], four), _mm256_and_si256(tops[i], two));
        }
    }
    quants
}

/// What scales a block of a K format.
#[derive(Clone, Copy)]
pub(super) struct Scales {
    /// A signed byte of scale for each 16 values; twice the same where the format has one for each 32.
    pub(super) bytes: __m128i,
    /// A 16-bit minimum for each 32; zero where the format has none.
    pub(super) minima: __m128i,
    pub(super) d: f32,
    pub(super) least: f32,
}

/// # Safety
/// A whole block is there; so for the one below.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) unsafe fn scales_of_32(block: *const u8) -> Scales {
    // SAFETY: blocks begin with two halves and twelve bytes of scales.
    let (packed, d, least) = unsafe { (block.add(4).cast::<[u8; 12]>().read(), half_at(block), half_at(block.add(2))) };
    let (scales, minima) = scales_and_minima(&packed);
    let eight = _mm_cvtsi64_si128(scales.cast_signed());
    let minima = _mm_cvtepu8_epi16(_mm_cvtsi64_si128(minima.cast_signed()));
    Scales { bytes: _mm_unpacklo_epi8(eight, eight), minima, d, least }
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) unsafe fn scales_of_16(block: *const u8) -> Scales {
    // SAFETY: a block ends with sixteen scales and a half.
    let (bytes, d) = unsafe { (_mm_loadu_si128(block.add(192).cast()), half_at(block.add(208))) };
    Scales { bytes, minima: _mm_setzero_si128(), d, least: 0.0 }
}

/// Which byte of scale belongs to each 16-bit pair of a register of 32 quants.
static PICKS: [[u8; 16]; 8] = {
    let mut picks = [[0; 16]; 8];
    let mut i = 0;
    while i < 128 {
        picks[i / 16][i % 16] = (i / 8) as u8;
        i += 1;
    }
    picks
};

macro_rules! k_dot {
    ($name:ident, $bytes:literal, $quants:ident, $scales:ident, $minima:literal) => {
        /// `R` neighbouring rows with `M` rows of activations.
        ///
        /// # Safety
        /// As for [`Rows`]: the rows, and the activations from `token` on, are there.
        #[inline]
        #[target_feature(enable = "avx2,f16c,fma")]
        unsafe fn $name<const R: usize, const M: usize>(rows: Rows, x: &Activations, token: usize) -> [[f32; M]; R] {
            let mut sums = [[_mm256_setzero_ps(); M]; R];
            let mut below = [[_mm256_setzero_ps(); M]; R];
            for index in 0..x.width / 256 {
                for r in 0..R {
                    // SAFETY: row `r` has `width / 256` blocks, and each row of activations as many groups of 256 values.
                    unsafe {
                        let block = rows.start.add(r * rows.bytes + index * $bytes);
                        let next = block.wrapping_add(R * rows.bytes).cast::<i8>();
                        _mm_prefetch::<_MM_HINT_T0>(next);
                        _mm_prefetch::<_MM_HINT_T0>(next.wrapping_add(64));
                        _mm_prefetch::<_MM_HINT_T0>(next.wrapping_add(128));
                        let quants = $quants(block);
                        let scales = $scales(block);
                        let scale: [__m256i; 8] = std::array::from_fn(|i| {
                            let picks = _mm_loadu_si128(PICKS[i].as_ptr().cast());
                            _mm256_cvtepi8_epi16(_mm_shuffle_epi8(scales.bytes, picks))
                        });
                        for m in 0..M {
                            let at = (token + m) * x.width + 256 * index;
                            let values = x.quants.as_ptr().add(at).cast::<u8>();
                            let mut sum = _mm256_setzero_si256();
                            for i in 0..8 {
                                let pairs = _mm256_maddubs_epi16(quants[i], load(values.add(32 * i)));
                                sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, scale[i]));
                            }
                            let unit = *x.scales.as_ptr().add(at / 32);
                            if $minima {
                                let parts = _mm_loadu_si128(x.sums32.as_ptr().add(at / 32).cast());
                                let minima = _mm256_zextsi128_si256(_mm_madd_epi16(scales.minima, parts));
                                let minima = _mm256_cvtepi32_ps(minima);
                                below[r][m] = _mm256_fmadd_ps(minima, _mm256_set1_ps(scales.least * unit), below[r][m]);
                            } else {
                                let parts = _mm256_loadu_si256(x.sums16.as_ptr().add(at / 16).cast());
                                let words = _mm256_cvtepi8_epi16(scales.bytes);
                                sum = _mm256_sub_epi32(sum, _mm256_slli_epi32::<5>(_mm256_madd_epi16(words, parts)));
                            }
                            sums[r][m] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), _mm256_set1_ps(scales.d * unit), sums[r][m]);
                        }
                    }
                }
            }
            std::array::from_fn(|r| std::array::from_fn(|m| add_up(_mm256_sub_ps(sums[r][m], below[r][m]))))
        }
    };
}

k_dot!(q4k, 144, q4k_quants, scales_of_32, true);
k_dot!(q5k, 176, q5k_quants, scales_of_32, true);
k_dot!(q6k, 210, q6k_quants, scales_of_16, false);

/// Four bits of each of 32 values, and the half that scales them.
///
/// # Safety
/// A block of Q4_0 is there.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn q4_0_quants(block: *const u8) -> __m256i {
    // SAFETY: 16 bytes follow the scale.
    let q = unsafe { _mm_loadu_si128(block.add(2).cast()) };
    _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16::<4>(q), q), _mm256_set1_epi8(15))
}

macro_rules! small_dot {
    ($name:ident, $bytes:literal, |$block:ident, $values:ident, $sum:ident| $product:expr) => {
        /// # Safety
        /// As for [`Rows`]: the rows, and the activations from `token` on, are there.
        #[inline]
        #[target_feature(enable = "avx2,f16c,fma")]
        unsafe fn $name<const R: usize, const M: usize>(rows: Rows, x: &Activations, token: usize) -> [[f32; M]; R] {
            let mut sums = [[_mm256_setzero_ps(); M]; R];
            for index in 0..x.width / 32 {
                for (r, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: row `r` has `width / 32` blocks, and each row of activations as many groups of 32 values.
                    unsafe {
                        let $block = rows.start.add(r * rows.bytes + index * $bytes);
                        _mm_prefetch::<_MM_HINT_T0>($block.wrapping_add(R * rows.bytes).cast());
                        let d = half_at($block);
                        for (m, sum) in sums.iter_mut().enumerate() {
                            let at = (token + m) * x.width + 32 * index;
                            let ($values, $sum) = (load(x.quants.as_ptr().add(at).cast()), i32::from(*x.sums32.as_ptr().add(at / 32)));
                            let unit = _mm256_set1_ps(d * *x.scales.as_ptr().add(at / 32));
                            *sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps($product), unit, *sum);
                        }
                    }
                }
            }
            std::array::from_fn(|r| sums[r].map(|sum| add_up(sum)))
        }
    };
}

small_dot!(q8_0, 34, |block, values, _sum| {
    let quants = load(block.add(2));
    let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(quants), _mm256_sign_epi8(values, quants));
    _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))
});
small_dot!(q4_0, 18, |block, values, sum| {
    let pairs = _mm256_maddubs_epi16(q4_0_quants(block), values);
    // Eight times the activations' sum, shared out over the eight lanes that are added up later.
    _mm256_sub_epi32(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)), _mm256_set1_epi32(sum))
});

/// Multiplies some rows of a matrix with all rows of activations.
///
/// # Safety
/// No other thread writes these columns of `out`; `weights` holds whole rows of `format`.
#[target_feature(enable = "avx2,f16c,fma")]
pub(super) unsafe fn multiply(format: Format, weights: &[u8], x: &Activations, out: Output, rows: Range<usize>) {
    let row_bytes = x.width / format.block_values() * format.block_bytes();
    match format {
        Format::Q4K => each_row!(q4k, row_bytes, weights, x, out, rows),
        Format::Q5K => each_row!(q5k, row_bytes, weights, x, out, rows),
        Format::Q6K => each_row!(q6k, row_bytes, weights, x, out, rows),
        Format::Q8_0 => each_row!(q8_0, row_bytes, weights, x, out, rows),
        Format::Q4_0 => each_row!(q4_0, row_bytes, weights, x, out, rows),
    }
}
