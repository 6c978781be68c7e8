//! MFPI, the Multi-Factor Performance Index: a predicted completion time turned into a ratio.
//!
//! Every factor enters once, with its unit, where physics puts it; there is no weight to tune.
//! [`NodeFactors`] × [`StepCost`] → [`Terms`] in seconds; the index is the reference node's time over the node's.

pub use cost::{PlugState, StepCost};
pub use display::node_index;
pub use factors::{LinkFactors, NodeFactors, reference};
pub use learn::ActualPhases;
pub use predict::{expected_retry_s, index, predict, reference_s};
pub use terms::{Residuals, Terms};
pub use threshold::{Gate, GateState};

mod cost;
mod display;
mod factors;
mod learn;
mod predict;
mod terms;
pub mod threshold;
