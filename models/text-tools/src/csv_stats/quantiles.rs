//! Quartiles of a stream: exact up to a cap, then of an even sample of it.
//!
//! Beyond the cap every second kept value is dropped and from then on only every second new one is kept, and so on:
//! always between half the cap and the cap, evenly spread over the stream, and the same for the same stream. For values in
//! random order the error of a quartile's rank is that of a systematic sample of half the cap.

/// How many values a column keeps at most.
const CAP: usize = 65_536;
/// And all columns together.
const CAP_TOGETHER: usize = 8 << 20;

/// Kept values of a stream.
#[derive(Debug)]
pub(super) struct Quantiles {
    kept: Vec<f64>,
    cap: usize,
    seen: u64,
    step: u64,
}

impl Quantiles {
    /// Of one of `of` columns.
    pub(super) fn new(of: usize) -> Self {
        Self { kept: vec![], cap: CAP.min(CAP_TOGETHER / of.max(1)), seen: 0, step: 1 }
    }

    pub(super) fn add(&mut self, value: f64) {
        if self.seen.is_multiple_of(self.step) {
            if self.kept.len() == self.cap {
                let mut position = 0_usize;
                self.kept.retain(|_| {
                    position += 1;
                    !position.is_multiple_of(2)
                });
                self.step *= 2;
            }
            if self.seen.is_multiple_of(self.step) {
                self.kept.push(value);
            }
        }
        self.seen += 1;
    }

    /// Whether every value is kept.
    pub(super) fn exact(&self) -> bool {
        self.step == 1
    }

    /// The lower quartile, the median and the upper quartile, interpolated linearly between ranks (Hyndman and Fan's type 7).
    pub(super) fn quartiles(&mut self) -> [Option<f64>; 3] {
        self.kept.sort_by(f64::total_cmp);
        [0.25, 0.5, 0.75].map(|part| {
            let rank = part * self.kept.len().checked_sub(1)? as f64;
            let (low, high) = (self.kept[rank.floor() as usize], self.kept[rank.ceil() as usize]);
            Some(low + (high - low) * rank.fract())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_values_are_exact() {
        let mut quantiles = Quantiles::new(1);
        assert_eq!(quantiles.quartiles(), [None; 3]);
        [4.0, 1.0, 3.0, 2.0].into_iter().for_each(|v| quantiles.add(v));
        assert_eq!(quantiles.quartiles(), [Some(1.75), Some(2.5), Some(3.25)]);
        assert!(quantiles.exact());
    }

    #[test]
    fn many_values_are_sampled_evenly() {
        let mut quantiles = Quantiles::new(1);
        let count = 1_000_000_u64;
        // 611,953 is coprime to a million: every number below a million once, well mixed.
        (0..count).for_each(|n| quantiles.add((n * 611_953 % count) as f64));
        assert!(!quantiles.exact() && quantiles.kept.len() <= CAP && quantiles.kept.len() >= CAP / 4);
        for (found, expected) in quantiles.quartiles().into_iter().zip([250_000.0, 500_000.0, 750_000.0]) {
            assert!((found.unwrap() - expected).abs() < 10_000.0, "{found:?} {expected}");
        }
    }
}
