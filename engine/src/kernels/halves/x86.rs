//! Halves with AVX-512 and with AVX2: the same code for two widths of registers.
//!
//! A tile is some rows of weights and some of activations, whose sums stay in registers; lanes run along the rows and are added
//! up once at their end, so that nothing has to be rearranged. What a row of activations computes does not depend, to the bit, on
//! how many there are.

use super::{HALF_BYTES, Half, Singles};
use crate::kernels::Output;
use std::arch::x86_64::*;
use std::ops::Range;

macro_rules! level {
    ($module:ident, $features:literal, $lanes:literal, $zero:ident, $load:ident, $fma:ident, $add_up:ident, $f16:ident, $bf16:ident,
     $height:literal, $($most:literal),+) => {
        pub(super) mod $module {
            use super::*;

            /// The products of `R` neighbouring rows with `M` rows of activations.
            ///
            /// # Safety
            /// They are there: rows of weights of `width` halves, activations of `width` values.
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn tile<const BRAIN: bool, const R: usize, const M: usize>(
                row: *const u8,
                x: *const f32,
                width: usize,
            ) -> [[f32; M]; R] {
                let mut sums = [[$zero(); M]; R];
                let mut at = 0;
                while at + $lanes <= width {
                    for r in 0..R {
                        // SAFETY: so many halves and values are left, by the caller's promise; a prefetch reads nothing.
                        unsafe {
                            let bytes = row.add((r * width + at) * HALF_BYTES);
                            if at % 32 == 0 {
                                _mm_prefetch::<_MM_HINT_T0>(bytes.wrapping_add(R * width * HALF_BYTES).cast());
                            }
                            let weights = if BRAIN { $bf16(bytes) } else { $f16(bytes) };
                            for m in 0..M {
                                sums[r][m] = $fma(weights, $load(x.add(m * width + at)), sums[r][m]);
                            }
                        }
                    }
                    at += $lanes;
                }
                let half = if BRAIN { Half::BF16 } else { Half::F16 };
                let mut found = [[0.0; M]; R];
                for r in 0..R {
                    for m in 0..M {
                        let mut sum = $add_up(sums[r][m]);
                        for k in at..width {
                            // SAFETY: as above.
                            unsafe {
                                let bytes = row.add((r * width + k) * HALF_BYTES).cast::<[u8; HALF_BYTES]>().read();
                                sum += half.single(bytes) * *x.add(m * width + k);
                            }
                        }
                        found[r][m] = sum;
                    }
                }
                found
            }

            /// # Safety
            /// The processor has these instructions, and nobody else writes these columns.
            #[target_feature(enable = $features)]
            pub(in crate::kernels::halves) unsafe fn multiply<const BRAIN: bool>(weights: &[u8], x: Singles<'_>, out: Output, rows: Range<usize>) {
                let (width, tokens) = (x.width, x.rows());
                let mut row = rows.start;
                while row < rows.end {
                    let tall = if tokens > 2 { $height } else { 4 };
                    let height = if row + tall <= rows.end { tall } else { 1 };
                    let start = weights[row * width * HALF_BYTES..][..height * width * HALF_BYTES].as_ptr();
                    let mut token = 0;
                    macro_rules! some {
                        ($rows:literal, $count:literal) => {{
                            // SAFETY: the rows were just seen to be there, and so many tokens are left.
                            let found = unsafe { tile::<BRAIN, $rows, $count>(start, x.values.as_ptr().add(token * width), width) };
                            for (r, found) in found.into_iter().enumerate() {
                                for (m, value) in found.into_iter().enumerate() {
                                    // SAFETY: the caller promised that the columns are this call's.
                                    unsafe { out.set(token + m, row + r, value) };
                                }
                            }
                            token += $count;
                        }};
                    }
                    while token < tokens {
                        match (height, tokens - token) {
                            (1, 4..) => some!(1, 4),
                            (1, _) => some!(1, 1),
                            $(($height, $most..) => some!($height, $most),)+
                            (_, 2) => some!(4, 2),
                            _ => some!(4, 1),
                        }
                    }
                    row += height;
                }
            }
        }
    };
}

/// Sixteen halves.
///
/// # Safety
/// They are there; so for those below.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn f16_512(bytes: *const u8) -> __m512 {
    // SAFETY: the caller's promise.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(bytes.cast()) })
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn bf16_512(bytes: *const u8) -> __m512 {
    // SAFETY: the caller's promise.
    let wide = _mm512_cvtepu16_epi32(unsafe { _mm256_loadu_si256(bytes.cast()) });
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn add_up_512(v: __m512) -> f32 {
    _mm512_reduce_add_ps(v)
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn f16_256(bytes: *const u8) -> __m256 {
    // SAFETY: the caller's promise.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(bytes.cast()) })
}

#[inline]
#[target_feature(enable = "avx2")]
unsafe fn bf16_256(bytes: *const u8) -> __m256 {
    // SAFETY: the caller's promise.
    let wide = _mm256_cvtepu16_epi32(unsafe { _mm_loadu_si128(bytes.cast()) });
    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
}

#[inline]
#[target_feature(enable = "avx2")]
fn add_up_256(v: __m256) -> f32 {
    let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
    let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
    _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)))
}

level!(
    avx512,
    "avx512f,avx512bw,avx512vl,avx512dq,f16c,fma",
    16,
    _mm512_setzero_ps,
    _mm512_loadu_ps,
    _mm512_fmadd_ps,
    add_up_512,
    f16_512,
    bf16_512,
    4,
    6,
    4,
    3,
    2,
    1
);
level!(
    avx2,
    "avx2,f16c,fma",
    8,
    _mm256_setzero_ps,
    _mm256_loadu_ps,
    _mm256_fmadd_ps,
    add_up_256,
    f16_256,
    bf16_256,
    2,
    4,
    3,
    2,
    1
);
