//! From logits to a token: the likeliest, or drawn from the likeliest, always with the exact log-probability of the choice.
//!
//! The log-probability is the model's own: over the whole vocabulary and before penalty, mask, temperature and cut, so that it
//! means the same however the token was chosen. The seed comes from the caller; the same seed and logits give the same tokens.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::VecDeque;

/// How the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Logits are divided by this; below 1 the likely get likelier. Not above 0 takes the likeliest token, of equals the one
    /// with the smallest id, and the cuts then mean nothing.
    pub temperature: f64,
    /// Only the likeliest tokens that together reach this share are drawn from; 1 for all.
    pub top_p: f64,
    /// Only tokens at least this share as likely as the likeliest are drawn from; 0 for all.
    pub min_p: f64,
    /// Logits of tokens that came lately are made smaller by this factor (arXiv 1909.05858); 1 for none.
    pub repetition_penalty: f64,
    /// How many tokens back "lately" reaches, prompt and answer.
    pub repetition_window: usize,
    /// Fixes what is drawn.
    pub seed: u64,
}

impl Sampling {
    /// Always the likeliest token.
    pub const GREEDY: Self = Self { temperature: 0.0, top_p: 1.0, min_p: 0.0, repetition_penalty: 1.0, repetition_window: 64, seed: 0 };
}

impl Default for Sampling {
    fn default() -> Self {
        Self::GREEDY
    }
}

/// A chosen token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// The token.
    pub id: u32,
    /// Its natural-log probability, at most 0.
    pub logprob: f64,
    /// The entropy of the model's own distribution, nats.
    pub entropy: f64,
}

/// Chooses token after token.
#[derive(Debug)]
pub struct Sampler {
    sampling: Sampling,
    random: ChaCha8Rng,
    recent: VecDeque<u32>,
}

impl Sampler {
    /// A sampler at the beginning of its sequence.
    pub fn new(sampling: Sampling) -> Self {
        Self { sampling, random: ChaCha8Rng::seed_from_u64(sampling.seed), recent: VecDeque::new() }
    }

    /// Notes tokens that were there before the answer; those it chooses it notes itself.
    pub fn observe(&mut self, ids: &[u32]) {
        for &id in &ids[ids.len().saturating_sub(self.sampling.repetition_window)..] {
            self.recent.push_back(id);
            if self.recent.len() > self.sampling.repetition_window {
                self.recent.pop_front();
            }
        }
    }

    /// Chooses from finite logits, among the tokens that `allowed` names if it is there; `None` if there are none.
    pub fn choose(&mut self, logits: &[f32], allowed: Option<&dyn Fn(u32) -> bool>) -> Option<Choice> {
        let mut weighed = logits.to_vec();
        self.penalise(&mut weighed);
        if let Some(allowed) = allowed {
            for (id, logit) in (0_u32..).zip(&mut weighed) {
                *logit = if allowed(id) { *logit } else { f32::NEG_INFINITY };
            }
        }
        let best = argmax(&weighed).filter(|&index| weighed[index] > f32::NEG_INFINITY)?;
        let index = if self.sampling.temperature > 0.0 {
            // Drawn even when it decides nothing, so that a sequence of tokens uses as many draws as it has tokens.
            let draw = self.random.random_range(0.0..1.0);
            draw_index(&weighed, best, &self.sampling, draw)
        } else {
            best
        };
        let (sum, entropy) = sum_and_entropy(logits);
        let logprob = (f64::from(logits[index]) - sum).min(0.0);
        let id = u32::try_from(index).ok()?;
        self.observe(&[id]);
        Some(Choice { id, logprob, entropy })
    }

    fn penalise(&self, logits: &mut [f32]) {
        let penalty = self.sampling.repetition_penalty as f32;
        if penalty == 1.0 {
            return;
        }
        let mut lately: Vec<u32> = self.recent.iter().copied().collect();
        lately.sort_unstable();
        lately.dedup();
        for id in lately {
            if let Some(logit) = logits.get_mut(id as usize) {
                *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
            }
        }
    }
}

fn argmax(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).reduce(|best, index| if logits[index] > logits[best] { index } else { best })
}

/// ln Σ exp(logit), in `f64` and shifted by the largest, so that nothing overflows.
pub fn log_sum_exp(logits: &[f32]) -> f64 {
    sum_and_entropy(logits).0
}

/// The same, and the entropy of the distribution, −Σ p·ln p, nats.
fn sum_and_entropy(logits: &[f32]) -> (f64, f64) {
    let most = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let (mut sum, mut weighed) = (0.0, 0.0);
    for &logit in logits {
        let above = f64::from(logit) - most;
        let weight = above.exp();
        sum += weight;
        // A weight of nothing counts nothing, however far away.
        weighed += if weight > 0.0 { weight * above } else { 0.0 };
    }
    (most + sum.ln(), (sum.ln() - weighed / sum).max(0.0))
}

/// The token at share `draw` of those that both cuts leave.
fn draw_index(logits: &[f32], best: usize, sampling: &Sampling, draw: f64) -> usize {
    let most = f64::from(logits[best]);
    let weight = |index: usize| ((f64::from(logits[index]) - most) / sampling.temperature).exp();
    let mut order: Vec<(f64, usize)> = (0..logits.len()).map(|index| (weight(index), index)).filter(|(weight, _)| *weight > 0.0).collect();
    let total: f64 = order.iter().map(|(weight, _)| weight).sum();
    order.retain(|(weight, _)| *weight >= sampling.min_p);
    order.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut kept = 0.0;
    let mut count = 0;
    for (weight, _) in &order {
        kept += weight;
        count += 1;
        if kept >= sampling.top_p * total {
            break;
        }
    }
    let mut left = draw * kept;
    for (weight, index) in &order[..count] {
        left -= weight;
        if left < 0.0 {
            return *index;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drawn(temperature: f64, top_p: f64, seed: u64) -> Sampling {
        Sampling { temperature, top_p, seed, ..Sampling::GREEDY }
    }

    fn run(sampling: Sampling, logits: &[f32]) -> Vec<Choice> {
        let mut sampler = Sampler::new(sampling);
        (0..8).map(|_| sampler.choose(logits, None).unwrap()).collect()
    }

    proptest! {
        #[test]
        fn log_probabilities_are_those_of_a_distribution(logits in proptest::collection::vec(-80.0..80.0_f32, 1..200)) {
            let total = log_sum_exp(&logits);
            let sum: f64 = logits.iter().map(|&l| (f64::from(l) - total).exp()).sum();
            prop_assert!((sum - 1.0).abs() < 1e-9);
            let choice = Sampler::new(Sampling::GREEDY).choose(&logits, None).unwrap();
            prop_assert!(logits.iter().all(|&l| l <= logits[choice.id as usize]));
            prop_assert!(choice.logprob <= 0.0 && choice.logprob >= -(logits.len() as f64).ln() - 1e-9);
        }

        #[test]
        fn the_seed_decides_and_the_cuts_hold(logits in proptest::collection::vec(-5.0..5.0_f32, 2..50), seed in any::<u64>(), top_p in 0.05..1.0_f64, min_p in 0.0..1.0_f64) {
            prop_assert_eq!(run(drawn(0.8, top_p, seed), &logits), run(drawn(0.8, top_p, seed), &logits));
            prop_assert_eq!(run(drawn(0.8, 0.0, seed), &logits), run(Sampling::GREEDY, &logits));
            prop_assert_eq!(run(drawn(0.0, top_p, seed), &logits), run(Sampling::GREEDY, &logits));
            for choice in run(drawn(1.0, top_p, seed), &logits) {
                let likelier: f64 = logits.iter().filter(|&&l| l > logits[choice.id as usize]).map(|&l| (f64::from(l) - log_sum_exp(&logits)).exp()).sum();
                prop_assert!(likelier < top_p + 1e-9, "{likelier} of {top_p} were likelier");
            }
            let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            for choice in run(Sampling { min_p, ..drawn(1.0, 1.0, seed) }, &logits) {
                prop_assert!(f64::from(logits[choice.id as usize] - most).exp() >= min_p - 1e-6);
            }
        }

        /// Whatever is masked, penalised or cut: what is chosen was allowed, and its log-probability is the model's own.
        #[test]
        fn masks_hold_and_change_no_log_probability(
            logits in proptest::collection::vec(-5.0..5.0_f32, 2..50),
            allowed in proptest::collection::vec(any::<bool>(), 50),
            penalty in 1.0..2.0_f64,
            temperature in 0.0..2.0_f64,
            seed in any::<u64>(),
        ) {
            let mut sampler = Sampler::new(Sampling { repetition_penalty: penalty, ..drawn(temperature, 0.9, seed) });
            for _ in 0..4 {
                let choice = sampler.choose(&logits, Some(&|id| allowed[id as usize]));
                match choice {
                    Some(choice) => {
                        prop_assert!(allowed[choice.id as usize]);
                        let own = f64::from(logits[choice.id as usize]) - log_sum_exp(&logits);
                        prop_assert!((choice.logprob - own.min(0.0)).abs() < 1e-12);
                    }
                    None => prop_assert!(!allowed[..logits.len()].contains(&true)),
                }
            }
        }
    }

    #[test]
    fn tokens_are_drawn_as_often_as_they_are_likely() {
        let logits = [0.5_f32.ln(), 0.3_f32.ln(), 0.2_f32.ln()];
        let mut sampler = Sampler::new(drawn(1.0, 1.0, 7));
        let mut counts = [0_u32; 3];
        (0..20_000).for_each(|_| counts[sampler.choose(&logits, None).unwrap().id as usize] += 1);
        for (count, share) in counts.iter().zip([0.5, 0.3, 0.2]) {
            assert!((f64::from(*count) / 20_000.0 - share).abs() < 0.015, "{counts:?}");
        }
        assert!(Sampler::new(Sampling::GREEDY).choose(&[], None).is_none());
    }

    #[test]
    fn what_came_lately_comes_less() {
        let sampling = Sampling { repetition_penalty: 2.0, repetition_window: 2, ..Sampling::GREEDY };
        let mut sampler = Sampler::new(sampling);
        sampler.observe(&[9, 9, 9, 1]);
        let logits = [1.0, 1.5, -1.0, 0.9];
        let ids: Vec<u32> = (0..4).map(|_| sampler.choose(&logits, None).unwrap().id).collect();
        // 1 came in the prompt; then each is kept away while it is among the last two.
        assert_eq!(ids, [0, 3, 1, 0]);
    }
}
