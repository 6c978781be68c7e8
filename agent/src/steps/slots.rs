//! Slots: how many steps run at once. The steps of one language model share one, since they are computed together.
//!
//! A slot that is shared could be held for ever, each step joining before the last has ended. So when somebody else has waited, a
//! step joins only for a while; after that it waits in the queue like any other.

use ouro_common::container::{Container, Runtime};
use ouro_common::id::Digest;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// While others wait, a slot is joined for this long after it was taken.
const JOINED_FOR: Duration = Duration::from_secs(10);

/// A slot that is held. Dropped by all who share it, it is free.
#[derive(Debug)]
pub(super) struct Slot {
    since: Instant,
    _permit: Option<OwnedSemaphorePermit>,
}

/// Who holds the slot of a language model, if anybody; locked by who waits for one.
type Place = Arc<tokio::sync::Mutex<Weak<Slot>>>;

/// The slots of a node.
#[derive(Debug)]
pub(super) struct Slots {
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
    places: Mutex<HashMap<Digest, Place>>,
}

/// One that waits; it is counted while this lives.
struct Waits<'a>(&'a AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Slots {
    pub(super) fn new(count: u32) -> Self {
        let count = usize::try_from(count).unwrap_or(1).max(1);
        Self { free: Arc::new(Semaphore::new(count)), waiting: AtomicUsize::new(0), places: Mutex::default() }
    }

    /// Waits for a slot.
    pub(super) async fn take(&self, container: &Container) -> Arc<Slot> {
        if container.manifest.runtime != Runtime::Gguf {
            return self.own().await;
        }
        let place = self.places.lock().unwrap_or_else(PoisonError::into_inner).entry(container.digest).or_default().clone();
        let mut place = place.lock().await;
        let shared = place.upgrade().filter(|slot| self.waiting.load(Ordering::Relaxed) == 0 || slot.since.elapsed() < JOINED_FOR);
        if let Some(shared) = shared {
            return shared;
        }
        let slot = self.own().await;
        *place = Arc::downgrade(&slot);
        slot
    }

    async fn own(&self) -> Arc<Slot> {
        let permit = match self.free.clone().try_acquire_owned() {
            Ok(permit) => Some(permit),
            Err(_) => {
                self.waiting.fetch_add(1, Ordering::Relaxed);
                let _waits = Waits(&self.waiting);
                self.free.clone().acquire_owned().await.ok()
            }
        };
        Arc::new(Slot { since: Instant::now(), _permit: permit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    fn container(runtime: &str, n: u8) -> Container {
        let manifest = serde_json::json!({
            "name": "x", "version": "1.0.0", "summary": "s", "runtime": runtime, "inputs": [],
            "outputs": [{"port": "out", "media": "text/plain"}],
        });
        Container { digest: Digest::sha256([n; 32]), manifest: serde_json::from_value(manifest).unwrap() }
    }

    #[tokio::test(start_paused = true)]
    async fn steps_of_one_model_share_a_slot_but_not_for_ever() {
        let slots = Slots::new(1);
        let (talk, other, plain) = (container("gguf", 1), container("gguf", 2), container("builtin", 3));
        let first = slots.take(&talk).await;
        let second = slots.take(&talk).now_or_never().expect("it joins");
        let mut waits = Box::pin(slots.take(&plain));
        assert!(waits.as_mut().now_or_never().is_none(), "another container does not");
        let mut too = Box::pin(slots.take(&other));
        assert!(too.as_mut().now_or_never().is_none(), "nor does another model");
        let third = slots.take(&talk).now_or_never().expect("it may join for a while");
        tokio::time::advance(JOINED_FOR).await;
        let mut late = Box::pin(slots.take(&talk));
        assert!(late.as_mut().now_or_never().is_none(), "then it waits like anybody");
        drop((first, second));
        assert!(waits.as_mut().now_or_never().is_none());
        drop(third);
        drop(waits.await);
        drop(too.await);
        let again = late.await;
        assert!(slots.take(&talk).now_or_never().is_some(), "nobody waits");
        drop(again);
    }
}
