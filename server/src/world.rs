//! What all parts of the server share: the store and the soft state around it. One value, handed to each part whole.

use crate::absences::Absences;
use crate::blobs::Blobs;
use crate::fleet::Fleet;
use crate::handover::Handovers;
use crate::interpreter::Interpreter;
use crate::log_calls::LogCalls;
use crate::offers;
use crate::reconcile::{Claims, LiveAttempts};
use crate::relay::Relay;
use crate::scheduler::Columns;
use crate::scheduler::lessons::Lessons;
use crate::scheduler::replay::Replays;
use crate::store::{NodeRecord, Store, StoreError, Ticker};
use crate::trust::TrustedKeys;
use crate::watch::Watchers;

use ouro_common::container::{Manifest, Runtime};
use ouro_common::id::{Digest, InstanceId, NodeId};

use ouro_common::plan::Catalogue;
use ouro_proto::identity::Authority;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// The server's parts, as each of them sees the others.
pub struct World {
    /// The truth.
    pub store: Arc<dyn Store>,
    /// Inputs and answers on disk.
    pub blobs: Blobs,
    /// Who is connected.
    pub fleet: Fleet,
    /// Who went away lately.
    pub absences: Absences,
    /// Blobs in transit.
    pub relay: Relay,
    /// What nodes that leave hand over.
    pub handovers: Handovers,
    /// Questions to nodes about what steps said.
    pub log_calls: LogCalls,
    /// Who watches what.
    pub watchers: Watchers,
    /// Turns requests into plans.
    pub interpreter: Arc<dyn Interpreter>,
    /// Signs certificates.
    pub authority: Authority,
    /// Wall time, for certificates and display.
    pub ticker: Arc<dyn Ticker>,
    /// Whose modules are used.
    pub trusted: TrustedKeys,
    /// This process.
    pub instance: InstanceId,
    /// Whether every new node waits for approval.
    pub require_approval: bool,
    /// Rings when there may be something to do.
    pub doorbell: Notify,
    /// What this process is to place.
    pub claims: Claims,
    /// What runs where, as far as this process has seen.
    pub live: LiveAttempts,
    /// What real runs taught.
    pub lessons: Mutex<Lessons>,
    /// The fleet as decisions read it, current as of the last one.
    pub columns: Mutex<Columns>,
    /// The newest decisions, to be taken again.
    pub replays: Replays,
    nodes: Mutex<KeptNodes>,
    known: Mutex<BTreeMap<Digest, Known>>,
}

/// The rows of all nodes as they were last read, and what has changed since.
#[derive(Default)]
struct KeptNodes {
    changes: u64,
    /// None of them is current.
    stale: bool,
    /// These are not current.
    changed: BTreeSet<NodeId>,
    rows: Option<Arc<Vec<Arc<NodeRecord>>>>,
    /// Rows that are new to whoever makes columns of them: all, or these.
    all_fresh: bool,
    fresh: BTreeSet<NodeId>,
}

/// A container that some module carries or has carried since this process started.
#[derive(Clone)]
struct Known {
    manifest: Arc<Manifest>,
    module_label: String,
}

/// The parts that a [`World`] is made of and that come from outside.
pub struct WorldParts {
    /// The truth.
    pub store: Arc<dyn Store>,
    /// Inputs and answers on disk.
    pub blobs: Blobs,
    /// Turns requests into plans.
    pub interpreter: Arc<dyn Interpreter>,
    /// Signs certificates.
    pub authority: Authority,
    /// Wall time.
    pub ticker: Arc<dyn Ticker>,
    /// Whose modules are used.
    pub trusted: TrustedKeys,
    /// This process.
    pub instance: InstanceId,
    /// Whether every new node waits for approval.
    pub require_approval: bool,
}

impl World {
    /// A world with nobody connected.
    pub fn new(parts: WorldParts) -> Self {
        Self {
            store: parts.store,
            blobs: parts.blobs,
            fleet: Fleet::default(),
            absences: Absences::default(),
            relay: Relay::default(),
            handovers: Handovers::default(),
            log_calls: LogCalls::default(),
            watchers: Watchers::default(),
            interpreter: parts.interpreter,
            authority: parts.authority,
            ticker: parts.ticker,
            trusted: parts.trusted,
            instance: parts.instance,
            require_approval: parts.require_approval,
            doorbell: Notify::new(),
            claims: Claims::default(),
            live: LiveAttempts::default(),
            lessons: Mutex::default(),
            columns: Mutex::default(),
            replays: Replays::default(),
            nodes: Mutex::default(),
            known: Mutex::default(),
        }
    }

    /// Every node that was not removed; what has changed is read again, and nothing else.
    pub async fn nodes(&self) -> Result<Arc<Vec<Arc<NodeRecord>>>, StoreError> {
        let (before, wanted) = {
            let kept = self.kept();
            match &kept.rows {
                Some(rows) if !kept.stale && kept.changed.is_empty() => return Ok(rows.clone()),
                Some(rows) if !kept.stale => (kept.changes, Some((rows.clone(), kept.changed.clone()))),
                _ => (kept.changes, None),
            }
        };
        let (rows, read) = match wanted {
            None => (self.store.nodes().await?.into_iter().map(Arc::new).collect(), None),
            Some((rows, changed)) => {
                let mut rows = rows.as_ref().clone();
                for id in &changed {
                    let row = self.store.node(*id).await?.map(Arc::new);
                    let place = rows.iter().position(|r| r.id == *id);
                    match (place, row) {
                        (Some(place), Some(row)) => rows[place] = row,
                        (Some(place), None) => drop(rows.remove(place)),
                        (None, row) => rows.extend(row),
                    }
                }
                (rows, Some(changed))
            }
        };
        let rows = Arc::new(rows);
        self.remember(&rows);
        let mut kept = self.kept();
        // A change while they were read may be missing in them: then the next one reads again.
        if kept.changes == before {
            kept.rows = Some(rows.clone());
            kept.stale = false;
            kept.changed.clear();
            match read {
                None => kept.all_fresh = true,
                Some(read) => kept.fresh.extend(read),
            }
        }
        Ok(rows)
    }

    /// Nodes whose rows were read again since this was asked last; `None` for all.
    pub fn take_fresh(&self) -> Option<BTreeSet<NodeId>> {
        let mut kept = self.kept();
        let fresh = std::mem::take(&mut kept.fresh);
        (!std::mem::take(&mut kept.all_fresh)).then_some(fresh)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, KeptNodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Containers are remembered after their module was pulled, so that a waiting step can say which one to plug in again.
    fn remember(&self, nodes: &[Arc<NodeRecord>]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for placement in nodes.iter().flat_map(|n| &n.announcement.placements) {
            for container in &placement.containers {
                let fresh = || Known { manifest: Arc::new(container.manifest.clone()), module_label: placement.label.clone() };
                let known = known.entry(container.digest).or_insert_with(fresh);
                // The module that had it last is the one that people still have at hand.
                if known.module_label != placement.label {
                    known.module_label.clone_from(&placement.label);
                }
            }
        }
    }

    /// Manifests and module labels of containers, as far as they are or were in the fleet.
    pub fn remembered(&self, wanted: &BTreeSet<Digest>) -> (BTreeMap<Digest, Arc<Manifest>>, BTreeMap<Digest, String>) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found: Vec<_> = wanted.iter().filter_map(|d| known.get(d).map(|k| (*d, k.clone()))).collect();
        let labels = found.iter().map(|(d, k)| (*d, k.module_label.clone())).collect();
        (found.into_iter().map(|(d, k)| (d, k.manifest)).collect(), labels)
    }

    /// The language models among the containers that are or were in the fleet.
    pub fn languages(&self) -> BTreeSet<Digest> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().filter(|(_, k)| k.manifest.runtime == Runtime::Gguf).map(|(digest, _)| *digest).collect()
    }

    /// Any number of rows may have changed, or one is new.
    pub fn nodes_changed(&self) {
        let mut kept = self.kept();
        kept.changes += 1;
        kept.stale = true;
    }

    /// A node's row has changed.
    pub fn node_changed(&self, node: NodeId) {
        let mut kept = self.kept();
        kept.changes += 1;
        kept.changed.insert(node);
    }

    /// A result was taken from a node: its row is as it was, with one more of them.
    pub fn node_committed(&self, node: NodeId) {
        let mut kept = self.kept();
        kept.changes += 1;
        kept.fresh.insert(node);
        if let Some(rows) = kept.rows.as_mut()
            && let Some(place) = rows.iter().position(|r| r.id == node)
        {
            Arc::make_mut(&mut Arc::make_mut(rows)[place]).commits += 1;
        }
    }

    /// The containers that plans may use: those of connected nodes, or of all known ones.
    pub async fn catalogue(&self, connected_only: bool) -> Result<Catalogue, StoreError> {
        let nodes = self.nodes().await?;
        Ok(offers::catalogue(nodes.iter().filter(|n| !connected_only || self.fleet.is_connected(n.id))))
    }
}
