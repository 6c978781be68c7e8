//! What a planner says when nothing can serve a request.

use crate::id::ContainerRef;
use serde::{Deserialize, Serialize};

/// A container that comes near to what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NearContainer {
    /// Which.
    pub container: ContainerRef,
    /// What it does.
    pub summary: String,
    /// Why it does not fit, or what it would need.
    pub why: String,
}

/// A request no plan can be written for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Who refused: `rules-1`.
    pub planner: String,
    /// Why, in one sentence.
    pub reason: String,
    /// What to change so that it could be served.
    pub remedy: String,
    /// The nearest containers, best first, at most three.
    pub nearest: Vec<NearContainer>,
}
