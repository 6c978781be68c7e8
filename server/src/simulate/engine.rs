//! One run in virtual time: requests come, are placed, fetched, plugged, computed and committed, and machines are lost.
//!
//! A machine computes one request after the other. What a request really takes is the formula with the machine's true
//! figures and the request's true length, times log-normal noise; the scheduler knows the claims and the mean length.
//! A lost machine is noticed after 20 s, as by the server; what it had is then placed again.

use super::machines::{FleetKind, Machine, fleet, foreign_load};
use super::policy::{Policy, Seen, choose, hide};
use super::trace::{Arrival, Trace, spread, waiting};
use super::work::{Job, MODELS, Model, capacity, models, true_terms};
use crate::scheduler::class::Class;
use crate::scheduler::lessons::Lessons;
use crate::scheduler::predict::DETECTION_S;
use crate::scheduler::snapshot::{NodeState, SessionState, Snapshot};
use crate::scheduler::{Action, decide};
use ouro_common::clock::Instant;
use ouro_common::container::ManifestError;
use ouro_common::id::Digest;
use ouro_common::mfpi::{ActualPhases, Residuals, Terms};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;

/// What is run.
#[derive(Debug, Clone, Copy)]
pub struct Scenario<'a> {
    /// When requests come.
    pub trace: &'a Trace,
    /// Which machines there are.
    pub fleet: FleetKind,
    /// How many.
    pub nodes: u32,
    /// Requests a second as a share of what all machines together could do.
    pub load: f64,
    /// How many requests.
    pub requests: usize,
    /// Makes fleet, lengths, noise and losses; the same for every policy.
    pub seed: u64,
}

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Seconds from each request's coming to its result, in the order of their coming.
    pub seconds: Vec<f64>,
    /// Requests that each machine computed, by the machine's number.
    pub shares: Vec<usize>,
    /// Machines that were lost.
    pub losses: usize,
}

/// Others' load is looked at so often, seconds.
const LOOK_EVERY_S: f64 = 60.0;
/// A lost machine comes back after this, seconds.
const AWAY_S: f64 = 60.0;
/// Noise of what a run takes, as the standard deviation of its logarithm.
const NOISE: f64 = 0.15;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive(usize),
    Wake(usize),
    Computed(usize, usize),
    Commit(usize, usize),
    Look(usize),
    Lose(usize),
    Noticed(usize),
    Return(usize),
}

/// A request on a machine.
#[derive(Debug, Clone)]
struct Attempt {
    job: usize,
    predicted: Terms,
    /// When the scheduler believes it ends, seconds.
    believed_end_s: f64,
    /// When its inputs are there.
    ready_s: f64,
    actual: Terms,
}

struct Run<'a> {
    policy: Policy,
    now_s: f64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    sequence: u64,
    machines: Vec<Machine>,
    models: &'a [Model],
    jobs: Vec<Job>,
    waiting: VecDeque<usize>,
    attempts: Vec<Attempt>,
    /// Attempts on each machine, in the order of their coming; those computed and not yet committed included.
    live: Vec<Vec<usize>>,
    running: Vec<Option<usize>>,
    away: Vec<bool>,
    snapshot: Snapshot,
    seen: Vec<Seen>,
    done_s: Vec<Option<f64>>,
    lessons: Lessons,
    turn: usize,
    losses: usize,
    /// The world's chance; the policy's own is apart, so that all policies meet the same world.
    world: ChaCha8Rng,
    own: ChaCha8Rng,
}

/// Runs one scenario under one policy.
///
/// # Errors
/// Never with a trace whose lengths are finite.
pub fn run(scenario: &Scenario<'_>, policy: Policy) -> Result<Outcome, ManifestError> {
    let mut rng = ChaCha8Rng::seed_from_u64(scenario.seed);
    let models = models(scenario.trace.mean_output())?;
    let digests: Vec<_> = models.iter().map(|m| m.digest).collect();
    let machines = fleet(scenario.fleet, scenario.nodes, &digests, &mut rng);
    let per_s = scenario.load * capacity(&machines, &models, &scenario.trace.arrivals);
    let arrivals = scenario.trace.window(scenario.requests, per_s, &mut rng);
    let mut run = Run::new(policy, machines, &models, &arrivals, &mut rng);
    while run.done_s.iter().any(Option::is_none) {
        let Some(Reverse((micros, _, event))) = run.events.pop() else {
            break;
        };
        run.now_s = micros as f64 / 1e6;
        run.happen(event);
    }
    let seconds = run.done_s.iter().zip(&run.jobs).map(|(done, job)| done.unwrap_or(f64::INFINITY) - job.at_s).collect();
    let mut shares = vec![0; run.machines.len()];
    run.machines.iter().zip(&mut shares).for_each(|(m, share)| *share = (m.state.commits - 100) as usize);
    Ok(Outcome { seconds, shares, losses: run.losses })
}

impl<'a> Run<'a> {
    fn new(policy: Policy, machines: Vec<Machine>, models: &'a [Model], arrivals: &[Arrival], rng: &mut ChaCha8Rng) -> Self {
        let count = machines.len();
        let jobs: Vec<Job> = arrivals.iter().enumerate().map(|(i, a)| Job::of(i, a, spread(1.0, NOISE, rng), rng)).collect();
        let containers = models.iter().map(|m| (m.digest, m.manifest.clone())).collect();
        let mut run = Self {
            policy,
            now_s: 0.0,
            events: BinaryHeap::new(),
            sequence: 0,
            seen: super::work::seen(&machines, models),
            snapshot: Snapshot {
                nodes: machines.iter().map(|m| Arc::new(m.state.clone())).collect(),
                containers,
                ..Snapshot::default()
            },
            done_s: vec![None; jobs.len()],
            machines,
            models,
            jobs,
            waiting: VecDeque::new(),
            attempts: Vec::new(),
            live: vec![Vec::new(); count],
            running: vec![None; count],
            away: vec![false; count],
            lessons: Lessons::default(),
            turn: 0,
            losses: 0,
            world: ChaCha8Rng::from_rng(rng),
            own: ChaCha8Rng::from_rng(rng),
        };
        for job in 0..run.jobs.len() {
            run.at(run.jobs[job].at_s, Event::Arrive(job));
        }
        for node in 0..count {
            run.machines[node].state.residuals = corrections(&mut run.lessons, &run.machines[node].state, models);
            run.at(LOOK_EVERY_S * node as f64 / count as f64, Event::Look(node));
            let lost_s = waiting(run.machines[node].lost_every_s, &mut run.world);
            run.at(lost_s, Event::Lose(node));
        }
        run
    }

    fn at(&mut self, at_s: f64, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse(((at_s.max(self.now_s) * 1e6).ceil() as u64, self.sequence, event)));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive(job) => self.waiting.push_back(job),
            Event::Wake(node) => return self.start(node),
            Event::Computed(node, attempt) => return self.computed(node, attempt),
            Event::Commit(node, attempt) => self.commit(node, attempt),
            Event::Look(node) => {
                let load = foreign_load(&mut self.world);
                self.machines[node].truth.foreign_load = load;
                self.machines[node].state.readings.foreign_load = Some(load);
                self.at(self.now_s + LOOK_EVERY_S, Event::Look(node));
            }
            Event::Lose(node) => return self.lose(node),
            Event::Noticed(node) => self.noticed(node),
            Event::Return(node) => {
                self.away[node] = false;
                self.machines[node].state.session = SessionState::Online;
                let lost_s = waiting(self.machines[node].lost_every_s, &mut self.world);
                self.at(self.now_s + lost_s, Event::Lose(node));
            }
        }
        self.place();
    }

    fn place(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        if self.policy.decides() { self.place_by_decision() } else { self.place_by_rule() }
    }

    fn place_by_decision(&mut self) {
        let now = instant(self.now_s);
        let nodes = self.snapshot.nodes.iter_mut().zip(&self.machines).zip(&self.live).zip(&self.running);
        for (((node, machine), live), running) in nodes {
            let node = Arc::make_mut(node);
            *node = machine.state.clone();
            node.ends = live.iter().map(|a| instant(self.attempts[*a].believed_end_s)).collect();
            let used = running.map_or(0, |a| self.models[self.jobs[self.attempts[a].job].model].memory_bytes);
            node.readings.memory_available_bytes = Some(machine.memory_bytes.saturating_sub(used));
            if let Some(factor) = self.policy.hidden() {
                hide(factor, node, now);
            }
        }
        self.snapshot.steps = self.waiting.iter().map(|job| self.jobs[*job].step(self.models)).collect();
        let decision = decide(&self.snapshot, now, self.sequence);
        for action in decision.actions {
            if let Action::Assign { request, node, predicted, total_s, .. } = action
                && let Some(position) = self.waiting.iter().position(|j| self.jobs[*j].request == request)
                && let Some(node) = self.machines.iter().position(|m| m.state.id == node)
                && let Some(job) = self.waiting.remove(position)
            {
                self.assign(job, node, predicted, total_s);
            }
        }
    }

    fn place_by_rule(&mut self) {
        while let Some(job) = self.waiting.front().copied() {
            let model = &self.models[self.jobs[job].model];
            for (node, seen) in self.seen.iter_mut().enumerate() {
                let machine = &self.machines[node];
                seen.eligible = machine.state.session == SessionState::Online && machine.memory_bytes >= model.memory_bytes;
                seen.queued = self.live[node].len();
                seen.loaded = machine.state.loaded.contains(&model.digest);
                seen.normal[4] = 1.0 - machine.state.readings.foreign_load.unwrap_or(0.0);
            }
            self.turn += 1;
            let Some(node) = choose(self.policy, &self.seen, self.turn, &mut self.own) else {
                return;
            };
            self.waiting.pop_front();
            self.assign(job, node, Terms::default(), 0.0);
        }
    }

    fn assign(&mut self, job: usize, node: usize, predicted: Terms, total_s: f64) {
        let truth = &self.machines[node].truth;
        let down_s = truth.link.srtt_s / 2.0 + self.jobs[job].bytes_in() / truth.link.down_bytes_per_s;
        let (ready_s, believed_end_s) = (self.now_s + down_s, self.now_s + total_s);
        self.attempts.push(Attempt { job, predicted, believed_end_s, ready_s, actual: Terms::default() });
        self.live[node].push(self.attempts.len() - 1);
        self.at(ready_s, Event::Wake(node));
    }

    /// The machine begins with the next request whose inputs are there.
    fn start(&mut self, node: usize) {
        if self.away[node] || self.running[node].is_some() {
            return;
        }
        let fresh = |a: &&usize| self.attempts[**a].actual == Terms::default() && self.attempts[**a].ready_s <= self.now_s + 1e-6;
        let Some(attempt) = self.live[node].iter().find(fresh).copied() else {
            return;
        };
        let job = &self.jobs[self.attempts[attempt].job];
        let model = &self.models[job.model];
        let machine = &mut self.machines[node];
        let actual = true_terms(machine, job, model);
        plug(machine, model, self.models);
        let busy_s = actual.plug_s + actual.pre_s + actual.dec_s;
        self.attempts[attempt].actual = actual;
        self.running[node] = Some(attempt);
        self.at(self.now_s + busy_s, Event::Computed(node, attempt));
    }

    fn computed(&mut self, node: usize, attempt: usize) {
        if self.running[node] != Some(attempt) {
            return;
        }
        self.running[node] = None;
        let link = &self.machines[node].truth.link;
        let up_s = link.srtt_s / 2.0 + link.rttvar_s + self.jobs[self.attempts[attempt].job].bytes_out() / link.up_bytes_per_s;
        self.at(self.now_s + up_s, Event::Commit(node, attempt));
        self.start(node);
    }

    fn commit(&mut self, node: usize, attempt: usize) {
        let Some(position) = self.live[node].iter().position(|a| *a == attempt) else {
            return;
        };
        self.live[node].remove(position);
        let Attempt { job, actual, predicted, .. } = self.attempts[attempt].clone();
        self.done_s[job].get_or_insert(self.now_s);
        let state = &mut self.machines[node].state;
        state.commits += 1;
        let phases = ActualPhases {
            plug_s: (actual.plug_s > 0.0).then_some(actual.plug_s),
            pre_s: Some(actual.pre_s),
            dec_s: Some(actual.dec_s),
            run_s: None,
        };
        let id = state.id;
        self.lessons.learn(id, self.models[self.jobs[job].model].digest, &predicted, &phases);
        let moved = self.lessons.take_moved();
        let follows = |m: &Machine| m.state.id == id || moved.iter().any(|(class, _)| *class == Class::of(m.state.profile.as_deref()));
        for machine in self.machines.iter_mut().filter(|m| follows(m)) {
            machine.state.residuals = corrections(&mut self.lessons, &machine.state, self.models);
        }
    }

    /// The machine is gone; the server does not know yet, and goes on giving it work.
    fn lose(&mut self, node: usize) {
        self.losses += 1;
        self.away[node] = true;
        self.running[node] = None;
        self.machines[node].state.loaded.clear();
        self.at(self.now_s + DETECTION_S, Event::Noticed(node));
    }

    fn noticed(&mut self, node: usize) {
        self.machines[node].state.session = SessionState::Offline;
        for attempt in std::mem::take(&mut self.live[node]).into_iter().rev() {
            let job = self.attempts[attempt].job;
            if self.done_s[job].is_none() {
                self.waiting.push_front(job);
            }
        }
        self.at(self.now_s + AWAY_S - DETECTION_S, Event::Return(node));
    }
}

fn corrections(lessons: &mut Lessons, state: &NodeState, models: &[Model]) -> BTreeMap<Digest, Residuals> {
    let offers = models.iter().map(|m| (m.digest, m.manifest.runtime));
    lessons.of(state.id, Class::of(state.profile.as_deref()), offers)
}

/// A moment of the run on the clock that decisions are told.
fn instant(seconds: f64) -> Instant {
    Instant((seconds * 1e3) as u64)
}

/// Puts a container into memory, and others out of it that are in the way.
fn plug(machine: &mut Machine, model: &Model, models: &[Model]) {
    let loaded = &mut machine.state.loaded;
    loaded.insert(model.digest);
    let sizes: BTreeMap<_, _> = models.iter().map(|m| (m.digest, m.memory_bytes)).collect();
    for other in MODELS.iter().enumerate().map(|(i, _)| models[i].digest) {
        let used: u64 = loaded.iter().map(|d| sizes[d]).sum();
        if used > machine.memory_bytes && other != model.digest {
            loaded.remove(&other);
        }
    }
}
