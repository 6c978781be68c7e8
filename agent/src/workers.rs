//! Worker processes: the only place that runs containers and models. A worker's crash is evidence, not the agent's end.

pub mod child;
pub mod load_policy;
pub mod pool;
pub mod probe;
pub(crate) mod process;
pub mod protocol;
mod residency;
mod resident;
pub(crate) mod sandbox;
mod talk;
pub(crate) mod threads;

pub(crate) use pool::{FirstPassLoad, Lent, Unready, first_pass_key};
pub use pool::{Kept, Pool, PoolOptions, RunFailure, RunTimes};
pub use process::WorkerOptions;
