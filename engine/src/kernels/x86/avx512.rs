//! Dot products with AVX-512 and VNNI: rows of weights, as they lie in the file, with one to four rows of activations.
//!
//! A block of 256 becomes four registers of unsigned bytes in their natural order. For the K formats products are summed in
//! pairs to 16 bits (at most 63 · 127 · 2, which fits) and multiplied with the 6- or 8-bit scales on their way to 32 bits.
//! Two rows go together, and ask for the next two.

use super::super::format::scales_and_minima;
use super::super::{Activations, Format, Output};
use super::{DOT_TOKENS, Rows, each_row};
use std::arch::x86_64::*;
use std::ops::Range;

/// Which word of scale belongs to each pair of quants, for each of a block's four registers.
const fn scale_words(group: usize) -> [[u16; 32]; 4] {
    let mut words = [[0; 32]; 4];
    let mut i = 0;
    while i < 128 {
        words[i / 32][i % 32] = (i * 2 / group) as u16;
        i += 1;
    }
    words
}

static WORDS_OF_16: [[u16; 32]; 4] = scale_words(16);
static WORDS_OF_32: [[u16; 32]; 4] = scale_words(32);
/// Shifts that leave the low nibbles of the first half and the high ones of the second.
static NIBBLES: [u16; 32] = halves(0, 4);
/// Shifts that bring the two high bits of a Q6_K block's quarters to bits 4 and 5.
static TOP_LEFT: [u16; 32] = halves(4, 2);
static TOP_RIGHT: [u16; 32] = halves(0, 2);

const fn halves(first: u16, second: u16) -> [u16; 32] {
    let mut out = [first; 32];
    let mut i = 16;
    while i < 32 {
        out[i] = second;
        i += 1;
    }
    out
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn words(table: &[u16; 32]) -> __m512i {
    // SAFETY: the table is 64 bytes long.
    unsafe { _mm512_loadu_si512(table.as_ptr().cast()) }
}

/// 32 bytes, twice.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn twice(bytes: *const u8) -> __m512i {
    // SAFETY: the caller promises 32 bytes.
    _mm512_broadcast_i64x4(unsafe { _mm256_loadu_si256(bytes.cast()) })
}

/// 64 rounded activations from `at`; the padding makes that possible for the last of a row too.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn quants_at(x: &Activations, at: usize) -> __m512i {
    let part = &x.quants[at..at + 64];
    // SAFETY: the slice is 64 bytes long.
    unsafe { _mm512_loadu_si512(part.as_ptr().cast()) }
}

/// A block's quants, unsigned, in order.
type Quants = [__m512i; 4];

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn nibbles(bytes: *const u8) -> Quants {
    let (shifts, low) = (words(&NIBBLES), _mm512_set1_epi8(15));
    // SAFETY: the caller promises 128 bytes.
    std::array::from_fn(|i| unsafe { _mm512_and_si512(_mm512_srlv_epi16(twice(bytes.add(32 * i)), shifts), low) })
}

/// # Safety
/// A whole block is there; so for the two below.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn q4k_quants(block: *const u8) -> Quants {
    // SAFETY: a block is 144 bytes long.
    unsafe { nibbles(block.add(16)) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn q5k_quants(block: *const u8) -> Quants {
    // SAFETY: a block is 176 bytes long.
    let (mut quants, fifth) = unsafe { (nibbles(block.add(48)), twice(block.add(16))) };
    for (i, q) in quants.iter_mut().enumerate() {
        let bits = _mm512_inserti64x4::<1>(_mm512_set1_epi8(1 << (2 * i)), _mm256_set1_epi8((1_u8 << (2 * i + 1)).cast_signed()));
        *q = _mm512_mask_add_epi8(*q, _mm512_test_epi8_mask(fifth, bits), *q, _mm512_set1_epi8(16));
    }
    quants
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn q6k_quants(block: *const u8) -> Quants {
    let (four, two) = (_mm512_set1_epi8(15), _mm512_set1_epi8(0x30));
    let mut quants = [_mm512_setzero_si512(); 4];
    for part in 0..2 {
        // SAFETY: a block is 210 bytes long.
        let (low, high) = unsafe { (_mm512_loadu_si512(block.add(64 * part).cast()), twice(block.add(128 + 32 * part))) };
        // Bits 0 and 2 of the two halves go to bit 4, bits 4 and 6 likewise.
        let first = _mm512_and_si512(_mm512_sllv_epi16(high, words(&TOP_LEFT)), two);
        let second = _mm512_and_si512(_mm512_srlv_epi16(high, words(&TOP_RIGHT)), two);
        quants[2 * part] = _mm512_or_si512(_mm512_and_si512(low, four), first);
        quants[2 * part + 1] = _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi16::<4>(low), four), second);
    }
    quants
}

/// What scales a block of a K format.
#[derive(Clone, Copy)]
struct Scales {
    /// A 16-bit scale for each group of 16 or 32.
    words: __m256i,
    /// A 16-bit minimum for each 32; zero where the format has none.
    minima: __m128i,
    d: f32,
    least: f32,
}

/// Half precision to single in one instruction.
#[inline]
#[target_feature(enable = "avx512f,f16c")]
unsafe fn half_at(bytes: *const u8) -> f32 {
    // SAFETY: the caller promises two bytes.
    let bits = u16::from_le(unsafe { bytes.cast::<u16>().read_unaligned() });
    _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(bits))))
}

/// # Safety
/// A whole block is there; so for the one below.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
unsafe fn scales_of_32(block: *const u8) -> Scales {
    // SAFETY: blocks begin with two halves and twelve bytes of scales.
    let (packed, d, least) = unsafe { (block.add(4).cast::<[u8; 12]>().read(), half_at(block), half_at(block.add(2))) };
    let (scales, minima) = scales_and_minima(&packed);
    Scales {
        words: _mm256_cvtepu8_epi16(_mm_cvtsi64_si128(scales.cast_signed())),
        minima: _mm_cvtepu8_epi16(_mm_cvtsi64_si128(minima.cast_signed())),
        d,
        least,
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
unsafe fn scales_of_16(block: *const u8) -> Scales {
    // SAFETY: a block ends with sixteen scales and a half.
    let (bytes, d) = unsafe { (_mm_loadu_si128(block.add(192).cast()), half_at(block.add(208))) };
    Scales { words: _mm256_cvtepi8_epi16(bytes), minima: _mm_setzero_si128(), d, least: 0.0 }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn add_up(v: __m128) -> f32 {
    let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
    _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)))
}

/// Asks for what the next rows have here, which nobody would fetch otherwise; past the end it does nothing.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn prefetch(block: *const u8, ahead: usize) {
    let next = block.wrapping_add(ahead).cast::<i8>();
    _mm_prefetch::<_MM_HINT_T0>(next);
    _mm_prefetch::<_MM_HINT_T0>(next.wrapping_add(64));
    _mm_prefetch::<_MM_HINT_T0>(next.wrapping_add(128));
}

macro_rules! k_dot {
    ($name:ident, $bytes:literal, $quants:ident, $scales:ident, $table:ident, $minima:literal) => {
        /// `R` neighbouring rows with `M` rows of activations, which are read once for all of them.
        ///
        /// # Safety
        /// As for [`Rows`]: the rows, and the activations from `token` on, are there.
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,f16c,fma")]
        unsafe fn $name<const R: usize, const M: usize>(rows: Rows, x: &Activations, token: usize) -> [[f32; M]; R] {
            let indices = [words(&$table[0]), words(&$table[1]), words(&$table[2]), words(&$table[3])];
            let mut sums = [[_mm512_setzero_ps(); M]; R];
            let mut below = [[_mm_setzero_ps(); M]; R];
            for index in 0..x.width / 256 {
                for r in 0..R {
                    // SAFETY: row `r` has `width / 256` blocks, and each row of activations as many groups of 256 values.
                    unsafe {
                        let block = rows.start.add(r * rows.bytes + index * $bytes);
                        prefetch(block, R * rows.bytes);
                        let quants = $quants(block);
                        let scales = $scales(block);
                        let wide = _mm512_castsi256_si512(scales.words);
                        let scale = indices.map(|i| _mm512_permutexvar_epi16(i, wide));
                        for m in 0..M {
                            let at = (token + m) * x.width + 256 * index;
                            let values = x.quants.as_ptr().add(at);
                            let mut sum = _mm512_setzero_si512();
                            for i in 0..4 {
                                let pairs = _mm512_maddubs_epi16(quants[i], _mm512_loadu_si512(values.add(64 * i).cast()));
                                sum = _mm512_dpwssd_epi32(sum, pairs, scale[i]);
                            }
                            let unit = *x.scales.as_ptr().add(at / 32);
                            if $minima {
                                let parts = _mm_loadu_si128(x.sums32.as_ptr().add(at / 32).cast());
                                let minima = _mm_cvtepi32_ps(_mm_madd_epi16(scales.minima, parts));
                                below[r][m] = _mm_fmadd_ps(minima, _mm_set1_ps(scales.least * unit), below[r][m]);
                            } else {
                                let parts = _mm256_loadu_si256(x.sums16.as_ptr().add(at / 16).cast());
                                let offset = _mm256_slli_epi32::<5>(_mm256_madd_epi16(scales.words, parts));
                                sum = _mm512_sub_epi32(sum, _mm512_zextsi256_si512(offset));
                            }
                            sums[r][m] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_set1_ps(scales.d * unit), sums[r][m]);
                        }
                    }
                }
            }
            std::array::from_fn(|r| std::array::from_fn(|m| _mm512_reduce_add_ps(sums[r][m]) - add_up(below[r][m])))
        }
    };
}

k_dot!(q4k, 144, q4k_quants, scales_of_32, WORDS_OF_32, true);
k_dot!(q5k, 176, q5k_quants, scales_of_32, WORDS_OF_32, true);
k_dot!(q6k, 210, q6k_quants, scales_of_16, WORDS_OF_16, false);

/// Two blocks' quants plus 128.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn q8_pair(first: &[u8; 34], second: &[u8; 34]) -> __m512i {
    // SAFETY: 32 bytes follow the scale in each block.
    let (a, b) = unsafe { (_mm256_loadu_si256(first[2..].as_ptr().cast()), _mm256_loadu_si256(second[2..].as_ptr().cast())) };
    _mm512_xor_si512(_mm512_inserti64x4::<1>(_mm512_castsi256_si512(a), b), _mm512_set1_epi8(-128))
}

/// Two blocks' quants plus 8.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn q4_pair(first: &[u8; 18], second: &[u8; 18]) -> __m512i {
    // SAFETY: 16 bytes follow the scale in each block.
    let (a, b) = unsafe { (_mm_loadu_si128(first[2..].as_ptr().cast()), _mm_loadu_si128(second[2..].as_ptr().cast())) };
    let low = _mm512_set1_epi8(15);
    let both = _mm512_inserti64x4::<1>(
        _mm512_castsi256_si512(_mm256_set_m128i(_mm_srli_epi16::<4>(a), a)),
        _mm256_set_m128i(_mm_srli_epi16::<4>(b), b),
    );
    _mm512_and_si512(both, low)
}

macro_rules! pair_dot {
    ($name:ident, $one:ident, $bytes:literal, $pair:ident, $offset_shift:literal) => {
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,f16c,fma")]
        unsafe fn $name<const R: usize, const M: usize>(rows: Rows, x: &Activations, token: usize) -> [[f32; M]; R] {
            // SAFETY: the caller promises that the rows are there.
            std::array::from_fn(|r| $one::<M>(unsafe { rows.row(r) }, x, token))
        }

        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,f16c,fma")]
        fn $one<const M: usize>(row: &[u8], x: &Activations, token: usize) -> [f32; M] {
            let spread = _mm512_set_epi32(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0);
            let nothing = [0; $bytes];
            let blocks = row.as_chunks::<$bytes>().0;
            let mut sums = [_mm512_setzero_ps(); M];
            for (index, pair) in blocks.chunks(2).enumerate() {
                let (first, second) = (&pair[0], pair.get(1).unwrap_or(&nothing));
                prefetch(first.as_ptr(), 2 * row.len());
                let quants = $pair(first, second);
                let bits = u32::from_le_bytes([first[0], first[1], second[0], second[1]]).cast_signed();
                let d = _mm_cvtph_ps(_mm_cvtsi32_si128(bits));
                for m in 0..M {
                    let at = (token + m) * x.width + 64 * index;
                    let group = at / 32;
                    let two = i64::from(x.sums32[group]) & 0xffff_ffff | i64::from(x.sums32[group + 1]) << 32;
                    // The offset times the sum, shared out evenly over the eight lanes that are added up later.
                    let offset = _mm512_permutexvar_epi32(spread, _mm512_castsi128_si512(_mm_cvtsi64_si128(two)));
                    let start = _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32::<$offset_shift>(offset));
                    let sum = _mm512_dpbusd_epi32(start, quants, quants_at(x, at));
                    let units = _mm_mul_ps(d, _mm_set_ps(0.0, 0.0, x.scales[group + 1], x.scales[group]));
                    let scale = _mm512_permutexvar_ps(spread, _mm512_castps128_ps512(units));
                    sums[m] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, sums[m]);
                }
            }
            sums.map(|sum| _mm512_reduce_add_ps(sum))
        }
    };
}

pair_dot!(q8_0, q8_0_row, 34, q8_pair, 4);
pair_dot!(q4_0, q4_0_row, 18, q4_pair, 0);

/// Multiplies some rows of a matrix with all rows of activations.
///
/// # Safety
/// No other thread writes these columns of `out`; `weights` holds whole rows of `format`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,f16c,fma")]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scale_words_follow_the_groups() {
        assert_eq!(WORDS_OF_32[1][0], 2);
        assert_eq!(WORDS_OF_32[1][16], 3);
        assert_eq!(WORDS_OF_16[3][31], 15);
    }
}
