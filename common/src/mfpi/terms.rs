//! The terms of a prediction, in seconds, as `explain` and `trace` show them.

use serde::{Deserialize, Serialize};

/// Learned corrections, one a phase: the smoothed ln(actual / predicted).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Residuals {
    /// Of plugging.
    pub plug: f64,
    /// Of the prompt phase, or the whole run where nothing is decoded.
    pub pre: f64,
    /// Of decoding.
    pub dec: f64,
}

/// Where the predicted time goes; all in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// Round trip and transfers.
    pub net_s: f64,
    /// Until a slot is free.
    pub queue_s: f64,
    /// Loading the container.
    pub plug_s: f64,
    /// The prompt phase, or the whole run where nothing is decoded.
    pub pre_s: f64,
    /// Decoding.
    pub dec_s: f64,
    /// The expected cost of losing the node.
    pub retry_s: f64,
}

impl Terms {
    /// The predicted completion time in seconds.
    pub fn total_s(&self) -> f64 {
        self.net_s + self.queue_s + self.plug_s + self.pre_s + self.dec_s + self.retry_s
    }
}
