//! Benchmarks of the whole way: a real server and a real agent, requests that do nothing, and what they cost.

pub use command::Arguments;
pub use decisions::{DecisionOptions, Decisions, decisions};
pub use first_chunk::{FirstChunk, first_chunk};
pub use noop::{Noop, NoopOptions, noop};
pub use report::{Machine, Report};
pub use uplinks::{UplinkOptions, Uplinks, uplinks};

mod command;
mod decisions;
mod first_chunk;
mod noop;
mod report;
mod uplinks;
