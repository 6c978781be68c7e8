//! Products of matrices of half precision, which stay where the file maps them: F16 and BF16, with activations in `f32`.
//!
//! Each number becomes a single on its way into the sum, so nothing is rounded that the file has not rounded already.

use super::{Level, Output};
use crate::gguf::TensorType;
use std::ops::Range;

#[cfg(target_arch = "aarch64")]
pub(crate) mod arm;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
mod tile;
#[cfg(target_arch = "x86_64")]
mod x86;

/// How a half is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a single.
    BF16,
}

/// Bytes of a half.
pub(crate) const HALF_BYTES: usize = 2;

impl Half {
    /// The coding of a tensor type, if it is one of halves.
    pub(crate) fn of(kind: TensorType) -> Option<Self> {
        match kind {
            TensorType::F16 => Some(Self::F16),
            TensorType::BF16 => Some(Self::BF16),
            _ => None,
        }
    }

    /// One number.
    pub(crate) fn single(self, bytes: [u8; HALF_BYTES]) -> f32 {
        let bits = u16::from_le_bytes(bytes);
        match self {
            Self::F16 => super::format::half_to_f32(bits),
            Self::BF16 => f32::from_bits(u32::from(bits) << 16),
        }
    }
}

/// Rows of activations as they are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Singles<'a> {
    values: &'a [f32],
    width: usize,
}

impl<'a> Singles<'a> {
    /// Whole rows of `width` values.
    pub(crate) fn new(values: &'a [f32], width: usize) -> Self {
        Self { values, width }
    }

    fn rows(self) -> usize {
        self.values.len() / self.width
    }
}

/// Multiplies some rows of a matrix of halves with all rows of activations.
///
/// # Safety
/// The processor has `level`; no other thread writes these columns of `out`; `weights` holds whole rows.
pub(crate) unsafe fn multiply(level: Level, half: Half, weights: &[u8], x: Singles<'_>, out: Output, rows: Range<usize>) {
    assert!(
        out.first + rows.end <= out.stride && rows.end * x.width * HALF_BYTES <= weights.len(),
        "rows outside their matrix"
    );
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the level is the processor's; the rest was just seen, or is the caller's promise.
    unsafe {
        match (level, half) {
            (Level::Avx512Vnni, Half::F16) => x86::avx512::multiply::<false>(weights, x, out, rows),
            (Level::Avx512Vnni, Half::BF16) => x86::avx512::multiply::<true>(weights, x, out, rows),
            (_, Half::F16) => x86::avx2::multiply::<false>(weights, x, out, rows),
            (_, Half::BF16) => x86::avx2::multiply::<true>(weights, x, out, rows),
        }
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above; every level has NEON.
    unsafe {
        let _ = level;
        match half {
            Half::F16 => arm::neon::multiply::<false>(weights, x, out, rows),
            Half::BF16 => arm::neon::multiply::<true>(weights, x, out, rows),
        }
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = (level, half);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::{Rng as _, SeedableRng as _};

    proptest! {
        /// Any sizes, more than a block too, both codings, against arithmetic in `f64`; and a row alone gives the same bits.
        #[test]
        fn products_agree_with_plain_arithmetic(rows in 1..70_usize, width in prop_oneof![8 => 1..300_usize, 1 => 1020..2100_usize], tokens in 1..20_usize, brain in any::<bool>(), seed in any::<u64>()) {
            let half = if brain { Half::BF16 } else { Half::F16 };
            let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
            let mut weights: Vec<u8> = (0..rows * width * HALF_BYTES).map(|_| random.random()).collect();
            for bytes in weights.as_chunks_mut::<HALF_BYTES>().0 {
                // Of ordinary size, either sign; now and then the smallest there are.
                bytes[1] = match (brain, random.random_range(0..8)) {
                    (false, 0) => 0,
                    (false, _) => random.random_range(0x24..0x44_u8) | (random.random::<u8>() & 0x80),
                    (true, _) => random.random_range(0x3a..0x41_u8) | (random.random::<u8>() & 0x80),
                };
            }
            let values: Vec<f32> = (0..tokens * width).map(|_| random.random_range(-3.0..3.0)).collect();
            for level in crate::kernels::oracle::levels() {
                let mut found = vec![f32::NAN; tokens * rows];
                let out = Output::new(&mut found, rows, 0);
                // SAFETY: the level was detected, one thread runs, and the weights were made for it.
                unsafe { multiply(level, half, &weights, Singles::new(&values, width), out, 0..rows) };
                let (alone_at, mut alone) = (seed as usize % tokens, vec![f32::NAN; rows]);
                let one = Singles::new(&values[alone_at * width..][..width], width);
                // SAFETY: as above.
                unsafe { multiply(level, half, &weights, one, Output::new(&mut alone, rows, 0), 0..rows) };
                prop_assert_eq!(&found[alone_at * rows..][..rows], &alone[..], "{} tokens with {:?}", tokens, level);
                for token in 0..tokens {
                    for row in 0..rows {
                        let (mut sum, mut size) = (0.0_f64, 0.0_f64);
                        for k in 0..width {
                            let at = (row * width + k) * HALF_BYTES;
                            let product = f64::from(half.single([weights[at], weights[at + 1]])) * f64::from(values[token * width + k]);
                            sum += product;
                            size += product.abs();
                        }
                        let error = (f64::from(found[token * rows + row]) - sum).abs();
                        prop_assert!(error <= 2e-6 * size, "{error} of {size} with {level:?} for {half:?}, {rows} × {width}, {tokens} tokens");
                    }
                }
            }
        }
    }
}
