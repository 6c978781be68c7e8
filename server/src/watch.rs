//! Doorbells for those who watch a request, and the output of running steps on its way to them.
//!
//! A doorbell says only "look again"; what is shown comes from the store. Chunks are the exception: they are output as
//! it is made, kept in memory up to a limit while the request runs, and void when the step starts over.

use bytes::Bytes;
use ouro_common::id::{Epoch, RequestId};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use tokio::sync::watch;

/// Output of one request that is kept for those who come late, in bytes.
const MAX_LIVE_BYTES: usize = 1 << 20;

/// What a watcher sees when its doorbell rings.
#[derive(Debug, Clone, Default)]
pub struct Live {
    /// Counts the rings.
    pub rings: u64,
    /// The attempt that the output comes from.
    pub epoch: Option<Epoch>,
    /// The output so far, from its beginning.
    pub output: Bytes,
}

/// All requests that somebody watches.
#[derive(Default)]
pub struct Watchers(Mutex<HashMap<RequestId, watch::Sender<Live>>>);

impl Watchers {
    /// Waits for rings of one request.
    pub fn subscribe(&self, request: RequestId) -> watch::Receiver<Live> {
        self.table().entry(request).or_insert_with(|| watch::channel(Live::default()).0).subscribe()
    }

    /// Rings for one request.
    pub fn ring(&self, request: RequestId) {
        if let Some(sender) = self.table().get(&request) {
            sender.send_modify(|live| live.rings += 1);
        }
    }

    /// Adds output of an attempt. Output of an older attempt, and output that leaves a gap, is dropped.
    pub fn push(&self, request: RequestId, epoch: Epoch, offset: u64, data: &[u8]) {
        let mut table = self.table();
        let sender = table.entry(request).or_insert_with(|| watch::channel(Live::default()).0);
        sender.send_modify(|live| {
            if live.epoch.is_some_and(|e| e > epoch) {
                return;
            }
            if live.epoch != Some(epoch) {
                live.epoch = Some(epoch);
                live.output = Bytes::new();
            }
            if live.output.len() as u64 == offset && live.output.len() + data.len() <= MAX_LIVE_BYTES {
                let mut grown = Vec::with_capacity(live.output.len() + data.len());
                grown.extend_from_slice(&live.output);
                grown.extend_from_slice(data);
                live.output = Bytes::from(grown);
                live.rings += 1;
            }
        });
    }

    /// Forgets a request that has ended and that nobody watches any more.
    pub fn forget_idle(&self, ended: impl Fn(&RequestId) -> bool) {
        self.table().retain(|id, sender| sender.receiver_count() > 0 || !ended(id));
    }

    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<RequestId, watch::Sender<Live>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_of_a_new_attempt_replaces_the_old_and_gaps_are_dropped() {
        let watchers = Watchers::default();
        let id = RequestId::from_parts(1, [1; 10]);
        let epoch = |n| Epoch { generation: 1, n };
        let mut seen = watchers.subscribe(id);
        watchers.push(id, epoch(1), 0, b"hel");
        watchers.push(id, epoch(1), 5, b"gap");
        watchers.push(id, epoch(1), 3, b"lo");
        assert_eq!(&seen.borrow_and_update().output[..], b"hello");
        watchers.push(id, epoch(2), 0, b"new");
        watchers.push(id, epoch(1), 5, b"stale");
        assert_eq!(&seen.borrow_and_update().output[..], b"new");
        drop(seen);
        watchers.forget_idle(|_| true);
        assert!(watchers.table().is_empty());
    }
}
