//! Benchmarks of the whole way: a real server, real agents, real lines, and what they come to.

pub use bulk::{Bulk, BulkOptions, bulk};
pub use command::Arguments;
pub use decisions::{DecisionOptions, Decisions, decisions};
pub use first_chunk::{FirstChunk, first_chunk};
pub use noop::{Noop, NoopOptions, noop};
pub use ranks::{RankOptions, Ranks, ranks};
pub use report::{Machine, Report};
pub use together::{Round, Together, TogetherOptions, together};
pub use uplinks::{UplinkOptions, Uplinks, uplinks};

mod bulk;
mod command;
mod decisions;
mod first_chunk;
mod noop;
mod ranks;
mod report;
mod teller;
mod together;
mod uplinks;
