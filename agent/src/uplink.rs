//! The agent's line to the server: one session at a time, dialled again and again; and beside it the blobs.
//!
//! Nothing is asked of the server here but what the protocol says; what a step is and what came of it belong to `steps`.

mod backoff;
mod blobs;
mod chunks;
mod deliver;
pub mod enrol;
mod link;
mod offload;
mod rtt;
mod session;
mod step_log;
mod translate;

pub use link::Link;
pub(crate) use link::call_fault;
pub use session::{Line, Status, Uplink, UplinkOptions};
