//! Dot products of Q8_0 and Q4_0 with AVX-512 and VNNI: two blocks of 32 make a register, the scales of sixteen are gathered
//! at once.

use super::super::ask_for;
use super::super::{Activations, Format};
use super::AHEAD;
use super::rows::{Sums, whole_row};
use std::arch::x86_64::*;

/// Blocks whose scales are gathered together.
const TOGETHER: usize = 16;

/// The scales of so many blocks; zero for those up to sixteen that are not there.
///
/// # Safety
/// The blocks, each of `bytes` bytes, are there.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c")]
unsafe fn scales<const COUNT: usize>(start: *const u8, bytes: usize) -> __m512 {
    if COUNT == TOGETHER {
        // The first word of the first block of each pair, and that of the second.
        let which = _mm512_set1_epi32(((bytes / 2) << 16) as i32);
        let mut found = _mm512_setzero_si512();
        for pair in 0..TOGETHER / 2 {
            // SAFETY: two blocks of Q8_0 are 68 bytes long, two of Q4_0 36.
            let both = unsafe {
                let place = start.add(2 * pair * bytes);
                if bytes >= 32 {
                    _mm512_loadu_si512(place.cast())
                } else {
                    _mm512_castsi256_si512(_mm256_loadu_si256(place.cast()))
                }
            };
            found = _mm512_mask_permutexvar_epi16(found, 3 << (2 * pair), which, both);
        }
        return _mm512_cvtph_ps(_mm512_castsi512_si256(found));
    }
    let mut halves = [0_u16; TOGETHER];
    for (k, half) in halves[..COUNT].iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *half = u16::from_le(unsafe { start.add(k * bytes).cast::<u16>().read_unaligned() });
    }
    // SAFETY: sixteen halves are 32 bytes.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(halves.as_ptr().cast()) })
}

/// Two blocks' quants plus 128.
///
/// # Safety
/// Both blocks are there; so for the one below.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn eights(first: *const u8, second: *const u8) -> __m512i {
    // SAFETY: 32 bytes follow the scale in each block.
    let (a, b) = unsafe { (_mm256_loadu_si256(first.add(2).cast()), _mm256_loadu_si256(second.add(2).cast())) };
    _mm512_xor_si512(_mm512_inserti64x4::<1>(_mm512_castsi256_si512(a), b), _mm512_set1_epi8(-128))
}

/// Two blocks' quants plus 8.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
unsafe fn fours(first: *const u8, second: *const u8) -> __m512i {
    // SAFETY: 16 bytes follow the scale in each block.
    let (a, b) = unsafe { (_mm_loadu_si128(first.add(2).cast()), _mm_loadu_si128(second.add(2).cast())) };
    let both = _mm512_mask_broadcast_i32x4(_mm512_broadcast_i32x4(a), 0xff00, b);
    let high = 0x0004_0004_0004_0004;
    let shifts = _mm512_set_epi64(high, high, 0, 0, high, high, 0, 0);
    _mm512_and_si512(_mm512_srlv_epi16(both, shifts), _mm512_set1_epi8(15))
}

/// Adds the products of `COUNT` blocks of Q8_0, or of Q4_0, `at` groups of 32 after the activations' beginning. Every other one goes
/// to the second sum, so that an addition waits for the last but one.
///
/// # Safety
/// The blocks and the activations are there.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,f16c,fma")]
unsafe fn add_blocks<const FOUR: bool, const M: usize, const COUNT: usize>(
    sums: &mut Sums<__m512, M>,
    start: *const u8,
    x: &Activations,
    at: usize,
) {
    let bytes = if FOUR { Format::Q4_0 } else { Format::Q8_0 }.block_bytes();
    let zero = _mm512_setzero_si512();
    let lanes = _mm512_set_epi32(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0);
    // SAFETY: the caller's promise; what is read of the activations after the last block is multiplied with a scale of zero.
    unsafe {
        ask_for(start.wrapping_add(AHEAD), COUNT * bytes);
        let d = scales::<COUNT>(start, bytes);
        let (mut units, mut starts) = ([_mm512_setzero_ps(); M], [zero; M]);
        for m in 0..M {
            let at = at + m * (x.width / 32);
            units[m] = _mm512_mul_ps(d, _mm512_loadu_ps(x.scales.as_ptr().add(at)));
            // The offset times the sum, shared out evenly over the eight lanes that are added up later.
            let whole = _mm512_cvtepi16_epi32(_mm256_loadu_si256(x.sums32.as_ptr().add(at).cast()));
            starts[m] = _mm512_sub_epi32(zero, if FOUR { whole } else { _mm512_slli_epi32::<4>(whole) });
        }
        for pair in 0..COUNT.div_ceil(2) {
            let block = start.add(2 * pair * bytes);
            let second = if COUNT > 1 { block.add(bytes) } else { block };
            let quants = if FOUR { fours(block, second) } else { eights(block, second) };
            let which = _mm512_add_epi32(lanes, _mm512_set1_epi32(2 * pair as i32));
            for m in 0..M {
                let values = x.quants.as_ptr().add(32 * (at + 2 * pair) + m * x.width);
                let from = _mm512_permutexvar_epi32(which, starts[m]);
                let sum = _mm512_dpbusd_epi32(from, quants, _mm512_loadu_si512(values.cast()));
                let unit = _mm512_permutexvar_ps(which, units[m]);
                sums[m][pair % 2] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), unit, sums[m][pair % 2]);
            }
        }
    }
}

whole_row!(small, "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,f16c,fma", add_blocks by TOGETHER, 2, 1; either Format::Q4_0, or Format::Q8_0;
    _mm512_setzero_ps, _mm512_add_ps, _mm512_reduce_add_ps);
