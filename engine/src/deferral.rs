//! Whether the small local model answers or the request is offloaded: pure rules over numbers, the same every time.
//!
//! Before the first token, hard rules look at the request and the machine ([`before_start`]). While the model speaks, its own
//! log-probabilities are judged once, after a fixed number of tokens or at the end of a shorter answer ([`Judge`]): a count
//! and never a clock, so that the same answer is judged alike on a fast and a slow machine. Nothing is shown before the
//! judgement, and nothing is offloaded after it.

pub use calibration::{Calibration, CalibrationKey, Wish};
pub use evaluation::{COVERAGES, Curve, Graded, Threshold, choice, curves, thresholds};
pub use features::{Feature, Features, Observation};
pub use judge::{Judge, Verdict};
pub use rule::{DEFAULT_DECISION_TOKENS, DEFAULT_THRESHOLD, Rule};
pub use start::{Refusal, Situation, before_start};

mod calibration;
mod evaluation;
mod features;
mod judge;
mod rule;
mod start;
