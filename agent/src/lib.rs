//! The agent: what runs on every machine of the fleet.

pub mod hwdetect;
pub mod metric;
pub mod sensing;
pub mod snapshot;
