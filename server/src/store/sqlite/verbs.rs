//! The verbs of the trait: each sends one closure to the thread that owns the right connection.

use super::{
    SqliteStore, accept, blame, claim, collect, commit, ends, identity, journal, lessons, nodes, plans, poison, repair, tags, view,
};
use crate::store::{
    AcceptOutcome, Arrival, AssignOutcome, Assignment, CommitOutcome, Credential, Ended, FailOutcome, LessonRecord, LiveAttempt, NewToken,
    NodeChange, NodeChanged, NodeRecord, OpenedSession, OutputRecord, PlacedAttempt, ProgressRecord, ReadyStep, Redeemed, RefusedStep,
    RequestRecord, SessionEnd, Store, StoreError, TagRecord, Take, TokenRecord, TokenRefusal,
};
use async_trait::async_trait;
use ouro_common::clock::Instant;
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

type Answer<T> = Result<T, StoreError>;

#[async_trait]
impl Store for SqliteStore {
    fn now(&self) -> Instant {
        self.clock.now()
    }
    fn generation(&self) -> u32 {
        self.generation
    }

    async fn create_token(&self, token: NewToken) -> Answer<()> {
        self.write(move |db| identity::create_token(db, &token)).await
    }
    async fn tokens(&self) -> Answer<Vec<TokenRecord>> {
        self.read(identity::tokens).await
    }
    async fn revoke_token(&self, id: &str) -> Answer<()> {
        let id = id.to_string();
        self.write(move |db| identity::revoke_token(db, &id)).await
    }
    async fn redeem_token(&self, id: &str, secret_hash: Digest, credential: Credential) -> Answer<Result<Redeemed, TokenRefusal>> {
        let id = id.to_string();
        self.write(move |db| identity::redeem(db, &id, secret_hash, &credential)).await
    }
    async fn keep_certificate(&self, spki: Digest, chain_pem: &str) -> Answer<()> {
        let chain_pem = chain_pem.to_string();
        self.write(move |db| identity::keep_certificate(db, spki, &chain_pem)).await
    }
    async fn renew_cert(&self, node: NodeId, spki: Digest) -> Answer<()> {
        self.write(move |db| identity::renew_cert(db, node, spki)).await
    }

    async fn open_session(&self, node: NodeId, arrival: Arrival) -> Answer<OpenedSession> {
        self.write(move |db| nodes::open_session(db, node, &arrival)).await
    }
    async fn close_session(&self, node: NodeId, session_epoch: u64, end: SessionEnd) -> Answer<()> {
        self.write(move |db| nodes::close_session(db, node, session_epoch, &end)).await
    }
    async fn put_profile(&self, node: NodeId, profile: &NodeProfile) -> Answer<()> {
        let profile = profile.clone();
        self.write(move |db| nodes::put_profile(db, node, &profile)).await
    }
    async fn announce(&self, node: NodeId, session_epoch: u64, announcement: &Announcement) -> Answer<bool> {
        let announcement = announcement.clone();
        self.write(move |db| nodes::announce(db, node, session_epoch, &announcement)).await
    }
    async fn nodes(&self) -> Answer<Vec<NodeRecord>> {
        self.read(nodes::all).await
    }
    async fn node(&self, node: NodeId) -> Answer<Option<NodeRecord>> {
        self.read(move |db| nodes::one(db, node)).await
    }
    async fn change_node(&self, node: NodeId, change: NodeChange, by: &str) -> Answer<NodeChanged> {
        let by = by.to_string();
        self.write(move |db| nodes::change(db, node, &change, &by)).await
    }
    async fn renew_instance(&self, instance: InstanceId) -> Answer<()> {
        self.write(move |db| nodes::renew_instance(db, instance)).await
    }
    async fn lost_nodes(&self, grace: Duration) -> Answer<Vec<NodeId>> {
        self.read(move |db| nodes::lost(db, grace)).await
    }

    async fn accept_request(&self, envelope: &Envelope) -> Answer<AcceptOutcome> {
        let envelope = envelope.clone();
        self.write(move |db| accept::accept(db, &envelope)).await
    }
    async fn unplanned(&self, limit: usize) -> Answer<Vec<Envelope>> {
        self.read(move |db| plans::unplanned(db, limit)).await
    }
    async fn attach_plan(&self, request: RequestId, n: u32, plan: &Plan) -> Answer<usize> {
        let plan = plan.clone();
        self.note(move |db| plans::attach(db, request, n, &plan)).await
    }
    async fn refuse_request(&self, request: RequestId, refusal: &Refusal) -> Answer<()> {
        let refusal = refusal.clone();
        self.write(move |db| plans::refuse(db, request, &refusal)).await
    }
    async fn fail_request(&self, request: RequestId, fault: &Fault) -> Answer<Ended> {
        let fault = fault.clone();
        self.write(move |db| ends::fail(db, request, &fault)).await
    }
    async fn refuse_step(&self, refused: RefusedStep, fault: &Fault) -> Answer<Ended> {
        let fault = fault.clone();
        self.write(move |db| claim::refuse(db, refused, &fault)).await
    }
    async fn cancel_request(&self, request: RequestId, by: &str) -> Answer<Ended> {
        let by = by.to_string();
        self.write(move |db| ends::cancel(db, request, &by)).await
    }
    async fn expire(&self, limit: usize) -> Answer<Vec<Ended>> {
        self.write(move |db| ends::expire(db, limit)).await
    }

    async fn take_ready(&self, instance: InstanceId, limit: usize, lease: Duration, take: Take) -> Answer<Vec<ReadyStep>> {
        self.note(move |db| claim::take_ready(db, instance, limit, (lease, take))).await
    }
    async fn assign(&self, items: Vec<Assignment>) -> Answer<Vec<AssignOutcome>> {
        self.write(move |db| claim::assign(db, items)).await
    }
    async fn live_attempts(&self, node: Option<NodeId>) -> Answer<Vec<LiveAttempt>> {
        self.read(move |db| claim::live_attempts(db, node)).await
    }
    async fn attempts(&self, request: RequestId) -> Answer<Vec<PlacedAttempt>> {
        self.read(move |db| view::attempts(db, request)).await
    }
    async fn commit_result(
        &self,
        key: &AttemptKey,
        node: NodeId,
        outputs: Vec<OutputRecord>,
        phases_ms: BTreeMap<String, f64>,
    ) -> Answer<CommitOutcome> {
        let key = key.clone();
        self.write(move |db| commit::commit(db, &key, node, outputs, phases_ms)).await
    }
    async fn fail_attempt(
        &self,
        key: &AttemptKey,
        node: NodeId,
        class: FailureClass,
        why: &str,
        evidence: Option<Evidence>,
    ) -> Answer<FailOutcome> {
        let (key, why) = (key.clone(), why.to_string());
        self.write(move |db| blame::fail(db, &key, node, class, &why, evidence.as_ref())).await
    }
    async fn release_attempts(&self, node: NodeId, reason: LossReason, keep: &[AttemptKey]) -> Answer<Vec<AttemptKey>> {
        let keep = keep.to_vec();
        self.write(move |db| blame::release(db, node, reason, &keep)).await
    }
    async fn drop_holder(&self, node: NodeId, digest: Option<Digest>) -> Answer<usize> {
        self.write(move |db| repair::drop_holder(db, node, digest)).await
    }
    async fn held_alone(&self, node: NodeId, limit: usize) -> Answer<Vec<(Digest, u64)>> {
        self.read(move |db| tags::held_alone(db, node, limit)).await
    }
    async fn note_drained(&self, node: NodeId) -> Answer<()> {
        self.write(move |db| journal::drained(db, node)).await
    }
    async fn keep_on_server(&self, digest: Digest) -> Answer<Vec<RequestId>> {
        self.write(move |db| tags::keep_on_server(db, digest)).await
    }

    async fn poison(&self) -> Answer<Vec<PoisonEntry>> {
        self.read(poison::list).await
    }
    async fn release_poison(&self, id: &str, by: &str) -> Answer<PoisonEntry> {
        let (id, by) = (id.to_string(), by.to_string());
        self.write(move |db| poison::release(db, &id, &by)).await
    }
    async fn note_gate(&self, node: NodeId, level: &str, words: &str) -> Answer<()> {
        let (level, words) = (level.to_string(), words.to_string());
        self.write(move |db| journal::gate(db, node, &level, &words)).await
    }
    async fn changes_since(&self, cursor: Option<u64>, limit: usize) -> Answer<Vec<FleetEvent>> {
        self.read(move |db| journal::since(db, cursor, limit)).await
    }

    async fn keep_lessons(&self, lessons: Vec<LessonRecord>) -> Answer<()> {
        self.note(move |db| lessons::keep(db, &lessons)).await
    }
    async fn lessons(&self) -> Answer<Vec<LessonRecord>> {
        self.read(lessons::all).await
    }

    async fn may_get(&self, node: NodeId, digest: Digest) -> Answer<bool> {
        self.read(move |db| tags::may_get(db, node, digest)).await
    }
    async fn tag_by_digest(&self, digest: Digest) -> Answer<Option<TagRecord>> {
        self.read(move |db| tags::tag_by_digest(db, digest)).await
    }
    async fn tag(&self, request: RequestId, tag: &Name) -> Answer<Option<TagRecord>> {
        let tag = tag.clone();
        self.read(move |db| tags::tag(db, request, &tag)).await
    }
    async fn progress(&self, request: RequestId, after: usize) -> Answer<Option<ProgressRecord>> {
        self.read(move |db| view::progress(db, request, after)).await
    }
    async fn view(&self, request: RequestId) -> Answer<Option<RequestRecord>> {
        self.read(move |db| view::view(db, request)).await
    }
    async fn requests(&self, limit: usize) -> Answer<Vec<RequestRow>> {
        self.read(move |db| view::requests(db, limit)).await
    }
    async fn collect(&self, tags: Duration, traces: Duration, limit: usize) -> Answer<Vec<Digest>> {
        self.write(move |db| collect::collect(db, tags, traces, limit)).await
    }
}
