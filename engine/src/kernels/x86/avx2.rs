//! Dot products with AVX2, for processors without AVX-512: the same plan in registers of half the width.
//!
//! Quants of 8 bits with an offset would overflow the 16-bit sums of pairs (255 · 127 · 2), so Q8_0 is multiplied as
//! magnitudes, with the signs moved to the activations; 128 · 127 · 2 fits.

use super::super::format::scales_and_minima;
use super::super::{Activations, Format, Output};
use super::{DOT_TOKENS, each_row};
use std::arch::x86_64::*;
use std::ops::Range;

/// 32 bytes from `at`.
#[inline]
#[target_feature(enable = "avx2")]
fn load(bytes: &[u8], at: usize) -> __m256i {
    let part = &bytes[at..at + 32];
    // SAFETY: the slice is 32 bytes long.
    unsafe { _mm256_loadu_si256(part.as_ptr().cast()) }
}

/// 32 rounded activations from `at`.
#[inline]
#[target_feature(enable = "avx2")]
fn quants_at(x: &Activations, at: usize) -> __m256i {
    let part = &x.quants[at..at + 32];
    // SAFETY: the slice is 32 bytes long.
    unsafe { _mm256_loadu_si256(part.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn half_at(block: &[u8], at: usize) -> f32 {
    let bits = i32::from(u16::from_le_bytes([block[at], block[at + 1]]));
    _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(bits)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn add_up(v: __m256) -> f32 {
    let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
    let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
    _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)))
}

/// A block's quants, unsigned, in order.
type Quants = [__m256i; 8];

#[inline]
#[target_feature(enable = "avx2")]
fn nibbles(bytes: &[u8], at: usize) -> Quants {
    let low = _mm256_set1_epi8(15);
    let mut quants = [_mm256_setzero_si256(); 8];
    for i in 0..4 {
        let q = load(bytes, at + 32 * i);
        quants[2 * i] = _mm256_and_si256(q, low);
        quants[2 * i + 1] = _mm256_and_si256(_mm256_srli_epi16::<4>(q), low);
    }
    quants
}

#[inline]
#[target_feature(enable = "avx2")]
fn q4k_quants(block: &[u8]) -> Quants {
    nibbles(block, 16)
}

#[inline]
#[target_feature(enable = "avx2")]
fn q5k_quants(block: &[u8]) -> Quants {
    let mut quants = nibbles(block, 48);
    let fifth = load(block, 16);
    for (i, q) in quants.iter_mut().enumerate() {
        let bit = _mm256_set1_epi8((1_u8 << i).cast_signed());
        let set = _mm256_cmpeq_epi8(_mm256_and_si256(fifth, bit), bit);
        *q = _mm256_or_si256(*q, _mm256_and_si256(set, _mm256_set1_epi8(16)));
    }
    quants
}

#[inline]
#[target_feature(enable = "avx2")]
fn q6k_quants(block: &[u8]) -> Quants {
    let (four, two) = (_mm256_set1_epi8(15), _mm256_set1_epi8(0x30));
    let mut quants = [_mm256_setzero_si256(); 8];
    for part in 0..2 {
        let (a, b) = (load(block, 64 * part), load(block, 64 * part + 32));
        let high = load(block, 128 + 32 * part);
        let tops = [_mm256_slli_epi16::<4>(high), _mm256_slli_epi16::<2>(high), high, _mm256_srli_epi16::<2>(high)];
        let lows = [a, b, _mm256_srli_epi16::<4>(a), _mm256_srli_epi16::<4>(b)];
        for i in 0..4 {
            quants[4 * part + i] = _mm256_or_si256(_mm256_and_si256(lows[i], four), _mm256_and_si256(tops[i], two));
        }
    }
    quants
}

/// What scales a block of a K format: a 16-bit scale for each 16 values, minima for each 32, and their units.
struct Scales {
    scales: [i16; 16],
    minima: __m128i,
    d: f32,
    least: f32,
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn scales_of_32(block: &[u8]) -> Scales {
    let mut packed = [0; 12];
    packed.copy_from_slice(&block[4..16]);
    let (scales, minima) = scales_and_minima(&packed);
    let bytes = scales.to_le_bytes();
    Scales {
        scales: std::array::from_fn(|i| i16::from(bytes[i / 2])),
        minima: _mm_cvtepu8_epi16(_mm_cvtsi64_si128(minima.cast_signed())),
        d: half_at(block, 0),
        least: half_at(block, 2),
    }
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn scales_of_16(block: &[u8]) -> Scales {
    let part = &block[192..208];
    let scales = std::array::from_fn(|i| i16::from(part[i].cast_signed()));
    Scales { scales, minima: _mm_setzero_si128(), d: half_at(block, 208), least: 0.0 }
}

macro_rules! k_dot {
    ($name:ident, $bytes:literal, $quants:ident, $scales:ident, $minima:literal) => {
        #[inline]
        #[target_feature(enable = "avx2,f16c,fma")]
        fn $name<const M: usize>(row: &[u8], x: &Activations, token: usize) -> [f32; M] {
            let mut sums = [_mm256_setzero_ps(); M];
            let mut below = [_mm256_setzero_ps(); M];
            for (index, block) in row.as_chunks::<$bytes>().0.iter().enumerate() {
                let quants = $quants(block);
                let scales = $scales(block);
                for m in 0..M {
                    let at = (token + m) * x.width + 256 * index;
                    let mut sum = _mm256_setzero_si256();
                    for i in 0..8 {
                        let pairs = _mm256_maddubs_epi16(quants[i], quants_at(x, at + 32 * i));
                        let (a, b) = (_mm_set1_epi16(scales.scales[2 * i]), _mm_set1_epi16(scales.scales[2 * i + 1]));
                        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set_m128i(b, a)));
                    }
                    let unit = x.scales[at / 32];
                    if $minima {
                        let parts = &x.sums32[at / 32..][..8];
                        // SAFETY: the slice is 16 bytes long.
                        let parts = unsafe { _mm_loadu_si128(parts.as_ptr().cast()) };
                        let minima = _mm256_zextsi128_si256(_mm_madd_epi16(scales.minima, parts));
                        below[m] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(minima), _mm256_set1_ps(scales.least * unit), below[m]);
                    } else {
                        let parts = &x.sums16[at / 16..][..16];
                        // SAFETY: the slice is 32 bytes long.
                        let parts = unsafe { _mm256_loadu_si256(parts.as_ptr().cast()) };
                        // SAFETY: sixteen words are 32 bytes.
                        let words = unsafe { _mm256_loadu_si256(scales.scales.as_ptr().cast()) };
                        sum = _mm256_sub_epi32(sum, _mm256_slli_epi32::<5>(_mm256_madd_epi16(words, parts)));
                    }
                    sums[m] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), _mm256_set1_ps(scales.d * unit), sums[m]);
                }
            }
            std::array::from_fn(|m| add_up(_mm256_sub_ps(sums[m], below[m])))
        }
    };
}

k_dot!(q4k, 144, q4k_quants, scales_of_32, true);
k_dot!(q5k, 176, q5k_quants, scales_of_32, true);
k_dot!(q6k, 210, q6k_quants, scales_of_16, false);

#[inline]
#[target_feature(enable = "avx2,f16c,fma")]
fn q8_0<const M: usize>(row: &[u8], x: &Activations, token: usize) -> [f32; M] {
    let ones = _mm256_set1_epi16(1);
    let mut sums = [_mm256_setzero_ps(); M];
    for (index, block) in row.as_chunks::<34>().0.iter().enumerate() {
        let quants = load(block, 2);
        let (magnitudes, d) = (_mm256_abs_epi8(quants), half_at(block, 0));
        for (m, sum) in sums.iter_mut().enumerate() {
            let at = (token + m) * x.width + 32 * index;
            let pairs = _mm256_maddubs_epi16(magnitudes, _mm256_sign_epi8(quants_at(x, at), quants));
            let whole = _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, ones));
            *sum = _mm256_fmadd_ps(whole, _mm256_set1_ps(d * x.scales[at / 32]), *sum);
        }
    }
    sums.map(|sum| add_up(sum))
}

#[inline]
#[target_feature(enable = "avx2,f16c,fma")]
fn q4_0<const M: usize>(row: &[u8], x: &Activations, token: usize) -> [f32; M] {
    let (ones, low) = (_mm256_set1_epi16(1), _mm256_set1_epi8(15));
    let mut sums = [_mm256_setzero_ps(); M];
    for (index, block) in row.as_chunks::<18>().0.iter().enumerate() {
        let part = &block[2..18];
        // SAFETY: the slice is 16 bytes long.
        let q = unsafe { _mm_loadu_si128(part.as_ptr().cast()) };
        let quants = _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16::<4>(q), q), low);
        let d = half_at(block, 0);
        for (m, sum) in sums.iter_mut().enumerate() {
            let at = (token + m) * x.width + 32 * index;
            let pairs = _mm256_maddubs_epi16(quants, quants_at(x, at));
            // Eight times the activations' sum, shared out over the eight lanes that are added up later.
            let offset = _mm256_set1_epi32(i32::from(x.sums32[at / 32]));
            let whole = _mm256_sub_epi32(_mm256_madd_epi16(pairs, ones), offset);
            *sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(whole), _mm256_set1_ps(d * x.scales[at / 32]), *sum);
        }
    }
    sums.map(|sum| add_up(sum))
}

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
