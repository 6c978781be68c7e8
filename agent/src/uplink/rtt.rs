//! The round-trip time to the server: RFC 6298's smoothing over heartbeats and their acknowledgements.
//!
//! Karn's rule: only an acknowledgement that belongs to exactly one heartbeat of this session counts. What a lost session
//! left open is never measured.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Heartbeats without an answer that are remembered; older ones are not measured any more.
const REMEMBERED: usize = 8;

/// Smoothed round-trip time and its mean deviation.
#[derive(Debug, Default)]
pub struct RoundTrip {
    smoothed_ms: Option<f64>,
    deviation_ms: f64,
    open: VecDeque<(u64, Instant)>,
}

impl RoundTrip {
    /// A heartbeat leaves.
    pub fn sent(&mut self, sequence: u64, now: Instant) {
        if self.open.len() == REMEMBERED {
            self.open.pop_front();
        }
        self.open.push_back((sequence, now));
    }

    /// An acknowledgement arrives; the time it took, if it can be said.
    pub fn acknowledged(&mut self, sequence: u64, now: Instant) -> Option<Duration> {
        let at = self.open.iter().position(|(s, _)| *s == sequence)?;
        let (_, sent) = self.open.remove(at)?;
        self.open.retain(|(s, _)| *s > sequence);
        let took = now.saturating_duration_since(sent);
        let sample_ms = took.as_secs_f64() * 1000.0;
        match self.smoothed_ms {
            None => {
                self.smoothed_ms = Some(sample_ms);
                self.deviation_ms = sample_ms / 2.0;
            }
            Some(smoothed) => {
                self.deviation_ms = 0.75 * self.deviation_ms + 0.25 * (smoothed - sample_ms).abs();
                self.smoothed_ms = Some(0.875 * smoothed + 0.125 * sample_ms);
            }
        }
        Some(took)
    }

    /// The session is gone: what it left open is forgotten, what was learned is kept.
    pub fn session_lost(&mut self) {
        self.open.clear();
    }

    /// The smoothed time and its mean deviation, ms.
    pub fn now_ms(&self) -> Option<(f64, f64)> {
        self.smoothed_ms.map(|s| (s, self.deviation_ms))
    }

    /// How long the oldest unanswered heartbeat has been waiting.
    pub fn unanswered(&self, now: Instant) -> Option<Duration> {
        self.open.front().map(|(_, sent)| now.saturating_duration_since(*sent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_smoothed_and_what_a_lost_session_left_is_not_one() {
        let mut rtt = RoundTrip::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(rtt.now_ms(), None);
        rtt.sent(1, at(0));
        rtt.acknowledged(1, at(100));
        assert_eq!(rtt.now_ms(), Some((100.0, 50.0)));
        rtt.sent(2, at(200));
        rtt.acknowledged(2, at(220));
        assert_eq!(rtt.now_ms(), Some((90.0, 57.5)));
        assert_eq!(rtt.acknowledged(2, at(900)), None, "a repeated answer is no sample");
        rtt.sent(3, at(1000));
        assert_eq!(rtt.unanswered(at(1500)), Some(Duration::from_millis(500)));
        rtt.session_lost();
        assert_eq!(rtt.acknowledged(3, at(9000)), None);
        assert_eq!(rtt.now_ms(), Some((90.0, 57.5)));
    }
}
