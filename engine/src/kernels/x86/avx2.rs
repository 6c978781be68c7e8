//! Dot products of the K formats with AVX2, for processors without AVX-512: the same plan in registers of half the width, and
//! what precedes the quants of Q4_K and Q5_K is unpacked for two blocks at once.

#![expect(
    clippy::needless_range_loop,
    reason = "the same number counts registers, rows of activations and tables side by side"
)]

use super::super::ask_for;
use super::super::{Activations, Format};
use super::AHEAD;
use super::avx2_small::small;
use super::rows::{Sums, dots, each_row};
use std::arch::x86_64::*;

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
pub(in crate::kernels) fn add_up(v: __m256) -> f32 {
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

/// For each of eight places of a 128-bit lane, where the bytes of a register come from.
type Table = [[u8; 32]; 8];

/// The bytes that bring the word `i` of each 128-bit lane to all words of its lane.
static WORD: Table = {
    let mut picks = [[0; 32]; 8];
    let mut i = 0;
    while i < 256 {
        picks[i / 32][i % 32] = (i / 32 * 2 + i % 2) as u8;
        i += 1;
    }
    picks
};

/// Brings the even ones of sixteen bytes to the lower half and the odd ones to the upper.
static EVEN_ODD: [u8; 16] = [0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15];

/// What scales up to two neighbouring blocks of Q4_K or Q5_K: a lane of 128 bits for each.
struct Heads {
    /// In each lane eight words of scale.
    scales: __m256i,
    /// In each lane eight words of minimum.
    minima: __m256i,
    /// For each block its unit of scale and its unit of minimum.
    units: __m128,
}

/// # Safety
/// So many blocks, each of `bytes` bytes, are there; one or two.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn heads(block: *const u8, bytes: usize, count: usize) -> Heads {
    // SAFETY: a block begins with two halves and twelve bytes of scales; what is not there is read again from the last.
    let at = |k: usize| unsafe { _mm_loadu_si128(block.add(k.min(count - 1) * bytes).cast()) };
    let (first, second) = (at(0), at(1));
    let packed = _mm256_set_m128i(second, first);
    // The six bits of the first four scales and minima stand alone; the others are put together of four and two.
    let (six, four, high) = (0x3f3f_3f3f, 0x0f0f_0f0f, 0x3030_3030);
    let low = _mm256_srlv_epi32(_mm256_shuffle_epi32::<0b11_10_11_01>(packed), _mm256_set_epi32(4, 0, 0, 0, 4, 0, 0, 0));
    let low = _mm256_and_si256(low, _mm256_set_epi32(four, six, four, six, four, six, four, six));
    let top = _mm256_srli_epi32::<2>(_mm256_shuffle_epi32::<0b10_10_01_01>(packed));
    let bytes = _mm256_or_si256(low, _mm256_and_si256(top, _mm256_set_epi32(high, 0, high, 0, high, 0, high, 0)));
    let zero = _mm256_setzero_si256();
    Heads {
        scales: _mm256_unpacklo_epi8(bytes, zero),
        minima: _mm256_unpackhi_epi8(bytes, zero),
        units: _mm_cvtph_ps(_mm_unpacklo_epi32(first, second)),
    }
}

/// For each row of activations the products with 32 quants from `at` on, times their scales, are added to its sum.
///
/// # Safety
/// The activations are there.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add_scaled<const M: usize>(sums: &mut [__m256i; M], quants: __m256i, scale: __m256i, x: &Activations, at: usize) {
    for m in 0..M {
        // SAFETY: the caller's promise.
        let pairs = unsafe { _mm256_maddubs_epi16(quants, load(x.quants.as_ptr().add(at + m * x.width).cast())) };
        sums[m] = _mm256_add_epi32(sums[m], _mm256_madd_epi16(pairs, scale));
    }
}

/// The table of [`WORD`], hidden from the compiler: it would make two instructions of each entry where one reads it.
#[inline]
fn hidden() -> &'static Table {
    std::hint::black_box(&WORD)
}

#[inline]
#[target_feature(enable = "avx2")]
fn word(of: __m256i, which: usize, table: &Table) -> __m256i {
    // SAFETY: the table's entries are 32 bytes long.
    _mm256_shuffle_epi8(of, unsafe { load(table[which].as_ptr()) })
}

/// Adds the products of `COUNT` blocks of Q4_K, or with a fifth bit of Q5_K, `at` groups of 256 after the activations'
/// beginning; what the minima take away goes to the second sum.
///
/// # Safety
/// The blocks and the activations are there.
#[inline]
#[target_feature(enable = "avx2,f16c,fma")]
unsafe fn add_blocks<const FIFTH: bool, const M: usize, const COUNT: usize>(
    sums: &mut Sums<__m256, M>,
    start: *const u8,
    x: &Activations,
    at: usize,
    table: &Table,
) {
    let bytes = if FIFTH { Format::Q5K } else { Format::Q4K }.block_bytes();
    let spread = _mm256_set_epi32(3, 3, 3, 3, 1, 1, 1, 1);
    let mut units = [_mm256_setzero_ps(); M];
    // SAFETY: the caller's promise; the activations' padding makes that two groups can be read where one is wanted.
    unsafe {
        ask_for(start.wrapping_add(AHEAD), COUNT * bytes);
        let heads = heads(start, bytes, COUNT);
        for m in 0..M {
            let at = 8 * at + m * (x.width / 32);
            let second = if COUNT == 2 { _mm_load_ss(x.scales.as_ptr().add(at + 8)) } else { _mm_setzero_ps() };
            let both = _mm_shuffle_ps::<0>(_mm_load_ss(x.scales.as_ptr().add(at)), second);
            units[m] = _mm256_castps128_ps256(_mm_mul_ps(heads.units, both));
            let parts = load(x.sums32.as_ptr().add(at).cast());
            let minima = _mm256_cvtepi32_ps(_mm256_madd_epi16(heads.minima, parts));
            sums[m][1] = _mm256_fmadd_ps(minima, _mm256_permutevar8x32_ps(units[m], spread), sums[m][1]);
        }
        for k in 0..COUNT {
            let block = start.add(k * bytes);
            let quants = if FIFTH { q5k_quants(block) } else { q4k_quants(block) };
            let lane = if k == 0 {
                _mm256_permute4x64_epi64::<0x44>(heads.scales)
            } else {
                _mm256_permute4x64_epi64::<0xee>(heads.scales)
            };
            let mut whole = [_mm256_setzero_si256(); M];
            for i in 0..8 {
                let at = 256 * (at + k) + 32 * i;
                add_scaled(&mut whole, quants[i], word(lane, i, table), x, at);
            }
            for m in 0..M {
                let unit = _mm256_permutevar8x32_ps(units[m], _mm256_set1_epi32(2 * k as i32));
                sums[m][0] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(whole[m]), unit, sums[m][0]);
            }
        }
    }
}

/// A row of Q4_K, or of Q5_K, with `M` rows of activations. By itself, since the table is hidden once for a row: once for some blocks
/// cost a twentieth.
///
/// # Safety
/// The row, and the activations from `token` on, are there.
#[inline]
#[target_feature(enable = "avx2,f16c,fma")]
unsafe fn with_minima<const FIFTH: bool, const M: usize>(row: *const u8, x: &Activations, token: usize) -> [f32; M] {
    let bytes = if FIFTH { Format::Q5K } else { Format::Q4K }.block_bytes();
    let (blocks, table) = (x.width / 256, hidden());
    let mut sums: Sums<__m256, M> = [[_mm256_setzero_ps(); 2]; M];
    let mut index = 0;
    // SAFETY: the row has so many blocks, and each row of activations as many groups of 256 values.
    unsafe {
        while index + 2 <= blocks {
            add_blocks::<FIFTH, M, 2>(&mut sums, row.add(index * bytes), x, token * blocks + index, table);
            index += 2;
        }
        if index < blocks {
            add_blocks::<FIFTH, M, 1>(&mut sums, row.add(index * bytes), x, token * blocks + index, table);
        }
    }
    sums.map(|[added, taken]| add_up(_mm256_sub_ps(added, taken)))
}

/// A row of Q6_K with `M` rows of activations.
///
/// # Safety
/// The row, and the activations from `token` on, are there.
#[inline]
#[target_feature(enable = "avx2,f16c,fma")]
unsafe fn q6k<const M: usize>(row: *const u8, x: &Activations, token: usize) -> [f32; M] {
    let table = hidden();
    let mut sums = [_mm256_setzero_ps(); M];
    for index in 0..x.width / 256 {
        // SAFETY: as above; a block ends with sixteen scales and a half.
        unsafe {
            let block = row.add(index * 210);
            ask_for(block.wrapping_add(AHEAD), 210);
            let quants = q6k_quants(block);
            let bytes = _mm_loadu_si128(block.add(192).cast());
            // A register of quants has two groups of 16: the even one is its lower half.
            let lanes = _mm256_cvtepi8_epi16(_mm_shuffle_epi8(bytes, _mm_loadu_si128(EVEN_ODD.as_ptr().cast())));
            let words = _mm256_cvtepi8_epi16(bytes);
            let mut whole = [_mm256_setzero_si256(); M];
            for i in 0..8 {
                add_scaled(&mut whole, quants[i], word(lanes, i, table), x, token * x.width + 256 * index + 32 * i);
            }
            let d = half_at(block.add(208));
            for m in 0..M {
                let at = (token + m) * x.width + 256 * index;
                let parts = load(x.sums16.as_ptr().add(at / 16).cast());
                let sum = _mm256_sub_epi32(whole[m], _mm256_slli_epi32::<5>(_mm256_madd_epi16(words, parts)));
                let unit = _mm256_set1_ps(d * *x.scales.as_ptr().add(at / 32));
                sums[m] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), unit, sums[m]);
            }
        }
    }
    sums.map(|sum| add_up(sum))
}

dots!("avx2,f16c,fma");
