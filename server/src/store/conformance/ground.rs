//! What the scenarios stand on: a store, time moved by hand, and short words for what servers and nodes do.

use super::Make;
use crate::store::{
    AcceptOutcome, Arrival, AssignOutcome, Assignment, CommitOutcome, Credential, EnrolledAs, FailOutcome, NewToken, OpenedSession,
    OutputRecord, ReadyStep, Store, StoreError, Take, Ticker,
};
use ouro_common::clock::WallTime;
use ouro_common::document::{DecisionView, StepView};
use ouro_common::envelope::{Envelope, Principal};
use ouro_common::id::{AgentRunId, AttemptKey, BootId, Digest, InstanceId, Name, NodeId, RequestId};
use ouro_common::plan::{Plan, Step, Tags};
use ouro_common::step::{Evidence, FailureClass, RequestState, StepState};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Time that passes when a scenario says so.
#[derive(Default)]
pub(crate) struct HandTicker {
    elapsed_ms: AtomicU64,
    wall_ms: AtomicU64,
}

impl HandTicker {
    /// Lets time pass.
    pub(crate) fn pass(&self, time: Duration) {
        self.elapsed_ms.fetch_add(time.as_millis() as u64, Ordering::SeqCst);
    }
    /// Sets the wall clock, as people and NTP do.
    pub(crate) fn set_wall(&self, unix_ms: u64) {
        self.wall_ms.store(unix_ms, Ordering::SeqCst);
    }
}

impl Ticker for HandTicker {
    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.elapsed_ms.load(Ordering::SeqCst))
    }
    fn wall(&self) -> WallTime {
        WallTime(self.wall_ms.load(Ordering::SeqCst))
    }
}

/// A node with an open session.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) session_epoch: u64,
    pub(crate) name: String,
}

/// A server process with its store.
pub(crate) struct Ground {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) ticker: Arc<HandTicker>,
    pub(crate) instance: InstanceId,
    serial: AtomicU64,
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A step that reads and writes the given tags and whose work is named by `work`.
pub(crate) fn step(id: &str, work: &str, reads: &[&str], writes: &str) -> Step {
    Step {
        id: name(id),
        container: "work:1.0.0".parse().unwrap(),
        digest: Digest::sha256([7; 32]),
        params: serde_json::json!({ "work": work }),
        inputs: reads.iter().enumerate().map(|(i, tag)| (name(&format!("in{i}")), Tags::One(name(tag)))).collect(),
        outputs: [(name("out"), name(writes))].into(),
    }
}

pub(crate) fn plan(steps: Vec<Step>, answer: &str) -> Plan {
    Plan { planner: "rules-1".into(), steps, answer: name(answer) }
}

/// prompt → s1 → s2 → s3 → answer.
pub(crate) fn chain() -> Plan {
    let steps = vec![step("s1", "1", &["prompt"], "a"), step("s2", "2", &["a"], "b"), step("s3", "3", &["b"], "answer")];
    plan(steps, "answer")
}

/// A single step.
pub(crate) fn single() -> Plan {
    plan(vec![step("s1", "1", &["prompt"], "answer")], "answer")
}

impl Ground {
    pub(crate) fn new(make: &Make) -> Self {
        let ticker = Arc::new(HandTicker::default());
        ticker.set_wall(1_700_000_000_000);
        let serial = AtomicU64::new(1);
        Self { store: make(ticker.clone()), ticker, instance: InstanceId::from_parts(1, [1; 10]), serial }
    }

    /// The process ends and another one starts, whose monotonic clock begins at zero.
    pub(crate) fn restart(self, make: &Make) -> Self {
        let next = self.serial.load(Ordering::SeqCst) + 1000;
        drop(self.store);
        let ground = Self::new(make);
        ground.serial.store(next, Ordering::SeqCst);
        Self { instance: InstanceId::from_parts(2, [2; 10]), ..ground }
    }

    /// Ten bytes that were not given before.
    pub(crate) fn fresh(&self) -> [u8; 10] {
        let mut bytes = [0; 10];
        bytes[2..].copy_from_slice(&self.serial.fetch_add(1, Ordering::SeqCst).to_be_bytes());
        bytes
    }

    pub(crate) async fn token(&self, id: &str, uses: u32, require_approval: bool) {
        let token = NewToken {
            id: id.into(),
            secret_hash: Digest::blake3(id.as_bytes()),
            role: EnrolledAs::Node,
            labels: [("owner".to_string(), "ada".to_string())].into(),
            uses,
            lifetime: Duration::from_secs(3600),
            require_approval,
        };
        self.store.create_token(token).await.unwrap();
    }

    pub(crate) fn credential(&self, host: &str) -> Credential {
        let fresh = self.fresh();
        Credential {
            spki: Digest::blake3(&fresh),
            name: host.into(),
            fresh_id: NodeId::from_parts(5, fresh),
            require_approval: false,
        }
    }

    /// A node that has joined and is online.
    pub(crate) async fn node(&self, host: &str) -> Node {
        let token = format!("for-{host}");
        self.token(&token, 1, false).await;
        let secret = Digest::blake3(token.as_bytes());
        let redeemed = self.store.redeem_token(&token, secret, self.credential(host)).await.unwrap().unwrap();
        let session_epoch = self.online(redeemed.id).await;
        Node { id: redeemed.id, session_epoch, name: redeemed.name }
    }

    /// Opens a session; its epoch.
    pub(crate) async fn online(&self, node: NodeId) -> u64 {
        match self.open(node).await {
            OpenedSession::Open { session_epoch, .. } => session_epoch,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn open(&self, node: NodeId) -> OpenedSession {
        let (run, boot) = (AgentRunId::from_parts(3, [3; 10]), BootId::from_parts(4, [4; 10]));
        let arrival = Arrival { instance: self.instance, run, boot, old_session_answers: None };
        self.store.open_session(node, arrival).await.unwrap()
    }

    pub(crate) fn envelope(&self, prompt: &str) -> Envelope {
        Envelope::new(RequestId::from_parts(9, self.fresh()), Principal::Operator("ada".into()), prompt)
    }

    /// A request that was accepted and planned.
    pub(crate) async fn request(&self, plan: &Plan) -> RequestId {
        let envelope = self.envelope("hello");
        assert_eq!(self.store.accept_request(&envelope).await.unwrap(), AcceptOutcome::Accepted);
        self.store.attach_plan(envelope.id, 1, plan).await.unwrap();
        envelope.id
    }

    pub(crate) async fn take(&self) -> Vec<ReadyStep> {
        self.store.take_ready(self.instance, 100, Duration::from_secs(10), Take::All).await.unwrap()
    }

    pub(crate) fn assignment(&self, step: &ReadyStep, node: &Node) -> Assignment {
        Assignment {
            request: step.request,
            plan: step.plan,
            step: step.step.id.clone(),
            expected_epoch: step.expected_epoch,
            node: node.id,
            session_epoch: node.session_epoch,
            slots: 1,
            decision: DecisionView { winner: Some(node.id), ..DecisionView::default() },
            predicted_ms: 12.0,
            chain: vec![],
        }
    }

    pub(crate) async fn assign(&self, step: &ReadyStep, node: &Node) -> AssignOutcome {
        self.store.assign(vec![self.assignment(step, node)]).await.unwrap().remove(0)
    }

    /// Gives a ready step to a node.
    pub(crate) async fn place(&self, request: RequestId, step: &str, node: &Node) -> AttemptKey {
        let ready = self.take().await;
        let ready = ready
            .iter()
            .find(|r| r.request == request && r.step.id == name(step))
            .unwrap_or_else(|| panic!("{step} is not ready"));
        match self.assign(ready, node).await {
            AssignOutcome::Assigned { epoch, .. } => AttemptKey { request, plan: ready.plan, step: name(step), epoch },
            other => panic!("{step} on {}: {other:?}", node.name),
        }
    }

    /// The output of a step, which depends on nothing but the step.
    pub(crate) fn output(key: &AttemptKey, large: bool) -> OutputRecord {
        let bytes = format!("result of {} in {}", key.step, key.request).into_bytes();
        OutputRecord {
            port: name("out"),
            media: "text/plain".into(),
            digest: Digest::blake3(&bytes),
            size_bytes: bytes.len() as u64,
            inline: (!large).then_some(bytes),
            on_server: false,
        }
    }

    pub(crate) async fn commit(&self, key: &AttemptKey, node: &Node, large: bool) -> CommitOutcome {
        self.try_commit(key, node, vec![Self::output(key, large)]).await.unwrap()
    }

    pub(crate) async fn try_commit(&self, key: &AttemptKey, node: &Node, outputs: Vec<OutputRecord>) -> Result<CommitOutcome, StoreError> {
        self.store.commit_result(key, node.id, outputs, BTreeMap::from([("run".to_string(), 3.5)])).await
    }

    /// Places and commits a step.
    pub(crate) async fn run(&self, request: RequestId, step: &str, node: &Node, large: bool) -> CommitOutcome {
        let key = self.place(request, step, node).await;
        self.commit(&key, node, large).await
    }

    pub(crate) async fn fail(&self, key: &AttemptKey, node: &Node, class: FailureClass, evidence: Option<Evidence>) -> FailOutcome {
        self.store.fail_attempt(key, node.id, class, "it broke", evidence).await.unwrap()
    }

    pub(crate) async fn state(&self, request: RequestId) -> RequestState {
        self.store.view(request).await.unwrap().unwrap().state
    }

    pub(crate) async fn step(&self, request: RequestId, step: &str) -> StepView {
        let view = self.store.view(request).await.unwrap().unwrap();
        view.trace.steps.into_iter().find(|s| s.id == name(step)).unwrap()
    }

    /// The states of all steps, in the plan's order.
    pub(crate) async fn steps(&self, request: RequestId) -> Vec<StepState> {
        self.store.view(request).await.unwrap().unwrap().trace.steps.iter().map(|s| s.state).collect()
    }
}
