//! The store's persisted clock: it goes on from the last value that was committed, as fast as the ticker runs.
//!
//! While no server runs it stands still, so that a long stop makes no node lost and no request late by itself.

use crate::store::Ticker;
use ouro_common::clock::{Instant, WallTime, store_now};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(super) struct StoreClock {
    persisted: Instant,
    started: Duration,
    latest: AtomicU64,
    ticker: Arc<dyn Ticker>,
}

impl StoreClock {
    /// Goes on from `persisted`.
    pub(super) fn new(persisted: Instant, ticker: Arc<dyn Ticker>) -> Self {
        Self { persisted, started: ticker.elapsed(), latest: AtomicU64::new(persisted.0), ticker }
    }

    /// Never less than any value it gave before.
    pub(super) fn now(&self) -> Instant {
        let now = store_now(self.persisted, self.ticker.elapsed().saturating_sub(self.started)).0;
        Instant(self.latest.fetch_max(now, Ordering::AcqRel).max(now))
    }

    /// For display only.
    pub(super) fn wall(&self) -> WallTime {
        self.ticker.wall()
    }
}
