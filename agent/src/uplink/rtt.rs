//! Heartbeats and their acknowledgements, matched to samples for the round-trip estimate.
//!
//! Karn's rule: only an acknowledgement that belongs to exactly one heartbeat of this session counts. What a lost session
//! left open is never measured.

use crate::sensing::rtt::{PingSample, RttEstimate, RttEstimator};
use ouro_common::clock;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Heartbeats without an answer that are remembered; older ones are not measured any more.
const REMEMBERED: usize = 8;

/// The heartbeats that wait for an answer, and what the answered ones say.
#[derive(Debug)]
pub(super) struct RoundTrip {
    estimator: RttEstimator,
    start: Instant,
    open: VecDeque<(u64, Instant)>,
}

impl RoundTrip {
    /// Nothing measured yet.
    pub(super) fn new(heartbeat: Duration, start: Instant) -> Self {
        Self { estimator: RttEstimator::new(heartbeat), start, open: VecDeque::new() }
    }

    /// A heartbeat leaves.
    pub(super) fn sent(&mut self, sequence: u64, now: Instant) {
        if self.open.len() == REMEMBERED {
            self.open.pop_front();
        }
        self.open.push_back((sequence, now));
    }

    /// An acknowledgement arrives; whether it was a sample.
    pub(super) fn acknowledged(&mut self, sequence: u64, now: Instant) -> bool {
        let Some(at) = self.open.iter().position(|(s, _)| *s == sequence) else {
            return false;
        };
        let Some((_, sent)) = self.open.remove(at) else { return false };
        self.open.retain(|(s, _)| *s > sequence);
        let since_start = now.saturating_duration_since(self.start);
        self.estimator.observe(PingSample {
            round_trip: now.saturating_duration_since(sent),
            at: clock::Instant(0).after(since_start),
            retransmitted: false,
        })
    }

    /// The session is gone: what it left open is forgotten, what was learned is kept.
    pub(super) fn session_lost(&mut self) {
        self.open.clear();
    }

    /// The estimate, once there is one.
    pub(super) fn estimate(&self) -> Option<RttEstimate> {
        self.estimator.estimate()
    }

    /// How long the oldest unanswered heartbeat has been waiting.
    pub(super) fn unanswered(&self, now: Instant) -> Option<Duration> {
        self.open.front().map(|(_, sent)| now.saturating_duration_since(*sent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_to_this_session_s_heartbeats_are_samples() {
        let start = Instant::now();
        let mut rtt = RoundTrip::new(Duration::from_secs(5), start);
        let at = |ms| start + Duration::from_millis(ms);
        rtt.sent(1, at(0));
        assert!(rtt.acknowledged(1, at(100)));
        assert_eq!(rtt.estimate(), Some(RttEstimate { ema_ms: 100.0, var_ms: 50.0 }));
        assert!(!rtt.acknowledged(1, at(900)), "a repeated answer is no sample");
        rtt.sent(2, at(1000));
        rtt.sent(3, at(6000));
        assert_eq!(rtt.unanswered(at(6500)), Some(Duration::from_millis(5500)));
        rtt.session_lost();
        assert!(!rtt.acknowledged(3, at(9000)));
        assert_eq!(rtt.estimate().map(|e| e.ema_ms), Some(100.0));
    }
}
