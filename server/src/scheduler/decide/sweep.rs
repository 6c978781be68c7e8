//! All nodes at once: the filters as comparisons of columns, the predictions as one loop, and only the best of them in full.
//!
//! Every total is at least as large as what it is without the cost of a loss. So once enough totals are known, whoever is
//! larger even without that cost cannot be shown, drawn or chosen, and its loss is never reckoned.

use super::super::columns::{
    ALONE_THERE, FREE_UNKNOWN, LIGHT, LIGHT_LONG, MEMORY_NOW, MEMORY_TOTAL, NEW, NEW_NODE, NOT_IDLE, OWNER, PASSED, Pairs, RUNS_ALONE, rank,
};
use super::super::factors::Factor;
use super::super::place::TIE;
use super::{
    Added, DETECTION_S, LIGHT_STEP_S, Prediction, Ranked, Refusals, Refused, Run, SHOWN, StepCost, StepState, Survey, Terms, Wanted,
    expected_retry_s, judge, most_live,
};
use ouro_common::document::RefusalCount;

/// Ranks of refusals, and [`PASSED`].
const RANKS: usize = 32;
/// Nodes shown for each reason.
const EXAMPLES: usize = 3;
/// Into so many parts the range of predictions is divided to find the middle one.
const PARTS: usize = 1024;

/// What stays allocated between steps.
#[derive(Default)]
pub(super) struct Scratch {
    /// Seconds until each node has room, as the fleet stands.
    queue_s: Vec<f64>,
    passed: Vec<u32>,
    busy_s: Vec<f64>,
    middle: Vec<f64>,
    /// Nodes that this decision has put something on: judged one by one.
    pub(super) touched: Vec<bool>,
}

impl Scratch {
    /// For a fleet whose nodes have room after so many seconds.
    pub(super) fn new(nodes: usize, queues: impl Iterator<Item = (usize, f64)>) -> Self {
        let mut scratch = Self { queue_s: vec![0.0; nodes], touched: vec![false; nodes], ..Self::default() };
        queues.for_each(|(at, free_s)| scratch.queue_s[at] = free_s);
        scratch
    }
}

/// How many nodes were refused for each reason, and the first of them by their ids.
struct Tally {
    counts: [u32; RANKS],
    examples: [[u32; EXAMPLES]; RANKS],
}

impl Tally {
    fn add(&mut self, verdict: u8, at: usize) {
        let verdict = usize::from(verdict) % RANKS;
        let (at, kept) = (at as u32, EXAMPLES.min(self.counts[verdict] as usize));
        let examples = &mut self.examples[verdict];
        // Not always at the end: what is refused for its predicted time is known only after all nodes were filtered.
        let place = examples[..kept].partition_point(|earlier| *earlier < at);
        if place < EXAMPLES {
            examples[place..EXAMPLES.min(kept + 1)].rotate_right(1);
            examples[place] = at;
        }
        self.counts[verdict] += 1;
    }
}

/// The step's own figures, and where it deviates from the typical node.
struct Figures<'s> {
    cost: &'s StepCost,
    cache_bytes: f64,
    /// Nodes that have inputs already, with the bytes they lack.
    holders: Vec<(usize, f64)>,
}

impl<'a> Run<'a> {
    /// Filters and predictions of every node; `None` when nobody passes, or only those where it failed, which wants a fuller
    /// account.
    pub(super) fn sweep(&mut self, wanted: &Wanted<'a>, nominal: &StepCost) -> Option<Survey<'a>> {
        let pairs = self.columns.pairs(&wanted.step.container)?;
        let mut tally = Tally { counts: [0; RANKS], examples: [[0; EXAMPLES]; RANKS] };
        let mut judged = Vec::new();
        let mut scratch = std::mem::take(&mut self.scratch);
        // A step may join others there, which the columns do not tell.
        self.columns.computing(&wanted.step.container).for_each(|at| scratch.touched[at] = true);
        scratch.passed.clear();
        self.filter(wanted, nominal, pairs, (&mut tally, &mut judged, &mut scratch));
        let figures = self.figures(wanted.step, nominal);
        let failed_here = self.predict_all(wanted, pairs, &figures, (&mut tally, &judged, &mut scratch));
        let failed_on = &wanted.step.failed_on;
        // Where it failed before is all that is left: then it matters who else is only at work.
        let stuck = !failed_on.is_empty()
            && failed_here.is_empty()
            && scratch.passed.iter().all(|at| failed_on.contains(&self.nodes[*at as usize].id));
        let survey = (!stuck && !scratch.passed.is_empty()).then(|| {
            let ranked = self.best(wanted, pairs, &figures, &judged, &mut scratch);
            let mut counts = self.refusals(wanted, nominal, &tally);
            if !failed_here.is_empty() {
                let examples = failed_here.iter().take(EXAMPLES).map(|at| Refused::FailedHere.example(&self.nodes[*at as usize].name));
                counts.push(RefusalCount {
                    reason: Refused::FailedHere.reason().into(),
                    count: failed_here.len() as u32,
                    examples: examples.collect(),
                });
            }
            Survey {
                ranked,
                refusals: Refusals::counted(counts),
                held: true,
                fitting: true,
                fitting_holder: true,
                busy: None,
            }
        });
        self.scratch = scratch;
        survey
    }

    /// Fills `passed`, and the tally with the rest.
    fn filter(
        &mut self,
        wanted: &Wanted<'a>,
        nominal: &StepCost,
        pairs: &Pairs,
        (tally, judged, scratch): (&mut Tally, &mut Vec<(u32, Prediction, bool)>, &mut Scratch),
    ) {
        let (needs, alone) = (wanted.memory_bytes, wanted.step.alone);
        let owner = wanted.step.private_owner.as_deref().map(|label| self.columns.owner(label));
        for (at, (room, verdict)) in self.columns.rooms.iter().zip(&pairs.verdicts).enumerate() {
            let mut verdict = *verdict;
            if scratch.touched[at] {
                let added = (self.added.get(&at), &self.stand_ins);
                match judge(&self.nodes[at], wanted, nominal, added, (self.now, &mut self.ends_s)) {
                    Ok((prediction, has_room)) => {
                        judged.push((at as u32, prediction, has_room));
                        verdict = PASSED;
                    }
                    Err(refused) => verdict = rank(&refused),
                }
            } else {
                let mut at_most = |fails: bool, rank: u8| verdict = if fails { verdict.min(rank) } else { verdict };
                at_most(room.total_bytes < needs, MEMORY_TOTAL);
                at_most(owner.is_some_and(|owner| owner != room.owner), OWNER);
                at_most(room.free_bytes < needs && !pairs.rows[at].loaded, MEMORY_NOW);
                at_most(room.flags & RUNS_ALONE != 0, ALONE_THERE);
                at_most(room.live > 0 && alone, NOT_IDLE);
                at_most(room.live > 0 && room.flags & NEW != 0, NEW_NODE);
            }
            if verdict == PASSED {
                scratch.passed.push(at as u32);
            } else {
                tally.add(verdict, at);
            }
        }
    }

    fn figures<'s>(&self, step: &StepState, cost: &'s StepCost) -> Figures<'s> {
        let cache_bytes = cost.batch.max(1.0) * cost.kv_bytes_per_token * (cost.prompt_tokens + cost.output_tokens / 2.0);
        let mut holders: Vec<usize> = step.inputs.iter().flat_map(|i| &i.holders).filter_map(|id| self.columns.place(*id)).collect();
        holders.sort_unstable();
        holders.dedup();
        let missing = |at: usize| (at, super::super::predict::missing_inputs(step, self.nodes[at].id));
        Figures { cost, cache_bytes, holders: holders.into_iter().map(missing).collect() }
    }

    /// The terms without the cost of a loss: `predict`, with what depends on the node alone taken from its columns.
    #[inline]
    fn terms(&self, at: usize, pairs: &Pairs, figures: &Figures<'_>, queue_s: f64) -> Terms {
        let (row, pair, cost) = (&self.columns.rows[at], &pairs.rows[at], figures.cost);
        let mut bytes_in = cost.bytes_in;
        if !figures.holders.is_empty()
            && let Ok(found) = figures.holders.binary_search_by_key(&at, |(at, _)| *at)
        {
            bytes_in = figures.holders[found].1;
        }
        let pre_s = (cost.prompt_flops / row.flops).max(cost.weights_resident_bytes / row.bandwidth);
        let dec_s = if cost.output_tokens > 0.0 {
            let memory_s = (cost.weights_resident_bytes + figures.cache_bytes) / row.bandwidth;
            cost.output_tokens * memory_s.max(cost.token_flops * cost.batch.max(1.0) / row.flops)
        } else {
            0.0
        };
        Terms {
            net_s: row.net_s + bytes_in / row.down + cost.bytes_out / row.up,
            queue_s,
            plug_s: pair.plug_s,
            pre_s: pre_s * pair.pre,
            dec_s: dec_s * pair.dec,
            retry_s: 0.0,
        }
    }

    /// Predicts for all that passed; takes out those that would take long on a spared node, and those that failed there before
    /// if others are left, which it returns.
    fn predict_all(
        &self,
        wanted: &Wanted<'_>,
        pairs: &Pairs,
        figures: &Figures<'_>,
        (tally, judged, scratch): (&mut Tally, &[(u32, Prediction, bool)], &mut Scratch),
    ) -> Vec<u32> {
        let Scratch { passed, busy_s, queue_s, touched, .. } = scratch;
        passed.retain(|at| {
            let at = *at as usize;
            // Whoever was judged one by one was judged in this too.
            let spared = self.columns.rooms[at].flags & LIGHT != 0 && !touched[at];
            if spared {
                let terms = self.terms(at, pairs, figures, 0.0);
                if terms.plug_s + terms.pre_s + terms.dec_s > LIGHT_STEP_S {
                    tally.add(LIGHT_LONG, at);
                    return false;
                }
            }
            true
        });
        let failed_on = &wanted.step.failed_on;
        let failed = |at: &u32| failed_on.contains(&self.nodes[*at as usize].id);
        let mut failed_here = Vec::new();
        if !failed_on.is_empty() && passed.iter().any(|at| !failed(at)) {
            failed_here = passed.iter().copied().filter(failed).collect();
            passed.retain(|at| !failed(at));
        }
        busy_s.clear();
        busy_s.extend(passed.iter().map(|at| self.terms(*at as usize, pairs, figures, queue_s[*at as usize]).total_s()));
        for (at, prediction, _) in judged {
            if let Ok(place) = passed.binary_search(at) {
                busy_s[place] = prediction.terms.total_s();
            }
        }
        failed_here
    }

    /// The candidates that can be chosen or shown, in the order of their ids, the cost of a loss included.
    fn best(
        &self,
        wanted: &Wanted<'_>,
        pairs: &Pairs,
        figures: &Figures<'_>,
        judged: &[(u32, Prediction, bool)],
        scratch: &mut Scratch,
    ) -> Vec<Ranked> {
        let Scratch { passed, busy_s, queue_s, middle, touched } = scratch;
        let count = busy_s.len();
        let spread = Spread::of(busy_s);
        let retry_s = DETECTION_S + spread.nth(count / 2, middle);
        let full = |place: usize| {
            let mtbf_s = self.columns.rows[passed[place] as usize].mtbf_s;
            busy_s[place] + expected_retry_s(busy_s[place], mtbf_s, retry_s)
        };
        let mut bound = f64::INFINITY;
        if count > SHOWN {
            let enough = spread.nth(SHOWN - 1, middle);
            let some = (0..count).filter(|p| busy_s[*p] <= enough).take(SHOWN).map(full);
            let (least, most) = some.fold((f64::INFINITY, 0f64), |(least, most), total_s| (least.min(total_s), most.max(total_s)));
            bound = most.max(least * (1.0 + TIE));
        }
        let alone = wanted.step.alone;
        let ranked = |place: usize| {
            let at = passed[place] as usize;
            let node = &self.nodes[at];
            let slow = touched[at]
                .then(|| judged.binary_search_by_key(&(at as u32), |(at, ..)| *at).ok().map(|i| &judged[i]))
                .flatten();
            let (mut terms, mut unknown, has_room) = match slow {
                Some((_, prediction, has_room)) => (prediction.terms, prediction.unknown, *has_room),
                None => {
                    let live = self.columns.rooms[at].live;
                    let terms = self.terms(at, pairs, figures, queue_s[at]);
                    (terms, pairs.rows[at].unknown, live < most_live(node, alone))
                }
            };
            if self.columns.rooms[at].flags & FREE_UNKNOWN != 0 && wanted.memory_bytes > 0 && !pairs.rows[at].loaded {
                unknown.insert(Factor::FreeMemory);
            }
            let mtbf_s = self.columns.rows[at].mtbf_s;
            terms.retry_s = expected_retry_s(busy_s[place], mtbf_s, retry_s);
            Ranked { index: at, id: node.id, terms, total_s: terms.total_s(), mtbf_s, unknown, has_room }
        };
        (0..count).filter(|place| busy_s[*place] <= bound).map(ranked).collect()
    }

    /// The refusals by reason, with their first nodes as examples.
    fn refusals(&mut self, wanted: &Wanted<'a>, nominal: &StepCost, tally: &Tally) -> Vec<RefusalCount> {
        let mut counts = Vec::new();
        for (count, examples) in tally.counts.iter().zip(&tally.examples).filter(|(count, _)| **count > 0) {
            let mut entry = RefusalCount { reason: String::new(), count: *count, examples: Vec::new() };
            for at in examples.iter().take(*count as usize) {
                let at = *at as usize;
                let added: (Option<&Added>, _) = (self.added.get(&at), &self.stand_ins);
                if let Err(refused) = judge(&self.nodes[at], wanted, nominal, added, (self.now, &mut self.ends_s)) {
                    entry.reason = refused.reason().into();
                    entry.examples.push(refused.example(&self.nodes[at].name));
                }
            }
            counts.push(entry);
        }
        counts
    }
}

/// Values with their range divided evenly, and how many fall into each part: any one by its rank is then found in one part.
struct Spread<'v> {
    values: &'v [f64],
    least: f64,
    /// Parts for each unit; none where the range cannot be divided.
    scale: Option<f64>,
    counts: [u32; PARTS],
}

impl<'v> Spread<'v> {
    fn of(values: &'v [f64]) -> Self {
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values {
            (least, most) = (if *value < least { *value } else { least }, if *value > most { *value } else { most });
        }
        let scale = (PARTS - 1) as f64 / (most - least);
        let scale = (values.len() >= 4 * PARTS && scale.is_finite()).then_some(scale);
        let mut spread = Self { values, least, scale, counts: [0; PARTS] };
        if let Some(scale) = scale {
            values.iter().for_each(|value| spread.counts[part_of(*value, least, scale)] += 1);
        }
        spread
    }

    /// The `n`th smallest.
    fn nth(&self, n: usize, part: &mut Vec<f64>) -> f64 {
        part.clear();
        let Some(scale) = self.scale else {
            part.extend_from_slice(self.values);
            return *part.select_nth_unstable_by(n, f64::total_cmp).1;
        };
        let (mut before, mut wanted) = (0, 0);
        while wanted < PARTS - 1 && before + self.counts[wanted] as usize <= n {
            before += self.counts[wanted] as usize;
            wanted += 1;
        }
        part.extend(self.values.iter().filter(|value| part_of(**value, self.least, scale) == wanted));
        *part.select_nth_unstable_by(n - before, f64::total_cmp).1
    }
}

fn part_of(value: f64, least: f64, scale: f64) -> usize {
    // Rounding towards zero keeps the order: a larger value is never in an earlier part.
    (((value - least) * scale) as i32 as usize).min(PARTS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_nth_is_the_nth(values in prop::collection::vec(prop_oneof![1e-6..1e6f64, Just(1.0), 0.99..1.01f64], 1..9000), at in 0.0..1.0f64) {
            let n = ((values.len() - 1) as f64 * at) as usize;
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            prop_assert_eq!(Spread::of(&values).nth(n, &mut Vec::new()), sorted[n]);
        }
    }
}
