//! How long to wait before dialling again: random between nothing and a ceiling that doubles ("full jitter").
//!
//! Marc Brooker, "Exponential Backoff and Jitter", 2015. So a fleet whose server restarts does not come back all at once.

use rand::Rng as _;
use std::time::Duration;

/// The first ceiling.
const FIRST: Duration = Duration::from_millis(200);
/// The last one.
const LAST: Duration = Duration::from_secs(30);
/// The ceiling while the node holds steps: within 3 s of a loss they would be given to others.
const HOLDING: Duration = Duration::from_secs(1);

/// Counts failures.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The connection worked: the next loss starts from the beginning.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The time until the next attempt.
    pub(super) fn next(&mut self, holding: bool, random: &mut impl rand::RngCore) -> Duration {
        let doubled = FIRST.saturating_mul(1 << self.failures.min(8)).min(LAST);
        self.failures = self.failures.saturating_add(1);
        let ceiling = if holding { doubled.min(HOLDING) } else { doubled };
        ceiling.mul_f64(random.random_range(0.0..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    #[test]
    fn waits_grow_to_half_a_minute_but_stay_short_while_steps_are_held() {
        let mut random = StdRng::seed_from_u64(1);
        let mut longest = |holding| {
            let mut backoff = Backoff::default();
            let waits: Vec<_> = (0..200).map(|_| backoff.next(holding, &mut random)).collect();
            assert!(waits[0] <= FIRST);
            waits.into_iter().max().unwrap()
        };
        let free = longest(false);
        assert!(free > Duration::from_secs(25) && free <= LAST, "{free:?}");
        assert!(longest(true) <= HOLDING);
    }
}
