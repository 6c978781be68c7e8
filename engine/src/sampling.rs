//! From logits to a token: greedy or drawn from the likeliest, always with the exact log-probability of the choice.
//!
//! The log-probability is the model's own: over the whole vocabulary and before temperature and cut, so that it means the
//! same however the token was chosen. The seed comes from the caller; the same seed and logits give the same tokens.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Sampling {
    /// The likeliest token; of equals the one with the smallest id.
    #[default]
    Greedy,
    /// Drawn.
    Drawn {
        /// Logits are divided by this; below 1 the likely get likelier. Not above 0 is greedy.
        temperature: f64,
        /// Only the likeliest tokens that together reach this share are drawn from; 1 for all.
        top_p: f64,
        /// Fixes what is drawn.
        seed: u64,
    },
}

/// A chosen token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// The token.
    pub id: u32,
    /// Its natural-log probability, at most 0.
    pub logprob: f64,
}

/// Chooses token after token.
#[derive(Debug)]
pub struct Sampler {
    sampling: Sampling,
    random: ChaCha8Rng,
}

impl Sampler {
    /// A sampler at the beginning of its sequence.
    pub fn new(sampling: Sampling) -> Self {
        let seed = match sampling {
            Sampling::Greedy => 0,
            Sampling::Drawn { seed, .. } => seed,
        };
        Self { sampling, random: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// Chooses from finite logits; `None` if there are none.
    pub fn choose(&mut self, logits: &[f32]) -> Option<Choice> {
        let best = argmax(logits)?;
        let index = match self.sampling {
            Sampling::Drawn { temperature, top_p, .. } if temperature > 0.0 => {
                // Drawn even when it decides nothing, so that a sequence of tokens uses as many draws as it has tokens.
                let draw = self.random.random_range(0.0..1.0);
                draw_index(logits, best, temperature, top_p, draw)
            }
            _ => best,
        };
        let logprob = (f64::from(logits[index]) - log_sum_exp(logits)).min(0.0);
        Some(Choice { id: u32::try_from(index).ok()?, logprob })
    }
}

fn argmax(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).reduce(|best, index| if logits[index] > logits[best] { index } else { best })
}

/// ln Σ exp(logit), in `f64` and shifted by the largest, so that nothing overflows.
pub fn log_sum_exp(logits: &[f32]) -> f64 {
    let most = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    most + logits.iter().map(|&logit| (f64::from(logit) - most).exp()).sum::<f64>().ln()
}

/// The token at share `draw` of the likeliest tokens that together reach `top_p`.
fn draw_index(logits: &[f32], best: usize, temperature: f64, top_p: f64, draw: f64) -> usize {
    let most = f64::from(logits[best]);
    let weight = |index: usize| ((f64::from(logits[index]) - most) / temperature).exp();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
    let total: f64 = order.iter().map(|&index| weight(index)).sum();
    let mut kept = 0.0;
    let mut count = 0;
    for &index in &order {
        kept += weight(index);
        count += 1;
        if kept >= top_p * total {
            break;
        }
    }
    let mut left = draw * kept;
    for &index in &order[..count] {
        left -= weight(index);
        if left < 0.0 {
            return index;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drawn(temperature: f64, top_p: f64, seed: u64) -> Sampling {
        Sampling::Drawn { temperature, top_p, seed }
    }

    proptest! {
        #[test]
        fn log_probabilities_are_those_of_a_distribution(logits in proptest::collection::vec(-80.0..80.0_f32, 1..200)) {
            let total = log_sum_exp(&logits);
            let sum: f64 = logits.iter().map(|&l| (f64::from(l) - total).exp()).sum();
            prop_assert!((sum - 1.0).abs() < 1e-9);
            let choice = Sampler::new(Sampling::Greedy).choose(&logits).unwrap();
            prop_assert!(logits.iter().all(|&l| l <= logits[choice.id as usize]));
            prop_assert!(choice.logprob <= 0.0 && choice.logprob >= -(logits.len() as f64).ln() - 1e-9);
        }

        #[test]
        fn the_seed_decides_and_the_cut_holds(logits in proptest::collection::vec(-5.0..5.0_f32, 2..50), seed in any::<u64>(), top_p in 0.05..1.0_f64) {
            let run = |sampling| {
                let mut sampler = Sampler::new(sampling);
                (0..8).map(|_| sampler.choose(&logits).unwrap()).collect::<Vec<_>>()
            };
            prop_assert_eq!(run(drawn(0.8, top_p, seed)), run(drawn(0.8, top_p, seed)));
            prop_assert_eq!(run(drawn(0.8, 0.0, seed)), run(Sampling::Greedy));
            prop_assert_eq!(run(drawn(0.0, top_p, seed)), run(Sampling::Greedy));
            for choice in run(drawn(1.0, top_p, seed)) {
                let likelier: f64 = logits.iter().filter(|&&l| l > logits[choice.id as usize]).map(|&l| (f64::from(l) - log_sum_exp(&logits)).exp()).sum();
                prop_assert!(likelier < top_p + 1e-9, "{likelier} of {top_p} were likelier");
            }
        }
    }

    #[test]
    fn tokens_are_drawn_as_often_as_they_are_likely() {
        let logits = [0.5_f32.ln(), 0.3_f32.ln(), 0.2_f32.ln()];
        let mut sampler = Sampler::new(drawn(1.0, 1.0, 7));
        let mut counts = [0_u32; 3];
        (0..20_000).for_each(|_| counts[sampler.choose(&logits).unwrap().id as usize] += 1);
        for (count, share) in counts.iter().zip([0.5, 0.3, 0.2]) {
            assert!((f64::from(*count) / 20_000.0 - share).abs() < 0.015, "{counts:?}");
        }
        assert!(Sampler::new(Sampling::Greedy).choose(&[]).is_none());
    }
}
