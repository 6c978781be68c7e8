//! What a node that leaves holds alone comes to the server's disk before it goes, as far as open requests still need it.
//!
//! One blob of a node at a time, while the reserve of the disk holds; what cannot be had is made again by somebody else.

use ouro_common::clock::Instant;
use ouro_common::id::{Digest, NodeId};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A node that was asked for a blob and has not begun to send it after this time is asked again.
const AGAIN: Duration = Duration::from_secs(30);

/// How a node that leaves stands.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Leaving {
    /// It was asked for this blob, then.
    Asked(Digest, Instant),
    /// It holds nothing any more that somebody needs, and that was said.
    Done,
}

/// The nodes that leave.
#[derive(Debug, Default)]
pub struct Handovers(Mutex<BTreeMap<NodeId, Leaving>>);

impl Handovers {
    /// Whether a node is to be asked for a blob now; if so it counts as asked.
    pub fn ask(&self, node: NodeId, blob: Digest, now: Instant) -> bool {
        let mut table = self.table();
        let waits = matches!(table.get(&node), Some(Leaving::Asked(_, at)) if now.since(*at) < AGAIN);
        if !waits {
            table.insert(node, Leaving::Asked(blob, now));
        }
        !waits
    }

    /// Whether this node was asked for this blob.
    pub fn expects(&self, node: NodeId, blob: &Digest) -> bool {
        matches!(self.table().get(&node), Some(Leaving::Asked(asked, _)) if asked == blob)
    }

    /// A blob came, or it did not: the next one may be asked for.
    pub fn came(&self, node: NodeId, blob: &Digest) {
        let mut table = self.table();
        if matches!(table.get(&node), Some(Leaving::Asked(asked, _)) if asked == blob) {
            table.remove(&node);
        }
    }

    /// A node holds nothing any more; whether that is new.
    pub fn done(&self, node: NodeId) -> bool {
        self.table().insert(node, Leaving::Done) != Some(Leaving::Done)
    }

    /// Forgets nodes that do not leave any more.
    pub fn keep_only(&self, leaving: impl Fn(NodeId) -> bool) {
        self.table().retain(|node, _| leaving(*node));
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<NodeId, Leaving>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_blob_at_a_time_and_the_end_is_told_once() {
        let handovers = Handovers::default();
        let node = NodeId::from_parts(1, [1; 10]);
        let [a, b] = [Digest::blake3(b"a"), Digest::blake3(b"b")];
        assert!(handovers.ask(node, a, Instant(0)) && handovers.expects(node, &a));
        assert!(!handovers.ask(node, b, Instant(1_000)) && !handovers.expects(node, &b), "it is sending");
        assert!(handovers.ask(node, a, Instant(30_000)), "nothing came");
        handovers.came(node, &a);
        assert!(handovers.ask(node, b, Instant(31_000)));
        handovers.came(node, &b);
        assert!(handovers.done(node) && !handovers.done(node));
        handovers.keep_only(|_| false);
        assert!(handovers.done(node), "drained once more");
    }
}
