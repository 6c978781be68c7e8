//! The agent: what runs on every machine of the fleet.

pub mod hwdetect;
pub mod sensing;
pub mod snapshot;
