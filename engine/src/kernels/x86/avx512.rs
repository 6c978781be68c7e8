//! Dot products of the K formats with AVX-512 and VNNI: a row of weights, as it lies in the file, with one to four rows of
//! activations.
//!
//! A block of 256 becomes four registers of unsigned bytes in their natural order. Products are summed in fours to at most
//! 63 · 127 · 4, which fits 16 bits, so that two registers are packed into one before the integer scales meet them on their
//! way to 32 bits. What precedes the quants of Q4_K and Q5_K is unpacked for four blocks at once. Rows are read one after the
//! other: one stream through the memory, which is asked for some way ahead.

#![expect(
    clippy::needless_range_loop,
    reason = "the same number counts registers, rows of activations and tables side by side"
)]

use super::super::ask_for;
use super::super::{Activations, Format};
use super::AHEAD;
use super::avx512_small::small;
use super::rows::{Sums, dots, each_row, whole_row};
use std::arch::x86_64::*;

/// Which word of scale belongs to each word of two packed registers, for a block's two pairs of registers: `per` of a block's
/// 128-bit lanes share one, and the scales of the block begin at the word `first`.
const fn scale_words(per: usize, first: usize) -> [[u16; 32]; 2] {
    let mut words = [[0; 32]; 2];
    let mut i = 0;
    while i < 64 {
        let (pair, lane, second) = (i / 32, i % 32 / 8, i % 8 / 4);
        words[pair][i % 32] = (first + ((2 * pair + second) * 4 + lane) / per) as u16;
        i += 1;
    }
    words
}

/// Q6_K: a scale for each 16 values, which is a lane.
static WORDS_OF_16: [[u16; 32]; 2] = scale_words(1, 0);
/// Q4_K and Q5_K: a scale for each 32; four blocks' scales lie in the lower halves of four lanes.
static WORDS_OF_32: [[[u16; 32]; 2]; 4] = [scale_words(2, 0), scale_words(2, 8), scale_words(2, 16), scale_words(2, 24)];
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn words(table: &[u16; 32]) -> __m512i {
    // SAFETY: the table is 64 bytes long.
    unsafe { _mm512_loadu_si512(table.as_ptr().cast()) }
}

/// Shifts of 16-bit words: `first` in the lower half, `second` in the upper. Constants, as the compiler would guard others.
#[inline]
#[target_feature(enable = "avx512f")]
fn shifts(first: i64, second: i64) -> __m512i {
    let (a, b) = (first * 0x1_0001_0001_0001, second * 0x1_0001_0001_0001);
    _mm512_set_epi64(b, b, b, b, a, a, a, a)
}

/// 32 bytes, twice.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn twice(bytes: *const u8) -> __m512i {
    // SAFETY: the caller promises 32 bytes.
    _mm512_broadcast_i64x4(unsafe { _mm256_loadu_si256(bytes.cast()) })
}

/// A block's quants, unsigned, in order.
type Quants = [__m512i; 4];

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn nibbles(bytes: *const u8) -> Quants {
    let (shifts, low) = (shifts(0, 4), _mm512_set1_epi8(15));
    // SAFETY: the caller promises 128 bytes.
    std::array::from_fn(|i| unsafe { _mm512_and_si512(_mm512_srlv_epi16(twice(bytes.add(32 * i)), shifts), low) })
}

/// # Safety
/// A whole block is there; so for the one below.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn q5k_quants(block: *const u8) -> Quants {
    // SAFETY: a block is 176 bytes long.
    let (mut quants, fifth) = unsafe { (nibbles(block.add(48)), twice(block.add(16))) };
    for (i, q) in quants.iter_mut().enumerate() {
        // Turns bit `2 i` of the first half and the next of the second to bit 4.
        let turn = |bit: i64| (32 + 4 - bit) % 32 * 0x1_0000_0001;
        let (first, second) = (turn(2 * i as i64), turn(2 * i as i64 + 1));
        let turns = _mm512_set_epi64(second, second, second, second, first, first, first, first);
        *q = _mm512_or_si512(*q, _mm512_and_si512(_mm512_rolv_epi32(fifth, turns), _mm512_set1_epi8(16)));
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
        let first = _mm512_and_si512(_mm512_sllv_epi16(high, shifts(4, 2)), two);
        let second = _mm512_and_si512(_mm512_srlv_epi16(high, shifts(0, 2)), two);
        quants[2 * part] = _mm512_or_si512(_mm512_and_si512(low, four), first);
        quants[2 * part + 1] = _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi16::<4>(low), four), second);
    }
    quants
}

/// The whole products of a block with 256 activations, each times its scale.
///
/// # Safety
/// The activations are there.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn scaled(quants: &Quants, scales: [__m512i; 2], values: *const i8) -> __m512i {
    let zero = _mm512_setzero_si512();
    // SAFETY: the caller's promise.
    let fours: Quants =
        std::array::from_fn(|i| unsafe { _mm512_dpbusd_epi32(zero, quants[i], _mm512_loadu_si512(values.add(64 * i).cast())) });
    let first = _mm512_madd_epi16(_mm512_packs_epi32(fours[0], fours[1]), scales[0]);
    _mm512_dpwssd_epi32(first, _mm512_packs_epi32(fours[2], fours[3]), scales[1])
}

/// What scales up to four neighbouring blocks of Q4_K or Q5_K: a lane of 128 bits for each.
struct Heads {
    /// In each lane eight words of scale.
    scales: __m512i,
    /// In each lane eight words of minimum.
    minima: __m512i,
    /// For each block its unit of scale and its unit of minimum.
    units: __m256,
}

/// # Safety
/// So many blocks, each of `bytes` bytes, are there; at least one.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c")]
unsafe fn heads(block: *const u8, bytes: usize, count: usize) -> Heads {
    // SAFETY: a block begins with two halves and twelve bytes of scales; what is not there is read again from the last.
    let at = |k: usize| unsafe { _mm_loadu_si128(block.add(k.min(count - 1) * bytes).cast()) };
    let two = _mm512_inserti32x4::<1>(_mm512_castsi128_si512(at(0)), at(1));
    let packed = _mm512_inserti32x4::<3>(_mm512_inserti32x4::<2>(two, at(2)), at(3));
    // The six bits of the first four scales and minima stand alone; the others are put together of four and two.
    let (six, four, high) = (0x3f3f_3f3f, 0x0f0f_0f0f, 0x3030_3030);
    let low = _mm512_srlv_epi32(_mm512_shuffle_epi32::<0b11_10_11_01>(packed), _mm512_set4_epi32(4, 0, 0, 0));
    let low = _mm512_and_si512(low, _mm512_set4_epi32(four, six, four, six));
    let top = _mm512_srli_epi32::<2>(_mm512_shuffle_epi32::<0b10_10_01_01>(packed));
    let bytes = _mm512_or_si512(low, _mm512_and_si512(top, _mm512_set4_epi32(high, 0, high, 0)));
    let zero = _mm512_setzero_si512();
    let firsts = _mm512_permutexvar_epi32(_mm512_set_epi32(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 8, 4, 0), packed);
    Heads {
        scales: _mm512_unpacklo_epi8(bytes, zero),
        minima: _mm512_unpackhi_epi8(bytes, zero),
        units: _mm256_cvtph_ps(_mm512_castsi512_si128(firsts)),
    }
}

/// The activations' units of up to four groups of 256, each twice; zero for those that are not there.
///
/// # Safety
/// Their scales are there, and as many after them as there would be of four.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn units_at(scales: *const f32, count: usize) -> __m256 {
    let which = _mm512_set_epi32(0, 0, 0, 0, 0, 0, 0, 0, 24, 24, 16, 16, 8, 8, 0, 0);
    // SAFETY: the caller's promise.
    let (first, second) = unsafe { (_mm512_loadu_ps(scales), _mm512_loadu_ps(scales.add(16))) };
    let all = _mm512_castps512_ps256(_mm512_permutex2var_ps(first, which, second));
    _mm256_maskz_mov_ps(((1_u32 << (2 * count)) - 1) as u8, all)
}

/// Adds the products of `COUNT` blocks of Q4_K, or with a fifth bit of Q5_K, `at` groups of 256 after the activations'
/// beginning; what the minima take away goes to the second sum.
///
/// # Safety
/// The blocks and the activations are there.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,f16c,fma")]
unsafe fn add_blocks<const FIFTH: bool, const M: usize, const COUNT: usize>(
    sums: &mut Sums<__m512, M>,
    start: *const u8,
    x: &Activations,
    at: usize,
) {
    let bytes = if FIFTH { Format::Q5K } else { Format::Q4K }.block_bytes();
    let spread = _mm512_set_epi32(7, 7, 7, 7, 5, 5, 5, 5, 3, 3, 3, 3, 1, 1, 1, 1);
    let mut units = [_mm512_setzero_ps(); M];
    // SAFETY: the caller's promise; the activations' padding makes that four groups can be read where one is wanted.
    unsafe {
        ask_for(start.wrapping_add(AHEAD), COUNT * bytes);
        let heads = heads(start, bytes, COUNT);
        for m in 0..M {
            let at = 8 * at + m * (x.width / 32);
            let product = _mm256_mul_ps(heads.units, units_at(x.scales.as_ptr().add(at), COUNT));
            units[m] = _mm512_zextps256_ps512(product);
            let parts = _mm512_loadu_si512(x.sums32.as_ptr().add(at).cast());
            let minima = _mm512_cvtepi32_ps(_mm512_madd_epi16(heads.minima, parts));
            sums[m][1] = _mm512_fmadd_ps(minima, _mm512_permutexvar_ps(spread, units[m]), sums[m][1]);
        }
        for k in 0..COUNT {
            let block = start.add(k * bytes);
            let quants = if FIFTH { q5k_quants(block) } else { nibbles(block.add(16)) };
            let tables = &WORDS_OF_32[k];
            let scales = [0, 1].map(|i: usize| _mm512_permutexvar_epi16(words(&tables[i]), heads.scales));
            for m in 0..M {
                let values = x.quants.as_ptr().add(256 * (at + k) + m * x.width);
                let sum = _mm512_cvtepi32_ps(scaled(&quants, scales, values));
                let unit = _mm512_permutexvar_ps(_mm512_set1_epi32(2 * k as i32), units[m]);
                sums[m][0] = _mm512_fmadd_ps(sum, unit, sums[m][0]);
            }
        }
    }
}

whole_row!(with_minima, "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,f16c,fma", add_blocks by 4, 1; either Format::Q5K, or Format::Q4K;
    _mm512_setzero_ps, _mm512_sub_ps, _mm512_reduce_add_ps);

/// A row of Q6_K with `M` rows of activations.
///
/// # Safety
/// The row, and the activations from `token` on, are there.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,f16c,fma")]
unsafe fn q6k<const M: usize>(row: *const u8, x: &Activations, token: usize) -> [f32; M] {
    let tables = WORDS_OF_16.each_ref().map(|table| words(table));
    let mut sums = [_mm512_setzero_ps(); M];
    for index in 0..x.width / 256 {
        // SAFETY: as above; a block ends with sixteen scales and a half, which is the last of the four that are read.
        unsafe {
            let block = row.add(index * 210);
            ask_for(block.wrapping_add(AHEAD), 210);
            let quants = q6k_quants(block);
            let of_16 = _mm256_cvtepi8_epi16(_mm_loadu_si128(block.add(192).cast()));
            let scales = tables.map(|table| _mm512_permutexvar_epi16(table, _mm512_castsi256_si512(of_16)));
            let d = _mm_cvtph_ps(_mm_loadl_epi64(block.add(202).cast()));
            let d = _mm512_permutexvar_ps(_mm512_set1_epi32(3), _mm512_castps128_ps512(d));
            for m in 0..M {
                let at = (token + m) * x.width + 256 * index;
                let parts = _mm256_loadu_si256(x.sums16.as_ptr().add(at / 16).cast());
                let offset = _mm256_slli_epi32::<5>(_mm256_madd_epi16(of_16, parts));
                let sum = _mm512_sub_epi32(scaled(&quants, scales, x.quants.as_ptr().add(at)), _mm512_zextsi256_si512(offset));
                let unit = _mm512_mul_ps(d, _mm512_set1_ps(*x.scales.as_ptr().add(at / 32)));
                sums[m] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), unit, sums[m]);
            }
        }
    }
    sums.map(|sum| _mm512_reduce_add_ps(sum))
}

dots!("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,f16c,fma");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scale_words_follow_the_groups() {
        // The second word of a lane's upper half comes from the pair's second register: 64 values further on.
        assert_eq!((WORDS_OF_32[0][0][0], WORDS_OF_32[0][0][4], WORDS_OF_32[0][0][16]), (0, 2, 1));
        assert_eq!((WORDS_OF_32[3][1][31], WORDS_OF_16[1][31], WORDS_OF_16[0][8]), (31, 15, 1));
    }
}
