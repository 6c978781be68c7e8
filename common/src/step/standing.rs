//! Whether a node is to blame: quarantine, switching a (node, container) pair off, and losses that are nobody's fault.
//!
//! The other side of loss is not guilt: a step that two nodes' workers died of is poisoned, and a node on which steps die
//! that finish elsewhere is quarantined. A power cut takes many nodes at once and speaks against none of them.

use crate::clock::Instant;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Evidence against a node counts for so long.
pub const EVIDENCE_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Steps that died on a node and finished elsewhere after which it is quarantined.
const QUARANTINE_STEPS: usize = 3;
/// Failures in a row, each of another step, after which a container is switched off on a node.
const SWITCH_OFF_AFTER: u32 = 3;
/// For how long at first.
const FIRST_OFF: Duration = Duration::from_secs(60);
/// For how long at most.
const LONGEST_OFF: Duration = Duration::from_secs(3600);
/// Losses within this time belong together.
pub const MASS_LOSS_WINDOW: Duration = Duration::from_secs(30);
/// Fewer losses than this are never one event.
const MASS_LOSS_LEAST: usize = 3;

/// Whether a node is to be quarantined: `died_elsewhere_done` steps died on it within [`EVIDENCE_LIFETIME`] by evidence
/// and finished on another node.
pub fn quarantines(died_elsewhere_done: usize) -> bool {
    died_elsewhere_done >= QUARANTINE_STEPS
}

/// Whether `lost` of `fleet` nodes, gone within [`MASS_LOSS_WINDOW`], are one event: at least 2 %, and at least three.
///
/// Then a new boot is no evidence: the power went, not the machine because of the step.
pub fn is_mass_loss(lost: usize, fleet: usize) -> bool {
    lost >= fleet.div_ceil(50).max(MASS_LOSS_LEAST)
}

/// How a container fares on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairState {
    /// Failures in a row, counted once a step.
    pub streak: u32,
    /// The step that failed last; the same one again counts no further.
    pub last_step: String,
    /// How often in a row it was switched off.
    pub times_off: u32,
    /// Until when it is switched off.
    pub off_until: Option<Instant>,
}

impl PairState {
    /// After a failure of `step` by its own doing. A success ends the row: then the state is the default one again.
    #[must_use]
    pub fn after_failure(&self, step: &str, now: Instant) -> Self {
        if self.streak > 0 && self.last_step == step {
            return self.clone();
        }
        let mut next = Self { streak: self.streak.saturating_add(1), last_step: step.to_string(), ..self.clone() };
        // What was running while it was switched off does not lengthen it.
        if next.streak >= SWITCH_OFF_AFTER && !self.is_off(now) {
            let doubled = FIRST_OFF.saturating_mul(1 << self.times_off.min(6)).min(LONGEST_OFF);
            next.times_off = self.times_off.saturating_add(1);
            next.off_until = Some(now.after(doubled));
        }
        next
    }

    /// Whether it is switched off at `now`.
    pub fn is_off(&self, now: Instant) -> bool {
        self.off_until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_steps_in_a_row_switch_a_pair_off_and_each_time_for_twice_as_long() {
        let mut now = Instant(0);
        let mut pair = PairState::default();
        for step in ["a", "a", "a", "b"] {
            pair = pair.after_failure(step, now);
        }
        assert!(!pair.is_off(now), "one step may fail as often as it likes");
        let mut lengths = Vec::new();
        for n in 0..9 {
            pair = pair.after_failure(&format!("step {n}"), now);
            assert!(pair.is_off(now));
            assert_eq!(pair.after_failure("while it is off", now).off_until, pair.off_until);
            let until = pair.off_until.unwrap();
            lengths.push(until.since(now).as_secs());
            now = until;
            assert!(!pair.is_off(now), "it gets another chance");
        }
        assert_eq!(lengths, [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]);
    }

    #[test]
    fn many_losses_at_once_are_one_event() {
        assert!(!is_mass_loss(2, 3) && is_mass_loss(3, 3), "at least three");
        assert!(!is_mass_loss(19, 1000) && is_mass_loss(20, 1000), "at least two in a hundred");
        assert!(!is_mass_loss(3, 151) && is_mass_loss(4, 151), "parts count as a whole");
    }

    #[test]
    fn two_steps_may_be_chance() {
        assert!(!quarantines(2) && quarantines(3));
    }
}
