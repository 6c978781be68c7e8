//! Benchmarks of the whole way: a real server and a real agent, requests that do nothing, and what they cost.

pub use decisions::{DecisionOptions, Decisions, decisions};
pub use noop::{Noop, NoopOptions, noop};
pub use report::{Machine, Report};
pub use together::{Round, Together, TogetherOptions, together};
pub use uplinks::{UplinkOptions, Uplinks, uplinks};

mod decisions;
mod noop;
mod report;
mod together;
mod uplinks;
