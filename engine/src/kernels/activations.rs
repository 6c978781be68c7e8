//! Activations rounded to 8 bits, with the sums that formats with minima or offsets need.

use super::Manner;
use crate::pool::Pool;
use std::ops::{Deref, DerefMut};

/// Rows that a thread rounds at a time.
const ROWS_AT_A_TIME: usize = 4;
/// Values past the end that a kernel may read, so that the last blocks need no code of their own: of a K format four are taken
/// together.
const PADDING: usize = 1024;

/// A line of the processor's caches.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([i8; 64]);

/// Bytes that begin at the beginning of a cache line: a read of 64 then never takes two.
#[derive(Debug, Clone)]
pub(super) struct Lines(Vec<Line>);

impl Lines {
    /// At least so many zeros.
    fn new(count: usize) -> Self {
        Self(vec![Line([0; 64]); count.div_ceil(64)])
    }
}

impl Deref for Lines {
    type Target = [i8];

    fn deref(&self) -> &[i8] {
        // SAFETY: lines are arrays of bytes without anything between them.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * 64) }
    }
}

impl DerefMut for Lines {
    fn deref_mut(&mut self) -> &mut [i8] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * 64) }
    }
}

/// Rows of activations. All of a group of 32 or 256 values share a scale; both are kept for each 32, so that kernels need
/// not tell them apart.
#[derive(Debug, Clone)]
pub(crate) struct Activations {
    /// How many rows.
    pub(super) rows: usize,
    /// Values in a row, a multiple of the group.
    pub(super) width: usize,
    /// The rounded values.
    pub(super) quants: Lines,
    /// For each 32: the scale.
    pub(super) scales: Vec<f32>,
    /// For each 16: the sum of the rounded values.
    pub(super) sums16: Vec<i16>,
    /// For each 32: the sum of the rounded values.
    pub(super) sums32: Vec<i16>,
    /// For each 32: the same sum as a float.
    pub(super) float_sums32: Vec<f32>,
    manner: Manner,
}

/// A row's parts, to be filled.
struct RowMut<'a> {
    values: &'a [f32],
    quants: &'a mut [i8],
    scales: &'a mut [f32],
    sums16: &'a mut [i16],
    sums32: &'a mut [i16],
    float_sums32: &'a mut [f32],
}

impl Activations {
    /// Rounds whole rows, shared out over the pool's threads; `group` is 32 or 256 and divides `width`.
    pub(crate) fn quantise(values: &[f32], width: usize, group: usize, pool: &Pool) -> Self {
        let rows = values.len() / width;
        let groups = rows * width / 32;
        let mut made = Self {
            rows,
            width,
            quants: Lines::new(rows * width + PADDING),
            scales: vec![0.0; groups + PADDING / 32],
            sums16: vec![0; 2 * groups + PADDING / 16],
            sums32: vec![0; groups + PADDING / 32],
            float_sums32: vec![0.0; groups + PADDING / 32],
            manner: Manner::Cheapest,
        };
        let parts = made.quants.chunks_exact_mut(width).zip(made.scales.chunks_exact_mut(width / 32));
        let sums = made.sums16.chunks_exact_mut(width / 16).zip(made.sums32.chunks_exact_mut(width / 32));
        let sums = sums.zip(made.float_sums32.chunks_exact_mut(width / 32));
        let mut parts: Vec<RowMut<'_>> = (values.chunks_exact(width).zip(parts).zip(sums))
            .map(|((values, (quants, scales)), ((sums16, sums32), float_sums32))| RowMut {
                values,
                quants,
                scales,
                sums16,
                sums32,
                float_sums32,
            })
            .collect();
        pool.each_mut(&mut parts, ROWS_AT_A_TIME, &|_, row| fill(row, group));
        made
    }

    /// The same rows, to be multiplied in this manner.
    pub(crate) fn by(mut self, manner: Manner) -> Self {
        self.manner = manner;
        self
    }

    /// Whether there are no rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Whether they are multiplied panel by panel, which costs less from `worth` rows on.
    pub(super) fn in_panels(&self, worth: usize) -> bool {
        match self.manner {
            Manner::Cheapest => self.rows >= worth,
            Manner::Panels => true,
            Manner::Dots => false,
        }
    }

    /// Panics unless every place that a kernel may read is there.
    pub(super) fn check(&self) {
        let values = self.rows * self.width;
        let groups = values / 32 + PADDING / 32;
        let long = self.quants.len() >= values + PADDING && self.scales.len() >= groups && self.sums16.len() >= 2 * groups;
        assert!(long && self.sums32.len() >= groups && self.float_sums32.len() >= groups, "activations without their sums");
    }
}

fn fill(row: &mut RowMut<'_>, group: usize) {
    #[cfg(target_arch = "x86_64")]
    if super::Level::detected().is_some() {
        // SAFETY: every level has AVX2.
        unsafe { fill_avx2(row, group) };
        return;
    }
    fill_any(row, group);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn fill_avx2(row: &mut RowMut<'_>, group: usize) {
    fill_any(row, group);
}

/// Rounds to even, which one instruction does where there is one.
#[inline(always)]
fn fill_any(row: &mut RowMut<'_>, group: usize) {
    for (index, x) in row.values.chunks_exact(group).enumerate() {
        let mut lanes = [0.0_f32; 8];
        for eight in x.as_chunks::<8>().0 {
            lanes.iter_mut().zip(eight).for_each(|(most, x)| *most = most.max(x.abs()));
        }
        let most = lanes.iter().copied().fold(0.0, f32::max);
        let inverse = if most > 0.0 { 127.0 / most } else { 0.0 };
        let scale = most / 127.0;
        for (part, x) in x.as_chunks::<32>().0.iter().enumerate() {
            let at = index * group / 32 + part;
            let Some((quants, _)) = row.quants[at * 32..].split_first_chunk_mut::<32>() else {
                continue;
            };
            let mut sums = [0_i32; 2];
            for (sum, (quants, x)) in sums.iter_mut().zip(quants.as_chunks_mut::<16>().0.iter_mut().zip(x.as_chunks::<16>().0)) {
                for (quant, x) in quants.iter_mut().zip(x) {
                    // Adding 1.5 · 2^23 rounds, and leaves the whole number in the lowest bits. The bounds hold but for
                    // what is no number, which the decoder refuses at its output.
                    let rounded = (x * inverse).clamp(-127.0, 127.0) + 12_582_912.0;
                    *quant = rounded.to_bits().wrapping_sub(12_582_912.0_f32.to_bits()).cast_signed() as i8;
                    *sum += i32::from(*quant);
                }
            }
            row.scales[at] = scale;
            row.sums16[2 * at] = sums[0] as i16;
            row.sums16[2 * at + 1] = sums[1] as i16;
            row.sums32[at] = (sums[0] + sums[1]) as i16;
            row.float_sums32[at] = (sums[0] + sums[1]) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rounding_is_within_half_a_step(values in proptest::collection::vec(-50.0..50.0_f32, 512), wide in any::<bool>()) {
            let made = Activations::quantise(&values, 256, if wide { 256 } else { 32 }, &Pool::new(1));
            for (i, x) in values.iter().enumerate() {
                let step = made.scales[i / 32];
                prop_assert!((f32::from(made.quants[i]) * step - x).abs() <= 0.5001 * step);
            }
            for at in 0..16 {
                let sum: i16 = made.quants[at * 32..][..32].iter().map(|&q| i16::from(q)).sum();
                prop_assert_eq!(sum, made.sums32[at]);
                prop_assert_eq!(sum, made.sums16[2 * at] + made.sums16[2 * at + 1]);
                prop_assert_eq!(f32::from(sum), made.float_sums32[at]);
            }
        }
    }
}
