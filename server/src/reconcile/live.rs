//! What runs where and until when, as this process knows it: the source of `free_at`. Corrected from the store's rows.

use crate::store::LiveAttempt;
use ouro_common::clock::Instant;
use ouro_common::id::{AttemptKey, Digest, Name, NodeId, RequestId};
use ouro_common::mfpi::Terms;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A running attempt.
#[derive(Debug, Clone)]
struct Running {
    node: NodeId,
    container: Digest,
    assigned: Instant,
    predicted_ms: f64,
    terms: Terms,
    alone: bool,
    chain: Option<Name>,
}

/// An attempt that has ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EndedAttempt {
    /// What ran.
    pub container: Digest,
    /// What was predicted for it.
    pub terms: Terms,
    /// What it took by this server's clock: since it was assigned, or since an attempt before it ended on the same node, seconds.
    /// `None` for a member of a chain, which waits for the others.
    pub held_s: Option<f64>,
}

/// All live attempts.
#[derive(Default)]
pub struct LiveAttempts {
    running: Mutex<BTreeMap<AttemptKey, Running>>,
    /// When an attempt ended last on each node.
    ended: Mutex<BTreeMap<NodeId, Instant>>,
    /// Nodes whose attempts have changed.
    touched: Mutex<BTreeSet<NodeId>>,
}

impl LiveAttempts {
    /// An attempt was assigned.
    pub fn begin(&self, attempt: &LiveAttempt, terms: Terms, alone: bool) {
        let running = Running {
            node: attempt.node,
            container: attempt.step.digest,
            assigned: attempt.assigned,
            predicted_ms: attempt.predicted_ms,
            terms,
            alone,
            chain: attempt.chain.clone(),
        };
        self.touch(attempt.node);
        self.table().insert(attempt.key.clone(), running);
    }

    /// An attempt has ended, however.
    pub fn end(&self, key: &AttemptKey, now: Instant) -> Option<EndedAttempt> {
        let running = self.table().remove(key)?;
        self.touch(running.node);
        let before = self.ended.lock().unwrap_or_else(PoisonError::into_inner).insert(running.node, now);
        let since = before.map_or(running.assigned, |before| before.max(running.assigned));
        let alone = running.chain.is_none();
        let held_s = alone.then(|| now.since(since).as_secs_f64());
        Some(EndedAttempt { container: running.container, terms: running.terms, held_s })
    }

    /// Nodes that run a step with evidence against it, which must be alone.
    pub fn alone_on(&self) -> BTreeSet<NodeId> {
        self.table().values().filter(|r| r.alone).map(|r| r.node).collect()
    }

    /// The node that has an attempt.
    pub fn node_of(&self, key: &AttemptKey) -> Option<NodeId> {
        self.table().get(key).map(|r| r.node)
    }

    /// Whether a node has no attempt.
    pub fn is_idle(&self, node: NodeId) -> bool {
        !self.table().values().any(|r| r.node == node)
    }

    /// What runs for one request, and where.
    pub fn of_request(&self, request: RequestId) -> Vec<(NodeId, AttemptKey)> {
        self.table().iter().filter(|(k, _)| k.request == request).map(|(k, r)| (r.node, k.clone())).collect()
    }

    /// Takes over what the store says: unknown rows are entered, rows that are gone are dropped.
    pub fn correct(&self, rows: &[LiveAttempt]) {
        let mut table = self.table();
        let keys: BTreeSet<&AttemptKey> = rows.iter().map(|r| &r.key).collect();
        table.retain(|key, running| {
            let known = keys.contains(key);
            if !known {
                self.touch(running.node);
            }
            known
        });
        for row in rows {
            table.entry(row.key.clone()).or_insert_with(|| {
                self.touch(row.node);
                Running {
                    node: row.node,
                    container: row.step.digest,
                    assigned: row.assigned,
                    predicted_ms: row.predicted_ms,
                    terms: Terms::default(),
                    alone: row.alone,
                    chain: row.chain.clone(),
                }
            });
        }
    }

    /// The nodes whose attempts have changed since this was asked last.
    pub fn take_touched(&self) -> BTreeSet<NodeId> {
        std::mem::take(&mut *self.touched.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn touch(&self, node: NodeId) {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).insert(node);
    }

    /// When each attempt of each node is predicted to end; a chain counts as one, to the end of its last step.
    pub fn ends(&self) -> BTreeMap<NodeId, Vec<Instant>> {
        let mut chains: BTreeMap<(NodeId, RequestId, u32, Name), Instant> = BTreeMap::new();
        for (key, running) in self.table().iter() {
            let end = running.assigned.after(Duration::from_secs_f64((running.predicted_ms / 1e3).clamp(0.0, 1e9)));
            let head = running.chain.as_ref().unwrap_or(&key.step).clone();
            let last = chains.entry((running.node, key.request, key.plan, head)).or_insert(end);
            *last = end.max(*last);
        }
        let mut ends: BTreeMap<NodeId, Vec<Instant>> = BTreeMap::new();
        for ((node, ..), end) in chains {
            ends.entry(node).or_default().push(end);
        }
        ends
    }

    /// How many attempts run of each container on each node.
    pub fn running(&self) -> BTreeMap<(NodeId, Digest), u32> {
        let mut running = BTreeMap::new();
        for attempt in self.table().values() {
            *running.entry((attempt.node, attempt.container)).or_default() += 1;
        }
        running
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<AttemptKey, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ouro_common::id::Epoch;

    #[test]
    fn an_attempt_is_predicted_to_end_after_its_assignment() {
        let live = LiveAttempts::default();
        let node = NodeId::from_parts(1, [1; 10]);
        let step = serde_json::json!({"id": "s1", "container": "noop:1.0.0", "digest": Digest::blake3(b"c"), "in": {}, "out": {}});
        let key = AttemptKey {
            request: RequestId::from_parts(1, [2; 10]),
            plan: 1,
            step: "s1".parse().unwrap(),
            epoch: Epoch { generation: 1, n: 1 },
        };
        let attempt = LiveAttempt {
            key: key.clone(),
            node,
            step: serde_json::from_value(step).unwrap(),
            inputs: vec![],
            pending: vec![],
            chain: None,
            answers: true,
            assigned: Instant(1_000),
            predicted_ms: 500.0,
            alone: false,
            remaining_ms: 60_000,
        };
        live.begin(&attempt, Terms::default(), false);
        assert_eq!(live.ends()[&node], vec![Instant(1_500)]);
        let second = AttemptKey { step: "s2".parse().unwrap(), ..key.clone() };
        let behind = LiveAttempt { key: second, predicted_ms: 900.0, chain: Some("s1".parse().unwrap()), ..attempt.clone() };
        live.begin(&behind, Terms::default(), false);
        assert_eq!(live.ends()[&node], vec![Instant(1_900)], "a chain is one assignment");
        assert_eq!(live.end(&key, Instant(1_400)).unwrap().held_s, Some(0.4));
        live.begin(&attempt, Terms::default(), false);
        assert_eq!(live.end(&key, Instant(1_900)).unwrap().held_s, Some(0.5), "it waited for the one before it");
        live.correct(&[]);
        assert!(live.ends().is_empty(), "the store's rows are the truth");
    }
}
