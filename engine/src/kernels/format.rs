//! The block formats that kernels exist for, and what their bits mean: the plain reading that every kernel is tested against.
//!
//! The layouts are those of ggml (`ggml-common.h`, `ggml-quants.c`).

use crate::gguf::TensorType;

/// A block format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// 4 bits; scale and minimum of 6 bits for each 32.
    Q4K,
    /// 5 bits; scale and minimum of 6 bits for each 32.
    Q5K,
    /// 6 bits; a scale of 8 bits for each 16.
    Q6K,
    /// 8 bits; a scale for each 32.
    Q8_0,
    /// 4 bits; a scale for each 32.
    Q4_0,
}

impl Format {
    /// Every format.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 5] = [Self::Q4K, Self::Q5K, Self::Q6K, Self::Q8_0, Self::Q4_0];

    /// The format of a tensor type, if there are kernels for it.
    pub(crate) fn of(kind: TensorType) -> Option<Self> {
        Some(match kind {
            TensorType::Q4K => Self::Q4K,
            TensorType::Q5K => Self::Q5K,
            TensorType::Q6K => Self::Q6K,
            TensorType::Q8_0 => Self::Q8_0,
            TensorType::Q4_0 => Self::Q4_0,
            _ => return None,
        })
    }

    /// Values in a block.
    pub(crate) const fn block_values(self) -> usize {
        match self {
            Self::Q4K | Self::Q5K | Self::Q6K => 256,
            Self::Q8_0 | Self::Q4_0 => 32,
        }
    }

    /// Bytes of a block.
    pub(crate) const fn block_bytes(self) -> usize {
        match self {
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
            Self::Q8_0 => 34,
            Self::Q4_0 => 18,
        }
    }

    /// Values of activations that share a scale.
    pub(crate) fn activation_group(self) -> usize {
        self.block_values()
    }

    /// Reads whole blocks; `out` has exactly their values.
    pub(crate) fn dequantise(self, blocks: &[u8], out: &mut [f32]) {
        for (block, out) in blocks.chunks_exact(self.block_bytes()).zip(out.chunks_exact_mut(self.block_values())) {
            match self {
                Self::Q4K => k_with_minimum(block, None, &block[16..144], out),
                Self::Q5K => k_with_minimum(block, Some(&block[16..48]), &block[48..176], out),
                Self::Q6K => q6k(block, out),
                Self::Q8_0 => {
                    let d = half(block, 0);
                    block[2..34].iter().zip(out).for_each(|(&q, y)| *y = d * f32::from(q.cast_signed()));
                }
                Self::Q4_0 => {
                    let d = half(block, 0);
                    for (j, &q) in block[2..18].iter().enumerate() {
                        out[j] = d * (f32::from(q & 15) - 8.0);
                        out[j + 16] = d * (f32::from(q >> 4) - 8.0);
                    }
                }
            }
        }
    }
}

/// A half-precision number at a byte offset.
pub(super) fn half(bytes: &[u8], at: usize) -> f32 {
    half_to_f32(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

/// IEEE 754 binary16 to binary32, exact.
pub(crate) fn half_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let (exponent, fraction) = (u32::from(bits >> 10) & 31, u32::from(bits) & 1023);
    match exponent {
        0 => f32::from_bits(sign | (fraction as f32 / 16_777_216.0).to_bits()),
        31 => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

/// The eight 6-bit scales and minima of a Q4_K or Q5_K block, from its bytes 4 to 16.
#[inline(always)]
pub(super) fn scales_and_minima(packed: &[u8; 12]) -> (u64, u64) {
    let word = |at: usize| u32::from_le_bytes([packed[at], packed[at + 1], packed[at + 2], packed[at + 3]]);
    let (a, b, c) = (word(0), word(4), word(8));
    let scales = (c & 0x0f0f_0f0f) | ((a >> 6) & 0x0303_0303) << 4;
    let minima = ((c >> 4) & 0x0f0f_0f0f) | ((b >> 6) & 0x0303_0303) << 4;
    let six = 0x3f3f_3f3f;
    (u64::from(a & six) | u64::from(scales) << 32, u64::from(b & six) | u64::from(minima) << 32)
}

fn k_with_minimum(block: &[u8], fifth: Option<&[u8]>, nibbles: &[u8], out: &mut [f32]) {
    let (d, least) = (half(block, 0), half(block, 2));
    let Some((packed, _)) = block[4..].split_first_chunk::<12>() else {
        return;
    };
    let (scales, minima) = scales_and_minima(packed);
    let (scales, minima) = (scales.to_le_bytes(), minima.to_le_bytes());
    for (group, out) in out.chunks_exact_mut(32).enumerate() {
        for (j, y) in out.iter_mut().enumerate() {
            let byte = nibbles[group / 2 * 32 + j];
            let low = if group % 2 == 0 { byte & 15 } else { byte >> 4 };
            let high = fifth.map_or(0, |bits| (bits[j] >> group & 1) << 4);
            *y = d * f32::from(scales[group]) * f32::from(low | high) - least * f32::from(minima[group]);
        }
    }
}

fn q6k(block: &[u8], out: &mut [f32]) {
    let d = half(block, 208);
    for (i, y) in out.iter_mut().enumerate() {
        let (part, quarter, j) = (i / 128, i % 128 / 32, i % 32);
        let low = block[part * 64 + quarter % 2 * 32 + j] >> (quarter / 2 * 4) & 15;
        let high = block[128 + part * 32 + j] >> (quarter * 2) & 3;
        let scale = block[192 + i / 16].cast_signed();
        *y = d * f32::from(scale) * (f32::from(low | high << 4) - 32.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::quantized::ggml_file::qtensor_from_ggml;
    use candle_core::{DType, Device};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn blocks_mean_what_candle_reads(bytes in proptest::collection::vec(any::<u8>(), 210), which in 0..5_usize) {
            let format = Format::ALL[which];
            let kind = [TensorType::Q4K, TensorType::Q5K, TensorType::Q6K, TensorType::Q8_0, TensorType::Q4_0][which];
            prop_assert_eq!(Format::of(kind), Some(format));
            let mut block = bytes[..format.block_bytes()].to_vec();
            // Scales that are no number say nothing.
            for at in [0, 2, 208] {
                if let Some(high) = block.get_mut(at + 1) { *high &= 0x3b }
            }
            let values = format.block_values();
            let mut found = vec![0.0; values];
            format.dequantise(&block, &mut found);
            let theirs = qtensor_from_ggml(kind.candle(), &block, vec![1, values], &Device::Cpu).unwrap();
            let theirs: Vec<f32> = theirs.dequantize(&Device::Cpu).unwrap().to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            for (a, b) in found.iter().zip(&theirs) {
                prop_assert!((a - b).abs() <= 1e-5 * (1.0 + b.abs()), "{} {}", a, b);
            }
        }
    }
}
