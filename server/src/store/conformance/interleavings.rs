//! Whatever servers, nodes and people do in whatever order: one result a step, ends that are final, and steps that move
//! only as the rules allow.

use super::Make;
use super::ground::{Ground, Node, chain, name, plan, single, step};
use crate::store::AssignOutcome;
use ouro_common::id::{AttemptKey, RequestId};
use ouro_common::plan::Plan;
use ouro_common::step::{AttemptState, Evidence, FailureClass, LossReason, RequestState, StepState};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

/// Something that somebody does; indices are taken modulo what there is.
#[derive(Debug, Clone)]
enum Deed {
    Submit(u8),
    Replan(usize, u8),
    Assign(usize, usize),
    Commit { attempt: usize, node: Option<usize>, large: bool },
    Fail { attempt: usize, class: usize, evidence: bool },
    Release(usize, usize),
    DropHolder(usize),
    Upload(usize),
    Hangup(usize),
    Cancel(usize),
    Pass(u64),
}

fn deed() -> impl Strategy<Value = Deed> {
    let i = || 0..64_usize;
    prop_oneof![
        2 => (0..3_u8).prop_map(Deed::Submit),
        1 => (i(), 0..3_u8).prop_map(|(r, shape)| Deed::Replan(r, shape)),
        8 => (i(), i()).prop_map(|(s, n)| Deed::Assign(s, n)),
        8 => (i(), prop::option::weighted(0.1, i()), any::<bool>()).prop_map(|(attempt, node, large)| Deed::Commit { attempt, node, large }),
        3 => (i(), i(), prop::bool::weighted(0.3)).prop_map(|(attempt, class, evidence)| Deed::Fail { attempt, class, evidence }),
        2 => (i(), i()).prop_map(|(n, why)| Deed::Release(n, why)),
        2 => i().prop_map(Deed::DropHolder),
        1 => i().prop_map(Deed::Upload),
        1 => i().prop_map(Deed::Hangup),
        1 => i().prop_map(Deed::Cancel),
        1 => (0..200_000_u64).prop_map(Deed::Pass),
    ]
}

fn shape(kind: u8) -> Plan {
    match kind {
        0 => single(),
        1 => chain(),
        _ => {
            let steps = vec![
                step("top", "1", &["prompt"], "a"),
                step("left", "2", &["a"], "b"),
                step("right", "r", &["a"], "c"),
                step("bottom", "b", &["b", "c"], "answer"),
            ];
            plan(steps, "answer")
        }
    }
}

/// The fleet so far, and what must never change again.
struct World {
    ground: Ground,
    nodes: Vec<Node>,
    requests: Vec<RequestId>,
    plans: BTreeMap<RequestId, u32>,
    attempts: Vec<(AttemptKey, usize)>,
    ended: BTreeMap<RequestId, RequestState>,
    steps: BTreeMap<(RequestId, u32), Vec<StepState>>,
}

impl World {
    async fn new(make: &Make) -> Self {
        let ground = Ground::new(make);
        let mut nodes = Vec::new();
        for host in ["a", "b", "c"] {
            nodes.push(ground.node(host).await);
        }
        Self {
            ground,
            nodes,
            requests: vec![],
            plans: BTreeMap::new(),
            attempts: vec![],
            ended: BTreeMap::new(),
            steps: BTreeMap::new(),
        }
    }

    async fn submit(&mut self, kind: u8) {
        let request = self.ground.request(&shape(kind)).await;
        self.requests.push(request);
        self.plans.insert(request, 1);
    }

    async fn assign(&mut self, index: usize, node: usize) {
        let ready = self.ground.take().await;
        let Some(step) = ready.get(index % ready.len().max(1)) else {
            return;
        };
        // Every other time the steps that can only follow go along.
        let keys = if index.is_multiple_of(2) {
            self.ground.try_place_chain(step, &self.nodes[node % 3]).await
        } else if let AssignOutcome::Assigned { epoch, .. } = self.ground.assign(step, &self.nodes[node % 3]).await {
            vec![AttemptKey { request: step.request, plan: step.plan, step: step.step.id.clone(), epoch }]
        } else {
            vec![]
        };
        self.attempts.extend(keys.into_iter().map(|key| (key, node % 3)));
    }

    async fn deal_with_attempt(&mut self, deed: &Deed, attempt: usize) {
        let Some((key, owner)) = self.attempts.get(attempt % self.attempts.len().max(1)) else {
            return;
        };
        match deed {
            Deed::Commit { node, large, .. } => {
                self.ground.commit(key, &self.nodes[node.unwrap_or(*owner) % 3], *large).await;
            }
            Deed::Fail { class, evidence, .. } => {
                let class = FailureClass::ALL[class % FailureClass::ALL.len()];
                self.ground.fail(key, &self.nodes[*owner], class, evidence.then_some(Evidence::OomKill)).await;
            }
            _ => {
                self.ground.store.keep_on_server(Ground::output(key, true).digest).await.unwrap();
            }
        }
    }

    async fn deal_with_request(&mut self, deed: &Deed, index: usize) {
        let Some(request) = self.requests.get(index % self.requests.len().max(1)).copied() else {
            return;
        };
        let Deed::Replan(_, kind) = deed else {
            self.ground.store.cancel_request(request, "ada").await.unwrap();
            return;
        };
        if !self.ended.contains_key(&request) {
            let n = self.plans.get_mut(&request).unwrap();
            *n += 1;
            self.ground.store.attach_plan(request, *n, &shape(*kind)).await.unwrap();
        }
    }

    async fn deal_with_node(&mut self, deed: &Deed, index: usize) {
        let node = &mut self.nodes[index % 3];
        match deed {
            Deed::Release(_, why) => {
                let reason = LossReason::ALL[why % LossReason::ALL.len()];
                self.ground.store.release_attempts(node.id, reason, &[]).await.unwrap();
            }
            Deed::Hangup(_) => {
                self.ground.store.close_session(node.id, node.session_epoch, crate::store::SessionEnd::Left).await.unwrap();
                node.session_epoch = self.ground.online(node.id).await;
            }
            _ => {
                self.ground.store.drop_holder(node.id, None).await.unwrap();
            }
        }
    }

    async fn apply(&mut self, deed: &Deed) {
        match deed {
            Deed::Submit(kind) => self.submit(*kind).await,
            Deed::Assign(step, node) => self.assign(*step, *node).await,
            Deed::Commit { attempt, .. } | Deed::Fail { attempt, .. } | Deed::Upload(attempt) => {
                self.deal_with_attempt(deed, *attempt).await
            }
            Deed::Release(node, _) | Deed::DropHolder(node) | Deed::Hangup(node) => self.deal_with_node(deed, *node).await,
            Deed::Replan(request, _) | Deed::Cancel(request) => self.deal_with_request(deed, *request).await,
            Deed::Pass(ms) => {
                self.ground.ticker.pass(Duration::from_millis(*ms));
                self.ground.store.expire(10).await.unwrap();
            }
        }
    }

    async fn check(&mut self) {
        let live = self.ground.store.live_attempts(None).await.unwrap();
        for node in &self.nodes {
            let chain = |a: &crate::store::LiveAttempt| (a.key.request, a.key.plan, a.chain.clone().unwrap_or(a.key.step.clone()));
            let chains: std::collections::BTreeSet<_> = live.iter().filter(|a| a.node == node.id).map(chain).collect();
            assert!(chains.len() <= 2, "more than a slot and one in waiting");
        }
        for attempt in &live {
            let wanted: usize = attempt.step.inputs.values().map(|tags| tags.iter().count()).sum();
            assert_eq!(attempt.inputs.len() + attempt.pending.len(), wanted, "{}: an input that nobody makes", attempt.key);
        }
        for request in self.requests.clone() {
            self.check_request(request, live.iter().filter(|a| a.key.request == request).count()).await;
        }
    }

    async fn check_request(&mut self, request: RequestId, live: usize) {
        let view = self.ground.store.view(request).await.unwrap().unwrap();
        let steps = &view.trace.steps;
        let states: Vec<StepState> = steps.iter().map(|s| s.state).collect();
        for step in steps {
            let committed = step.attempts.iter().filter(|a| a.state == AttemptState::Committed).count();
            assert!(committed <= 1, "{} was committed {committed} times", step.id);
            let assigned: Vec<_> = step.attempts.iter().filter(|a| a.state == AttemptState::Assigned).map(|a| a.epoch).collect();
            let expected: Vec<_> = step.epoch.into_iter().filter(|_| step.state == StepState::Assigned).collect();
            assert_eq!(assigned, expected, "{} is {}", step.id, step.state);
        }
        assert_eq!(live, states.iter().filter(|s| **s == StepState::Assigned).count());
        if let Some(ended) = self.ended.get(&request) {
            assert_eq!(view.state, *ended, "an end is final");
        }
        if view.state.is_terminal() {
            assert!(!states.iter().any(|s| matches!(s, StepState::Blocked | StepState::Ready | StepState::Assigned)), "{states:?}");
            self.ended.insert(request, view.state);
        }
        assert_eq!(view.state == RequestState::Done, view.trace.result.is_some());
        for step in &view.waiting {
            assert_eq!(step.inputs.len(), step.step.inputs.len());
            for (port, tag) in &step.inputs {
                assert!(tag.tag == name("prompt") || tag.on_server || !tag.holders.is_empty() || self.inline(tag).await, "{port}");
            }
        }
        let key = (request, self.plans[&request]);
        for (before, after) in self.steps.get(&key).into_iter().flatten().zip(&states) {
            assert!(reachable(*before, *after), "{before} → {after}");
        }
        self.steps.insert(key, states);
    }

    async fn inline(&self, tag: &crate::store::TagRecord) -> bool {
        self.ground.store.tag(tag.request, &tag.tag).await.unwrap().is_some_and(|tag| tag.inline.is_some())
    }
}

/// Whether one verb can take a step from one state to another: it may pass through others on its way.
fn reachable(before: StepState, after: StepState) -> bool {
    let through = |middle: &StepState| before.can_become(*middle) && middle.can_become(after);
    before == after || before.can_become(after) || StepState::ALL.iter().any(through)
}

/// The property, over storages that `fresh` makes.
pub(crate) fn random_interleavings_keep_the_rules(fresh: fn() -> Make) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig { cases: 24, ..ProptestConfig::default() });
    let outcome = runner.run(&prop::collection::vec(deed(), 1..60), |deeds| {
        runtime.block_on(async {
            let mut world = World::new(&fresh()).await;
            for deed in &deeds {
                world.apply(deed).await;
                world.check().await;
            }
        });
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
