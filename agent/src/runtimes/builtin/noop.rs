//! `noop`: takes the time and gives the bytes it was told to. For benchmarks and for trying the fleet out.

use super::parameter;
use crate::runtimes::{Job, JobError};
use std::time::Duration;

/// Sleeps `sleep_ms` and writes `output_bytes` bytes; a byte's value is its position modulo 251.
pub(super) fn run(job: &Job) -> Result<(), JobError> {
    let sleep_ms = parameter(job, "sleep_ms", 0..=60_000, 0)?;
    let output_bytes = parameter(job, "output_bytes", 0..=256 << 20, 0)?;
    std::thread::sleep(Duration::from_millis(sleep_ms));
    // 251 is a prime, so that no block of a power of two repeats the one before: a shifted copy shows.
    let bytes: Vec<u8> = (0..output_bytes).map(|i| (i % 251) as u8).collect();
    job.write("out", &bytes)
}
