//! The transformer written out in plain `f64` loops, to check the decoder against arithmetic that shares no code with it.

use super::halves::{to_half, to_single};
use super::random_model::{Made, RandomModel};

fn product(weights: &[f32], x: &[f64]) -> Vec<f64> {
    weights.chunks(x.len()).map(|row| row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum()).collect()
}

fn norm(weights: &[f32], x: &[f64]) -> Vec<f64> {
    let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
    let scale = 1.0 / (mean + 1e-5).sqrt();
    x.iter().zip(weights).map(|(x, w)| x * scale * f64::from(*w)).collect()
}

/// Rotates one head by its position, halves against halves or neighbour against neighbour.
fn rotate(model: &RandomModel, made: &Made, head: &mut [f64], position: usize, long: bool) {
    let half = model.rope_width / 2;
    let factors = made.values.get(if long { "rope_factors_long.weight" } else { "rope_factors_short.weight" });
    let magnitude = model.original_context.map_or(1.0, |original| {
        let stretch = model.context as f64 / original as f64;
        (1.0 + stretch.ln() / (original as f64).ln()).sqrt()
    });
    for index in 0..half {
        let factor = factors.map_or(1.0, |factors| f64::from(factors[index]));
        let angle = position as f64 * 100_f64.powf(-(index as f64) / half as f64) / factor;
        let (a, b) = if model.architecture == "phi3" { (index, index + half) } else { (2 * index, 2 * index + 1) };
        let (x, y) = (head[a], head[b]);
        head[a] = (x * angle.cos() - y * angle.sin()) * magnitude;
        head[b] = (y * angle.cos() + x * angle.sin()) * magnitude;
    }
}

fn attend(model: &RandomModel, queries: &[Vec<f64>], keys: &[Vec<f64>], values: &[Vec<f64>], position: usize) -> Vec<f64> {
    let width = model.head_width();
    let mut out = Vec::new();
    for head in 0..model.heads {
        let shared = head / (model.heads / model.kv_heads) * width;
        let query = &queries[position][head * width..][..width];
        let first = model.window.map_or(0, |window| (position + 1).saturating_sub(window));
        let scores: Vec<f64> = (first..=position)
            .map(|other| query.iter().zip(&keys[other][shared..]).map(|(q, k)| q * k).sum::<f64>() / (width as f64).sqrt())
            .collect();
        let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = scores.iter().map(|score| (score - most).exp()).sum();
        let share = |index: usize| (scores[index] - most).exp() / total;
        out.extend((0..width).map(|w| (first..=position).map(|other| share(other - first) * values[other][shared + w]).sum::<f64>()));
    }
    out
}

/// The logits at every position of `ids`; `long` tells which rotation factors hold.
pub(super) fn logits(model: &RandomModel, made: &Made, ids: &[u32], long: bool) -> Vec<Vec<f64>> {
    let tensor = |name: String| &made.values[&name][..];
    let keys_width = model.kv_heads * model.head_width();
    let embedding = tensor("token_embd.weight".into());
    let row = |id: &u32| embedding[*id as usize * model.hidden..][..model.hidden].iter().map(|x| f64::from(*x)).collect();
    let mut stream: Vec<Vec<f64>> = ids.iter().map(row).collect();
    for layer in 0..model.layers {
        let part = |part: &str| tensor(format!("blk.{layer}.{part}.weight"));
        let (mut queries, mut keys, mut values) = (vec![], vec![], vec![]);
        for (position, x) in stream.iter().enumerate() {
            let x = norm(part("attn_norm"), x);
            let (mut query, mut key, value) = if model.architecture == "phi3" {
                let all = product(part("attn_qkv"), &x);
                let (query, rest) = all.split_at(model.hidden);
                (query.to_vec(), rest[..keys_width].to_vec(), rest[keys_width..].to_vec())
            } else {
                (product(part("attn_q"), &x), product(part("attn_k"), &x), product(part("attn_v"), &x))
            };
            for heads in [&mut query, &mut key] {
                heads.chunks_mut(model.head_width()).for_each(|head| rotate(model, made, head, position, long));
            }
            // The cache keeps both in half precision.
            let kept = |numbers: Vec<f64>| numbers.into_iter().map(|x| f64::from(to_single(to_half(x as f32)))).collect();
            queries.push(query);
            keys.push(kept(key));
            values.push(kept(value));
        }
        for (position, x) in stream.iter_mut().enumerate() {
            let mixed = attend(model, &queries, &keys, &values, position);
            product(part("attn_output"), &mixed).iter().zip(x.iter_mut()).for_each(|(y, x)| *x += y);
            let normal = norm(part("ffn_norm"), x);
            let (gate, up) = if model.architecture == "phi3" {
                let both = product(part("ffn_up"), &normal);
                (both[..model.feed_forward].to_vec(), both[model.feed_forward..].to_vec())
            } else {
                (product(part("ffn_gate"), &normal), product(part("ffn_up"), &normal))
            };
            let gated: Vec<f64> = gate.iter().zip(&up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
            product(part("ffn_down"), &gated).iter().zip(x.iter_mut()).for_each(|(y, x)| *x += y);
        }
    }
    let output = if model.tied { embedding } else { tensor("output.weight".into()) };
    stream.iter().map(|x| product(output, &norm(tensor("output_norm.weight".into()), x))).collect()
}
