//! What the verbs take and give: plain values.

use super::placing::ReadyStep;
use ouro_common::clock::{Instant, WallTime};
use ouro_common::device::NodeProfile;
use ouro_common::document::{TraceDocument, TraceEvent};
use ouro_common::envelope::Envelope;
use ouro_common::envelope::Principal;
use ouro_common::id::{AgentRunId, AttemptKey, BootId, Digest, InstanceId, Name, NodeId, RequestId};
use ouro_common::mfpi::Residuals;
use ouro_common::module::Announcement;
use ouro_common::plan::Step;
use ouro_common::step::{AdminState, NodeDeed, RequestState, StepVerdict};
use std::collections::BTreeMap;

/// What a certificate stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnrolledAs {
    /// A machine with an agent.
    Node,
    /// A person who may change the fleet.
    Operator,
    /// A person who may submit requests.
    Client,
}

/// A join token to be recorded.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Its public id.
    pub id: String,
    /// The BLAKE3 of its secret.
    pub secret_hash: Digest,
    /// What it makes.
    pub role: EnrolledAs,
    /// Labels for what it makes.
    pub labels: BTreeMap<String, String>,
    /// How often it can be used.
    pub uses: u32,
    /// How long it can be used.
    pub lifetime: std::time::Duration,
    /// Whether nodes that use it wait for approval.
    pub require_approval: bool,
}

/// A join token as it stands.
#[derive(Debug, Clone)]
pub struct TokenRecord {
    /// Its public id.
    pub id: String,
    /// What it makes.
    pub role: EnrolledAs,
    /// Labels for what it makes.
    pub labels: BTreeMap<String, String>,
    /// Uses left.
    pub uses_left: u32,
    /// When it expires, on the store's clock.
    pub expires: Instant,
    /// Whether it was revoked.
    pub revoked: bool,
}

/// Who comes with a token.
#[derive(Debug, Clone)]
pub struct Credential {
    /// BLAKE3 of the public key (SubjectPublicKeyInfo).
    pub spki: Digest,
    /// The name it asks for: host name or user name.
    pub name: String,
    /// The node id to give if it is new.
    pub fresh_id: NodeId,
    /// Whether a new node waits for approval whatever its token says.
    pub require_approval: bool,
}

/// A token was good.
#[derive(Debug, Clone)]
pub struct Redeemed {
    /// What the bearer is now.
    pub role: EnrolledAs,
    /// The identity: new, or the one this key got before.
    pub id: NodeId,
    /// The name, made unique in the fleet.
    pub name: String,
    /// The certificate that was already issued for this key.
    pub certificate_pem: Option<String>,
}

/// A token was no good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenRefusal {
    /// No such token, or a wrong secret.
    Unknown,
    /// Its time has passed.
    Expired,
    /// All its uses are spent.
    UsedUp,
    /// It was revoked.
    Revoked,
}

/// Who comes to open a session.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// The server process that holds the stream.
    pub instance: InstanceId,
    /// The agent's process.
    pub run: AgentRunId,
    /// Its machine's boot.
    pub boot: BootId,
    /// The epoch of the node's old session, if its process has answered a ping just now.
    pub old_session_answers: Option<u64>,
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionEnd {
    /// The node said that it goes.
    Left,
    /// The line broke, or the node fell silent; in words.
    Lost(String),
}

impl SessionEnd {
    /// In words.
    pub fn words(&self) -> &str {
        match self {
            Self::Left => "the node ended the session",
            Self::Lost(why) => why,
        }
    }
}

/// What an operator changes about a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeChange {
    /// Its part in the fleet.
    Deed(NodeDeed),
    /// Its labels.
    Labels {
        /// Labels that it gets.
        set: BTreeMap<String, String>,
        /// Labels that it loses; `set` wins.
        unset: Vec<String>,
    },
}

/// What changing a node gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeChanged {
    /// It is so now.
    Done {
        /// The operators' decision about it now.
        admin: AdminState,
        /// Whether it was otherwise before.
        changed: bool,
        /// Attempts that were taken back from it.
        attempts: Vec<AttemptKey>,
    },
    /// That does not fit the state it is in.
    Refused(AdminState),
}

/// What opening a session gave.
#[derive(Debug, Clone, PartialEq)]
pub enum OpenedSession {
    /// The node is in.
    Open {
        /// Fences the stream.
        session_epoch: u64,
        /// The node's name.
        name: String,
        /// What operators decided about it.
        admin: AdminState,
        /// Attempts it has.
        live: Vec<LiveAttempt>,
        /// The agent run and boot it had before, if any.
        previous: Option<(AgentRunId, BootId)>,
    },
    /// The node was removed from the fleet.
    Removed,
    /// The node is there already: whoever comes has a copy of its identity.
    Cloned,
    /// No such node.
    Unknown,
}

/// A node's session row.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionRecord {
    /// The server process that holds the stream.
    pub instance: InstanceId,
    /// Fences the stream.
    pub session_epoch: u64,
    /// The agent's process.
    pub run: AgentRunId,
    /// Its machine's boot.
    pub boot: BootId,
    /// Since when it has been closed; `None` while it is open.
    pub offline_since: Option<Instant>,
}

/// A node as the store knows it.
#[derive(Debug, Clone)]
pub struct NodeRecord {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// What operators decided.
    pub admin: AdminState,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Its last profile.
    pub profile: Option<std::sync::Arc<NodeProfile>>,
    /// What it offers.
    pub announcement: Announcement,
    /// Its session.
    pub session: Option<SessionRecord>,
    /// Results taken from it so far.
    pub commits: u64,
    /// The key of its certificate.
    pub spki: Digest,
    /// Containers that kept failing there, each with the time until which it is switched off.
    pub switched_off: Vec<(Digest, Instant)>,
}

/// What accepting gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AcceptOutcome {
    /// It is durable now.
    Accepted,
    /// It was durable already, under this id.
    Same(RequestId),
    /// The same idempotency key stands for another content.
    Conflict(RequestId),
}

/// A tag and where its bytes are.
#[derive(Debug, Clone, PartialEq)]
pub struct TagRecord {
    /// The request it belongs to.
    pub request: RequestId,
    /// Its name.
    pub tag: Name,
    /// Its media type.
    pub media: String,
    /// BLAKE3 of its bytes.
    pub digest: Digest,
    /// Its size.
    pub size_bytes: u64,
    /// Its bytes, if they are small.
    pub inline: Option<Vec<u8>>,
    /// Whether the server's disk has it.
    pub on_server: bool,
    /// Nodes whose spool has it.
    pub holders: Vec<NodeId>,
}

/// An attempt a node has.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveAttempt {
    /// Which.
    pub key: AttemptKey,
    /// Whose.
    pub node: NodeId,
    /// The step as planned.
    pub step: Step,
    /// Its inputs with their ports; inline bytes included.
    pub inputs: Vec<(Name, TagRecord)>,
    /// Inputs that steps before it in its chain are still making on the same node.
    pub pending: Vec<PendingInput>,
    /// The first step of the chain that it went along with.
    pub chain: Option<Name>,
    /// Whether one of its outputs is the request's answer.
    pub answers: bool,
    /// When it was assigned, on the store's clock.
    pub assigned: Instant,
    /// What was predicted, ms.
    pub predicted_ms: f64,
    /// Time left to its request's deadline, ms.
    pub remaining_ms: u64,
    /// Whether there is evidence against the step, so that nothing else may run beside it.
    pub alone: bool,
    /// Who asked.
    pub principal: Principal,
}

/// An input that another attempt on the same node is still making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingInput {
    /// Its place among all inputs of the step.
    pub place: usize,
    /// The port it goes to.
    pub port: Name,
    /// Its tag.
    pub tag: Name,
    /// Who makes it.
    pub made_by: AttemptKey,
    /// At which output port.
    pub made_port: Name,
}

/// An output of a step as a node reports it.
#[derive(Debug, Clone)]
pub struct OutputRecord {
    /// The output port.
    pub port: Name,
    /// Its media type.
    pub media: String,
    /// BLAKE3 of its bytes.
    pub digest: Digest,
    /// Its size.
    pub size_bytes: u64,
    /// Its bytes, if they are small.
    pub inline: Option<Vec<u8>>,
    /// Whether its bytes are on the server's disk.
    pub on_server: bool,
}

/// What committing gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitOutcome {
    /// It was taken.
    Committed {
        /// Steps that became ready.
        now_ready: usize,
        /// Whether the request has ended with it: nearly always because its answer is there.
        request_done: bool,
    },
    /// It had been taken before.
    Repeat,
    /// Another attempt has taken its place, or the request has ended.
    Stale,
    /// The attempt belongs to another node, or does not exist.
    NotYours,
}

/// What recording a failure gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FailOutcome {
    /// What the rules say of the step now; the request has ended unless it is `Ready`.
    Judged(StepVerdict),
    /// It does not matter any more.
    Stale,
    /// The attempt belongs to another node, or does not exist.
    NotYours,
}

/// A request that ended, and what is still running for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// Which.
    pub request: RequestId,
    /// How it stands now (it may have ended before, in another way).
    pub state: RequestState,
    /// Attempts that nodes must be told to stop.
    pub attempts: Vec<(NodeId, AttemptKey)>,
}

/// An attempt, and where it runs or ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedAttempt {
    /// Which.
    pub key: AttemptKey,
    /// Where.
    pub node: NodeId,
    /// That node's name.
    pub node_name: String,
    /// Whether the node has it still.
    pub live: bool,
}

/// What runs taught of a container on a node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LessonRecord {
    /// The node.
    pub node: NodeId,
    /// The container.
    pub container: Digest,
    /// The corrections of its predictions.
    pub residuals: Residuals,
}

/// How far a request is.
#[derive(Debug, Clone)]
pub struct ProgressRecord {
    /// Where it stands.
    pub state: RequestState,
    /// What happened to it, oldest first, without what the reader has seen.
    pub events: Vec<TraceEvent>,
}

/// Everything about a request.
#[derive(Debug, Clone)]
pub struct RequestRecord {
    /// What was asked.
    pub envelope: Envelope,
    /// Where it is.
    pub state: RequestState,
    /// The answer's tag.
    pub answer: Option<TagRecord>,
    /// When it was accepted, for display.
    pub accepted_wall: WallTime,
    /// The trace, complete but for live soft state.
    pub trace: TraceDocument,
    /// Every step that is ready and waits, with what placing it needs.
    pub waiting: Vec<ReadyStep>,
}
