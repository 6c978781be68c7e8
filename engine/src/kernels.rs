//! Products of quantised matrices that stay where the file maps them: nothing is unpacked ahead and nothing is copied.
//!
//! A matrix is rows of blocks as ggml lays them out; activations are rounded to 8 bits once for all matrices that share them
//! (the K formats want one scale in 256 values, the others one in 32). One row of activations is multiplied by dot products
//! that read each weight once; many are multiplied panel by panel, sixteen rows of weights unpacked at a time. Which
//! instructions do it is chosen when the program runs. Processors without a kernel here use candle's products.

pub(crate) use activations::Activations;
pub(crate) use format::Format;
#[cfg(test)]
pub(crate) use format::half_to_f32;
pub(crate) use prefetch::ask_for;

mod activations;
#[cfg(target_arch = "aarch64")]
mod arm;
mod format;
pub(crate) mod halves;
#[cfg(test)]
mod oracle;
mod prefetch;
#[cfg(test)]
mod speed;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::ops::Range;
use std::sync::OnceLock;

/// Overrides the choice of instructions: `avx2` leaves out AVX-512, `dotprod` Arm's `smmla`, `neon` its `sdot` too, `candle` all kernels of this module.
pub const KERNELS_VARIABLE: &str = "OURO_ENGINE_KERNELS";

/// The instructions that kernels exist for, of each architecture the best last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// AVX2 with FMA and F16C.
    Avx2,
    /// AVX-512 with VNNI.
    Avx512Vnni,
    /// Any 64-bit Arm.
    Neon,
    /// 64-bit Arm with `sdot`.
    NeonDotprod,
    /// 64-bit Arm with `sdot` and `smmla`.
    NeonI8mm,
}

impl Level {
    /// The best that this processor has; `None` where candle's own kernels are used.
    pub fn detected() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        {
            macro_rules! has {
                ($($feature:tt),*) => { $(std::arch::is_x86_feature_detected!($feature))&&* };
            }
            if has!("avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512vnni", "f16c", "fma") {
                return Some(Self::Avx512Vnni);
            }
            if has!("avx2", "f16c", "fma") {
                return Some(Self::Avx2);
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            let dots = std::arch::is_aarch64_feature_detected!("dotprod");
            let matrices = std::arch::is_aarch64_feature_detected!("i8mm");
            return Some(match (dots, matrices) {
                (true, true) => Self::NeonI8mm,
                (true, false) => Self::NeonDotprod,
                (false, _) => Self::Neon,
            });
        }
        #[cfg(not(target_arch = "aarch64"))]
        None
    }

    /// What this process uses: the best there is, unless [`KERNELS_VARIABLE`] says less.
    pub fn in_use() -> Option<Self> {
        static CHOSEN: OnceLock<Option<Level>> = OnceLock::new();
        *CHOSEN.get_or_init(|| match std::env::var(KERNELS_VARIABLE).as_deref() {
            Ok("candle") => None,
            Ok("avx2") => Self::detected().map(|best| if best == Self::Avx512Vnni { Self::Avx2 } else { best }),
            Ok("dotprod") => Self::detected().map(|best| if best == Self::NeonI8mm { Self::NeonDotprod } else { best }),
            Ok("neon") => Self::detected().map(|best| if best > Self::Neon { Self::Neon } else { best }),
            _ => Self::detected(),
        })
    }

    /// A name for reports.
    pub fn name(level: Option<Self>) -> &'static str {
        match level {
            Some(Self::Avx512Vnni) => "avx512-vnni",
            Some(Self::Avx2) => "avx2",
            Some(Self::Neon) => "neon",
            Some(Self::NeonDotprod) => "neon-dotprod",
            Some(Self::NeonI8mm) => "neon-i8mm",
            None => "candle",
        }
    }
}

/// How rows of activations are multiplied: the two ways add up in another order, so their results differ in the last bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Whichever costs less for so many rows.
    Cheapest,
    /// Panel by panel, however few they are.
    Panels,
    /// By dot products, however many they are.
    Dots,
}

/// Where results go: one value for each row of activations and of weights, rows of activations `stride` values apart.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    values: *mut f32,
    stride: usize,
    /// The column of the matrix's first result.
    first: usize,
    length: usize,
}

// SAFETY: threads write disjoint columns, as the callers of the kernels give each a range of its own.
unsafe impl Send for Output {}
// SAFETY: as above.
unsafe impl Sync for Output {}

impl Output {
    /// Results in rows of `stride` values, the matrix's own from the column `first` on.
    pub(crate) fn new(values: &mut [f32], stride: usize, first: usize) -> Self {
        Self { values: values.as_mut_ptr(), stride, first, length: values.len() }
    }

    /// The place of `count` neighbouring results.
    fn at(self, row: usize, column: usize, count: usize) -> *mut f32 {
        let column = self.first + column;
        let index = row * self.stride + column;
        assert!(column + count <= self.stride && index + count <= self.length, "a result outside its matrix");
        self.values.wrapping_add(index)
    }

    /// Sets one result.
    ///
    /// # Safety
    /// No other thread writes this column, and the values that this was made of still live.
    unsafe fn set(self, row: usize, column: usize, value: f32) {
        // SAFETY: `at` checked the place; the rest is the caller's promise.
        unsafe { self.at(row, column, 1).write(value) }
    }

    /// Adds to one result.
    ///
    /// # Safety
    /// As for `set`.
    unsafe fn add(self, row: usize, column: usize, value: f32) {
        // SAFETY: as above.
        unsafe { *self.at(row, column, 1) += value }
    }
}

/// Rows of a mapped matrix that are given to one thread at a time: a multiple of the panel's height, small enough that a
/// thread which lost its processor delays the others little.
pub(crate) const ROWS_AT_A_TIME: usize = 64;

/// Multiplies some rows of a matrix with all rows of activations.
///
/// # Safety
/// The processor has `level`; no other thread writes these columns of `out`; `weights` holds whole rows of `format`.
pub(crate) unsafe fn multiply(level: Level, format: Format, weights: &[u8], x: &Activations, out: Output, rows: Range<usize>) {
    // The inner loops read and write without looking: all of it is looked at here.
    let row_bytes = x.width / format.block_values() * format.block_bytes();
    assert!(x.width.is_multiple_of(format.block_values()), "a row of weights in broken blocks");
    assert!(out.first + rows.end <= out.stride && rows.end * row_bytes <= weights.len(), "rows outside their matrix");
    x.check();
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller's promises are those that are asked for.
    unsafe {
        x86::multiply(level, format, weights, x, out, rows);
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        arm::multiply(level, format, weights, x, out, rows);
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = level;
}
