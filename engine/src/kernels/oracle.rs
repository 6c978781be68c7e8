//! Every kernel against plain arithmetic in `f64` over the same rounded activations, for any weights and sizes.

use super::{Activations, Format, Level, Output, multiply};
use proptest::prelude::*;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Random blocks whose scales are ordinary numbers.
pub(crate) fn random_weights(format: Format, blocks: usize, random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..blocks * format.block_bytes()).map(|_| random.random()).collect();
    for block in bytes.chunks_exact_mut(format.block_bytes()) {
        let places: &[usize] = match format {
            Format::Q4K | Format::Q5K => &[0, 2],
            Format::Q6K => &[208],
            Format::Q8_0 | Format::Q4_0 => &[0],
        };
        for &at in places {
            // 2^-6 to 2, of either sign.
            block[at + 1] = (random.random_range(0x24..0x40_u8)) | (random.random::<u8>() & 0x80);
        }
    }
    bytes
}

/// The levels that this processor has.
pub(super) fn levels() -> impl Iterator<Item = Level> {
    let all: &[Level] = if cfg!(target_arch = "aarch64") {
        &[Level::Neon, Level::NeonDotprod, Level::NeonI8mm]
    } else {
        &[Level::Avx2, Level::Avx512Vnni]
    };
    all.iter().copied().filter(|&level| Level::detected().is_some_and(|best| level <= best))
}

/// The largest deviation over all results, relative to the sum of the products' magnitudes.
fn deviation(level: Level, format: Format, rows: usize, width: usize, tokens: usize, seed: u64) -> f64 {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let weights = random_weights(format, rows * width / format.block_values(), &mut random);
    let values: Vec<f32> = (0..tokens * width).map(|_| random.random_range(-3.0..3.0_f32)).collect();
    let x = Activations::quantise(&values, width, format.activation_group(), &crate::pool::Pool::new(1));
    let mut found = vec![f32::NAN; tokens * rows];
    let out = Output::new(&mut found, rows, 0);
    for start in (0..rows).step_by(super::ROWS_AT_A_TIME) {
        // SAFETY: the level was detected, one thread runs, and the weights were made for the format.
        unsafe { multiply(level, format, &weights, &x, out, start..(start + super::ROWS_AT_A_TIME).min(rows)) };
    }
    let mut plain = vec![0.0; rows * width];
    format.dequantise(&weights, &mut plain);
    let mut worst = 0.0_f64;
    for token in 0..tokens {
        for row in 0..rows {
            let (mut sum, mut size) = (0.0, 0.0);
            for k in 0..width {
                let at = token * width + k;
                let product = f64::from(plain[row * width + k]) * f64::from(x.quants[at]) * f64::from(x.scales[at / 32]);
                sum += product;
                size += product.abs();
            }
            let error = (f64::from(found[token * rows + row]) - sum).abs();
            worst = worst.max(if error.is_nan() { f64::INFINITY } else { error / size.max(1e-9) });
        }
    }
    worst
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]
    #[test]
    fn kernels_agree_with_plain_arithmetic(which in 0..5_usize, rows in 1..70_usize, blocks in 1..12_usize, tokens in 1..20_usize, seed in any::<u64>()) {
        let format = Format::ALL[which];
        for level in levels() {
            let worst = deviation(level, format, rows, blocks * format.block_values(), tokens, seed);
            prop_assert!(worst < 3e-6, "{worst} with {level:?} for {format:?}, {rows} × {blocks} blocks, {tokens} tokens");
        }
    }
}

#[test]
fn panels_agree_with_plain_arithmetic() {
    for format in Format::ALL {
        for (rows, width, tokens) in [(64, 2560, 9), (80, 1024, 33), (16, 256, 5)] {
            for level in levels() {
                let worst = deviation(level, format, rows, width, tokens, 7);
                assert!(worst < 3e-6, "{worst} with {level:?} for {format:?} {rows} × {width}, {tokens} tokens");
            }
        }
    }
}

/// The largest quants everywhere: sums of 16 bits must not saturate in silence.
#[test]
fn extreme_weights_do_not_saturate() {
    for format in Format::ALL {
        for fill in [0x00, 0x7f, 0x80, 0xff] {
            let (rows, width, tokens) = (20, 512, 9);
            let mut weights = vec![fill; rows * width / format.block_values() * format.block_bytes()];
            for block in weights.chunks_exact_mut(format.block_bytes()) {
                let at = if format == Format::Q6K { 208 } else { 0 };
                block[at..at + 2].copy_from_slice(&[0, 0x3c]);
                if matches!(format, Format::Q4K | Format::Q5K) {
                    block[2..4].copy_from_slice(&[0, 0x3c]);
                }
            }
            for sign in [1.0, -1.0] {
                let x = Activations::quantise(&vec![sign; tokens * width], width, format.activation_group(), &crate::pool::Pool::new(1));
                let mut plain = vec![0.0; rows * width];
                format.dequantise(&weights, &mut plain);
                let expected: f64 = plain[..width].iter().map(|w| f64::from(*w) * f64::from(sign)).sum();
                for level in levels() {
                    let mut found = vec![f32::NAN; tokens * rows];
                    // SAFETY: the level was detected, one thread runs, and the weights have the format's size.
                    unsafe { multiply(level, format, &weights, &x, Output::new(&mut found, rows, 0), 0..rows) };
                    for y in found {
                        let error = (f64::from(y) - expected).abs();
                        assert!(error <= 1e-5 * expected.abs().max(1.0), "{y} for {expected}: {level:?} {format:?} {fill:#x}");
                    }
                }
            }
        }
    }
}
