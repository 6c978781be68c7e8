//! The snapshot a decision is taken from: nodes, steps and containers as they stood at one moment.

use ouro_common::clock::Instant;
use ouro_common::container::Manifest;
use ouro_common::device::{NodeProfile, Readings};
use ouro_common::id::{Digest, Name, NodeId, RequestId};
pub use ouro_common::mfpi::Gate;
use ouro_common::mfpi::{LinkFactors, Residuals};
use ouro_common::step::AdminState;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Everything a decision depends on, besides the time and the seed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Snapshot {
    /// Every node that was not removed.
    pub nodes: Vec<Arc<NodeState>>,
    /// The steps to place, in the order of their claim: priority, then age.
    pub steps: Vec<StepState>,
    /// The manifests of the containers that the steps use.
    pub containers: BTreeMap<Digest, Arc<Manifest>>,
    /// The label of the module that carries or last carried a container: what to plug in again when it is gone.
    #[serde(default)]
    pub module_labels: BTreeMap<Digest, String>,
}

/// What a decision is about: a snapshot without its nodes.
#[derive(Debug, Clone, Default)]
pub struct WorkState {
    /// As in [`Snapshot::steps`].
    pub steps: Vec<StepState>,
    /// As in [`Snapshot::containers`].
    pub containers: BTreeMap<Digest, Arc<Manifest>>,
    /// As in [`Snapshot::module_labels`].
    pub module_labels: BTreeMap<Digest, String>,
}

impl Snapshot {
    /// What the decision is about.
    pub fn work(&self) -> WorkState {
        WorkState {
            steps: self.steps.clone(),
            containers: self.containers.clone(),
            module_labels: self.module_labels.clone(),
        }
    }
}

/// Whether a node can be talked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionState {
    /// Heartbeats come.
    Online,
    /// They have not come for 15 s.
    Suspect,
    /// There is no session.
    Offline,
}

/// A node as it stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeState {
    /// Which.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// What operators decided.
    pub admin: AdminState,
    /// Whether it can be talked to.
    pub session: SessionState,
    /// Fences assignments.
    pub session_epoch: u64,
    /// Labels; `owner` decides where private requests go.
    pub labels: BTreeMap<String, String>,
    /// What it says it is.
    pub profile: Option<Arc<NodeProfile>>,
    /// How it is doing.
    pub readings: Readings,
    /// What battery and heat allow.
    pub gate: Gate,
    /// Steps it may run at once.
    pub slots: u32,
    /// When each of its live attempts is predicted to end, on the store's clock; those that share a slot count as one.
    pub ends: Vec<Instant>,
    /// So many attempts of one language model share a slot.
    #[serde(default = "one")]
    pub batch: u32,
    /// How many live attempts it has of each language model that it computes several of together.
    #[serde(default)]
    pub together: BTreeMap<Digest, u32>,
    /// Whether a step with evidence against it runs there, which must be alone.
    pub runs_alone: bool,
    /// Containers it can plug now, with the read speed of the module that has them, bytes per second. Of a node that is
    /// offline: what it announced last.
    pub present: BTreeMap<Digest, Option<f64>>,
    /// Of those, the ones on a module whose slot is powered down, with the seconds until it is awake.
    #[serde(default)]
    pub asleep: BTreeMap<Digest, f64>,
    /// Containers in memory.
    pub loaded: BTreeSet<Digest>,
    /// The link as the server measured it; `None` until it has.
    pub link: Option<LinkFactors>,
    /// Results taken from it so far: a new node gets one attempt at a time until five.
    pub commits: u64,
    /// Learned corrections by container.
    pub residuals: BTreeMap<Digest, Residuals>,
    /// Containers that failed here three times in a row and are switched off for a while.
    pub switched_off: BTreeSet<Digest>,
}

fn one() -> u32 {
    1
}

impl NodeState {
    /// How many attempts of a language model an attempt more would be computed together with, when `added` have been assigned that
    /// this state does not show; `None` when it takes a slot of its own.
    pub fn beside(&self, container: &Digest, added: u32) -> Option<u32> {
        let there = self.together.get(container).copied().unwrap_or(0).saturating_add(added);
        (0 < there && there < self.batch).then_some(there)
    }

    /// Attempts beyond the slots that they take.
    pub fn sharing(&self) -> u32 {
        self.together.values().map(|count| (*count).min(self.batch).saturating_sub(1)).sum()
    }

    /// The seconds until each live attempt may end. One that is overdue is reckoned to need as long again as it is overdue;
    /// with zero, a node that hangs would look like the one that is free soonest.
    pub fn remaining_s(&self, now: Instant) -> impl Iterator<Item = f64> {
        self.ends.iter().map(move |end| end.since(now).max(now.since(*end)).as_secs_f64())
    }
}

/// An input of a step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InputState {
    /// Its size.
    pub size_bytes: u64,
    /// Nodes that have it.
    pub holders: Vec<NodeId>,
}

/// A step to place.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StepState {
    /// Its request.
    pub request: RequestId,
    /// Its plan's number.
    pub plan: u32,
    /// The step.
    pub step: Name,
    /// The container it uses.
    pub container: Digest,
    /// Its inputs.
    pub inputs: Vec<InputState>,
    /// Nodes on which it failed by its own doing: not again there while others are left.
    pub failed_on: Vec<NodeId>,
    /// Nodes whose configuration does not allow it: never again there, nor where no more is allowed.
    #[serde(default)]
    pub too_large_for: Vec<NodeId>,
    /// Whether it may only run alone on a node.
    pub alone: bool,
    /// `Some(owner)`: only nodes with that owner label; the inner value is the submitter's.
    pub private_owner: Option<String>,
    /// Time left to its deadline, seconds.
    pub remaining_s: f64,
    /// Whether it was looked at before and waits: it is not looked at again while no node has room.
    #[serde(default)]
    pub waited: bool,
}
