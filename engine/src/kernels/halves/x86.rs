//! Halves with AVX-512 and with AVX2.

use super::tile::level;
use crate::kernels::x86::add_up;
use std::arch::x86_64::*;

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

level! {
    mod avx512 = "avx512f,avx512bw,avx512vl,avx512dq,f16c,fma";
    lanes = 16; zero = _mm512_setzero_ps; values = _mm512_loadu_ps; f16 = f16_512; bf16 = bf16_512;
    multiply_add = _mm512_fmadd_ps; add_up = _mm512_reduce_add_ps;
    rows = 4; tokens = 6, 4, 3, 2, 1;
}
level! {
    mod avx2 = "avx2,f16c,fma";
    lanes = 8; zero = _mm256_setzero_ps; values = _mm256_loadu_ps; f16 = f16_256; bf16 = bf16_256;
    multiply_add = _mm256_fmadd_ps; add_up = add_up;
    rows = 2; tokens = 4, 3, 2, 1;
}
