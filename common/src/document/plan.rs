//! `ouroboros.plan/1`: what would be done, or why nothing can be.

use crate::document::DecisionView;
use crate::id::Name;
use crate::plan::{Plan, Refusal};
use serde::{Deserialize, Serialize};

/// What `ouroctl submit --plan` shows: exactly one of `plan` and `refusal`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanDocument {
    /// Always `ouroboros.plan/1`.
    pub schema: String,
    /// The graph.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// Where each step would go if it were placed now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub placement: Vec<PlannedStep>,
    /// Why there is no plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
}

/// Where a step of a plan would go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// The step.
    pub step: Name,
    /// The decision as it would be taken now.
    pub decision: DecisionView,
}
