//! The arithmetic between the matrices, on plain slices: written once, compiled for what the processor has.
//!
//! Numbers are taken sixteen at a time, so that the compiler turns each step into one vector instruction.

/// Numbers that are taken together.
pub(super) const LANES: usize = 16;

/// `a · b + c`, in one step where the processor has one: elsewhere it would be a call into a library.
#[inline(always)]
pub(super) fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// Compiles `$body::<FUSED>` for each level of instructions; which is taken is decided when the program runs.
macro_rules! compiled {
    ($(#[$doc:meta])* fn $name:ident($($argument:ident: $kind:ty),* $(,)?) = $body:ident) => {
        $(#[$doc])*
        pub(super) fn $name($($argument: $kind),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,f16c,fma")]
                fn avx512($($argument: $kind),*) {
                    $body::<true>($($argument),*);
                }
                #[target_feature(enable = "avx2,f16c,fma")]
                fn avx2($($argument: $kind),*) {
                    $body::<true>($($argument),*);
                }
                match $crate::kernels::Level::for_vectors() {
                    // SAFETY: the processor was found to have these instructions.
                    Some($crate::kernels::Level::Avx512Vnni) => return unsafe { avx512($($argument),*) },
                    // SAFETY: as above.
                    Some(_) => return unsafe { avx2($($argument),*) },
                    None => {}
                }
            }
            // Every 64-bit Arm multiplies and adds in one step.
            $body::<{ cfg!(target_arch = "aarch64") }>($($argument),*);
        }
    };
}
pub(super) use compiled;

/// e to the power of each number: within two units of the last place from -87 to 88, and the bounds' values beyond.
#[inline(always)]
pub(super) fn exponential<const FUSED: bool>(numbers: [f32; LANES]) -> [f32; LANES] {
    // Adding and taking away 1.5 · 2^23 rounds to a whole number, which then stands in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    // Loops, here and below: what a closure calls is not always compiled with the function's own instructions.
    let mut powers = numbers;
    for x in &mut powers {
        let clamped = x.clamp(-87.0, 88.0);
        let shifted = multiply_add::<FUSED>(clamped, std::f32::consts::LOG2_E, ROUND);
        let whole = shifted - ROUND;
        // ln 2 in two parts, so that the difference is exact.
        let rest = multiply_add::<FUSED>(whole, -0.693_359_4, clamped);
        let rest = multiply_add::<FUSED>(whole, 2.121_944_4e-4, rest);
        let mut sum = 1.987_569_1e-4;
        sum = multiply_add::<FUSED>(sum, rest, 1.398_199_9e-3);
        sum = multiply_add::<FUSED>(sum, rest, 8.333_452e-3);
        sum = multiply_add::<FUSED>(sum, rest, 4.166_579_6e-2);
        sum = multiply_add::<FUSED>(sum, rest, 0.166_666_65);
        sum = multiply_add::<FUSED>(sum, rest, 0.5);
        let sum = multiply_add::<FUSED>(sum * rest, rest, rest) + 1.0;
        let power = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
        *x = sum * f32::from_bits(power);
    }
    powers
}

#[inline(always)]
fn norm_rows<const FUSED: bool>(x: &[f32], weights: &[f32], epsilon: f32, out: &mut [f32]) {
    let width = weights.len();
    for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let (chunks, rest) = x.as_chunks::<LANES>();
        let mut sums = [0.0_f32; LANES];
        for chunk in chunks {
            for i in 0..LANES {
                sums[i] = multiply_add::<FUSED>(chunk[i], chunk[i], sums[i]);
            }
        }
        let sum = sums.iter().sum::<f32>() + rest.iter().map(|x| x * x).sum::<f32>();
        let scale = 1.0 / (sum / width as f32 + epsilon).sqrt();
        for ((out, x), weight) in out.iter_mut().zip(x).zip(weights) {
            *out = x * scale * weight;
        }
    }
}

compiled! {
    /// The rows of `x`, each divided by the root of its mean square and multiplied with `weights`.
    fn norm(x: &[f32], weights: &[f32], epsilon: f32, out: &mut [f32]) = norm_rows
}

#[inline(always)]
fn gate_row<const FUSED: bool>(gate: &[f32], up: &[f32], out: &mut [f32]) {
    let ((gates, last_gate), (ups, last_up)) = (gate.as_chunks::<LANES>(), up.as_chunks::<LANES>());
    let (outs, last_out) = out.as_chunks_mut::<LANES>();
    for ((gate, up), out) in gates.iter().zip(ups).zip(outs) {
        gate_lanes::<FUSED>(gate, up, out);
    }
    let (mut gate, mut up, mut out) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
    gate[..last_gate.len()].copy_from_slice(last_gate);
    up[..last_up.len()].copy_from_slice(last_up);
    gate_lanes::<FUSED>(&gate, &up, &mut out);
    last_out.copy_from_slice(&out[..last_out.len()]);
}

#[inline(always)]
fn gate_lanes<const FUSED: bool>(gate: &[f32; LANES], up: &[f32; LANES], out: &mut [f32; LANES]) {
    let mut powers = *gate;
    for x in &mut powers {
        *x = -*x;
    }
    let powers = exponential::<FUSED>(powers);
    for i in 0..LANES {
        out[i] = gate[i] / (1.0 + powers[i]) * up[i];
    }
}

compiled! {
    /// `silu(gate) · up`.
    fn gated(gate: &[f32], up: &[f32], out: &mut [f32]) = gate_row
}

#[inline(always)]
fn add_row<const FUSED: bool>(x: &[f32], to: &mut [f32]) {
    for (to, x) in to.iter_mut().zip(x) {
        *to += x;
    }
}

compiled! {
    /// Adds `x` to `to`.
    fn add(x: &[f32], to: &mut [f32]) = add_row
}

#[cfg(target_arch = "x86_64")]
impl crate::kernels::Level {
    /// The instructions for everything but products of quantised matrices: these do not depend on whether candle computes
    /// those.
    pub(super) fn for_vectors() -> Option<Self> {
        static CHOSEN: std::sync::OnceLock<Option<crate::kernels::Level>> = std::sync::OnceLock::new();
        *CHOSEN.get_or_init(|| Self::in_use().or_else(Self::detected))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(found: f32, expected: f64, tolerance: f64) -> bool {
        (f64::from(found) - expected).abs() <= tolerance * expected.abs().max(1e-30)
    }

    proptest! {
        #[test]
        fn powers_are_those_of_e(numbers in proptest::array::uniform16(-87.0..88.0_f32)) {
            for (number, power) in numbers.into_iter().zip(exponential::<true>(numbers)) {
                prop_assert!(close(power, f64::from(number).exp(), 2.5e-7), "{number}: {power}");
            }
        }

        #[test]
        fn gates_are_what_they_are_called(values in proptest::collection::vec((-30.0..30.0_f32, -9.0..9.0_f32), 1..70)) {
            let (gates, ups): (Vec<f32>, Vec<f32>) = values.iter().copied().unzip();
            let mut out = vec![f32::NAN; values.len()];
            gated(&gates, &ups, &mut out);
            for ((gate, up), found) in values.into_iter().zip(out) {
                let (gate, up) = (f64::from(gate), f64::from(up));
                prop_assert!(close(found, gate / (1.0 + (-gate).exp()) * up, 1e-6), "{gate} {up}: {found}");
            }
        }

        #[test]
        fn rows_are_normal(width in 1..70_usize, rows in 1..4_usize, seed in any::<u32>()) {
            let x: Vec<f32> = (0..rows * width).map(|i| ((i as u32).wrapping_mul(seed | 1) % 1000) as f32 / 100.0 - 4.0).collect();
            let weights: Vec<f32> = (0..width).map(|i| 1.0 + i as f32 / 10.0).collect();
            let mut out = vec![f32::NAN; x.len()];
            norm(&x, &weights, 1e-5, &mut out);
            for (row, out) in x.chunks(width).zip(out.chunks(width)) {
                let mean = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / width as f64;
                for ((x, weight), found) in row.iter().zip(&weights).zip(out) {
                    let expected = f64::from(*x) / (mean + 1e-5).sqrt() * f64::from(*weight);
                    prop_assert!((f64::from(*found) - expected).abs() < 1e-5 * (1.0 + expected.abs()));
                }
            }
        }
    }

    #[test]
    fn powers_beyond_the_bounds_are_the_bounds() {
        let found = exponential::<true>([-1e9; LANES]);
        assert!(found[0] > 0.0 && found[0] < 1e-37);
        assert!(exponential::<true>([f32::INFINITY; LANES])[0].is_finite());
    }
}
