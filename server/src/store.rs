//! The store: the fleet's only truth, changed by few whole verbs, each one transaction.
//!
//! Every verb can be repeated without harm and writes its own trace rows. Heartbeats and chunks never come here.
//! Every backend passes the conformance suite.

pub use placing::{AssignOutcome, Assignment, ChainLink, Follower, ReadyStep, RefusedStep, Take};
pub use records::{
    AcceptOutcome, Arrival, CommitOutcome, Credential, Ended, EnrolledAs, FailOutcome, LessonRecord, LiveAttempt, NewToken, NodeChange,
    NodeChanged, NodeRecord, OpenedSession, OutputRecord, PendingInput, PlacedAttempt, ProgressRecord, Redeemed, RequestRecord, SessionEnd,
    SessionRecord, TagRecord, TokenRecord, TokenRefusal,
};

pub use sqlite::{DatabaseCopy, SqliteStore};

#[cfg(test)]
mod conformance;
mod placing;
mod records;
mod sqlite;

use async_trait::async_trait;
use ouro_common::clock::{Instant, WallTime};
use ouro_common::device::NodeProfile;
use ouro_common::document::{FleetEvent, PoisonEntry, RequestRow};
use ouro_common::envelope::Envelope;
use ouro_common::error::Fault;
use ouro_common::id::{AttemptKey, Digest, InstanceId, Name, NodeId, RequestId};
use ouro_common::module::Announcement;
use ouro_common::plan::{Plan, Refusal};
use ouro_common::step::{Evidence, FailureClass, LossReason};
use std::collections::BTreeMap;
use std::time::Duration;

/// A verb could not be carried out; nothing of it took effect.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The disk is full.
    #[error("the disk under {path} is full; free some space there, nothing was lost")]
    DiskFull {
        /// The database file.
        path: String,
    },
    /// There is no such thing.
    #[error("there is no {what} {id}")]
    NotFound {
        /// What was looked for.
        what: &'static str,
        /// Its identifier.
        id: String,
    },
    /// What is stored cannot be read.
    #[error("the store holds something unreadable in {place}: {problem}")]
    Corrupt {
        /// Table and column.
        place: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The database refused.
    #[error("the database {path} failed: {problem}")]
    Database {
        /// The database file.
        path: String,
        /// In the database's words.
        problem: String,
    },
    /// The store is closing down.
    #[error("the store is closing")]
    Closed,
}

/// Where the store's time comes from: a monotonic count, and the wall clock for display only.
pub trait Ticker: Send + Sync + 'static {
    /// Time since the ticker was made; never goes back, unaffected by clock changes.
    fn elapsed(&self) -> Duration;
    /// The wall clock.
    fn wall(&self) -> WallTime;
}

/// The store's verbs. See state.md for the rules each of them keeps.
#[async_trait]
pub trait Store: Send + Sync {
    /// The store's own time: persisted, never goes back, never jumps.
    fn now(&self) -> Instant;
    /// Raised whenever a backup is restored; part of every epoch.
    fn generation(&self) -> u32;

    // --- identity ---
    /// Records a join token; its secret only as a hash.
    async fn create_token(&self, token: NewToken) -> Result<(), StoreError>;
    /// All tokens, newest first.
    async fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError>;
    /// Makes a token worthless at once.
    async fn revoke_token(&self, id: &str) -> Result<(), StoreError>;
    /// Uses a token once for the key `credential.spki`; the same key again is the same use and gives the same identity.
    async fn redeem_token(
        &self,
        id: &str,
        secret_hash: Digest,
        credential: Credential,
    ) -> Result<Result<Redeemed, TokenRefusal>, StoreError>;
    /// Keeps the certificate that was issued for a key, so that a retry gets the same.
    async fn keep_certificate(&self, spki: Digest, chain_pem: &str) -> Result<(), StoreError>;
    /// Replaces a node's key on renewal.
    async fn renew_cert(&self, node: NodeId, spki: Digest) -> Result<(), StoreError>;

    // --- nodes and sessions ---
    /// Opens a node's session; every later message of the stream carries the session epoch.
    async fn open_session(&self, node: NodeId, arrival: Arrival) -> Result<OpenedSession, StoreError>;
    /// Closes the session if it is still that one.
    async fn close_session(&self, node: NodeId, session_epoch: u64, end: SessionEnd) -> Result<(), StoreError>;
    /// Keeps a node's profile.
    async fn put_profile(&self, node: NodeId, profile: &NodeProfile) -> Result<(), StoreError>;
    /// Replaces what a node offers; false when `session_epoch` is not its session any more.
    async fn announce(&self, node: NodeId, session_epoch: u64, announcement: &Announcement) -> Result<bool, StoreError>;
    /// Every node that was not removed.
    async fn nodes(&self) -> Result<Vec<NodeRecord>, StoreError>;
    /// One node, unless it was removed.
    async fn node(&self, node: NodeId) -> Result<Option<NodeRecord>, StoreError>;
    /// Changes what operators decide about a node; who is removed loses its attempts, its session and what it holds.
    async fn change_node(&self, node: NodeId, change: NodeChange, by: &str) -> Result<NodeChanged, StoreError>;
    /// Registers this process and marks the sessions of every other instance as closed: one instance per SQLite store.
    async fn renew_instance(&self, instance: InstanceId) -> Result<(), StoreError>;
    /// Nodes that hold attempts and whose session has been closed for `grace` or longer.
    async fn lost_nodes(&self, grace: Duration) -> Result<Vec<NodeId>, StoreError>;

    // --- requests ---
    /// Makes a request durable. Its inputs' bytes are on the server's disk before this is called.
    async fn accept_request(&self, envelope: &Envelope) -> Result<AcceptOutcome, StoreError>;
    /// Requests without a plan, oldest first.
    async fn unplanned(&self, limit: usize) -> Result<Vec<Envelope>, StoreError>;
    /// Gives a request its plan: all steps and tags. Steps without dependencies are ready. Repeats are ignored.
    async fn attach_plan(&self, request: RequestId, n: u32, plan: &Plan) -> Result<usize, StoreError>;
    /// Ends a request that no plan can be written for.
    async fn refuse_request(&self, request: RequestId, refusal: &Refusal) -> Result<(), StoreError>;
    /// Ends a request with a fault; its open steps and attempts are cancelled.
    async fn fail_request(&self, request: RequestId, fault: &Fault) -> Result<Ended, StoreError>;
    /// Ends a request one of whose steps no node could ever take; the decision about that step stays in the trace.
    async fn refuse_step(&self, refused: RefusedStep, fault: &Fault) -> Result<Ended, StoreError>;
    /// Ends a request on somebody's word.
    async fn cancel_request(&self, request: RequestId, by: &str) -> Result<Ended, StoreError>;
    /// Ends up to `limit` requests whose deadline has passed.
    async fn expire(&self, limit: usize) -> Result<Vec<Ended>, StoreError>;

    // --- steps and attempts ---
    /// Leases up to `limit` ready steps to this instance for `lease`, by priority and age.
    async fn take_ready(&self, instance: InstanceId, limit: usize, lease: Duration, take: Take) -> Result<Vec<ReadyStep>, StoreError>;
    /// Gives steps to nodes, each under a new epoch; every item stands for itself.
    async fn assign(&self, items: Vec<Assignment>) -> Result<Vec<AssignOutcome>, StoreError>;
    /// Live attempts of one node, or of all.
    async fn live_attempts(&self, node: Option<NodeId>) -> Result<Vec<LiveAttempt>, StoreError>;
    /// Every attempt at the steps of a request, oldest first.
    async fn attempts(&self, request: RequestId) -> Result<Vec<PlacedAttempt>, StoreError>;
    /// Takes a result if the node owns the attempt and no later one has taken its place.
    async fn commit_result(
        &self,
        key: &AttemptKey,
        node: NodeId,
        outputs: Vec<OutputRecord>,
        phases_ms: BTreeMap<String, f64>,
    ) -> Result<CommitOutcome, StoreError>;
    /// Records a failure and applies the rules of blame.
    async fn fail_attempt(
        &self,
        key: &AttemptKey,
        node: NodeId,
        class: FailureClass,
        why: &str,
        evidence: Option<Evidence>,
    ) -> Result<FailOutcome, StoreError>;
    /// Takes back a node's attempts, except those in `keep`, without blame.
    async fn release_attempts(&self, node: NodeId, reason: LossReason, keep: &[AttemptKey]) -> Result<Vec<AttemptKey>, StoreError>;
    /// Forgets that `node` holds tags (all, or one digest); producers whose tag is still needed and now held nowhere become ready again.
    async fn drop_holder(&self, node: NodeId, digest: Option<Digest>) -> Result<usize, StoreError>;

    /// Blobs with their sizes in bytes that open requests still need and only this node and others that leave hold, at most `limit`.
    async fn held_alone(&self, node: NodeId, limit: usize) -> Result<Vec<(Digest, u64)>, StoreError>;

    /// Writes into the fleet's events that a draining node can be switched off.
    async fn note_drained(&self, node: NodeId) -> Result<(), StoreError>;

    /// The server's disk has these bytes now: steps that missed them go on, and the requests whose answer they are, which are
    /// returned, are done.
    async fn keep_on_server(&self, digest: Digest) -> Result<Vec<RequestId>, StoreError>;

    // --- poison and events ---
    /// Work that is run nowhere, newest first.
    async fn poison(&self) -> Result<Vec<PoisonEntry>, StoreError>;
    /// Lets such work run again; it is named by its id or its whole key.
    async fn release_poison(&self, id: &str, by: &str) -> Result<PoisonEntry, StoreError>;
    /// Writes what a node has become (`normal`, `light`, `refuse`) into the fleet's events, and into the traces of the requests
    /// whose work it has.
    async fn note_gate(&self, node: NodeId, level: &str, words: &str) -> Result<(), StoreError>;
    /// What happened after the event `cursor`, oldest first; without a cursor the newest `limit` events.
    async fn changes_since(&self, cursor: Option<u64>, limit: usize) -> Result<Vec<FleetEvent>, StoreError>;

    // --- what runs taught ---
    /// Keeps corrections of predictions, each in the place of an older one of the same pair.
    async fn keep_lessons(&self, lessons: Vec<LessonRecord>) -> Result<(), StoreError>;
    /// All that are kept.
    async fn lessons(&self) -> Result<Vec<LessonRecord>, StoreError>;

    // --- reading ---
    /// Whether `node` may fetch the blob: an input of its live attempts, a result of its own, or the answer to its own request.
    async fn may_get(&self, node: NodeId, digest: Digest) -> Result<bool, StoreError>;
    /// Where a blob's bytes are: nodes, and inline bytes if the store has them.
    async fn tag_by_digest(&self, digest: Digest) -> Result<Option<TagRecord>, StoreError>;
    /// A tag of a request.
    async fn tag(&self, request: RequestId, tag: &Name) -> Result<Option<TagRecord>, StoreError>;
    /// How far a request is, and what happened to it beyond its first `after` events.
    async fn progress(&self, request: RequestId, after: usize) -> Result<Option<ProgressRecord>, StoreError>;
    /// Everything about a request.
    async fn view(&self, request: RequestId) -> Result<Option<RequestRecord>, StoreError>;
    /// The newest requests.
    async fn requests(&self, limit: usize) -> Result<Vec<RequestRow>, StoreError>;
    /// Drops tags of requests that ended `tags` ago and requests that ended `traces` ago; the digests nobody needs any more.
    async fn collect(&self, tags: Duration, traces: Duration, limit: usize) -> Result<Vec<Digest>, StoreError>;
}
