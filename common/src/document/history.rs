//! `ouroboros.events/1` and `ouroboros.poison/1`: what happened in the fleet, and which work is kept away from it.

use crate::id::{ContainerRef, Digest, Name, NodeId, RequestId};
use crate::step::{Evidence, FailureClass};
use serde::{Deserialize, Serialize};

/// What `ouroctl events` shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsDocument {
    /// Always `ouroboros.events/1`.
    pub schema: String,
    /// Oldest first.
    pub events: Vec<FleetEvent>,
}

impl EventsDocument {
    /// The name and version of this document.
    pub const SCHEMA: &str = "ouroboros.events/1";
}

/// Something that happened in the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetEvent {
    /// Counts up; the cursor of who reads on from here.
    pub seq: u64,
    /// When, for display: ms since the Unix epoch.
    pub at_unix_ms: u64,
    /// What kind: `joined`, `online`, `offline`, `lost`, `quarantined`, `switched_off`, `poisoned`, `accepted`, `done` …
    pub kind: String,
    /// The node it is about.
    pub node: Option<NodeId>,
    /// That node's name.
    pub node_name: Option<String>,
    /// The request it is about.
    pub request: Option<RequestId>,
    /// In words.
    pub text: String,
}

/// What `ouroctl poison list` shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PoisonDocument {
    /// Always `ouroboros.poison/1`.
    pub schema: String,
    /// Newest first.
    pub poison: Vec<PoisonEntry>,
}

impl PoisonDocument {
    /// The name and version of this document.
    pub const SCHEMA: &str = "ouroboros.poison/1";
}

/// Work that killed workers on two nodes: the same container, parameters and inputs are not run again until it is released.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PoisonEntry {
    /// What it is called by: the first twelve digits of `step_key`.
    pub id: String,
    /// Names the work: container, parameters and inputs.
    pub step_key: Digest,
    /// The container.
    pub container: ContainerRef,
    /// Its identity.
    pub container_digest: Digest,
    /// The request in which it was found out.
    pub request: RequestId,
    /// The step.
    pub step: Name,
    /// Since when, ms since the Unix epoch.
    pub since_unix_ms: u64,
    /// The deaths that speak against it.
    pub deaths: Vec<PoisonDeath>,
}

/// A worker's death that speaks against a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PoisonDeath {
    /// Where.
    pub node: NodeId,
    /// That node's name.
    pub node_name: String,
    /// How the attempt failed.
    pub class: FailureClass,
    /// In words.
    pub why: String,
    /// What speaks for guilt.
    pub evidence: Evidence,
}
