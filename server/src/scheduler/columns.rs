//! The fleet as columns: what a decision reads of every node, laid out so that ten thousand of them are read in microseconds.
//!
//! Built once and patched where a node changes, not for every decision. Each figure is made by the same functions that the plain
//! form of a decision calls, [`check`] and [`prediction`] among them, so both forms give the same bytes; a property test says so.

use super::class::Class;
use super::factors::{Factor, Figures, StandIns, UnknownSet};
use super::filter::{TRUSTED_AFTER_COMMITS, Wanted, Work, check};
use super::predict::{PredictContext, node_factors, prediction, sane};
use super::refused::Refused;
use super::snapshot::{Gate, NodeState, SessionState, StepState};
use ouro_common::clock::Instant;
use ouro_common::container::Manifest;
use ouro_common::id::{Digest, NodeId, RequestId};
use ouro_common::mfpi::{Residuals, StepCost};
use ouro_common::step::AdminState;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Containers whose columns are kept; the one that was not used for longest makes room.
const CONTAINERS: usize = 64;

/// A node is new: one attempt at a time.
pub(crate) const NEW: u8 = 1;
/// It runs a step that must be alone.
pub(crate) const RUNS_ALONE: u8 = 2;
/// It takes nothing long.
pub(crate) const LIGHT: u8 = 4;
/// Its free memory is not known.
pub(crate) const FREE_UNKNOWN: u8 = 8;

/// What a decision reads of one node, whatever the container.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct NodeRow {
    /// Round trip and its deviation, seconds.
    pub(crate) net_s: f64,
    pub(crate) down: f64,
    pub(crate) up: f64,
    /// Compute and bandwidth that others leave, caps on clocks included.
    pub(crate) flops: f64,
    pub(crate) bandwidth: f64,
    pub(crate) mtbf_s: f64,
}

/// What the filters read of one node.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RoomRow {
    /// All memory, and what is free; the largest number where it is not known.
    pub(crate) total_bytes: u64,
    pub(crate) free_bytes: u64,
    pub(crate) live: u32,
    /// The number of its owner label; zero without one.
    pub(crate) owner: u32,
    pub(crate) flags: u8,
}

/// What a decision reads of one node and container.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PairRow {
    /// Loading, the learned correction included, seconds.
    pub(crate) plug_s: f64,
    /// e^r of the prompt phase and of decoding.
    pub(crate) pre: f64,
    pub(crate) dec: f64,
    /// Whether it is in memory.
    pub(crate) loaded: bool,
    pub(crate) unknown: UnknownSet,
}

/// The columns of one container.
pub(crate) struct Pairs {
    manifest: Arc<Manifest>,
    used: u64,
    /// The first of the filters that depend on node and container alone and fail: an order of [`rank`], or [`PASSED`].
    pub(crate) verdicts: Vec<u8>,
    pub(crate) rows: Vec<PairRow>,
}

/// The whole fleet.
#[derive(Default)]
pub struct Columns {
    nodes: Vec<Arc<NodeState>>,
    shared: Option<Arc<[Arc<NodeState>]>>,
    figures: RefCell<Figures>,
    pub(crate) rows: Vec<NodeRow>,
    pub(crate) rooms: Vec<RoomRow>,
    /// Nodes with attempts.
    busy: BTreeSet<usize>,
    /// Factors that are not known of a node which could be a candidate.
    leaning: Vec<UnknownSet>,
    /// Factors of which some node's claim has changed.
    moved: UnknownSet,
    pairs: BTreeMap<Digest, Pairs>,
    owners: BTreeMap<String, u32>,
    uses: u64,
}

impl Columns {
    /// The columns of these nodes; their order does not matter.
    pub fn new(mut nodes: Vec<Arc<NodeState>>) -> Self {
        nodes.sort_by_key(|n| n.id);
        let mut columns = Self { nodes, ..Self::default() };
        let count = columns.nodes.len();
        columns.rows = vec![NodeRow::default(); count];
        columns.rooms = vec![RoomRow::default(); count];
        columns.leaning = vec![UnknownSet::default(); count];
        (0..count).for_each(|at| columns.lay(at));
        columns
    }

    /// The nodes by id.
    pub fn nodes(&self) -> &[Arc<NodeState>] {
        &self.nodes
    }

    /// The nodes by id as they stand, to be kept: one list as long as none of them changes.
    pub fn shared(&mut self) -> Arc<[Arc<NodeState>]> {
        self.shared.get_or_insert_with(|| self.nodes.as_slice().into()).clone()
    }

    /// The place of a node.
    pub(crate) fn place(&self, id: NodeId) -> Option<usize> {
        self.nodes.binary_search_by_key(&id, |n| n.id).ok()
    }

    /// Takes a node as it is now. One that was not there makes all columns anew.
    pub fn put(&mut self, node: Arc<NodeState>) {
        self.shared = None;
        let Some(at) = self.place(node.id) else {
            let mut nodes = std::mem::take(&mut self.nodes);
            nodes.push(node);
            *self = Self::new(nodes);
            return;
        };
        let before = std::mem::replace(&mut self.nodes[at], node);
        let (old, new) = (Class::of(before.profile.as_deref()), Class::of(self.nodes[at].profile.as_deref()));
        for factor in Factor::ALL {
            if old != new || factor.claim(&before, old) != factor.claim(&self.nodes[at], new) {
                self.moved.insert(factor);
            }
        }
        self.lay(at);
    }

    /// Makes everything current that depends on the nodes together, and the columns of these containers.
    pub(crate) fn prepare<'a>(&mut self, containers: impl Iterator<Item = (&'a Digest, &'a Arc<Manifest>)>) {
        let moved = std::mem::take(&mut self.moved);
        if !moved.is_empty() {
            self.figures.borrow_mut().retain(|(factor, _), _| !moved.contains(*factor));
            let leaning: Vec<usize> = (0..self.nodes.len()).filter(|at| self.leaning[*at].meets(moved)).collect();
            leaning.into_iter().for_each(|at| self.lay(at));
        }
        self.uses += 1;
        for (digest, manifest) in containers {
            let known = self.pairs.get_mut(digest).filter(|p| p.manifest == *manifest);
            if let Some(pairs) = known {
                pairs.used = self.uses;
                continue;
            }
            self.pairs.remove(digest);
            while self.pairs.len() >= CONTAINERS
                && let Some(oldest) = self.pairs.iter().min_by_key(|(_, p)| p.used).map(|(d, _)| *d)
            {
                self.pairs.remove(&oldest);
            }
            let mut pairs = Pairs { manifest: manifest.clone(), used: self.uses, verdicts: Vec::new(), rows: Vec::new() };
            for at in 0..self.nodes.len() {
                let (verdict, row) = pair(&self.nodes[at], digest, manifest, &StandIns::new(&self.nodes, &self.figures));
                self.leaning[at].extend(row.unknown);
                pairs.verdicts.push(verdict);
                pairs.rows.push(row);
            }
            self.pairs.insert(*digest, pairs);
        }
    }

    /// The columns of a container, once they were prepared.
    pub(crate) fn pairs(&self, container: &Digest) -> Option<&Pairs> {
        self.pairs.get(container)
    }

    /// What stands in for unknown factors.
    pub(crate) fn stand_ins(&self) -> StandIns<'_> {
        StandIns::new(&self.nodes, &self.figures)
    }

    /// The number of an owner label; none has it if it is not known.
    pub(crate) fn owner(&self, label: &str) -> u32 {
        self.owners.get(label).copied().unwrap_or(u32::MAX)
    }

    /// Nodes that compute some attempts of a container together, or could with one more.
    pub(crate) fn computing(&self, container: &Digest) -> impl Iterator<Item = usize> {
        self.busy.iter().copied().filter(move |at| self.nodes[*at].together.contains_key(container))
    }

    /// Nodes with attempts, each with the seconds until it has room for one more.
    pub(crate) fn queues(&self, now: Instant) -> impl Iterator<Item = (usize, f64)> {
        let mut ends_s = Vec::new();
        self.busy.iter().map(move |at| {
            let node = &self.nodes[*at];
            if node.ends.len() < node.slots.max(1) as usize {
                return (*at, 0.0);
            }
            ends_s.clear();
            ends_s.extend(node.remaining_s(now));
            (*at, super::predict::free_in_s(&mut ends_s, node.slots))
        })
    }

    /// Writes one node's place in every column.
    fn lay(&mut self, at: usize) {
        let node = self.nodes[at].clone();
        if node.ends.is_empty() {
            self.busy.remove(&at)
        } else {
            self.busy.insert(at)
        };
        let owner = match node.labels.get("owner") {
            None => 0,
            Some(label) => {
                let next = self.owners.len() as u32 + 1;
                *self.owners.entry(label.clone()).or_insert(next)
            }
        };
        self.rooms[at] = room(&node, owner);
        let mut unknown = UnknownSet::default();
        // Nobody else is ever a candidate, so nothing has to stand in for what is not known of it.
        let candidate = node.admin == AdminState::Active && node.session == SessionState::Online && node.profile.is_some();
        let stand_ins = StandIns::new(&self.nodes, &self.figures);
        if candidate {
            let factors = node_factors(&node, &stand_ins, &mut unknown);
            let free_share = (1.0 - factors.foreign_load).max(0.01);
            self.rows[at] = NodeRow {
                net_s: factors.link.srtt_s + factors.link.rttvar_s,
                down: factors.link.down_bytes_per_s,
                up: factors.link.up_bytes_per_s,
                flops: factors.flops_per_s * factors.clock_cap * free_share,
                bandwidth: factors.bandwidth_bytes_per_s * free_share,
                mtbf_s: factors.mtbf_s,
            };
        }
        for (digest, pairs) in &mut self.pairs {
            let (verdict, row) = pair(&node, digest, &pairs.manifest, &stand_ins);
            unknown.extend(row.unknown);
            (pairs.verdicts[at], pairs.rows[at]) = (verdict, row);
        }
        self.leaning[at] = unknown;
    }
}

fn room(node: &NodeState, owner: u32) -> RoomRow {
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let free = node.readings.memory_available_bytes;
    RoomRow {
        total_bytes: node.profile.as_deref().and_then(super::filter::total_memory).unwrap_or(u64::MAX),
        free_bytes: free.unwrap_or(u64::MAX),
        live: node.ends.len() as u32,
        owner,
        flags: flag(node.commits < TRUSTED_AFTER_COMMITS, NEW)
            | flag(node.runs_alone, RUNS_ALONE)
            | flag(matches!(node.gate, Gate::Light(_)), LIGHT)
            | flag(free.is_none(), FREE_UNKNOWN),
    }
}

/// What a node and a container say together, asked of the plain filters and predictions with a step that weighs nothing.
fn pair(node: &NodeState, digest: &Digest, manifest: &Manifest, stand_ins: &StandIns<'_>) -> (u8, PairRow) {
    let step = StepState {
        request: RequestId::from_parts(0, [0; 10]),
        plan: 0,
        step: manifest.name.clone(),
        container: *digest,
        inputs: vec![],
        failed_on: vec![],
        too_large_for: vec![],
        alone: false,
        private_owner: None,
        remaining_s: 0.0,
        waited: false,
    };
    let wanted = Wanted { step: &step, manifest, memory_bytes: 0, module: None, small_cache_bytes: None };
    let loaded = node.loaded.contains(digest);
    let idle = PairRow { plug_s: 0.0, pre: 1.0, dec: 1.0, loaded, unknown: UnknownSet::default() };
    match check(node, &wanted, Work { live: 0, alone: false, taken_bytes: 0 }) {
        Err(refused) => (rank(&refused), idle),
        Ok(passed) => {
            let cx = PredictContext { stand_ins, processor: passed.processor, free_in_s: 0.0, beside: 0 };
            let prediction = prediction(node, &wanted, &StepCost::default(), &cx);
            let residuals = node.residuals.get(digest).map_or_else(Residuals::default, sane);
            let (pre, dec) = (residuals.pre.exp(), residuals.dec.exp());
            (PASSED, PairRow { plug_s: prediction.terms.plug_s, pre, dec, loaded, unknown: prediction.unknown })
        }
    }
}

/// Passed every filter.
pub(crate) const PASSED: u8 = 31;
/// All its memory would not do.
pub(crate) const MEMORY_TOTAL: u8 = 3;
/// It is not the submitter's.
pub(crate) const OWNER: u8 = 4;
/// Too little memory is free.
pub(crate) const MEMORY_NOW: u8 = 17;
/// A step that must be alone runs there.
pub(crate) const ALONE_THERE: u8 = 18;
/// The step must be alone, and the node is at work.
pub(crate) const NOT_IDLE: u8 = 19;
/// It is new and has its one attempt.
pub(crate) const NEW_NODE: u8 = 20;
/// The step would take long, and the node is spared.
pub(crate) const LIGHT_LONG: u8 = 21;

/// The place of a refusal in the order of the filters: of several that fail, the lowest is the reason.
pub(crate) fn rank(refused: &Refused<'_>) -> u8 {
    match refused {
        Refused::Removed => 0,
        Refused::Runtime { .. } => 1,
        Refused::Accelerators { .. } => 2,
        Refused::MemoryTotal { .. } => MEMORY_TOTAL,
        Refused::Owner { .. } => OWNER,
        Refused::NotPresent { .. } => 5,
        Refused::Admin(AdminState::Pending) => 6,
        Refused::Admin(AdminState::Draining) => 7,
        Refused::Admin(AdminState::Quarantined) => 8,
        Refused::Admin(_) => 9,
        Refused::NoSlots => 10,
        Refused::Suspect => 11,
        Refused::Offline => 12,
        Refused::NoProfile => 13,
        Refused::Gate(_) => 14,
        Refused::LightLoad(_) => 15,
        Refused::SwitchedOff => 16,
        Refused::MemoryNow { .. } => MEMORY_NOW,
        Refused::RunsAlone => ALONE_THERE,
        Refused::NotIdle { .. } => NOT_IDLE,
        Refused::NewNode { .. } => NEW_NODE,
        Refused::LightLong { .. } => LIGHT_LONG,
        Refused::FailedHere => 22,
        // Never in the columns: it is a matter of the step, and such steps are looked at node by node.
        Refused::CacheTooSmall { .. } => 23,
    }
}
