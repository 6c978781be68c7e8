//! What a step asks of a node: bytes and operations, from the manifest until history knows better.

use serde::{Deserialize, Serialize};

/// How far the step's container is from running.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum PlugState {
    /// In memory.
    #[default]
    Loaded,
    /// To be read and started.
    Absent {
        /// Bytes to read.
        missing_bytes: f64,
        /// Whether their digests must still be checked.
        unverified: bool,
        /// Time to start beyond reading, seconds.
        init_s: f64,
        /// Whether the weights go to a discrete accelerator, over its PCIe path.
        to_accelerator: bool,
    },
}

/// A step's cost on a node; the same step costs differently where its inputs or its container already are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StepCost {
    /// Bytes of weights read for every token or run, resident on the processor that computes.
    pub weights_resident_bytes: f64,
    /// Bytes of weights that stream over PCIe or from a disk for every token.
    pub weights_streamed_bytes: f64,
    /// Operations of the prompt phase, or of the whole step where there is no decoding: 2·P·(L − L_hit).
    pub prompt_flops: f64,
    /// Operations for each decoded token: 2·P.
    pub token_flops: f64,
    /// Cache bytes for each token of context.
    pub kv_bytes_per_token: f64,
    /// Prompt tokens (L).
    pub prompt_tokens: f64,
    /// Expected tokens of output (G).
    pub output_tokens: f64,
    /// Sequences decoded together (b); 1 when alone.
    pub batch: f64,
    /// Input bytes that are not on the node yet.
    pub bytes_in: f64,
    /// Output bytes that leave the node.
    pub bytes_out: f64,
    /// How far the container is from running.
    pub plug: PlugState,
}
