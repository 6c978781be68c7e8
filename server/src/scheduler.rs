//! The scheduler: `decide(&Snapshot, now, seed) -> Decision`, synchronous and pure.
//!
//! The same snapshot, time and seed give the same decision, which is what makes every decision replayable.

pub mod snapshot;
