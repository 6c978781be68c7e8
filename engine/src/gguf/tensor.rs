//! Tensor types and descriptions: how many bytes a tensor of a shape takes, and where in the file they are.

use candle_core::quantized::GgmlDType;
use std::ops::Range;

macro_rules! define_tensor_types {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $block:literal elements in $bytes:literal bytes;)*) => {
        /// A tensor type this build computes with; the numbers are ggml's.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum TensorType { $($(#[$doc])* $name,)* }

        impl TensorType {
            /// The type with ggml's number.
            pub fn from_number(number: u32) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }
            /// ggml's number for it.
            pub fn number(self) -> u32 {
                match self { $(Self::$name => $number,)* }
            }
            /// Elements in a block; a row is a whole number of blocks.
            pub fn block_elements(self) -> u64 {
                match self { $(Self::$name => $block,)* }
            }
            /// Bytes of a block.
            pub fn block_bytes(self) -> u64 {
                match self { $(Self::$name => $bytes,)* }
            }
            /// The name that people know it by: `Q4_K`, `F16`.
            pub fn name(self) -> String {
                let name = match self { $(Self::$name => stringify!($name),)* };
                name.strip_suffix('K').map_or_else(|| name.to_string(), |bits| format!("{bits}_K"))
            }
            /// candle's name for it.
            pub(crate) fn candle(self) -> GgmlDType {
                match self { $(Self::$name => GgmlDType::$name,)* }
            }
        }
    };
}

define_tensor_types! {
    /// 32-bit floating point.
    F32 = 0, 1 elements in 4 bytes;
    /// 16-bit floating point.
    F16 = 1, 1 elements in 2 bytes;
    /// 4 bits, one scale in 32.
    Q4_0 = 2, 32 elements in 18 bytes;
    /// 4 bits, scale and minimum in 32.
    Q4_1 = 3, 32 elements in 20 bytes;
    /// 5 bits, one scale in 32.
    Q5_0 = 6, 32 elements in 22 bytes;
    /// 5 bits, scale and minimum in 32.
    Q5_1 = 7, 32 elements in 24 bytes;
    /// 8 bits, one scale in 32.
    Q8_0 = 8, 32 elements in 34 bytes;
    /// 2-bit k-quant.
    Q2K = 10, 256 elements in 84 bytes;
    /// 3-bit k-quant.
    Q3K = 11, 256 elements in 110 bytes;
    /// 4-bit k-quant.
    Q4K = 12, 256 elements in 144 bytes;
    /// 5-bit k-quant.
    Q5K = 13, 256 elements in 176 bytes;
    /// 6-bit k-quant.
    Q6K = 14, 256 elements in 210 bytes;
    /// bfloat16.
    BF16 = 30, 1 elements in 2 bytes;
}

/// Where a tensor lies and what it is. Its range is inside the file and its rows are whole blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The extents, rows first (the file has them the other way round); never empty, no zeros.
    pub shape: Vec<u64>,
    /// How its elements are stored.
    pub kind: TensorType,
    /// Its bytes in the file.
    pub bytes: Range<usize>,
}

/// Bytes of a tensor with these extents, innermost last; `None` when the shape is not possible or does not fit in 2^63.
pub(super) fn storage_bytes(shape: &[u64], kind: TensorType) -> Option<u64> {
    let row = *shape.last()?;
    if shape.contains(&0) || !row.is_multiple_of(kind.block_elements()) {
        return None;
    }
    let elements = shape.iter().try_fold(1_u64, |product, &extent| product.checked_mul(extent))?;
    (elements / kind.block_elements()).checked_mul(kind.block_bytes()).filter(|&bytes| bytes < 1 << 63)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_sizes_are_those_candle_computes_with() {
        for number in 0..64 {
            if let Some(kind) = TensorType::from_number(number) {
                assert_eq!(kind.block_elements(), kind.candle().block_size() as u64, "{kind:?}");
                assert_eq!(kind.block_bytes(), kind.candle().type_size() as u64, "{kind:?}");
                assert_eq!(kind.number(), number);
            }
        }
    }

    #[test]
    fn absurd_shapes_have_no_size() {
        assert_eq!(storage_bytes(&[4, 32], TensorType::Q8_0), Some(4 * 34));
        for shape in [vec![], vec![0, 32], vec![4, 33], vec![u64::MAX, 32], vec![1 << 40, 1 << 40]] {
            assert_eq!(storage_bytes(&shape, TensorType::Q8_0), None, "{shape:?}");
        }
    }
}
