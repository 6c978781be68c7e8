//! Why a decision is what it is, kept small: the winner and the best sixteen, refusals by reason with three examples each.

use super::place::Ranked;
use super::refused::Refused;
use super::snapshot::NodeState;
use ouro_common::document::{Candidate, RefusalCount};
use std::sync::Arc;

/// Candidates besides the winner.
const OTHERS: usize = 16;
/// The most candidates that are shown.
pub(crate) const SHOWN: usize = OTHERS + 1;
/// Examples for each reason.
const EXAMPLES: usize = 3;

/// The refusals of one step.
#[derive(Default)]
pub(crate) struct Refusals<'a> {
    counts: Vec<RefusalCount>,
    nearest: Option<(&'a NodeState, Refused<'a>)>,
}

impl<'a> Refusals<'a> {
    /// Counts one. Nodes come in the order of their ids, so the examples do not depend on the snapshot's order.
    pub(crate) fn add(&mut self, node: &'a NodeState, refused: Refused<'a>) {
        let reason = refused.reason();
        let at = self.counts.iter().position(|c| c.reason == reason).unwrap_or_else(|| {
            self.counts.push(RefusalCount { reason: reason.to_string(), count: 0, examples: Vec::new() });
            self.counts.len() - 1
        });
        let entry = &mut self.counts[at];
        entry.count += 1;
        if entry.examples.len() < EXAMPLES {
            entry.examples.push(refused.example(&node.name));
        }
        if self.nearest.is_none_or(|(_, best)| nearness(&refused) < nearness(&best)) {
            self.nearest = Some((node, refused));
        }
    }

    /// Refusals that were counted elsewhere, where nobody needs to know which is the nearest.
    pub(crate) fn counted(counts: Vec<RefusalCount>) -> Self {
        Self { counts, nearest: None }
    }

    /// What to do so that the node nearest to taking the step would.
    pub(crate) fn remedy(&self, container: &str) -> Option<String> {
        self.nearest.map(|(node, refused)| refused.remedy(&node.name, container))
    }

    /// The reasons in one sentence, the most frequent first.
    pub(crate) fn sentence(&self) -> String {
        let mut counts: Vec<_> = self.counts.iter().collect();
        counts.sort_by(|a, b| b.count.cmp(&a.count).then(a.reason.cmp(&b.reason)));
        let part = |c: &&RefusalCount| match (c.count, c.examples.first()) {
            (1, Some(example)) => format!("{} ({example})", c.reason),
            (n, Some(example)) => format!("{} on {n} nodes (like {example})", c.reason),
            (n, None) => format!("{} on {n} nodes", c.reason),
        };
        counts.iter().map(part).collect::<Vec<_>>().join("; ")
    }

    pub(crate) fn into_counts(mut self) -> Vec<RefusalCount> {
        self.counts.sort_by(|a, b| b.count.cmp(&a.count).then(a.reason.cmp(&b.reason)));
        self.counts
    }
}

/// Nearest first: by kind, then by what is missing.
fn nearness(refused: &Refused<'_>) -> (u8, u64) {
    let missing = match refused {
        Refused::MemoryNow { needs, has } | Refused::MemoryTotal { needs, has } => needs.saturating_sub(*has),
        _ => 0,
    };
    (refused.distance(), missing)
}

/// The candidates as the trace shows them: the winner first, then the best others. The first [`SHOWN`] of `ranked` are
/// the best, in order.
pub(crate) fn candidates(nodes: &[Arc<NodeState>], ranked: &[Ranked], winner: Option<&Ranked>, reference_s: f64) -> Vec<Candidate> {
    let others = ranked.iter().take(SHOWN).filter(|c| winner.is_none_or(|w| w.id != c.id)).take(OTHERS);
    let view = |c: &Ranked| Candidate {
        node: c.id,
        name: nodes[c.index].name.clone(),
        mfpi: reference_s / c.total_s,
        total_s: c.total_s,
        terms: c.terms,
        unknown: c.unknown.names(),
    };
    winner.into_iter().chain(others).map(view).collect()
}
