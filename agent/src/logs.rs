//! What containers say while they run: for each step a bounded log, kept while it runs and for a day after.
//!
//! A log keeps its newest bytes. Reading from a container is paced, so one that writes for ever waits at its own pipe instead
//! of filling a disk or a processor.

mod book;
mod writer;

pub use book::{LogBook, LogPart};
pub use writer::{LogWriter, Stream};
