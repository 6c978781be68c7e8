//! The formula: T̂ = T_net + T_queue + T_plug·e^r1 + T_pre·e^r2 + T_dec·e^r3 + p_loss·T_retry.

use super::{NodeFactors, PlugState, Residuals, StepCost, Terms, reference};

/// The predicted time of a step on a node, term by term.
///
/// A resident model does not depend on PCIe lanes: `pcie_bytes_per_s` enters only where weights are plugged into or
/// streamed to an accelerator.
pub fn predict(node: &NodeFactors, step: &StepCost, residuals: &Residuals) -> Terms {
    let free_share = (1.0 - node.foreign_load).max(0.01);
    let flops = node.flops_per_s * node.clock_cap * free_share;
    let bandwidth = node.bandwidth_bytes_per_s * free_share;
    let net_s =
        node.link.srtt_s + node.link.rttvar_s + step.bytes_in / node.link.down_bytes_per_s + step.bytes_out / node.link.up_bytes_per_s;
    let plug_s = match step.plug {
        PlugState::Loaded => 0.0,
        PlugState::Absent { missing_bytes, unverified, init_s, to_accelerator } => {
            let mut rate = node.disk_bytes_per_s;
            if unverified {
                rate = rate.min(node.hash_bytes_per_s);
            }
            if to_accelerator {
                rate = rate.min(node.pcie_bytes_per_s.unwrap_or(f64::INFINITY));
            }
            missing_bytes / rate + init_s
        }
    };
    let streamed_rate = node.pcie_bytes_per_s.unwrap_or(node.disk_bytes_per_s);
    let streamed_s = step.weights_streamed_bytes / streamed_rate;
    let pre_s = (step.prompt_flops / flops).max(step.weights_resident_bytes / bandwidth + streamed_s);
    let dec_s = if step.output_tokens > 0.0 {
        let batch = step.batch.max(1.0);
        let cache = batch * step.kv_bytes_per_token * (step.prompt_tokens + step.output_tokens / 2.0);
        let memory_s = (step.weights_resident_bytes + cache) / bandwidth + streamed_s;
        step.output_tokens * memory_s.max(step.token_flops * batch / flops)
    } else {
        0.0
    };
    let mut terms = Terms {
        net_s,
        queue_s: node.free_in_s.max(0.0),
        plug_s: plug_s * residuals.plug.exp(),
        pre_s: pre_s * residuals.pre.exp(),
        dec_s: dec_s * residuals.dec.exp(),
        retry_s: 0.0,
    };
    terms.retry_s = expected_retry_s(terms.total_s(), node.mtbf_s, node.retry_s);
    terms
}

/// The expected cost of losing a node within `busy_s` seconds: the chance of it, 1 − exp(−T/MTBF), times what a loss costs.
pub fn expected_retry_s(busy_s: f64, mtbf_s: f64, retry_s: f64) -> f64 {
    -(-busy_s / mtbf_s).exp_m1() * retry_s
}

/// The reference node's time for a step, its container loaded, seconds.
///
/// `step` is the step as a node meets it that has none of its inputs: the same figure must divide every node's time, or
/// a node that has the inputs already would score lower for it.
pub fn reference_s(step: &StepCost) -> f64 {
    let ideal = StepCost { plug: PlugState::Loaded, ..step.clone() };
    predict(&reference(), &ideal, &Residuals::default()).total_s()
}

/// The index: [`reference_s`] over the predicted time. Higher is better.
pub fn index(step: &StepCost, terms: &Terms) -> f64 {
    reference_s(step) / terms.total_s()
}

#[cfg(test)]
mod tests;
