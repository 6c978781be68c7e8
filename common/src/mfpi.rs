//! MFPI, the Multi-Factor Performance Index: a predicted completion time turned into a ratio.
//!
//! Every factor enters once, with its unit, where physics puts it; there is no weight to tune.
//! [`NodeFactors`] × [`StepCost`] → [`Terms`] in seconds; the index is the reference node's time over the node's.

pub use cost::{PlugState, StepCost};
pub use factors::{LinkFactors, NodeFactors, reference};
pub use predict::{index, predict};
pub use terms::{Residuals, Terms};

mod cost;
mod factors;
mod predict;
mod terms;
