//! The arithmetic between the matrices, on plain slices: written once, compiled for what the processor has.
//!
//! Numbers are taken sixteen at a time, so that the compiler turns each step into one vector instruction.

use super::instructions::{Instructions, LANES, compiled};

/// `a · b + c`.
#[inline(always)]
pub(super) fn multiply_add<I: Instructions>(a: f32, b: f32, c: f32) -> f32 {
    if I::FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// e to the power of each number: within two units of the last place from -87 to 88, and the bounds' values beyond.
#[inline(always)]
pub(super) fn exponential<I: Instructions>(numbers: [f32; LANES]) -> [f32; LANES] {
    // Adding and taking away 1.5 · 2^23 rounds to a whole number, which then stands in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    // Loops, here and below: what a closure calls is not always compiled with the function's own instructions.
    let mut powers = numbers;
    for x in &mut powers {
        let clamped = x.clamp(-87.0, 88.0);
        let shifted = multiply_add::<I>(clamped, std::f32::consts::LOG2_E, ROUND);
        let whole = shifted - ROUND;
        // ln 2 in two parts, so that the difference is exact.
        let rest = multiply_add::<I>(whole, -0.693_359_4, clamped);
        let rest = multiply_add::<I>(whole, 2.121_944_4e-4, rest);
        let mut sum = 1.987_569_1e-4;
        sum = multiply_add::<I>(sum, rest, 1.398_199_9e-3);
        sum = multiply_add::<I>(sum, rest, 8.333_452e-3);
        sum = multiply_add::<I>(sum, rest, 4.166_579_6e-2);
        sum = multiply_add::<I>(sum, rest, 0.166_666_65);
        sum = multiply_add::<I>(sum, rest, 0.5);
        let sum = multiply_add::<I>(sum * rest, rest, rest) + 1.0;
        let power = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
        *x = sum * f32::from_bits(power);
    }
    powers
}

#[inline(always)]
fn norm_rows<I: Instructions>(x: &[f32], weights: &[f32], epsilon: f32, out: &mut [f32]) {
    let width = weights.len();
    for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let (chunks, rest) = x.as_chunks::<LANES>();
        let mut sums = [0.0_f32; LANES];
        for chunk in chunks {
            for i in 0..LANES {
                sums[i] = multiply_add::<I>(chunk[i], chunk[i], sums[i]);
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
fn gate_row<I: Instructions>(gate: &[f32], up: &[f32], out: &mut [f32]) {
    let ((gates, last_gate), (ups, last_up)) = (gate.as_chunks::<LANES>(), up.as_chunks::<LANES>());
    let (outs, last_out) = out.as_chunks_mut::<LANES>();
    for ((gate, up), out) in gates.iter().zip(ups).zip(outs) {
        gate_lanes::<I>(gate, up, out);
    }
    let (mut gate, mut up, mut out) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
    gate[..last_gate.len()].copy_from_slice(last_gate);
    up[..last_up.len()].copy_from_slice(last_up);
    gate_lanes::<I>(&gate, &up, &mut out);
    last_out.copy_from_slice(&out[..last_out.len()]);
}

#[inline(always)]
fn gate_lanes<I: Instructions>(gate: &[f32; LANES], up: &[f32; LANES], out: &mut [f32; LANES]) {
    let mut powers = *gate;
    for x in &mut powers {
        *x = -*x;
    }
    let powers = exponential::<I>(powers);
    for i in 0..LANES {
        out[i] = gate[i] / (1.0 + powers[i]) * up[i];
    }
}

compiled! {
    /// `silu(gate) · up`.
    fn gated(gate: &[f32], up: &[f32], out: &mut [f32]) = gate_row
}

#[inline(always)]
fn add_row<I: Instructions>(x: &[f32], to: &mut [f32]) {
    for (to, x) in to.iter_mut().zip(x) {
        *to += x;
    }
}

compiled! {
    /// Adds `x` to `to`.
    fn add(x: &[f32], to: &mut [f32]) = add_row
}

#[cfg(test)]
mod tests {
    use super::super::instructions::Any;
    use super::*;
    use proptest::prelude::*;

    fn close(found: f32, expected: f64, tolerance: f64) -> bool {
        (f64::from(found) - expected).abs() <= tolerance * expected.abs().max(1e-30)
    }

    proptest! {
        #[test]
        fn powers_are_those_of_e(numbers in proptest::array::uniform16(-87.0..88.0_f32)) {
            for (number, power) in numbers.into_iter().zip(exponential::<Any>(numbers)) {
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
        let found = exponential::<Any>([-1e9; LANES]);
        assert!(found[0] > 0.0 && found[0] < 1e-37);
        assert!(exponential::<Any>([f32::INFINITY; LANES])[0].is_finite());
    }
}
