//! A node's index for display: how it does on three fixed tasks, whatever the fleet is working on just now.
//!
//! People are shown seconds and tokens per second first; this one figure is for sorting a table of machines.

use super::{NodeFactors, PlugState, Residuals, StepCost, predict, reference};

/// Phi-3-mini-4k: 3.82 billion parameters (arXiv:2404.14219).
const PARAMETERS: f64 = 3.82e9;
/// Its weights as Q4_K_M, bytes.
const WEIGHTS_BYTES: f64 = 2.39e9;
/// Its cache for each token: 32 layers × keys and values × 3,072 × 2 bytes.
const KV_BYTES_PER_TOKEN: f64 = 32.0 * 2.0 * 3072.0 * 2.0;
/// Bytes of text for each token, about.
const TEXT_BYTES_PER_TOKEN: f64 = 4.0;
/// Starting a worker and reading the tokenizer, seconds.
const INIT_S: f64 = 1.0;

fn task(prompt_tokens: f64, output_tokens: f64) -> StepCost {
    StepCost {
        weights_resident_bytes: WEIGHTS_BYTES,
        weights_streamed_bytes: 0.0,
        prompt_flops: 2.0 * PARAMETERS * prompt_tokens,
        token_flops: 2.0 * PARAMETERS,
        kv_bytes_per_token: KV_BYTES_PER_TOKEN,
        prompt_tokens,
        output_tokens,
        batch: 1.0,
        bytes_in: TEXT_BYTES_PER_TOKEN * prompt_tokens,
        bytes_out: TEXT_BYTES_PER_TOKEN * output_tokens,
        plug: PlugState::Loaded,
    }
}

fn cold(node: &NodeFactors, task: StepCost) -> StepCost {
    let to_accelerator = node.pcie_bytes_per_s.is_some();
    let plug = PlugState::Absent { missing_bytes: WEIGHTS_BYTES, unverified: false, init_s: INIT_S, to_accelerator };
    StepCost { plug, ..task }
}

/// The geometric mean of the index over a chat (1,020 tokens in, 129 out), a question about code (1,469 in, 13 out) and
/// the chat again with the model still to be loaded. The reference node has 1: in the third task it loads the model too.
pub fn node_index(node: &NodeFactors) -> f64 {
    let reference = reference();
    let seconds = |node: &NodeFactors, task: &StepCost| predict(node, task, &Residuals::default()).total_s();
    let (chat, code) = (task(1020.0, 129.0), task(1469.0, 13.0));
    let ratios = [
        seconds(&reference, &chat) / seconds(node, &chat),
        seconds(&reference, &code) / seconds(node, &code),
        seconds(&reference, &cold(&reference, chat.clone())) / seconds(node, &cold(node, chat.clone())),
    ];
    (ratios.iter().map(|r| r.ln()).sum::<f64>() / 3.0).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_node_is_one_and_a_machine_twice_as_fast_is_nearly_two() {
        let node = reference();
        assert_eq!(node_index(&node), 1.0);
        let mut fast = node.clone();
        fast.bandwidth_bytes_per_s *= 2.0;
        fast.flops_per_s *= 2.0;
        fast.disk_bytes_per_s *= 2.0;
        let index = node_index(&fast);
        assert!((1.8..2.0).contains(&index), "{index}");
    }

    #[test]
    fn only_the_cold_task_sees_the_disk() {
        let mut slow_disk = reference();
        slow_disk.disk_bytes_per_s /= 10.0;
        let index = node_index(&slow_disk);
        assert!((0.6..0.999).contains(&index), "{index}");
    }
}
