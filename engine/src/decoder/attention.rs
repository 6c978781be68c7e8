//! Attention of some queries of one sequence and one key head, page by page.
//!
//! The shares of a page are computed against the largest score so far; when a later page has a larger one, what was summed is
//! scaled down. So no more than a page of scores is ever kept, however long the sequence is.

use super::cache::{PAGE, Page};
use super::halves::to_single;
use super::instructions::{Instructions, LANES, compiled};
use super::vectors::{exponential, multiply_add};
use crate::kernels::ask_for;

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

/// The scores of `T` queries with a page's keys: the even dimensions' and the odd ones' beside each other, as a sum waits for the one
/// before it.
#[inline(always)]
fn scores<I: Instructions, const T: usize>(queries: &[f32], width: usize, page: Page<'_>, next: Page<'_>) -> [[f32; PAGE]; T] {
    let mut sums = [[[0.0_f32; PAGE]; 2]; T];
    let (pairs, rest) = page.keys.as_chunks::<PAGE>().0.as_chunks::<2>();
    for (index, pair) in pairs.iter().enumerate() {
        for (odd, keys) in pair.iter().enumerate() {
            ask_for_numbers(next.keys, (2 * index + odd) * PAGE, PAGE);
            let keys = page_of_singles::<I>(keys);
            for (t, sums) in sums.iter_mut().enumerate() {
                add_times::<I>(queries[t * width + 2 * index + odd], &keys, &mut sums[odd]);
            }
        }
    }
    if let [keys] = rest {
        let keys = page_of_singles::<I>(keys);
        for (t, sums) in sums.iter_mut().enumerate() {
            add_times::<I>(queries[t * width + width - 1], &keys, &mut sums[0]);
        }
    }
    let mut scores = [[0.0; PAGE]; T];
    for (scores, [even, odd]) in scores.iter_mut().zip(&sums) {
        for i in 0..PAGE {
            scores[i] = even[i] + odd[i];
        }
    }
    scores
}

/// Asks memory for `count` numbers from `first` on, before they are wanted.
#[inline(always)]
fn ask_for_numbers(numbers: &[u16], first: usize, count: usize) {
    ask_for(numbers.as_ptr().wrapping_add(first).cast(), count * size_of::<u16>());
}

#[inline(always)]
fn page_of_singles<I: Instructions>(halves: &[u16; PAGE]) -> [f32; PAGE] {
    let mut singles = [0.0; PAGE];
    for (to, halves) in singles.as_chunks_mut::<LANES>().0.iter_mut().zip(halves.as_chunks::<LANES>().0) {
        *to = I::singles(halves);
    }
    singles
}

#[inline(always)]
fn add_times<I: Instructions>(factor: f32, numbers: &[f32; PAGE], sums: &mut [f32; PAGE]) {
    for i in 0..PAGE {
        sums[i] = multiply_add::<I>(factor, numbers[i], sums[i]);
    }
}

/// Adds the values of a page, each times its share, to `T` outputs: `N` times sixteen dimensions at a time.
#[inline(always)]
fn mix<I: Instructions, const T: usize, const N: usize>(
    shares: &[[f32; PAGE]; T],
    slots: std::ops::Range<usize>,
    [page, next]: [Page<'_>; 2],
    from: usize,
    out: &mut [f32],
) -> usize {
    let width = out.len() / T;
    let mut start = from;
    while start + N * LANES <= width {
        let mut sums = [[[0.0_f32; LANES]; N]; T];
        for (t, sums) in sums.iter_mut().enumerate() {
            let row = &out[t * width + start..][..N * LANES];
            sums.iter_mut().zip(row.as_chunks::<LANES>().0).for_each(|(sums, row)| *sums = *row);
        }
        for slot in slots.clone() {
            let values = &page.values[slot * width + start..][..N * LANES];
            ask_for_numbers(next.values, slot * width + start, N * LANES);
            for (n, values) in values.as_chunks::<LANES>().0.iter().enumerate() {
                let single = I::singles(values);
                for (sums, shares) in sums.iter_mut().zip(shares) {
                    for i in 0..LANES {
                        sums[n][i] = multiply_add::<I>(shares[slot], single[i], sums[n][i]);
                    }
                }
            }
        }
        for (t, sums) in sums.iter().enumerate() {
            out[t * width + start..][..N * LANES].copy_from_slice(sums.as_flattened());
        }
        start += N * LANES;
    }
    start
}

/// The same for the last dimensions, fewer than sixteen.
fn mix_rest<const T: usize>(shares: &[[f32; PAGE]; T], slots: std::ops::Range<usize>, page: Page<'_>, from: usize, out: &mut [f32]) {
    let width = out.len() / T;
    for (t, shares) in shares.iter().enumerate() {
        for dimension in from..width {
            for slot in slots.clone() {
                out[t * width + dimension] += shares[slot] * to_single(page.values[slot * width + dimension]);
            }
        }
    }
}

/// All numbers as one: of what stands sixteen apart first, then eight, four, two and one.
#[inline(always)]
fn folded(numbers: &[f32; PAGE], first: f32, of_two: impl Fn(f32, f32) -> f32) -> f32 {
    // An array of its own for each width: parts of one would be written to memory and read again.
    let (mut sixteen, mut eight, mut four) = ([0.0; 16], [0.0; 8], [0.0; 4]);
    for i in 0..16 {
        sixteen[i] = of_two(numbers[i], numbers[i + 16]);
    }
    for i in 0..8 {
        eight[i] = of_two(sixteen[i], sixteen[i + 8]);
    }
    for i in 0..4 {
        four[i] = of_two(eight[i], eight[i + 4]);
    }
    of_two(first, of_two(of_two(four[0], four[2]), of_two(four[1], four[3])))
}

/// Of two where one is no number it may be either: the decoder refuses that at its output.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

#[inline(always)]
fn attend_some<I: Instructions, const T: usize>(queries: &[f32], view: View<'_>, out: &mut [f32]) {
    let width = view.width;
    let first = view.seen.iter().map(|seen| seen.0).min().unwrap_or_default();
    let last = view.seen.iter().map(|seen| seen.1).max().unwrap_or_default();
    let (mut most, mut totals) = ([f32::NEG_INFINITY; T], [0.0_f32; T]);
    out.fill(0.0);
    for (index, page) in view.pages.iter().enumerate().take(last / PAGE + 1).skip(first / PAGE) {
        let start = index * PAGE;
        // The page after this one is asked for meanwhile: it lies elsewhere, and the processor would begin to read ahead late.
        let next = *view.pages.get(index + 1).unwrap_or(page);
        let mut shares = scores::<I, T>(queries, width, *page, next);
        for (t, shares) in shares.iter_mut().enumerate() {
            let (from, to) = view.seen[t];
            if start < from || start + PAGE > to + 1 {
                for (slot, score) in shares.iter_mut().enumerate() {
                    *score = if (from..=to).contains(&(start + slot)) { *score } else { f32::NEG_INFINITY };
                }
            }
            let peak = folded(shares, most[t], larger);
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
                let powers = exponential::<I>(below);
                for i in 0..LANES {
                    share[i] = if share[i] == f32::NEG_INFINITY { 0.0 } else { powers[i] };
                }
            }
            totals[t] += folded(shares, 0.0, |a, b| a + b);
        }
        let slots = first.saturating_sub(start)..(last + 1 - start).min(PAGE);
        // One query alone leaves registers for more dimensions.
        let done = if T == 1 { mix::<I, T, 4>(&shares, slots.clone(), [*page, next], 0, out) } else { 0 };
        let done = mix::<I, T, 1>(&shares, slots.clone(), [*page, next], done, out);
        mix_rest(&shares, slots, *page, done, out);
    }
    for (out, total) in out.chunks_exact_mut(width).zip(totals) {
        let scale = 1.0 / total;
        out.iter_mut().for_each(|sum| *sum *= scale);
    }
}

#[inline(always)]
fn attend_all<I: Instructions>(queries: &[f32], view: View<'_>, out: &mut [f32]) {
    let width = view.width;
    let mut at = 0;
    while at < view.seen.len() {
        let count = if view.seen.len() - at >= TOGETHER { TOGETHER } else { 1 };
        let some = View { seen: &view.seen[at..at + count], ..view };
        let range = at * width..(at + count) * width;
        if count == TOGETHER {
            attend_some::<I, TOGETHER>(&queries[range.clone()], some, &mut out[range]);
        } else {
            attend_some::<I, 1>(&queries[range.clone()], some, &mut out[range]);
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
