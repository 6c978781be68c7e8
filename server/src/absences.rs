//! Who went away lately, and whether the server itself was cut off: when nearly all lines break at once, the likely culprit is its own
//! network, and nodes that work on get the time to come back.
//!
//! A node that goes alone is never waited for a moment longer, and nobody is once most of the others are back.

use ouro_common::clock::Instant;
use ouro_common::id::NodeId;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A node that holds a step and whose connection broke has so long to come back.
pub const GRACE: Duration = Duration::from_secs(3);
/// When the server was cut off, so long: as long as silence is suffered on a line that does not break.
pub const CUT_OFF_GRACE: Duration = Duration::from_secs(20);
/// Lines that break within this time break together.
const TOGETHER: Duration = Duration::from_secs(5);
/// Fewer are chance.
const LEAST: usize = 3;
/// Of those that were connected at most one in so many keeps its line when the server is cut off: one on the server's own machine, say.
const STAYED: usize = 10;
/// Absences that are over are remembered for so long.
const REMEMBERED: Duration = Duration::from_secs(60);

/// A node's last absence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Absence {
    /// When its connection broke.
    pub since: Instant,
    /// When it came back.
    pub back: Option<Instant>,
}

/// Whether what a node runs is to stay with it for now, although [`GRACE`] is over. `all` are the absences of all nodes, this one's
/// included; `connected` is the number of nodes that have a session now.
pub fn stays(absence: &Absence, all: &[Absence], connected: usize, now: Instant) -> bool {
    let apart = |other: &Absence| other.since.since(absence.since).max(absence.since.since(other.since));
    let together: Vec<&Absence> = all.iter().filter(|other| apart(other) <= TOGETHER).collect();
    let mut returns: Vec<Instant> = together.iter().filter_map(|other| other.back).collect();
    let stayed = connected.saturating_sub(returns.len());
    if together.len() < LEAST || stayed * STAYED > together.len() {
        return false;
    }
    returns.sort_unstable();
    let most_are_back = returns.get(together.len() / 2).is_some_and(|at| now.since(*at) >= GRACE);
    !most_are_back && now.since(absence.since) < CUT_OFF_GRACE
}

/// The last absences of all nodes.
#[derive(Debug, Default)]
pub struct Absences(Mutex<BTreeMap<NodeId, Absence>>);

impl Absences {
    /// A node's connection broke.
    pub fn left(&self, node: NodeId, now: Instant) {
        let mut table = self.table();
        table.retain(|_, absence| absence.back.is_none_or(|back| now.since(back) < REMEMBERED));
        table.insert(node, Absence { since: now, back: None });
    }

    /// A node has a session again.
    pub fn returned(&self, node: NodeId, now: Instant) {
        if let Some(absence) = self.table().get_mut(&node) {
            absence.back.get_or_insert(now);
        }
    }

    /// Whether what a node runs is to stay with it for now, [`stays`].
    pub fn stays(&self, node: NodeId, connected: usize, now: Instant) -> bool {
        let table = self.table();
        let all: Vec<Absence> = table.values().copied().collect();
        table.get(&node).is_some_and(|absence| stays(absence, &all, connected, now))
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<NodeId, Absence>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn gone(since_ms: u64) -> Absence {
        Absence { since: Instant(since_ms), back: None }
    }

    fn at(seconds: u64) -> Instant {
        Instant(seconds * 1000)
    }

    #[test]
    fn a_cut_of_all_lines_is_the_server_s_own() {
        let all = [gone(100), gone(200), gone(900)];
        assert!(stays(&all[0], &all, 0, at(12)));
        assert!(!stays(&all[0], &all, 0, at(21)), "after twenty seconds they are lost");
        assert!(!stays(&all[0], &all, 1, at(12)), "another node's line holds");
        let many: Vec<_> = (0..20).map(|n| gone(n * 10)).collect();
        assert!(stays(&many[0], &many, 2, at(12)), "two of twenty-two may be on the server's own machine");
        assert!(!stays(&many[0], &many, 3, at(12)));
    }

    #[test]
    fn nobody_is_waited_for_when_most_are_back() {
        let mut all: Vec<_> = (0..8).map(|_| gone(0)).collect();
        for absence in &mut all[..4] {
            absence.back = Some(at(10));
        }
        assert!(stays(&all[7], &all, 4, at(14)), "half are, the rest is on its way");
        all[4].back = Some(at(11));
        assert!(stays(&all[7], &all, 5, at(13)), "three seconds more");
        assert!(!stays(&all[7], &all, 5, at(14)));
    }

    #[test]
    fn absences_are_forgotten_some_time_after_they_ended() {
        let absences = Absences::default();
        let node = |n| NodeId::from_parts(1, [n; 10]);
        (1..=3).for_each(|n| absences.left(node(n), at(1)));
        assert!(absences.stays(node(1), 0, at(6)) && !absences.stays(node(9), 0, at(6)));
        (1..=3).for_each(|n| absences.returned(node(n), at(7)));
        absences.returned(node(1), at(50));
        assert_eq!(absences.table()[&node(1)].back, Some(at(7)), "the first return counts");
        absences.left(node(4), at(68));
        assert_eq!(absences.table().len(), 1);
        assert!(!absences.stays(node(4), 3, at(72)), "it went alone");
    }

    fn absence() -> impl Strategy<Value = Absence> {
        (0u64..40_000, proptest::option::of(0u64..30_000))
            .prop_map(|(since, away)| Absence { since: Instant(since), back: away.map(|ms| Instant(since + ms)) })
    }

    proptest! {
        #[test]
        fn who_goes_alone_is_waited_for_no_longer(
            mut others in proptest::collection::vec(absence(), 0..30), since in 0u64..40_000, connected in 0usize..40, now in 0u64..90_000,
        ) {
            // At most one other went at the same time.
            let mut near = 0;
            others.retain(|other| {
                let apart = other.since.0.abs_diff(since) > 5_000;
                near += usize::from(!apart);
                apart || near == 1
            });
            let own = gone(since);
            others.push(own);
            prop_assert!(!stays(&own, &others, connected, Instant(now)));
        }

        #[test]
        fn nobody_stays_longer_than_silence_is_suffered(all in proptest::collection::vec(absence(), 1..30), connected in 0usize..40, late in 0u64..90_000) {
            let own = all[0];
            prop_assert!(!stays(&own, &all, connected, own.since.after(CUT_OFF_GRACE + Duration::from_millis(late))));
        }

        #[test]
        fn another_line_that_holds_never_lengthens_the_wait(all in proptest::collection::vec(absence(), 1..30), connected in 0usize..40, now in 0u64..90_000) {
            let now = Instant(now);
            prop_assert!(stays(&all[0], &all, connected, now) || !stays(&all[0], &all, connected + 1, now));
        }
    }
}
