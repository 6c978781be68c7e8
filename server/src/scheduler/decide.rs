//! One decision over all ready steps, in order: each assignment changes what the steps after it see.
//!
//! A step whose best node is full stays ready and takes its place in that node's queue, so that the steps after it reckon
//! with it. Nothing here reads a clock or draws from anything but the seed.

use super::columns::Columns;
use super::factors::StandIns;
use super::filter::{Refused, Wanted, Work, check, holds};
use super::place::{Choice, Ranked, chance, choose};
use super::predict::{DETECTION_S, PredictContext, Prediction, free_in_s, memory_bytes, nominal_cost, prediction};
use super::refused::duration;
use super::report::{Refusals, SHOWN, candidates};
use super::snapshot::{Gate, NodeState, SessionState, Snapshot, StepState, WorkState};
use ouro_common::clock::Instant;
use ouro_common::container::{Manifest, Runtime};
use ouro_common::document::DecisionView;
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::{Digest, Name, NodeId, RequestId};
use ouro_common::mfpi::threshold::LIGHT_STEP_S;
use ouro_common::mfpi::{StepCost, Terms, expected_retry_s, reference_s};
use ouro_common::step::AdminState;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use sweep::Scratch;

/// What is to be done, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decision {
    /// When it was taken, on the store's clock.
    pub at: Instant,
    /// What it drew its chance from.
    pub seed: u64,
    /// What is to be done, in order.
    pub actions: Vec<Action>,
    /// Every step that was looked at, whether something is done about it or it waits.
    pub report: Vec<StepReport>,
}

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "action")]
pub enum Action {
    /// Give a step to a node.
    Assign {
        /// Its request.
        request: RequestId,
        /// The number of its plan.
        plan: u32,
        /// The step.
        step: Name,
        /// To whom.
        node: NodeId,
        /// The session this was decided for.
        session_epoch: u64,
        /// At most so many attempts may be live on the node, this one included.
        slots: u32,
        /// Seconds by term.
        predicted: Terms,
        /// Their sum.
        total_s: f64,
        /// The decision for the trace.
        view: DecisionView,
    },
    /// End the request: no node could ever take the step.
    CannotPlace {
        /// Its request.
        request: RequestId,
        /// The number of its plan.
        plan: u32,
        /// The step.
        step: Name,
        /// Why, and the nearest remedy.
        fault: Fault,
        /// The decision for the trace.
        view: DecisionView,
    },
}

/// How the decision about one step came to be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepReport {
    /// Its request.
    pub request: RequestId,
    /// The number of its plan.
    pub plan: u32,
    /// The step.
    pub step: Name,
    /// Candidates, refusals, and the remedy if it waits.
    pub view: DecisionView,
}

/// Decides about all steps of a snapshot. The order of its nodes does not matter.
pub fn decide(snapshot: &Snapshot, now: Instant, seed: u64) -> Decision {
    decide_over(&mut Columns::new(snapshot.nodes.clone()), &snapshot.work(), now, seed)
}

/// The same over columns that are kept between decisions.
pub fn decide_over(columns: &mut Columns, work: &WorkState, now: Instant, seed: u64) -> Decision {
    columns.prepare(work.containers.iter());
    Run::new(columns, work, now, seed).all()
}

/// What this decision has put on a node so far.
#[derive(Default)]
struct Added {
    /// Slots that were given away.
    live: usize,
    /// Attempts that share a slot with others.
    joined: u32,
    /// Attempts assigned of each language model.
    together: BTreeMap<Digest, u32>,
    /// Whether one of them must be alone.
    alone: bool,
    /// The memory that the containers they plug will take, bytes: the node's readings do not show it yet.
    plugging: BTreeMap<Digest, u64>,
    /// When these and the steps that wait for the node are predicted to end, seconds.
    ends_s: Vec<f64>,
}

impl Added {
    /// How many attempts of the same language model the step would be computed together with, in their slot.
    fn beside(&self, node: &NodeState, wanted: &Wanted<'_>) -> Option<u32> {
        let added = self.together.get(&wanted.step.container).copied().unwrap_or(0);
        let together = wanted.manifest.runtime == Runtime::Gguf && !wanted.step.alone;
        if together { node.beside(&wanted.step.container, added) } else { None }
    }
}

struct Run<'a> {
    columns: &'a Columns,
    /// The nodes by id.
    nodes: &'a [Arc<NodeState>],
    work: &'a WorkState,
    stand_ins: StandIns<'a>,
    added: BTreeMap<usize, Added>,
    scratch: Scratch,
    ends_s: Vec<f64>,
    now: Instant,
    seed: u64,
    /// Looks at the nodes one by one, as the oracle of the tests does.
    plainly: bool,
}

/// What looking at every node gave.
struct Survey<'a> {
    ranked: Vec<Ranked>,
    refusals: Refusals<'a>,
    /// Whether any node has the container.
    held: bool,
    /// Whether any node could take it some day, were the container there.
    fitting: bool,
    /// Whether such a node has it.
    fitting_holder: bool,
    /// The node that would take the step if it were idle, and is soonest.
    busy: Option<(f64, usize)>,
}

impl<'a> Run<'a> {
    fn new(columns: &'a Columns, work: &'a WorkState, now: Instant, seed: u64) -> Self {
        let nodes = columns.nodes();
        let scratch = Scratch::new(nodes.len(), columns.queues(now));
        let (stand_ins, added, ends_s) = (columns.stand_ins(), BTreeMap::new(), Vec::new());
        Self { columns, nodes, work, stand_ins, added, scratch, ends_s, now, seed, plainly: false }
    }

    fn all(mut self) -> Decision {
        let mut decision = Decision { at: self.now, seed: self.seed, actions: Vec::new(), report: Vec::new() };
        // Only those that waited before ask for it, and ten thousand nodes are many to ask.
        let mut room = if self.work.steps.iter().any(|step| step.waited) { self.room() } else { usize::MAX };
        for step in &self.work.steps {
            if step.waited && room == 0 {
                continue;
            }
            let (view, action) = match self.work.containers.get(&step.container) {
                Some(manifest) => self.step(step, manifest),
                None => (self.without_manifest(step), None),
            };
            if matches!(action, Some(Action::Assign { .. })) {
                room = room.saturating_sub(1);
            }
            decision.actions.extend(action);
            decision.report.push(StepReport { request: step.request, plan: step.plan, step: step.step.clone(), view });
        }
        decision
    }

    /// How many attempts more all nodes together could take, or somewhat more than that.
    fn room(&self) -> usize {
        let reachable = |n: &&Arc<NodeState>| n.admin == AdminState::Active && n.session == SessionState::Online && !n.runs_alone;
        let open = self.nodes.iter().filter(reachable).filter(|n| !matches!(n.gate, Gate::Refuse(_)));
        // Whoever begins to compute a language model has room for more of it.
        let language = |s: &StepState| self.work.containers.get(&s.container).is_some_and(|m| m.runtime == Runtime::Gguf);
        let languages = self.work.steps.iter().any(language);
        let together = |n: &NodeState| if languages { n.batch as usize } else { 0 };
        open.map(|n| (most_live(n, false) as usize).saturating_sub(n.ends.len()) + together(n)).sum()
    }

    fn step(&mut self, step: &'a StepState, manifest: &'a Manifest) -> (DecisionView, Option<Action>) {
        let nominal = nominal_cost(step, manifest);
        let module = self.work.module_labels.get(&step.container).map(String::as_str);
        let memory_bytes = memory_bytes(manifest, &nominal);
        let wanted = Wanted { step, manifest, memory_bytes, module, small_cache_bytes: self.small_cache_bytes(step) };
        let mut survey = self.survey(&wanted, &nominal);
        let choice = choose(&mut survey.ranked, SHOWN, &mut chance(self.seed, step.request, step.plan, &step.step));
        let reference_s = reference_s(&nominal);
        let mut view = DecisionView { seed: self.seed, ..DecisionView::default() };
        match choice {
            Some(Choice::Assign(chosen)) => {
                view.winner = Some(chosen.id);
                view.candidates = candidates(self.nodes, &survey.ranked, Some(&chosen), reference_s);
                view.refusals = survey.refusals.into_counts();
                self.reserve(&chosen, Some(&wanted));
                let action = self.assign(step, &chosen, view.clone());
                (view, Some(action))
            }
            Some(Choice::WaitFor(chosen)) => {
                view.candidates = candidates(self.nodes, &survey.ranked, None, reference_s);
                view.refusals = survey.refusals.into_counts();
                let name = &self.nodes[chosen.index].name;
                let free = duration(chosen.terms.queue_s);
                view.remedy = Some(format!("wait: {name} has its hands full and will still be done soonest; it is free in about {free}"));
                self.reserve(&chosen, None);
                (view, None)
            }
            None => {
                // Steps that came later must not keep the node busy for ever that this one waits to have alone.
                if let Some((_, index)) = survey.busy {
                    self.touch(index).alone = true;
                }
                self.unplaced(&wanted, survey, view)
            }
        }
    }

    /// The largest cache of a node that was too small for the step.
    fn small_cache_bytes(&self, step: &StepState) -> Option<u64> {
        let node = |id: &NodeId| self.nodes.iter().find(|node| node.id == *id);
        step.too_large_for.iter().filter_map(|id| node(id)?.profile.as_deref()?.cache_bytes).max()
    }

    /// Filters and predictions of every node, the cost of a loss included.
    fn survey(&mut self, wanted: &Wanted<'a>, nominal: &StepCost) -> Survey<'a> {
        let plainly = self.plainly || !wanted.step.too_large_for.is_empty();
        let swept = if plainly { None } else { self.sweep(wanted, nominal) };
        swept.unwrap_or_else(|| self.look_at_each(wanted, nominal))
    }

    /// The same, node by node: for a step that nobody can take, since it also says who is nearest to taking it.
    fn look_at_each(&mut self, wanted: &Wanted<'a>, nominal: &StepCost) -> Survey<'a> {
        let nodes = self.nodes;
        let mut survey = Survey {
            ranked: Vec::new(),
            refusals: Refusals::default(),
            held: false,
            fitting: false,
            fitting_holder: false,
            busy: None,
        };
        let failed_on = &wanted.step.failed_on;
        // The node where the step has not failed that is at work, and is soonest.
        let mut other: Option<(f64, usize)> = None;
        for (index, node) in nodes.iter().enumerate() {
            let held = holds(node, wanted);
            survey.held |= held;
            let judged = judge(node, wanted, nominal, (self.added.get(&index), &self.stand_ins), (self.now, &mut self.ends_s));
            let fitting = judged.as_ref().err().is_none_or(|refused| !refused.is_final());
            survey.fitting |= fitting;
            survey.fitting_holder |= fitting && held;
            match judged {
                Ok((Prediction { terms, mtbf_s, unknown }, has_room)) => {
                    survey.ranked.push(Ranked { index, id: node.id, terms, total_s: terms.total_s(), mtbf_s, unknown, has_room });
                }
                Err(refused) => {
                    let idle_in_s = node.remaining_s(self.now).fold(0.0, f64::max);
                    if matches!(refused, Refused::NotIdle { .. }) && survey.busy.is_none_or(|(soonest, _)| idle_in_s < soonest) {
                        survey.busy = Some((idle_in_s, index));
                    }
                    let waits = refused.is_over_soon() && !failed_on.contains(&node.id);
                    if waits && other.is_none_or(|(soonest, _)| idle_in_s < soonest) {
                        other = Some((idle_in_s, index));
                    }
                    survey.refusals.add(node, refused);
                }
            }
        }
        let failed = |c: &Ranked| failed_on.contains(&c.id);
        let others = survey.ranked.iter().any(|c| !failed(c));
        if !others && !survey.ranked.is_empty() && other.is_some() {
            // It would fail there again, and never be told from a step that only this node fails at.
            survey.busy = other;
        }
        if others || other.is_some() {
            for candidate in survey.ranked.iter().filter(|c| failed(c)) {
                survey.refusals.add(&nodes[candidate.index], Refused::FailedHere);
            }
            survey.ranked.retain(|c| !failed(c));
        }
        add_cost_of_loss(&mut survey.ranked);
        survey
    }

    /// Nobody can take it now: it waits, or it ends if nobody ever could.
    fn unplaced(&self, wanted: &Wanted<'a>, survey: Survey<'a>, mut view: DecisionView) -> (DecisionView, Option<Action>) {
        let container = wanted.manifest.reference().to_string();
        view.remedy = survey.refusals.remedy(&container);
        // A module that was pulled may come back. One that sits where it can never run is a matter for people, at once.
        let hopeless = if survey.held { !survey.fitting_holder } else { !survey.fitting };
        if !survey.held && !hopeless {
            view.remedy = Some(match wanted.module {
                Some(label) => format!("plug the module {label} back in: it carries {container}"),
                None => format!("plug in a module that carries {container}"),
            });
        }
        if !hopeless {
            view.refusals = survey.refusals.into_counts();
            return (view, None);
        }
        let why = match self.nodes.is_empty() {
            true => "no node has joined the fleet".to_string(),
            false => survey.refusals.sentence(),
        };
        let remedy = view.remedy.get_or_insert_with(|| "join a node".to_string()).clone();
        view.refusals = survey.refusals.into_counts();
        let step = wanted.step;
        let fault = Fault::new(FaultCode::CannotPlace, format!("no node can run {container}: {why}"))
            .at(&step.step)
            .remedy(remedy);
        let action = Action::CannotPlace { request: step.request, plan: step.plan, step: step.step.clone(), fault, view: view.clone() };
        (view, Some(action))
    }

    /// The container's manifest is not at hand, so nothing can be said of any node.
    fn without_manifest(&self, step: &StepState) -> DecisionView {
        let label = self.work.module_labels.get(&step.container);
        let remedy = match label {
            Some(label) => format!("plug the module {label} back in: nothing is known of {} without it", step.container),
            None => format!("plug in a module that carries {}", step.container),
        };
        DecisionView { seed: self.seed, remedy: Some(remedy), ..DecisionView::default() }
    }

    /// Reckons with the step from now on; `assigned` when it goes there now, `None` when it waits for the node.
    fn reserve(&mut self, chosen: &Ranked, assigned: Option<&Wanted<'_>>) {
        let node = &self.nodes[chosen.index];
        let loaded = &node.loaded;
        let added = self.touch(chosen.index);
        let shares = assigned.is_some_and(|wanted| added.beside(node, wanted).is_some());
        if !shares {
            added.ends_s.push(chosen.total_s);
        }
        let Some(wanted) = assigned else { return };
        added.live += usize::from(!shares);
        added.joined += u32::from(shares);
        if wanted.manifest.runtime == Runtime::Gguf {
            *added.together.entry(wanted.step.container).or_default() += 1;
        }
        added.alone |= wanted.step.alone;
        let container = wanted.step.container;
        if !loaded.contains(&container) {
            added.plugging.insert(container, wanted.memory_bytes);
        }
    }

    fn touch(&mut self, index: usize) -> &mut Added {
        self.scratch.touched[index] = true;
        self.added.entry(index).or_default()
    }

    fn assign(&self, step: &StepState, chosen: &Ranked, view: DecisionView) -> Action {
        let node = &self.nodes[chosen.index];
        Action::Assign {
            request: step.request,
            plan: step.plan,
            step: step.step.clone(),
            node: node.id,
            session_epoch: node.session_epoch,
            slots: most_live(node, step.alone) + node.sharing() + self.added.get(&chosen.index).map_or(0, |added| added.joined),
            predicted: chosen.terms,
            total_s: chosen.total_s,
            view,
        }
    }
}

/// The most attempts a node may have: one more than it can run, so that it need not wait for the server; one if the
/// step must be alone or the node is new.
fn most_live(node: &NodeState, alone: bool) -> u32 {
    if alone || node.commits < super::filter::TRUSTED_AFTER_COMMITS { 1 } else { node.slots.saturating_add(1) }
}

/// Filters and predicts one node; whether it has room for one more attempt.
fn judge<'a>(
    node: &'a NodeState,
    wanted: &Wanted<'a>,
    nominal: &StepCost,
    (added, stand_ins): (Option<&Added>, &StandIns<'_>),
    (now, ends_s): (Instant, &mut Vec<f64>),
) -> Result<(Prediction, bool), Refused<'a>> {
    let live = node.ends.len() + added.map_or(0, |a| a.live);
    let others = added.into_iter().flat_map(|a| &a.plugging).filter(|(container, _)| **container != wanted.step.container);
    let taken_bytes = others.fold(0u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
    let work = Work { live, alone: node.runs_alone || added.is_some_and(|a| a.alone), taken_bytes };
    let passed = check(node, wanted, work)?;
    ends_s.clear();
    ends_s.extend(node.remaining_s(now));
    ends_s.extend(added.into_iter().flat_map(|a| &a.ends_s));
    let beside = match added {
        Some(added) => added.beside(node, wanted),
        None => Added::default().beside(node, wanted),
    };
    // Who joins others waits for nobody.
    let free_in_s = if beside.is_some() { 0.0 } else { free_in_s(ends_s, node.slots) };
    let cx = PredictContext { stand_ins, processor: passed.processor, free_in_s, beside: beside.unwrap_or(0) };
    let mut prediction = prediction(node, wanted, nominal, &cx);
    if passed.memory_unknown {
        prediction.unknown.insert(super::factors::Factor::FreeMemory);
    }
    let terms = &prediction.terms;
    let seconds = terms.plug_s + terms.pre_s + terms.dec_s;
    match &node.gate {
        Gate::Light(why) if seconds > LIGHT_STEP_S => Err(Refused::LightLong { why, seconds }),
        _ => Ok((prediction, beside.is_some() || live < most_live(node, wanted.step.alone) as usize)),
    }
}

/// A loss costs the time until it is noticed and a run elsewhere: what the step takes on the median candidate.
fn add_cost_of_loss(ranked: &mut [Ranked]) {
    let mut totals: Vec<f64> = ranked.iter().map(|c| c.total_s).collect();
    if totals.is_empty() {
        return;
    }
    let middle = totals.len() / 2;
    let (_, median, _) = totals.select_nth_unstable_by(middle, f64::total_cmp);
    let retry_s = DETECTION_S + *median;
    for candidate in ranked {
        candidate.terms.retry_s = expected_retry_s(candidate.total_s, candidate.mtbf_s, retry_s);
        candidate.total_s = candidate.terms.total_s();
    }
}

#[cfg(test)]
mod laws;
mod sweep;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trust;
