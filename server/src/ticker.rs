//! The process's own clock: what the store's time is counted with, and the wall time that people see.

use crate::store::Ticker;
use ouro_common::clock::WallTime;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Counts from its making, by the kernel's monotonic clock.
#[derive(Debug)]
pub struct SystemTicker(Instant);

impl SystemTicker {
    /// Starts counting.
    pub fn start() -> Self {
        Self(Instant::now())
    }
}

impl Ticker for SystemTicker {
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
    fn wall(&self) -> WallTime {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        WallTime(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Seconds since the Unix epoch, for certificates.
pub fn unix_seconds(ticker: &dyn Ticker) -> i64 {
    i64::try_from(ticker.wall().0 / 1000).unwrap_or(i64::MAX)
}
