//! Half precision and single, without branches, so that the compiler makes vector code of it on every processor.

/// The smallest normal half, as bits of a single.
const LEAST_NORMAL: u32 = 113 << 23;
/// The largest half, as bits of a single.
const MOST: u32 = 0x477f_e000;

/// To the nearest half, of two equally near ones the even; what is too large becomes the largest.
#[inline(always)]
pub(super) fn to_half(number: f32) -> u16 {
    let bits = number.to_bits();
    let sign = (bits >> 16) & 0x8000;
    let size = (bits & 0x7fff_ffff).min(MOST);
    // Adding a half pushes what a subnormal cannot hold out of the mantissa, with the processor's own rounding.
    let small = (f32::from_bits(size) + 0.5).to_bits().wrapping_sub(0.5_f32.to_bits());
    let normal = size.wrapping_add(0xfff + ((size >> 13) & 1)).wrapping_sub(112 << 23) >> 13;
    (sign | if size < LEAST_NORMAL { small } else { normal }) as u16
}

/// Exactly the number a finite half stands for.
#[inline(always)]
pub(super) fn to_single(half: u16) -> f32 {
    let bits = u32::from(half);
    let size = f32::from_bits((bits & 0x7fff) << 13) * 2.0_f32.powi(112);
    f32::from_bits(size.to_bits() | (bits & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_finite_half_comes_back() {
        for half in (0..=u16::MAX).filter(|half| half & 0x7c00 != 0x7c00) {
            assert_eq!(to_half(to_single(half)), half);
            assert_eq!(to_single(half), crate::kernels::half_to_f32(half));
        }
        assert_eq!((to_half(f32::INFINITY), to_half(-1e9)), (0x7bff, 0xfbff));
    }

    proptest! {
        #[test]
        fn no_other_half_is_nearer(number in prop_oneof![-70_000.0..70_000.0_f32, -1e-4..1e-4_f32]) {
            let half = to_half(number);
            let distance = |half: u16| (f64::from(to_single(half)) - f64::from(number)).abs();
            for other in [half.wrapping_sub(1), half.wrapping_add(1)].into_iter().filter(|h| h & 0x7c00 != 0x7c00) {
                prop_assert!(distance(half) <= distance(other), "{number}: {half:#x} and {other:#x}");
                prop_assert!(distance(half) < distance(other) || half & 1 == 0 || number.abs() > 65_504.0);
            }
        }
    }
}
