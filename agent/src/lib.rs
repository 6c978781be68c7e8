//! The agent: what runs on every machine of the fleet.

pub mod sensing;
