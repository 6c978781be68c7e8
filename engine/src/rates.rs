//! The loops whose rates the agent takes as the machine's: STREAM's sum and triad, and a small f32 product.
//!
//! Each is compiled for what the processor can do, as the crate itself is built for its oldest. They stand here, beside the
//! kernels of inference, because this crate is optimised in every profile: unoptimised, they would measure the compiler.

use crate::pool::Pool;

/// Rows, columns and depth of the product: its operands stay in the second-level cache.
const SIZE: usize = 192;
/// Rows and columns of the register tile.
const TILE: (usize, usize) = (4, 16);
/// Operations of one product.
pub const GEMM_FLOPS: f64 = 2.0 * (SIZE * SIZE * SIZE) as f64;

/// Makes a loop's twin for AVX2 with FMA, taken where the processor has them.
macro_rules! dispatch {
    ($(#[$doc:meta])* fn $name:ident($($arg:ident: $kind:ty),*) $(-> $out:ty)?, $generic:ident, $avx2:ident) => {
        $(#[$doc])*
        pub fn $name($($arg: $kind),*) $(-> $out)? {
            #[cfg(target_arch = "x86_64")]
            if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                // SAFETY: the two features that the function is compiled for were found on this processor just now.
                return unsafe { $avx2($($arg),*) };
            }
            $generic($($arg),*)
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        fn $avx2($($arg: $kind),*) $(-> $out)? {
            $generic($($arg),*)
        }
    };
}

dispatch!(
    /// Reads everything once.
    fn sum(values: &[f64]) -> f64, sum_generic, sum_avx2
);
dispatch!(
    /// Reads all whole groups of eight bytes once.
    fn sum_of_bytes(bytes: &[u8]) -> u64, sum_of_bytes_generic, sum_of_bytes_avx2
);
dispatch!(
    /// `a = b + s·c`.
    fn triad(a: &mut [f64], b: &[f64], c: &[f64], s: f64), triad_generic, triad_avx2
);
/// `c = a·b`, with `a` in columns of the tile's height and `b` in rows of its width.
fn multiply(a: &[f32], b: &[f32], c: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f") {
        // SAFETY: the feature that the function is compiled for was found on this processor just now.
        return unsafe { multiply_avx512(a, b, c) };
    }
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        // SAFETY: the two features that the function is compiled for were found on this processor just now.
        return unsafe { multiply_avx2(a, b, c) };
    }
    // Every 64-bit Arm multiplies and adds in one step; old x86 would call a library for it.
    if cfg!(target_arch = "aarch64") {
        multiply_generic(a, b, c, f32::mul_add);
    } else {
        multiply_generic(a, b, c, |x, y, sum| x * y + sum);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
fn multiply_avx512(a: &[f32], b: &[f32], c: &mut [f32]) {
    multiply_generic(a, b, c, f32::mul_add);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn multiply_avx2(a: &[f32], b: &[f32], c: &mut [f32]) {
    multiply_generic(a, b, c, f32::mul_add);
}

/// Thirty-two sums side by side: one alone would wait for its own additions, not for memory.
#[inline(always)]
fn sum_generic(values: &[f64]) -> f64 {
    let mut sums = [0.0f64; 32];
    for chunk in values.chunks_exact(32) {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += value;
        }
    }
    sums.iter().sum()
}

/// The same with whole numbers, which may begin anywhere.
#[inline(always)]
fn sum_of_bytes_generic(bytes: &[u8]) -> u64 {
    let mut sums = [0u64; 32];
    let (chunks, rest) = bytes.as_chunks::<8>().0.as_chunks::<32>();
    for chunk in chunks {
        for (sum, bytes) in sums.iter_mut().zip(chunk) {
            *sum = sum.wrapping_add(u64::from_le_bytes(*bytes));
        }
    }
    sums.iter().copied().chain(rest.iter().map(|bytes| u64::from_le_bytes(*bytes))).fold(0, u64::wrapping_add)
}

#[inline(always)]
fn triad_generic(a: &mut [f64], b: &[f64], c: &[f64], s: f64) {
    for ((a, b), c) in a.iter_mut().zip(b).zip(c) {
        *a = b + s * c;
    }
}

#[inline(always)]
fn multiply_generic(a: &[f32], b: &[f32], c: &mut [f32], fused: impl Fn(f32, f32, f32) -> f32 + Copy) {
    let (rows, columns) = TILE;
    for (a_panel, c_rows) in a.chunks_exact(rows * SIZE).zip(c.chunks_exact_mut(rows * SIZE)) {
        for (b_panel, column) in b.chunks_exact(columns * SIZE).zip((0..SIZE).step_by(columns)) {
            let mut tile = [[0.0f32; TILE.1]; TILE.0];
            for (a_step, b_step) in a_panel.chunks_exact(rows).zip(b_panel.chunks_exact(columns)) {
                for (sums, a) in tile.iter_mut().zip(a_step) {
                    for (sum, b) in sums.iter_mut().zip(b_step) {
                        *sum = fused(*a, *b, *sum);
                    }
                }
            }
            for (row, sums) in tile.iter().enumerate() {
                c_rows[row * SIZE + column..row * SIZE + column + columns].copy_from_slice(sums);
            }
        }
    }
}

/// Bytes that a thread reads at a time of what all threads read together: whole pages, and short beside the whole.
const PART_BYTES: usize = 256 << 10;

/// Reads everything once with the threads that multiply matrices, each through a stretch of its own as there: what products with
/// these weights would take if arithmetic took nothing.
pub fn read_by_all(weights: &[&[u8]]) {
    let parts: Vec<&[u8]> = weights.iter().flat_map(|bytes| bytes.chunks(PART_BYTES)).collect();
    Pool::of_process().each(parts.len(), 1, &|range| {
        for part in &parts[range] {
            std::hint::black_box(sum_of_bytes(part));
        }
    });
}

/// A small matrix product with its operands.
pub struct Gemm {
    a: Vec<f32>,
    b: Vec<f32>,
    c: Vec<f32>,
}

impl Default for Gemm {
    /// Operands of ones and twos.
    fn default() -> Self {
        Self { a: vec![1.0; SIZE * SIZE], b: vec![2.0; SIZE * SIZE], c: vec![0.0; SIZE * SIZE] }
    }
}

impl Gemm {
    /// One product.
    pub fn run(&mut self) {
        multiply(std::hint::black_box(&self.a), std::hint::black_box(&self.b), &mut self.c);
        std::hint::black_box(&mut self.c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loops_compute_what_they_say() {
        assert_eq!(sum(&vec![0.5; 64 * 10]), 320.0);
        let mut bytes = vec![0; 8 * 71 + 3];
        bytes.iter_mut().skip(1).step_by(8).for_each(|byte| *byte = 2);
        assert_eq!(sum_of_bytes(&bytes), 71 * 512);
        let mut a = vec![0.0; 4];
        triad(&mut a, &[1.0; 4], &[2.0; 4], 3.0);
        assert_eq!(a, [7.0; 4]);
        let mut gemm = Gemm::default();
        gemm.run();
        assert!(gemm.c.iter().all(|value| *value == 2.0 * SIZE as f32));
    }
}
