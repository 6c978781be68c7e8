//! Attention of some queries of one sequence and one key head, page by page.
//!
//! The shares of a page are computed against the largest score so far; when a later page has a larger one, what was summed is
//! scaled down. So no more than a page of scores is ever kept, however long the sequence is.

use super::cache::{PAGE, Page};
use super::halves::to_single;
use super::vectors::{LANES, compiled, exponential, multiply_add};

/// Queries that read a page together.
pub(super) const TOGETHER: usize = 4;

/// What some queries look at.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    /// The pages from the first token on.
    pub(super) pages: &'a [Page<'a>],
    /// For each query the first and the last token that it sees.
    pub(super) seen: &'a [(usize, usize)],
    /// Width of a head.
    pub(super) width: usize,
}

/// The scores of `T` queries with a page's keys.
#[inline(always)]
fn scores<const FUSED: bool, const T: usize>(queries: &[f32], width: usize, page: Page<'_>) -> [[f32; PAGE]; T] {
    let mut sums = [[0.0_f32; PAGE]; T];
    for (dimension, keys) in page.keys.as_chunks::<PAGE>().0.iter().enumerate() {
        let mut single = [0.0_f32; PAGE];
        for i in 0..PAGE {
            single[i] = to_single(keys[i]);
        }
        for (t, sums) in sums.iter_mut().enumerate() {
            let query = queries[t * width + dimension];
            for i in 0..PAGE {
                sums[i] = multiply_add::<FUSED>(query, single[i], sums[i]);
            }
        }
    }
    sums
}

/// Adds the values of a page, each times its share, to `T` outputs.
#[inline(always)]
fn mix<const FUSED: bool, const T: usize>(shares: &[[f32; PAGE]; T], slots: std::ops::Range<usize>, page: Page<'_>, out: &mut [f32]) {
    let width = out.len() / T;
    let mut start = 0;
    while start + LANES <= width {
        let mut sums = [[0.0_f32; LANES]; T];
        for (t, sums) in sums.iter_mut().enumerate() {
            sums.copy_from_slice(&out[t * width + start..][..LANES]);
        }
        for slot in slots.clone() {
            let Some((values, _)) = page.values[slot * width + start..].split_first_chunk::<LANES>() else {
                continue;
            };
            let mut single = [0.0_f32; LANES];
            for i in 0..LANES {
                single[i] = to_single(values[i]);
            }
            for (sums, shares) in sums.iter_mut().zip(shares) {
                for i in 0..LANES {
                    sums[i] = multiply_add::<FUSED>(shares[slot], single[i], sums[i]);
                }
            }
        }
        for (t, sums) in sums.iter().enumerate() {
            out[t * width + start..][..LANES].copy_from_slice(sums);
        }
        start += LANES;
    }
    for (t, shares) in shares.iter().enumerate() {
        for dimension in start..width {
            for slot in slots.clone() {
                out[t * width + dimension] += shares[slot] * to_single(page.values[slot * width + dimension]);
            }
        }
    }
}

#[inline(always)]
fn attend_some<const FUSED: bool, const T: usize>(queries: &[f32], view: View<'_>, out: &mut [f32]) {
    let width = view.width;
    let first = view.seen.iter().map(|seen| seen.0).min().unwrap_or_default();
    let last = view.seen.iter().map(|seen| seen.1).max().unwrap_or_default();
    let (mut most, mut totals) = ([f32::NEG_INFINITY; T], [0.0_f32; T]);
    out.fill(0.0);
    for (index, page) in view.pages.iter().enumerate().take(last / PAGE + 1).skip(first / PAGE) {
        let start = index * PAGE;
        let mut shares = scores::<FUSED, T>(queries, width, *page);
        for (t, shares) in shares.iter_mut().enumerate() {
            let (from, to) = view.seen[t];
            for (slot, score) in shares.iter_mut().enumerate() {
                *score = if (from..=to).contains(&(start + slot)) { *score } else { f32::NEG_INFINITY };
            }
            let peak = shares.iter().copied().fold(most[t], f32::max);
            if peak == f32::NEG_INFINITY {
                shares.fill(0.0);
                continue;
            }
            if peak > most[t] {
                let smaller = (most[t] - peak).exp();
                totals[t] *= smaller;
                out[t * width..][..width].iter_mut().for_each(|sum| *sum *= smaller);
                most[t] = peak;
            }
            for share in shares.as_chunks_mut::<LANES>().0 {
                let mut below = *share;
                for score in &mut below {
                    *score -= peak;
                }
                let powers = exponential::<FUSED>(below);
                for i in 0..LANES {
                    share[i] = if share[i] == f32::NEG_INFINITY { 0.0 } else { powers[i] };
                }
            }
            totals[t] += shares.iter().sum::<f32>();
        }
        let slots = first.saturating_sub(start)..(last + 1 - start).min(PAGE);
        mix::<FUSED, T>(&shares, slots, *page, out);
    }
    for (out, total) in out.chunks_exact_mut(width).zip(totals) {
        let scale = 1.0 / total;
        out.iter_mut().for_each(|sum| *sum *= scale);
    }
}

#[inline(always)]
fn attend_all<const FUSED: bool>(queries: &[f32], view: View<'_>, out: &mut [f32]) {
    let width = view.width;
    let mut at = 0;
    while at < view.seen.len() {
        let count = if view.seen.len() - at >= TOGETHER { TOGETHER } else { 1 };
        let some = View { seen: &view.seen[at..at + count], ..view };
        let range = at * width..(at + count) * width;
        if count == TOGETHER {
            attend_some::<FUSED, TOGETHER>(&queries[range.clone()], some, &mut out[range]);
        } else {
            attend_some::<FUSED, 1>(&queries[range.clone()], some, &mut out[range]);
        }
        at += count;
    }
}

compiled! {
    /// For each query, `width` numbers that were scaled already, the mean of the values it sees, weighted by the softmax of
    /// its scores.
    fn attend(queries: &[f32], view: View<'_>, out: &mut [f32]) = attend_all
}

#[cfg(test)]
mod tests {
    use super::super::cache::{CacheShape, Sequence};
    use super::*;
    use proptest::prelude::*;
    use rand::{Rng, SeedableRng};

    proptest! {
        /// Against plain arithmetic over the same halves: any width, length, window and number of queries.
        #[test]
        fn attention_is_a_weighted_mean(width in 1..70_usize, length in 1..150_usize, queries in 1..7_usize, window in 1..200_usize, seed in any::<u64>()) {
            let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
            let mut numbers = |count: usize| -> Vec<f32> { (0..count).map(|_| random.random_range(-2.0..2.0)).collect() };
            let (keys, values, asked) = (numbers(length * width), numbers(length * width), numbers(queries * width));
            let mut sequence = Sequence::new(CacheShape { layers: 1, heads: 1, width }, length, false);
            sequence.reserve(length);
            for (page, mut heads) in sequence.pages_mut(0..length.div_ceil(PAGE), 0) {
                for token in page * PAGE..length.min((page + 1) * PAGE) {
                    let range = token * width..(token + 1) * width;
                    heads[0].set(token % PAGE, &keys[range.clone()], &values[range]);
                }
            }
            let pages: Vec<Page<'_>> = (0..length.div_ceil(PAGE)).map(|page| sequence.page(page, 0, 0)).collect();
            let seen: Vec<(usize, usize)> =
                (0..queries).map(|q| { let last = length - 1 - q.min(length - 1); ((last + 1).saturating_sub(window), last) }).collect();
            let mut out = vec![f32::NAN; queries * width];
            attend(&asked, View { pages: &pages, seen: &seen, width }, &mut out);
            let half = |x: f32| f64::from(to_single(super::super::halves::to_half(x)));
            for (q, &(first, last)) in seen.iter().enumerate() {
                let score = |token: usize| (0..width).map(|d| f64::from(asked[q * width + d]) * half(keys[token * width + d])).sum::<f64>();
                let most = (first..=last).map(score).fold(f64::NEG_INFINITY, f64::max);
                let total: f64 = (first..=last).map(|token| (score(token) - most).exp()).sum();
                for d in 0..width {
                    let expected: f64 = (first..=last).map(|token| (score(token) - most).exp() / total * half(values[token * width + d])).sum();
                    prop_assert!((f64::from(out[q * width + d]) - expected).abs() < 2e-4, "{} {expected}", out[q * width + d]);
                }
            }
        }
    }
}
