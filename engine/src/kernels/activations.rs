//! Activations rounded to 8 bits, with the sums that formats with minima or offsets need.

/// Bytes past the end that a kernel may read, so that the last block needs no code of its own.
const PADDING: usize = 64;

/// Rows of activations. All of a group of 32 or 256 values share a scale; both are kept for each 32, so that kernels need
/// not tell them apart.
#[derive(Debug, Clone)]
pub(crate) struct Activations {
    /// How many rows.
    pub(super) rows: usize,
    /// Values in a row, a multiple of the group.
    pub(super) width: usize,
    /// The rounded values.
    pub(super) quants: Vec<i8>,
    /// For each 32: the scale.
    pub(super) scales: Vec<f32>,
    /// For each 16: the sum of the rounded values.
    pub(super) sums16: Vec<i16>,
    /// For each 32: the sum of the rounded values.
    pub(super) sums32: Vec<i16>,
    /// For each 32: the same sum as a float.
    pub(super) float_sums32: Vec<f32>,
}

impl Activations {
    /// Rounds whole rows; `group` is 32 or 256 and divides `width`.
    pub(crate) fn quantise(values: &[f32], width: usize, group: usize) -> Self {
        let rows = values.len() / width;
        let groups = rows * width / 32;
        let mut made = Self {
            rows,
            width,
            quants: vec![0; rows * width + PADDING],
            scales: vec![0.0; groups + PADDING / 32],
            sums16: vec![0; 2 * groups + PADDING / 16],
            sums32: vec![0; groups + PADDING / 32],
            float_sums32: vec![0.0; groups + PADDING / 32],
        };
        made.fill(values, group);
        made
    }

    fn fill(&mut self, values: &[f32], group: usize) {
        #[cfg(target_arch = "x86_64")]
        if super::Level::detected().is_some() {
            // SAFETY: every level has AVX2.
            unsafe { fill_avx2(self, values, group) };
            return;
        }
        fill(self, values, group);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn fill_avx2(to: &mut Activations, values: &[f32], group: usize) {
    fill(to, values, group);
}

/// Rounds to even, which one instruction does where there is one.
#[inline(always)]
fn fill(to: &mut Activations, values: &[f32], group: usize) {
    for (index, x) in values.chunks_exact(group).enumerate() {
        let mut lanes = [0.0_f32; 8];
        for eight in x.as_chunks::<8>().0 {
            lanes.iter_mut().zip(eight).for_each(|(most, x)| *most = most.max(x.abs()));
        }
        let most = lanes.iter().copied().fold(0.0, f32::max);
        let inverse = if most > 0.0 { 127.0 / most } else { 0.0 };
        let scale = most / 127.0;
        for (part, x) in x.as_chunks::<32>().0.iter().enumerate() {
            let at = index * group / 32 + part;
            let mut sums = [0_i32; 2];
            for (i, q) in to.quants[at * 32..][..32].iter_mut().enumerate() {
                // The bounds hold but for what is no number, which the decoder refuses at its output.
                let rounded = (x[i] * inverse).round_ties_even().clamp(-127.0, 127.0) as i32;
                *q = rounded as i8;
                sums[i / 16] += rounded;
            }
            to.scales[at] = scale;
            to.sums16[2 * at] = sums[0] as i16;
            to.sums16[2 * at + 1] = sums[1] as i16;
            to.sums32[at] = (sums[0] + sums[1]) as i16;
            to.float_sums32[at] = (sums[0] + sums[1]) as f32;
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
            let made = Activations::quantise(&values, 256, if wide { 256 } else { 32 });
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
