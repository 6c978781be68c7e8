//! The relay: a blob that a node's spool holds goes through the server's memory to the node that needs it.
//!
//! Cut-through: parts are passed on as they come, as fast as the slowest receiver takes them; nothing touches the disk.

use bytes::Bytes;
use ouro_common::error::Fault;
use ouro_common::id::Digest;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use tokio::sync::mpsc;

/// Parts on their way to one receiver.
const QUEUE: usize = 16;

/// A part of a blob, or why it stops.
pub type Part = Result<Bytes, Fault>;

/// Those who wait for blobs that are elsewhere.
#[derive(Default)]
pub struct Relay(Mutex<HashMap<Digest, Vec<mpsc::Sender<Part>>>>);

impl Relay {
    /// Waits for a blob. The second value says whether nobody waited for it before, so that it must be asked for.
    pub fn wait(&self, digest: Digest) -> (mpsc::Receiver<Part>, bool) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let mut table = self.table();
        let waiting = table.entry(digest).or_default();
        waiting.retain(|s| !s.is_closed());
        let first = waiting.is_empty();
        waiting.push(sender);
        (receiver, first)
    }

    /// Takes over those who wait for a blob: its bytes are coming now.
    pub fn take(&self, digest: &Digest) -> Receivers {
        Receivers(self.table().remove(digest).unwrap_or_default())
    }

    /// Tells those who wait that the blob will not come.
    pub async fn refuse(&self, digest: &Digest, fault: Fault) {
        for sender in self.take(digest).0 {
            let _ = sender.send(Err(fault.clone())).await;
        }
    }

    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Vec<mpsc::Sender<Part>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those who get one blob.
pub struct Receivers(Vec<mpsc::Sender<Part>>);

impl Receivers {
    /// Passes a part on to all, waiting for the slowest. False when nobody is left.
    pub async fn send(&mut self, part: &Bytes) -> bool {
        let mut left = Vec::new();
        for sender in self.0.drain(..) {
            if sender.send(Ok(part.clone())).await.is_ok() {
                left.push(sender);
            }
        }
        self.0 = left;
        !self.0.is_empty()
    }

    /// Ends the transfer with a fault: what was sent is incomplete.
    pub async fn fail(self, fault: Fault) {
        for sender in self.0 {
            let _ = sender.send(Err(fault.clone())).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ouro_common::error::FaultCode;

    #[tokio::test]
    async fn several_receivers_get_every_part_and_a_fault_reaches_all() {
        let relay = Relay::default();
        let digest = Digest::blake3(b"x");
        let (mut a, first) = relay.wait(digest);
        let (mut b, second) = relay.wait(digest);
        assert!(first && !second, "a blob is asked for once");
        let mut to = relay.take(&digest);
        assert!(to.send(&Bytes::from_static(b"one")).await);
        to.fail(Fault::new(FaultCode::NotFound, "gone")).await;
        for receiver in [&mut a, &mut b] {
            assert_eq!(receiver.recv().await.unwrap().unwrap(), "one");
            assert!(receiver.recv().await.unwrap().is_err());
        }
        assert!(relay.wait(digest).1, "the next one asks again");
    }
}
