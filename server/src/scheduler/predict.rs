//! From a snapshot's node and step to seconds: the node's believed factors and the step's cost there.

use super::class::Class;
use super::factors::{Factor, StandIns, UnknownSet, believed};
use super::filter::Wanted;
use super::processor::Processor;
use super::snapshot::{NodeState, StepState};
use ouro_common::container::{Manifest, Runtime};
use ouro_common::id::NodeId;
use ouro_common::mfpi::{LinkFactors, NodeFactors, PlugState, Residuals, StepCost, Terms, node_index, predict};
use std::cell::RefCell;
use std::sync::Arc;

/// Bytes of text for each token: an English word and its space make about one and a third tokens.
const TEXT_BYTES_PER_TOKEN: f64 = 4.0;
/// From the last heartbeat to a node's being given up: what a loss costs before the step runs elsewhere, seconds.
pub const DETECTION_S: f64 = 20.0;
/// A module that says it wakes later than this would not be waited for, seconds.
const LONGEST_WAKE_S: f64 = 600.0;
/// Corrections beyond this would only overflow, ln.
const RESIDUAL_LIMIT: f64 = 40.0;

/// A prediction, and which of its factors were not known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Prediction {
    /// Seconds by term, without the cost of a loss, which depends on the other candidates.
    pub(crate) terms: Terms,
    pub(crate) mtbf_s: f64,
    pub(crate) unknown: UnknownSet,
}

/// What a step costs a node that has its container loaded and none of its inputs.
pub(crate) fn nominal_cost(step: &StepState, manifest: &Manifest) -> StepCost {
    let cost = &manifest.cost;
    let bytes_in: f64 = step.inputs.iter().map(|i| i.size_bytes as f64).sum();
    let language = manifest.runtime == Runtime::Gguf && cost.active_params > 0.0;
    let prompt_tokens = if language { bytes_in / TEXT_BYTES_PER_TOKEN } else { 0.0 };
    StepCost {
        weights_resident_bytes: cost.weights_bytes as f64,
        weights_streamed_bytes: 0.0,
        prompt_flops: 2.0 * cost.active_params * prompt_tokens + cost.flops_per_input_byte * bytes_in + cost.flops_fixed,
        token_flops: 2.0 * cost.active_params,
        kv_bytes_per_token: cost.kv_bytes_per_token,
        prompt_tokens,
        output_tokens: if language { cost.output_tokens } else { 0.0 },
        batch: 1.0,
        bytes_in,
        bytes_out: cost.output_bytes as f64,
        plug: PlugState::Loaded,
    }
}

/// Memory while the step runs: what the manifest asks for, and at least its weights and the cache.
pub(crate) fn memory_bytes(manifest: &Manifest, cost: &StepCost) -> u64 {
    let cache = cost.kv_bytes_per_token * (cost.prompt_tokens + cost.output_tokens);
    manifest.needs.memory_bytes.max(manifest.cost.weights_bytes.saturating_add(cache as u64))
}

/// The seconds until `slots` leaves room for one more, from when each of a node's attempts is predicted to end.
pub(crate) fn free_in_s(ends_s: &mut [f64], slots: u32) -> f64 {
    let slots = slots.max(1) as usize;
    if ends_s.len() < slots {
        return 0.0;
    }
    let until = ends_s.len() - slots;
    let (_, end, _) = ends_s.select_nth_unstable_by(until, f64::total_cmp);
    if end.is_finite() { end.max(0.0) } else { 0.0 }
}

/// However much of a processor others use, whoever comes gets turns: they keep this share from a step at most.
const MOST_TAKEN: f64 = 0.8;

/// The share of its processors that a node may use at all.
fn allowed_share(node: &NodeState) -> f64 {
    node.readings.processor_share.filter(|share| *share > 0.0 && *share <= 1.0).unwrap_or(1.0)
}

/// A node's factors as they are believed now; idle, on its CPU, without the cost of a loss.
pub(crate) fn node_factors(node: &NodeState, stand_ins: &StandIns<'_>, unknown: &mut UnknownSet) -> NodeFactors {
    let class = Class::of(node.profile.as_deref());
    let mut figure = |factor| stand_ins.figure(factor, node, class, unknown);
    NodeFactors {
        bandwidth_bytes_per_s: figure(Factor::Bandwidth),
        flops_per_s: figure(Factor::Flops),
        disk_bytes_per_s: f64::INFINITY,
        hash_bytes_per_s: f64::INFINITY,
        pcie_bytes_per_s: None,
        link: LinkFactors {
            srtt_s: figure(Factor::Srtt),
            rttvar_s: figure(Factor::Rttvar),
            down_bytes_per_s: figure(Factor::Down),
            up_bytes_per_s: figure(Factor::Up),
        },
        clock_cap: figure(Factor::ClockCap),
        // What a limit keeps from the node is as good as used by others, but nobody can claim it back.
        foreign_load: figure(Factor::ForeignLoad).min(MOST_TAKEN).max(1.0 - allowed_share(node)),
        free_in_s: 0.0,
        mtbf_s: class.mtbf_s(),
        retry_s: 0.0,
    }
}

/// The seconds a step takes on a node that passed the filters.
pub(crate) fn prediction(node: &NodeState, wanted: &Wanted<'_>, nominal: &StepCost, cx: &PredictContext<'_, '_>) -> Prediction {
    let mut unknown = UnknownSet::default();
    let mut factors = node_factors(node, cx.stand_ins, &mut unknown);
    factors.free_in_s = cx.free_in_s;
    let to_accelerator = match cx.processor {
        Processor::Host { measured } => {
            if !measured {
                unknown.insert(Factor::Accelerator);
            }
            false
        }
        Processor::Discrete { path_bytes_per_s } => {
            unknown.insert(Factor::Accelerator);
            factors.pcie_bytes_per_s = path_bytes_per_s;
            true
        }
    };
    let batch = nominal.batch.max(1.0) + f64::from(cx.beside);
    let mut cost = StepCost { bytes_in: missing_inputs(wanted.step, node.id), batch, ..nominal.clone() };
    if !node.loaded.contains(&wanted.step.container) {
        let class = Class::of(node.profile.as_deref());
        let module = node.present.get(&wanted.step.container).copied().flatten();
        factors.disk_bytes_per_s = module
            .and_then(|rate| believed(rate, class.maxima().disk))
            .unwrap_or_else(|| cx.stand_ins.figure(Factor::Disk, node, class, &mut unknown));
        factors.hash_bytes_per_s = cx.stand_ins.figure(Factor::Hash, node, class, &mut unknown);
        cost.plug = PlugState::Absent {
            missing_bytes: wanted.manifest.cost.weights_bytes as f64,
            unverified: true,
            init_s: wanted.manifest.cost.init_s + awake_in_s(node, wanted),
            to_accelerator,
        };
    }
    let residuals = node.residuals.get(&wanted.step.container).map_or_else(Residuals::default, sane);
    Prediction { terms: predict(&factors, &cost, &residuals), mtbf_s: factors.mtbf_s, unknown }
}

/// The seconds until the module with the container is awake.
fn awake_in_s(node: &NodeState, wanted: &Wanted<'_>) -> f64 {
    node.asleep
        .get(&wanted.step.container)
        .copied()
        .filter(|s| s.is_finite())
        .map_or(0.0, |s| s.clamp(0.0, LONGEST_WAKE_S))
}

/// What a prediction needs besides node and step.
pub(crate) struct PredictContext<'a, 'n> {
    pub(crate) stand_ins: &'a StandIns<'n>,
    pub(crate) processor: Processor,
    pub(crate) free_in_s: f64,
    /// Attempts of the same language model that it is computed together with.
    pub(crate) beside: u32,
}

/// Input bytes that are not on the node yet.
pub(crate) fn missing_inputs(step: &StepState, node: NodeId) -> f64 {
    step.inputs.iter().filter(|i| !i.holders.contains(&node)).map(|i| i.size_bytes as f64).sum()
}

/// The corrections as far as they can be reckoned with.
pub(crate) fn sane(residuals: &Residuals) -> Residuals {
    let one = |r: f64| if r.is_finite() { r.clamp(-RESIDUAL_LIMIT, RESIDUAL_LIMIT) } else { 0.0 };
    Residuals { plug: one(residuals.plug), pre: one(residuals.pre), dec: one(residuals.dec) }
}

/// Every node's index over the three fixed tasks, for display; `None` for a node that has not reported its speed.
pub fn display_indexes(nodes: &[Arc<NodeState>]) -> Vec<(NodeId, Option<f64>)> {
    let figures = RefCell::default();
    let stand_ins = StandIns::new(nodes, &figures);
    let index = |node: &NodeState| {
        let class = Class::of(node.profile.as_deref());
        Factor::Bandwidth.claim(node, class)?;
        Factor::Flops.claim(node, class)?;
        let mut factors = node_factors(node, &stand_ins, &mut UnknownSet::default());
        factors.disk_bytes_per_s = stand_ins.figure(Factor::Disk, node, class, &mut UnknownSet::default());
        factors.retry_s = DETECTION_S;
        Some(node_index(&factors))
    };
    nodes.iter().map(|node| (node.id, index(node))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_the_processor_counts_like_the_load_of_others_and_no_more_than_it() {
        let node = |load: f64, share: Option<f64>| {
            let mut node = NodeState::clone(&crate::scheduler::fleet::node(1));
            (node.readings.foreign_load, node.readings.processor_share) = (Some(load), share);
            let (nodes, figures) = (vec![Arc::new(node)], RefCell::default());
            node_factors(&nodes[0], &StandIns::new(&nodes, &figures), &mut UnknownSet::default()).foreign_load
        };
        assert_eq!((node(0.2, None), node(0.2, Some(0.25)), node(0.78, Some(0.25))), (0.2, 0.75, 0.78));
        assert_eq!((node(1.0, None), node(1.0, Some(0.05))), (0.8, 0.95), "others give way to who comes, a limit does not");
        for bad in [f64::NAN, 0.0, -1.0, 2.0] {
            assert_eq!(node(0.2, Some(bad)), 0.2, "{bad}");
        }
    }

    #[test]
    fn a_step_waits_for_the_attempt_that_leaves_it_a_slot() {
        assert_eq!(free_in_s(&mut [], 1), 0.0);
        assert_eq!(free_in_s(&mut [9.0], 2), 0.0);
        assert_eq!(free_in_s(&mut [9.0, 4.0], 2), 4.0);
        assert_eq!(free_in_s(&mut [9.0, 4.0, 6.0], 2), 6.0, "one waits already: the second end leaves a slot");
        assert_eq!(free_in_s(&mut [f64::NAN], 1), 0.0);
        assert_eq!(free_in_s(&mut [5.0], 0), 5.0);
    }
}
