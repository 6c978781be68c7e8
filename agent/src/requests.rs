//! Requests that are asked on this machine: journaled first, tried here, and handed to the fleet when that is not enough.

mod journal;
mod live;
mod record;
mod runner;
mod view;

pub(crate) use journal::unknown;
pub use journal::{Accepted, Incoming, Journal};
pub use live::{Live, LiveState, Stage};
pub use record::{Ended, Heard, Progress, Record};
pub use runner::{Requests, RequestsOptions};
pub use view::{result_document, row, trace_document};
