//! One transformer block: attention over the cache, then the gated feed-forward part, both on a normalised residual.

use super::DecoderError;
use super::config::{Architecture, Config};
use super::matrix::Matrix;
use super::rope::Rotation;
use super::weights::Weights;
use candle_core::{D, Result, Tensor};
use candle_nn::kv_cache::KvCache;

/// Several projections of one input: one fused matrix or a matrix each.
#[derive(Debug)]
enum Projections {
    Fused(Matrix, Vec<usize>),
    Separate(Vec<Matrix>),
}

impl Projections {
    fn forward(&self, x: &Tensor) -> Result<Vec<Tensor>> {
        match self {
            Self::Separate(matrices) => matrices.iter().map(|matrix| matrix.forward(x)).collect(),
            Self::Fused(matrix, widths) => {
                let all = matrix.forward(x)?;
                let mut start = 0;
                let part = |&width: &usize| {
                    start += width;
                    all.narrow(D::Minus1, start - width, width)
                };
                widths.iter().map(part).collect()
            }
        }
    }
}

/// A block's weights.
#[derive(Debug)]
pub(super) struct Layer {
    attention_norm: Tensor,
    query_key_value: Projections,
    attention_output: Matrix,
    feed_forward_norm: Tensor,
    gate_up: Projections,
    down: Matrix,
    shape: Shape,
}

/// The sizes a block computes with.
#[derive(Debug, Clone, Copy)]
struct Shape {
    heads: usize,
    kv_heads: usize,
    head_width: usize,
    epsilon: f32,
}

/// What a block needs to know about where it is: the rotation, the position of its first token and who sees whom.
pub(super) struct Place<'a> {
    pub(super) rotation: &'a Rotation,
    pub(super) position: usize,
    pub(super) mask: Option<&'a Tensor>,
}

impl Layer {
    pub(super) fn load(weights: &Weights<'_>, config: &Config, index: usize) -> std::result::Result<Self, DecoderError> {
        let name = |part: &str| format!("blk.{index}.{part}.weight");
        let hidden = config.hidden;
        let (queries, keys) = (config.heads * config.head_width, config.kv_heads * config.head_width);
        let wide = config.feed_forward;
        let (query_key_value, gate_up) = match config.architecture {
            Architecture::Phi3 => (
                Projections::Fused(weights.matrix(&name("attn_qkv"), queries + 2 * keys, hidden)?, vec![queries, keys, keys]),
                Projections::Fused(weights.matrix(&name("ffn_up"), 2 * wide, hidden)?, vec![wide, wide]),
            ),
            Architecture::Llama => (
                Projections::Separate(vec![
                    weights.matrix(&name("attn_q"), queries, hidden)?,
                    weights.matrix(&name("attn_k"), keys, hidden)?,
                    weights.matrix(&name("attn_v"), keys, hidden)?,
                ]),
                Projections::Separate(vec![
                    weights.matrix(&name("ffn_gate"), wide, hidden)?,
                    weights.matrix(&name("ffn_up"), wide, hidden)?,
                ]),
            ),
        };
        Ok(Self {
            attention_norm: weights.vector(&name("attn_norm"), hidden)?,
            query_key_value,
            attention_output: weights.matrix(&name("attn_output"), hidden, queries)?,
            feed_forward_norm: weights.vector(&name("ffn_norm"), hidden)?,
            gate_up,
            down: weights.matrix(&name("ffn_down"), hidden, wide)?,
            shape: Shape {
                heads: config.heads,
                kv_heads: config.kv_heads,
                head_width: config.head_width,
                epsilon: config.norm_epsilon as f32,
            },
        })
    }

    /// The block's output for `x` of `[tokens, hidden]`; keys and values of these tokens join the cache.
    pub(super) fn forward(&self, x: &Tensor, cache: &mut KvCache, place: &Place<'_>) -> Result<Tensor> {
        let normal = candle_nn::ops::rms_norm(x, &self.attention_norm, self.shape.epsilon)?;
        let x = (x + self.attend(&normal, cache, place)?)?;
        let normal = candle_nn::ops::rms_norm(&x, &self.feed_forward_norm, self.shape.epsilon)?;
        let parts = self.gate_up.forward(&normal)?;
        let [gate, up] = &parts[..] else {
            candle_core::bail!("the feed-forward part has {} projections", parts.len())
        };
        let gated = (gate.contiguous()?.silu()? * up)?;
        &x + self.down.forward(&gated)?
    }

    fn attend(&self, x: &Tensor, cache: &mut KvCache, place: &Place<'_>) -> Result<Tensor> {
        let Shape { heads, kv_heads, head_width, .. } = self.shape;
        let tokens = x.dim(0)?;
        let by_head = |flat: &Tensor, heads: usize| flat.reshape((tokens, heads, head_width))?.transpose(0, 1)?.contiguous();
        let parts = self.query_key_value.forward(x)?;
        let [query, key, value] = &parts[..] else {
            candle_core::bail!("attention has {} projections", parts.len())
        };
        let query = place.rotation.apply(&by_head(query, heads)?, place.position)?;
        let key = place.rotation.apply(&by_head(key, kv_heads)?, place.position)?;
        let (keys, values) = cache.append(&key, &by_head(value, kv_heads)?)?;

        // Query heads that share a key head are neighbours, so they are rows of one product instead of repeating the keys.
        let rows = heads / kv_heads * tokens;
        let seen = keys.dim(1)?;
        let scores = (query.reshape((kv_heads, rows, head_width))?.matmul(&keys.transpose(1, 2)?)? / (head_width as f64).sqrt())?;
        let scores = scores.reshape((heads, tokens, seen))?;
        let scores = match place.mask {
            Some(mask) => scores.broadcast_add(mask)?,
            None => scores,
        };
        let shares = candle_nn::ops::softmax_last_dim(&scores)?;
        let mixed = shares.reshape((kv_heads, rows, seen))?.matmul(&values)?;
        let mixed = mixed.reshape((heads, tokens, head_width))?.transpose(0, 1)?.reshape((tokens, heads * head_width))?;
        self.attention_output.forward(&mixed)
    }
}
