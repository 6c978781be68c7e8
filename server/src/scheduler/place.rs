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
    pub(crate) unknown: UnknownSet,
    /// Whether one more attempt may be assigned to it.
    pub(crate) has_room: bool,
}

/// What was chosen, as a place in the sorted candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// It goes there now.
    Assign(usize),
    /// It waits for that node: done there later is sooner than done elsewhere now.
    WaitFor(usize),
}

/// Sorts the candidates, soonest first, and chooses; `None` without candidates.
pub(crate) fn choose(candidates: &mut [Ranked], rng: &mut ChaCha8Rng) -> Option<Choice> {
    candidates.sort_unstable_by(|a, b| a.total_s.total_cmp(&b.total_s).then(a.id.cmp(&b.id)));
    let best = candidates.first()?.total_s;
    let ties = candidates.partition_point(|c| c.total_s <= best * (1.0 + TIE));
    let free = candidates[..ties].iter().filter(|c| c.has_room).count();
    if free == 0 {
        return Some(Choice::WaitFor(0));
    }
    let chosen = rng.random_range(0..free as u64) as usize;
    let (at, _) = candidates[..ties].iter().enumerate().filter(|(_, c)| c.has_room).nth(chosen)?;
    Some(Choice::Assign(at))
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
        Ranked { index: n as usize, id: NodeId::from_parts(0, [n; 10]), terms, total_s, unknown, has_room }
    }

    fn rng(seed: u64) -> ChaCha8Rng {
        chance(seed, RequestId::from_parts(0, [0; 10]), 1, &"s".parse().unwrap())
    }

    #[test]
    fn ties_are_drawn_evenly_and_nobody_else_is() {
        let mut count = BTreeMap::new();
        for seed in 0..3000 {
            let mut candidates = [ranked(3, 1.06, true), ranked(2, 1.049, true), ranked(1, 1.0, true)];
            let Some(Choice::Assign(at)) = choose(&mut candidates, &mut rng(seed)) else {
                panic!("all have room")
            };
            *count.entry(candidates[at].index).or_insert(0) += 1;
        }
        assert_eq!(count.keys().copied().collect::<Vec<_>>(), [1, 2]);
        assert!(count.values().all(|n| (1350..1650).contains(n)), "{count:?}");
    }

    #[test]
    fn a_full_node_is_waited_for_unless_a_tie_has_room() {
        assert_eq!(choose(&mut [ranked(1, 1.0, false), ranked(2, 1.2, true)], &mut rng(0)), Some(Choice::WaitFor(0)));
        assert_eq!(choose(&mut [ranked(1, 1.0, false), ranked(2, 1.04, true)], &mut rng(0)), Some(Choice::Assign(1)));
        assert_eq!(choose(&mut [], &mut rng(0)), None);
    }
}
