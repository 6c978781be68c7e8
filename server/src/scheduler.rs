//! The scheduler: `decide(&Snapshot, now, seed) -> Decision`, synchronous and pure.
//!
//! The same snapshot, time and seed give the same decision, which is what makes every decision replayable. A step goes
//! through [`filter`] (what can never be scored), [`predict`] (seconds on every node that is left) and [`place`] (the
//! soonest, and whether to wait for it); [`decide`](decide::decide) does so for all steps and says why.

pub use columns::Columns;
pub use decide::{Action, Decision, StepReport, decide, decide_over};

pub(crate) mod class;
pub mod columns;
pub mod decide;
mod factors;
pub mod filter;
#[cfg(test)]
pub(crate) mod fleet;
pub(crate) mod lessons;
pub mod place;
pub mod predict;
mod processor;
mod refused;
pub mod replay;
mod report;
pub mod snapshot;
