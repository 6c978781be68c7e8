//! Where a step goes: to the node that is done soonest, ties broken by seeded chance; if that one is full, the step waits.

use super::factors::UnknownSet;
use ouro_common::id::{Name, NodeId, RequestId};
use ouro_common::mfpi::Terms;
use rand::Rng;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Candidates within this share of the best are as good as it.
pub const TIE: f64 = 0.05;

/// A node that may take the step, and when it would be done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ranked {
    /// Its place in the snapshot.
    pub(crate) index: usize,
    pub(crate) id: NodeId,
    pub(crate) terms: Terms,
    pub(crate) total_s: f64,
    /// Mean time between losses of the node, seconds.
    pub(crate) mtbf_s: f64,
    pub(crate) unknown: UnknownSet,
    /// Whether one more attempt may be assigned to it.
    pub(crate) has_room: bool,
}

/// What was chosen.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Choice {
    /// It goes there now.
    Assign(Ranked),
    /// It waits for that node: done there later is sooner than done elsewhere now.
    WaitFor(Ranked),
}

/// Chooses among the candidates, which come in the order of their ids, and then brings the best to the front, soonest
/// first; `None` without candidates.
///
/// Only as many are sorted as anybody is shown: a full sort of ten thousand candidates would take as long as predicting them.
pub(crate) fn choose(candidates: &mut [Ranked], shown: usize, rng: &mut ChaCha8Rng) -> Option<Choice> {
    let best = candidates.iter().map(|c| c.total_s).min_by(f64::total_cmp)?;
    let tied = |c: &&Ranked| c.has_room && c.total_s <= best * (1.0 + TIE);
    let free = candidates.iter().filter(tied).count();
    let drawn = (free > 0).then(|| rng.random_range(0..free as u64) as usize);
    let chosen = drawn.and_then(|nth| candidates.iter().filter(tied).nth(nth)).copied();
    let soonest = |a: &Ranked, b: &Ranked| a.total_s.total_cmp(&b.total_s).then(a.id.cmp(&b.id));
    if candidates.len() > shown {
        candidates.select_nth_unstable_by(shown, soonest);
        candidates[..shown].sort_unstable_by(soonest);
    } else {
        candidates.sort_unstable_by(soonest);
    }
    Some(chosen.map_or(Choice::WaitFor(candidates[0]), Choice::Assign))
}

/// The chance of one step: the same seed and step give the same draw, whatever else is placed beside it.
pub(crate) fn chance(seed: u64, request: RequestId, plan: u32, step: &Name) -> ChaCha8Rng {
    let mut hash = blake3::Hasher::new();
    hash.update(&seed.to_le_bytes())
        .update(request.0.as_bytes())
        .update(&plan.to_le_bytes())
        .update(step.as_str().as_bytes());
    ChaCha8Rng::from_seed(*hash.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn ranked(n: u8, total_s: f64, has_room: bool) -> Ranked {
        let (terms, unknown) = (Terms::default(), UnknownSet::default());
        Ranked {
            index: n as usize,
            id: NodeId::from_parts(0, [n; 10]),
            terms,
            total_s,
            mtbf_s: 1e6,
            unknown,
            has_room,
        }
    }

    fn rng(seed: u64) -> ChaCha8Rng {
        chance(seed, RequestId::from_parts(0, [0; 10]), 1, &"s".parse().unwrap())
    }

    /// Whom the step goes to, or (negative) waits for.
    fn chosen(mut candidates: Vec<Ranked>, seed: u64) -> Option<i64> {
        choose(&mut candidates, 17, &mut rng(seed)).map(|choice| match choice {
            Choice::Assign(c) => c.index as i64,
            Choice::WaitFor(c) => -(c.index as i64),
        })
    }

    #[test]
    fn ties_are_drawn_evenly_and_nobody_else_is() {
        let mut count = BTreeMap::new();
        for seed in 0..3000 {
            let candidates = vec![ranked(1, 1.0, true), ranked(2, 1.049, true), ranked(3, 1.06, true)];
            *count.entry(chosen(candidates, seed).unwrap()).or_insert(0) += 1;
        }
        assert_eq!(count.keys().copied().collect::<Vec<_>>(), [1, 2]);
        assert!(count.values().all(|n| (1350..1650).contains(n)), "{count:?}");
    }

    #[test]
    fn a_full_node_is_waited_for_unless_a_tie_has_room() {
        assert_eq!(chosen(vec![ranked(1, 1.0, false), ranked(2, 1.2, true)], 0), Some(-1));
        assert_eq!(chosen(vec![ranked(1, 1.0, false), ranked(2, 1.04, true)], 0), Some(2));
        assert_eq!(chosen(vec![], 0), None);
    }

    #[test]
    fn the_best_come_to_the_front() {
        let mut candidates: Vec<_> = (0..100).map(|n| ranked(n, f64::from(u32::from(n) * 37 % 101), true)).collect();
        choose(&mut candidates, 5, &mut rng(0));
        let totals: Vec<_> = candidates[..5].iter().map(|c| c.total_s).collect();
        let mut all: Vec<_> = candidates.iter().map(|c| c.total_s).collect();
        all.sort_by(f64::total_cmp);
        assert_eq!(totals, all[..5]);
    }
}
