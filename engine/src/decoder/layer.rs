//! One transformer block over rows: attention over their sequences' pages, then the gated feed-forward part, both on a
//! normalised residual.

use super::DecoderError;
use super::attention::{View, attend};
use super::cache::{PAGE, Page, PageMut, Sequence};
use super::config::{Architecture, Config};
use super::matrix::{Input, Matrix, Results};
use super::rope::Turns;
use super::rows::{Parts, Run};
use super::vectors::{add, gated, norm};
use super::weights::Weights;
use crate::pool::Pool;
use candle_core::Result;

/// Rows of one step that a thread normalises or gates at a time.
const ROWS_AT_A_TIME: usize = 4;
/// Multiplications of attention below which waking other threads costs more than it saves.
const WORTH_SHARING: usize = 1 << 17;

/// A block's weights.
#[derive(Debug)]
pub(super) struct Layer {
    attention_norm: Vec<f32>,
    /// One fused matrix or three, with the column where each one's results begin.
    query_key_value: Vec<(Matrix, usize)>,
    /// Added to queries, keys and values; empty where the model has no biases.
    bias: Vec<f32>,
    /// The weights of the norms of each head of queries and of keys, where the model has them.
    head_norms: Option<[Vec<f32>; 2]>,
    attention_output: Matrix,
    feed_forward_norm: Vec<f32>,
    gate_up: Vec<(Matrix, usize)>,
    down: Matrix,
    shape: Shape,
}

/// The sizes a block computes with.
#[derive(Debug, Clone, Copy)]
struct Shape {
    hidden: usize,
    heads: usize,
    kv_heads: usize,
    head_width: usize,
    feed_forward: usize,
    window: usize,
    epsilon: f32,
}

impl Shape {
    fn queries(self) -> usize {
        self.heads * self.head_width
    }

    /// Queries, keys and values of a row.
    fn all(self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_width
    }

    /// Query heads that share a key head.
    fn group(self) -> usize {
        self.heads / self.kv_heads
    }
}

/// The rows of a step, and what a block needs to know of them.
pub(super) struct Step<'a, 's> {
    pub(super) sequences: &'a mut [&'s mut Sequence],
    pub(super) runs: &'a [Run],
    pub(super) turns: &'a Turns,
    pub(super) parts: Parts,
    pub(super) pool: &'a Pool,
    /// Which layer of the sequences' pages this is.
    pub(super) layer: usize,
}

/// Room for what the blocks of a step compute, one after the other.
#[derive(Debug)]
pub(super) struct Scratch {
    normal: Vec<f32>,
    heads: Vec<f32>,
    mixed: Vec<f32>,
    wide: Vec<f32>,
    gated: Vec<f32>,
}

impl Scratch {
    pub(super) fn new(config: &Config, rows: usize) -> Self {
        let heads = (config.heads + 2 * config.kv_heads) * config.head_width;
        Self {
            normal: vec![0.0; rows * config.hidden],
            heads: vec![0.0; rows * heads],
            mixed: vec![0.0; rows * config.heads * config.head_width],
            wide: vec![0.0; rows * 2 * config.feed_forward],
            gated: vec![0.0; rows * config.feed_forward],
        }
    }
}

/// The rows of `x`, normalised, by all threads.
pub(super) fn norm_rows(x: &[f32], weights: &[f32], epsilon: f32, out: &mut [f32], pool: &Pool) {
    let width = weights.len();
    let mut rows: Vec<_> = x.chunks_exact(width).zip(out.chunks_exact_mut(width)).collect();
    pool.each_mut(&mut rows, ROWS_AT_A_TIME, &|_, (x, out)| norm(x, weights, epsilon, out));
}

/// Each head of a row, normalised in its place.
fn norm_heads(heads: &mut [f32], weights: &[f32], epsilon: f32) {
    let plain = heads.to_vec();
    for (head, plain) in heads.chunks_exact_mut(weights.len()).zip(plain.chunks_exact(weights.len())) {
        norm(plain, weights, epsilon, head);
    }
}

fn multiply_all(matrices: &[(Matrix, usize)], x: &Input<'_>, values: &mut [f32], stride: usize, pool: &Pool) -> Result<()> {
    matrices
        .iter()
        .try_for_each(|(matrix, first)| matrix.multiply(x, Results { values: &mut *values, stride, first: *first }, pool))
}

impl Layer {
    pub(super) fn load(weights: Weights<'_>, config: &Config, index: usize) -> std::result::Result<Self, DecoderError> {
        let name = |part: &str| format!("blk.{index}.{part}.weight");
        let hidden = config.hidden;
        let (queries, keys) = (config.heads * config.head_width, config.kv_heads * config.head_width);
        let wide = config.feed_forward;
        let fused = config.architecture == Architecture::Phi3;
        let parts = if fused {
            vec![("attn_qkv", queries + 2 * keys, 0)]
        } else {
            vec![("attn_q", queries, 0), ("attn_k", keys, queries), ("attn_v", keys, queries + keys)]
        };
        let (mut query_key_value, mut bias) = (vec![], vec![]);
        for (part, rows, first) in parts {
            let (matrix, of_matrix) = weights.matrix_and_bias(&name(part), rows, hidden)?;
            query_key_value.push((matrix, first));
            if let Some(values) = of_matrix {
                bias.resize(queries + 2 * keys, 0.0);
                bias[first..][..rows].copy_from_slice(&values);
            }
        }
        let matrix = |part: &str, rows: usize, first: usize| weights.matrix(&name(part), rows, hidden).map(|matrix| (matrix, first));
        // GGUF files call the fused matrix `ffn_up`, as if it had one half only.
        let both = if matches!(weights, Weights::Gguf(_)) { "ffn_up" } else { "ffn_gate_up" };
        let gate_up = if fused {
            vec![matrix(both, 2 * wide, 0)?]
        } else {
            vec![matrix("ffn_gate", wide, 0)?, matrix("ffn_up", wide, wide)?]
        };
        let head_norm = |part: &str| weights.vector(&name(part), config.head_width);
        let head_norms = match config.architecture {
            Architecture::Qwen3 => Some([head_norm("attn_q_norm")?, head_norm("attn_k_norm")?]),
            _ => None,
        };
        Ok(Self {
            attention_norm: weights.vector(&name("attn_norm"), hidden)?,
            query_key_value,
            bias,
            head_norms,
            attention_output: weights.matrix(&name("attn_output"), hidden, queries)?,
            feed_forward_norm: weights.vector(&name("ffn_norm"), hidden)?,
            gate_up,
            down: weights.matrix(&name("ffn_down"), hidden, wide)?,
            shape: Shape {
                hidden,
                heads: config.heads,
                kv_heads: config.kv_heads,
                head_width: config.head_width,
                feed_forward: wide,
                window: config.window.unwrap_or(usize::MAX),
                epsilon: config.norm_epsilon as f32,
            },
        })
    }

    /// Its matrices, in the order of their use.
    pub(super) fn matrices(&self) -> impl Iterator<Item = &Matrix> {
        let attention = self.query_key_value.iter().map(|(matrix, _)| matrix).chain([&self.attention_output]);
        attention.chain(self.gate_up.iter().map(|(matrix, _)| matrix)).chain([&self.down])
    }

    /// Turns the rows of `x` into the block's output; their keys and values join the sequences' pages.
    pub(super) fn forward(&self, x: &mut [f32], step: &mut Step<'_, '_>, scratch: &mut Scratch) -> Result<()> {
        let (shape, parts, pool) = (self.shape, step.parts, step.pool);
        norm_rows(x, &self.attention_norm, shape.epsilon, &mut scratch.normal, pool);
        let input = Input::new(&scratch.normal, shape.hidden, parts);
        multiply_all(&self.query_key_value, &input, &mut scratch.heads, shape.all(), pool)?;
        self.turn(&mut scratch.heads, step);
        self.remember(&scratch.heads, step);
        self.attend(&scratch.heads, step, &mut scratch.mixed);
        let input = Input::new(&scratch.mixed, shape.queries(), parts);
        let results = Results { values: &mut scratch.normal, stride: shape.hidden, first: 0 };
        self.attention_output.multiply(&input, results, pool)?;
        add(&scratch.normal, x);

        norm_rows(x, &self.feed_forward_norm, shape.epsilon, &mut scratch.normal, pool);
        let (wide, input) = (shape.feed_forward, Input::new(&scratch.normal, shape.hidden, parts));
        multiply_all(&self.gate_up, &input, &mut scratch.wide, 2 * wide, pool)?;
        let mut rows: Vec<_> = scratch.wide.chunks_exact(2 * wide).zip(scratch.gated.chunks_exact_mut(wide)).collect();
        pool.each_mut(&mut rows, ROWS_AT_A_TIME, &|_, (both, out)| gated(&both[..wide], &both[wide..], out));
        let input = Input::new(&scratch.gated, wide, parts);
        let results = Results { values: &mut scratch.normal, stride: shape.hidden, first: 0 };
        self.down.multiply(&input, results, pool)?;
        add(&scratch.normal, x);
        Ok(())
    }

    /// Adds biases, normalises heads where the model does, rotates queries and keys, and scales queries.
    fn turn(&self, heads: &mut [f32], step: &Step<'_, '_>) {
        let (shape, turns) = (self.shape, step.turns);
        let scale = 1.0 / (shape.head_width as f32).sqrt();
        let mut rows: Vec<_> = heads.chunks_exact_mut(shape.all()).collect();
        step.pool.each_mut(&mut rows, ROWS_AT_A_TIME, &|row, heads| {
            if !self.bias.is_empty() {
                add(&self.bias, heads);
            }
            let (queries, rest) = heads.split_at_mut(shape.queries());
            let keys = &mut rest[..shape.kv_heads * shape.head_width];
            if let Some([of_queries, of_keys]) = &self.head_norms {
                norm_heads(queries, of_queries, shape.epsilon);
                norm_heads(keys, of_keys, shape.epsilon);
            }
            for head in queries.chunks_exact_mut(shape.head_width) {
                turns.turn(row, head);
                head.iter_mut().for_each(|x| *x *= scale);
            }
            keys.chunks_exact_mut(shape.head_width).for_each(|head| turns.turn(row, head));
        });
    }

    /// Writes the rows' keys and values into the pages, by all threads, a head each.
    fn remember(&self, heads: &[f32], step: &mut Step<'_, '_>) {
        let (shape, runs) = (self.shape, step.runs);
        let mut of_heads: Vec<Vec<(usize, usize, PageMut<'_>)>> = (0..shape.kv_heads).map(|_| vec![]).collect();
        for (index, sequence) in step.sequences.iter_mut().enumerate() {
            let of_sequence = || runs.iter().filter(move |run| run.sequence == index);
            let Some(first) = of_sequence().map(|run| run.position).min() else {
                continue;
            };
            let end = of_sequence().map(|run| run.position + run.count).max().unwrap_or(first);
            for (page, heads) in sequence.pages_mut(first / PAGE..end.div_ceil(PAGE), step.layer) {
                for (of_head, page_of_head) in of_heads.iter_mut().zip(heads) {
                    of_head.push((index, page, page_of_head));
                }
            }
        }
        let numbers: usize = runs.iter().map(|run| run.count).sum::<usize>() * 2 * shape.kv_heads * shape.head_width;
        let chunk = if numbers * 8 < WORTH_SHARING { shape.kv_heads } else { 1 };
        step.pool.each_mut(&mut of_heads, chunk, &|head, pages| {
            let (key_at, value_at) = (shape.heads + head, shape.heads + shape.kv_heads + head);
            for (sequence, page, place) in pages {
                for run in runs.iter().filter(|run| run.sequence == *sequence) {
                    let span = run.position.max(*page * PAGE)..(run.position + run.count).min((*page + 1) * PAGE);
                    for position in span {
                        let row = &heads[(run.row + position - run.position) * shape.all()..][..shape.all()];
                        let part = |at: usize| &row[at * shape.head_width..][..shape.head_width];
                        place.set(position % PAGE, part(key_at), part(value_at));
                    }
                }
            }
        });
    }

    /// Attention of every row to what it sees of its sequence.
    fn attend(&self, heads: &[f32], step: &Step<'_, '_>, mixed: &mut [f32]) {
        struct Unit<'a> {
            run: Run,
            head: usize,
            /// For each row of the run, the results of the query heads that share the key head.
            out: Vec<&'a mut [f32]>,
        }
        let (shape, group) = (self.shape, self.shape.group());
        let part = group * shape.head_width;
        let mut units: Vec<Unit<'_>> = vec![];
        let mut rows = mixed.chunks_exact_mut(shape.queries());
        let mut work = 0;
        for &run in step.runs {
            let first = units.len();
            units.extend((0..shape.kv_heads).map(|head| Unit { run, head, out: Vec::with_capacity(run.count) }));
            for row in rows.by_ref().take(run.count) {
                for (unit, out) in units[first..].iter_mut().zip(row.chunks_exact_mut(part)) {
                    unit.out.push(out);
                }
            }
            work += run.count * (run.position + run.count).min(shape.window) * 2 * shape.queries();
        }
        let sequences: Vec<&Sequence> = step.sequences.iter().map(|sequence| &**sequence).collect();
        let chunk = if work < WORTH_SHARING { units.len() } else { 1 };
        step.pool.each_mut(&mut units, chunk, &|_, unit| {
            let run = unit.run;
            let end = run.position + run.count;
            let sequence = sequences[run.sequence];
            let pages: Vec<Page<'_>> = (0..end.div_ceil(PAGE)).map(|page| sequence.page(page, step.layer, unit.head)).collect();
            let (mut queries, mut seen) = (vec![], vec![]);
            for row in 0..run.count {
                let at = (run.row + row) * shape.all() + unit.head * part;
                queries.extend_from_slice(&heads[at..at + part]);
                let position = run.position + row;
                seen.extend(std::iter::repeat_n(((position + 1).saturating_sub(shape.window), position), group));
            }
            let mut out = vec![0.0; queries.len()];
            attend(&queries, View { pages: &pages, seen: &seen, width: shape.head_width }, &mut out);
            for (place, values) in unit.out.iter_mut().zip(out.chunks_exact(part)) {
                place.copy_from_slice(values);
            }
        });
    }
}
