//! Halves with NEON: two registers of four lanes are taken as one of eight.
//!
//! The widening of binary16 is written as assembly, because its intrinsics are younger than the oldest compiler that this is built
//! with; every 64-bit Arm has the instruction.

use super::tile::level;
use std::arch::aarch64::*;
use std::arch::asm;

/// Eight lanes.
type Eight = [float32x4_t; 2];

#[inline]
#[target_feature(enable = "neon")]
fn zero() -> Eight {
    [vdupq_n_f32(0.0); 2]
}

/// Eight values.
///
/// # Safety
/// They are there; so for those below.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn values(x: *const f32) -> Eight {
    // SAFETY: the caller's promise.
    unsafe { [vld1q_f32(x), vld1q_f32(x.add(4))] }
}

/// Eight halves as they are coded.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn coded(bytes: *const u8) -> uint16x8_t {
    // SAFETY: the caller's promise; a load of bytes asks for no alignment.
    vreinterpretq_u16_u8(unsafe { vld1q_u8(bytes) })
}

/// Eight numbers of binary16, wherever they begin, as singles.
///
/// # Safety
/// Sixteen bytes are there.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) unsafe fn f16(bytes: *const u8) -> Eight {
    // SAFETY: the caller's promise.
    let coded = unsafe { coded(bytes) };
    let (low, high): (float32x4_t, float32x4_t);
    // SAFETY: the instructions only compute with their registers.
    unsafe {
        asm!("fcvtl {0:v}.4s, {1:v}.4h", lateout(vreg) low, in(vreg) coded, options(pure, nomem, nostack, preserves_flags));
        asm!("fcvtl2 {0:v}.4s, {1:v}.8h", lateout(vreg) high, in(vreg) coded, options(pure, nomem, nostack, preserves_flags));
    }
    [low, high]
}

#[inline]
#[target_feature(enable = "neon")]
unsafe fn bf16(bytes: *const u8) -> Eight {
    // SAFETY: the caller's promise.
    let coded = unsafe { coded(bytes) };
    let (low, high) = (vshll_n_u16::<16>(vget_low_u16(coded)), vshll_high_n_u16::<16>(coded));
    [vreinterpretq_f32_u32(low), vreinterpretq_f32_u32(high)]
}

#[inline]
#[target_feature(enable = "neon")]
fn multiply_add(a: Eight, b: Eight, c: Eight) -> Eight {
    [vfmaq_f32(c[0], a[0], b[0]), vfmaq_f32(c[1], a[1], b[1])]
}

#[inline]
#[target_feature(enable = "neon")]
fn add_up(v: Eight) -> f32 {
    vaddvq_f32(vaddq_f32(v[0], v[1]))
}

level! {
    mod neon = "neon";
    lanes = 8; zero = zero; values = values; f16 = f16; bf16 = bf16;
    multiply_add = multiply_add; add_up = add_up;
    rows = 2; tokens = 4, 3, 2, 1;
}
