//! What runs where and until when, as this process knows it: the source of `free_at`. Corrected from the store's rows.

use crate::store::LiveAttempt;
use ouro_common::clock::Instant;
use ouro_common::id::{AttemptKey, Digest, Name, NodeId, RequestId};
use ouro_common::mfpi::Terms;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// When the slots of a node that are taken are free again, and its attempts of containers that share slots.
pub(super) type NodeWork = (Vec<Instant>, BTreeMap<Digest, u32>);

/// A node's chain: its request, its plan, its first step.
type ChainKey = (NodeId, RequestId, u32, Name);

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

    /// When each attempt of each node is predicted to end, and how many it has of each container of which it computes several
    /// together: `batch` says how many of them share a slot, and count as one that ends with the last. So does a chain.
    pub(super) fn work(&self, batch: impl Fn(NodeId, &Digest) -> u32) -> BTreeMap<NodeId, NodeWork> {
        let mut chains: BTreeMap<ChainKey, (Instant, Option<Digest>)> = BTreeMap::new();
        for (key, running) in self.table().iter() {
            let end = running.assigned.after(Duration::from_secs_f64((running.predicted_ms / 1e3).clamp(0.0, 1e9)));
            let head = running.chain.as_ref().unwrap_or(&key.step).clone();
            let (last, container) = chains
                .entry((running.node, key.request, key.plan, head))
                .and_modify(|(_, container)| *container = None)
                .or_insert((end, Some(running.container)));
            *last = end.max(*last);
            *container = container.filter(|container| batch(running.node, container) > 1);
        }
        let mut together: BTreeMap<(NodeId, Digest), Vec<Instant>> = BTreeMap::new();
        let mut work: BTreeMap<NodeId, NodeWork> = BTreeMap::new();
        for ((node, ..), (end, container)) in chains {
            match container {
                Some(container) => together.entry((node, container)).or_default().push(end),
                None => work.entry(node).or_default().0.push(end),
            }
        }
        for ((node, container), mut ends) in together {
            let (ends_of_node, counts) = work.entry(node).or_default();
            counts.insert(container, u32::try_from(ends.len()).unwrap_or(u32::MAX));
            ends.sort_unstable();
            let share = ends.len().min(batch(node, &container) as usize);
            ends_of_node.extend(ends.drain(..share).max());
            ends_of_node.extend(ends);
        }
        work
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
            principal: ouro_common::envelope::Principal::Operator("admin".into()),
            remaining_ms: 60_000,
        };
        live.begin(&attempt, Terms::default(), false);
        let ends = || live.work(|_, _| 1).remove(&node).unwrap_or_default().0;
        assert_eq!(ends(), vec![Instant(1_500)]);
        let second = AttemptKey { step: "s2".parse().unwrap(), ..key.clone() };
        let behind = LiveAttempt { key: second, predicted_ms: 900.0, chain: Some("s1".parse().unwrap()), ..attempt.clone() };
        live.begin(&behind, Terms::default(), false);
        assert_eq!(ends(), vec![Instant(1_900)], "a chain is one assignment");
        assert_eq!(live.end(&key, Instant(1_400)).unwrap().held_s, Some(0.4));
        live.begin(&attempt, Terms::default(), false);
        assert_eq!(live.end(&key, Instant(1_900)).unwrap().held_s, Some(0.5), "it waited for the one before it");
        live.correct(&[]);
        assert!(ends().is_empty(), "the store's rows are the truth");
    }
    #[test]
    fn attempts_of_one_language_model_share_a_slot() {
        let live = LiveAttempts::default();
        let node = NodeId::from_parts(1, [1; 10]);
        let (talk, other) = (Digest::blake3(b"talk"), Digest::blake3(b"other"));
        let begin = |n: u8, container: Digest, chain: Option<&str>| {
            let request = if chain.is_some() { 99 } else { n };
            let key = AttemptKey {
                request: RequestId::from_parts(1, [request; 10]),
                plan: 1,
                step: format!("s{n}").parse().unwrap(),
                epoch: Epoch { generation: 1, n: 1 },
            };
            let running = Running {
                node,
                container,
                assigned: Instant(0),
                predicted_ms: 100.0 * f64::from(n),
                terms: Terms::default(),
                alone: false,
                chain: chain.map(|name| name.parse().unwrap()),
            };
            live.table().insert(key, running);
        };
        (1..=3).for_each(|n| begin(n, talk, None));
        begin(4, other, None);
        begin(5, talk, Some("s5"));
        begin(6, other, Some("s5"));
        let work = |batch: u32| live.work(|_, container| if *container == talk { batch } else { 1 }).remove(&node).unwrap();
        let sorted = |mut ends: Vec<Instant>| {
            ends.sort_unstable();
            ends.into_iter().map(|end| end.0).collect::<Vec<_>>()
        };
        let (ends, together) = work(8);
        assert_eq!((sorted(ends), together.get(&talk)), (vec![300, 400, 600], Some(&3)), "a chain is for itself");
        let (ends, together) = work(2);
        assert_eq!((sorted(ends), together.get(&talk)), (vec![200, 300, 400, 600], Some(&3)), "the third finds no seat");
        let (ends, together) = work(1);
        assert_eq!((ends.len(), together.len()), (5, 0));
    }
}
