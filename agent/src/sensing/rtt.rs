//! The smoothed round-trip time to the server, from the agent's own pings.
//!
//! RFC 6298: SRTT ← 7/8·SRTT + 1/8·R, RTTVAR ← 3/4·RTTVAR + 1/4·|SRTT − R|, the deviation first. Those gains assume a sample
//! every heartbeat; after a gap an old estimate is worth less, so irregular samples use α = 1 − exp(−Δt/τ) with τ of 8
//! heartbeats (4 for the deviation). Karn's rule: a retransmitted ping is no sample, since nobody knows which copy was answered.

use ouro_common::clock::Instant;
use std::time::Duration;

/// SRTT's gain per heartbeat, RFC 6298 section 2.3.
const ALPHA: f64 = 1.0 / 8.0;
/// RTTVAR's gain per heartbeat.
const BETA: f64 = 1.0 / 4.0;
/// Time constants of irregular samples, in heartbeats.
const TAU_HEARTBEATS: (f64, f64) = (8.0, 4.0);
/// Heartbeats jitter by 10 %; within a quarter they count as regular.
const REGULAR: std::ops::RangeInclusive<f64> = 0.75..=1.25;

/// One answered ping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PingSample {
    /// From sending it to its answer.
    pub round_trip: Duration,
    /// When the answer came.
    pub at: Instant,
    /// Whether it had been sent more than once.
    pub retransmitted: bool,
}

/// The estimate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RttEstimate {
    /// Smoothed round-trip time in ms.
    pub ema_ms: f64,
    /// Its mean deviation in ms.
    pub var_ms: f64,
}

/// Turns samples into an estimate.
#[derive(Debug, Clone, PartialEq)]
pub struct RttEstimator {
    heartbeat: Duration,
    state: Option<(RttEstimate, Instant)>,
}

impl RttEstimator {
    /// An estimator for pings that go with heartbeats of this period.
    pub fn new(heartbeat: Duration) -> Self {
        Self { heartbeat, state: None }
    }

    /// The estimate, once there was a sample.
    pub fn estimate(&self) -> Option<RttEstimate> {
        self.state.map(|(estimate, _)| estimate)
    }

    /// Takes a sample in; says whether it was used.
    pub fn observe(&mut self, sample: PingSample) -> bool {
        if sample.retransmitted {
            return false;
        }
        let ms = sample.round_trip.as_secs_f64() * 1e3;
        let next = match self.state {
            None => RttEstimate { ema_ms: ms, var_ms: ms / 2.0 },
            Some((old, last)) => {
                let (alpha, beta) = self.gains(sample.at.since(last));
                RttEstimate {
                    ema_ms: old.ema_ms + alpha * (ms - old.ema_ms),
                    var_ms: old.var_ms + beta * ((old.ema_ms - ms).abs() - old.var_ms),
                }
            }
        };
        self.state = Some((next, sample.at));
        true
    }

    fn gains(&self, gap: Duration) -> (f64, f64) {
        let heartbeats = gap.as_secs_f64() / self.heartbeat.as_secs_f64().max(1e-3);
        if REGULAR.contains(&heartbeats) {
            return (ALPHA, BETA);
        }
        (1.0 - (-heartbeats / TAU_HEARTBEATS.0).exp(), 1.0 - (-heartbeats / TAU_HEARTBEATS.1).exp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEARTBEAT: Duration = Duration::from_secs(5);

    fn ping(ms: u64, at_s: u64) -> PingSample {
        PingSample { round_trip: Duration::from_millis(ms), at: Instant(at_s * 1000), retransmitted: false }
    }

    #[test]
    fn regular_samples_follow_rfc_6298() {
        let mut rtt = RttEstimator::new(HEARTBEAT);
        assert_eq!(rtt.estimate(), None);
        assert!(rtt.observe(ping(100, 0)));
        assert_eq!(rtt.estimate(), Some(RttEstimate { ema_ms: 100.0, var_ms: 50.0 }));
        assert!(rtt.observe(ping(180, 5)));
        assert_eq!(rtt.estimate(), Some(RttEstimate { ema_ms: 110.0, var_ms: 57.5 }));
    }

    #[test]
    fn retransmitted_pings_are_no_samples() {
        let mut rtt = RttEstimator::new(HEARTBEAT);
        rtt.observe(ping(100, 0));
        let before = rtt.clone();
        assert!(!rtt.observe(PingSample { retransmitted: true, ..ping(5000, 5) }));
        assert_eq!(rtt, before);
    }

    #[test]
    fn after_a_long_gap_the_new_sample_rules_and_in_a_burst_it_hardly_counts() {
        let after = |gap_s: u64| {
            let mut rtt = RttEstimator::new(HEARTBEAT);
            rtt.observe(ping(100, 0));
            rtt.observe(ping(20, gap_s));
            rtt.estimate().unwrap().ema_ms
        };
        assert!((after(3600) - 20.0).abs() < 1e-6);
        assert!(after(0) > 99.9);
        // α(Δt) = 1 − exp(−Δt/τ), τ = 40 s
        assert!((after(20) - (100.0 - 80.0 * (1.0 - (-0.5f64).exp()))).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn the_estimate_stays_between_the_samples(samples in prop::collection::vec((0u64..10_000, 0u64..1000), 1..50)) {
            let mut rtt = RttEstimator::new(HEARTBEAT);
            let mut at = 0;
            for (ms, gap) in &samples {
                at += gap;
                rtt.observe(ping(*ms, at));
            }
            let (low, high) = (samples.iter().map(|s| s.0).min().unwrap() as f64, samples.iter().map(|s| s.0).max().unwrap() as f64);
            let estimate = rtt.estimate().unwrap();
            prop_assert!((low - 1e-6..=high + 1e-6).contains(&estimate.ema_ms));
            prop_assert!(estimate.var_ms >= 0.0 && estimate.var_ms <= high + 1e-6);
        }
    }
}
