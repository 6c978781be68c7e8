//! What the arithmetic between the matrices is compiled for: once for each level of instructions, from one text.

use super::halves::to_single;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{_mm_loadu_si128, _mm256_cvtph_ps, _mm256_loadu_si256, _mm256_storeu_ps, _mm512_cvtph_ps, _mm512_storeu_ps};

/// Numbers that are taken together.
pub(super) const LANES: usize = 16;

/// The instructions that a function is compiled for. Only `compiled!` names the types that have it: what they do exists where the
/// functions it makes are called, and nowhere else.
pub(super) trait Instructions {
    /// Whether a product and a sum are one step: elsewhere that would be a call into a library.
    const FUSED: bool;

    /// Numbers of half precision, which are finite, as singles.
    #[inline(always)]
    fn singles(halves: &[u16; LANES]) -> [f32; LANES] {
        let mut singles = [0.0; LANES];
        for i in 0..LANES {
            singles[i] = to_single(halves[i]);
        }
        singles
    }
}

/// Whatever the crate is built for.
pub(super) struct Any;

impl Instructions for Any {
    // Every 64-bit Arm multiplies and adds in one step, and widens halves.
    const FUSED: bool = cfg!(target_arch = "aarch64");

    #[cfg(target_arch = "aarch64")]
    #[inline(always)]
    fn singles(halves: &[u16; LANES]) -> [f32; LANES] {
        let mut singles = [0.0; LANES];
        for (eight, to) in halves.as_chunks::<8>().0.iter().zip(singles.as_chunks_mut::<8>().0) {
            // SAFETY: every 64-bit Arm has NEON; both are arrays of eight.
            unsafe {
                let [low, high] = crate::kernels::halves::arm::f16(eight.as_ptr().cast());
                std::arch::aarch64::vst1q_f32(to.as_mut_ptr(), low);
                std::arch::aarch64::vst1q_f32(to.as_mut_ptr().add(4), high);
            }
        }
        singles
    }
}

/// AVX2 with FMA and F16C.
#[cfg(target_arch = "x86_64")]
pub(super) struct Avx2;

#[cfg(target_arch = "x86_64")]
impl Instructions for Avx2 {
    const FUSED: bool = true;

    #[inline(always)]
    fn singles(halves: &[u16; LANES]) -> [f32; LANES] {
        let mut singles = [0.0; LANES];
        for (eight, to) in halves.as_chunks::<8>().0.iter().zip(singles.as_chunks_mut::<8>().0) {
            // SAFETY: this is inlined into functions that are called where these instructions exist; both are arrays of eight.
            unsafe { _mm256_storeu_ps(to.as_mut_ptr(), _mm256_cvtph_ps(_mm_loadu_si128(eight.as_ptr().cast()))) };
        }
        singles
    }
}

/// AVX-512.
#[cfg(target_arch = "x86_64")]
pub(super) struct Avx512;

#[cfg(target_arch = "x86_64")]
impl Instructions for Avx512 {
    const FUSED: bool = true;

    #[inline(always)]
    fn singles(halves: &[u16; LANES]) -> [f32; LANES] {
        let mut singles = [0.0; LANES];
        // SAFETY: as above; both are arrays of sixteen.
        unsafe { _mm512_storeu_ps(singles.as_mut_ptr(), _mm512_cvtph_ps(_mm256_loadu_si256(halves.as_ptr().cast()))) };
        singles
    }
}

/// Compiles `$body::<I>` for each level of instructions; which is taken is decided when the program runs.
macro_rules! compiled {
    ($(#[$doc:meta])* fn $name:ident($($argument:ident: $kind:ty),* $(,)?) = $body:ident) => {
        $(#[$doc])*
        pub(super) fn $name($($argument: $kind),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,f16c,fma")]
                fn avx512($($argument: $kind),*) {
                    $body::<$crate::decoder::instructions::Avx512>($($argument),*);
                }
                #[target_feature(enable = "avx2,f16c,fma")]
                fn avx2($($argument: $kind),*) {
                    $body::<$crate::decoder::instructions::Avx2>($($argument),*);
                }
                match $crate::kernels::Level::for_vectors() {
                    // SAFETY: the processor was found to have these instructions.
                    Some($crate::kernels::Level::Avx512Vnni) => return unsafe { avx512($($argument),*) },
                    // SAFETY: as above.
                    Some(_) => return unsafe { avx2($($argument),*) },
                    None => {}
                }
            }
            $body::<$crate::decoder::instructions::Any>($($argument),*);
        }
    };
}
pub(super) use compiled;

#[cfg(target_arch = "x86_64")]
impl crate::kernels::Level {
    /// The instructions for everything but products of quantised matrices: these do not depend on whether candle computes
    /// those.
    pub(super) fn for_vectors() -> Option<Self> {
        static CHOSEN: std::sync::OnceLock<Option<crate::kernels::Level>> = std::sync::OnceLock::new();
        *CHOSEN.get_or_init(|| Self::in_use().or_else(Self::detected))
    }
}
