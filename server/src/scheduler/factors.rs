//! A node's factors as far as they can be believed, and what stands in for those that cannot.
//!
//! Figures come from nodes, which may be wrong or lie. A claim that is no quantity, or a thousand times what its class
//! can do, is refused and counts as unknown; one above the class's maximum is cut to it. An unknown factor is the
//! pessimistic quartile of the nodes of the class, then of all nodes, then a low constant; the candidate lists it.

use super::class::Class;
use super::snapshot::NodeState;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A factor that may be unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Factor {
    Bandwidth,
    Flops,
    Disk,
    Srtt,
    Rttvar,
    Down,
    Up,
    ClockCap,
    ForeignLoad,
    Hash,
    /// The figures of the accelerator that computes: those of the processor stand in.
    Accelerator,
    /// Free memory, where the total is taken for it or nothing is known.
    FreeMemory,
}

impl Factor {
    pub(crate) const ALL: [Self; 12] = [
        Self::Bandwidth,
        Self::Flops,
        Self::Disk,
        Self::Srtt,
        Self::Rttvar,
        Self::Down,
        Self::Up,
        Self::ClockCap,
        Self::ForeignLoad,
        Self::Hash,
        Self::Accelerator,
        Self::FreeMemory,
    ];

    /// As [`Candidate::unknown`](ouro_common::document::Candidate) lists it.
    fn name(self) -> &'static str {
        match self {
            Self::Bandwidth => "memory bandwidth",
            Self::Flops => "compute",
            Self::Disk => "disk speed",
            Self::Srtt => "round trip",
            Self::Rttvar => "round trip deviation",
            Self::Down => "rate to the node",
            Self::Up => "rate from the node",
            Self::ClockCap => "clock cap",
            Self::ForeignLoad => "foreign load",
            Self::Hash => "hash speed",
            Self::Accelerator => "accelerator speed",
            Self::FreeMemory => "free memory",
        }
    }

    fn larger_is_better(self) -> bool {
        !matches!(self, Self::Srtt | Self::Rttvar | Self::ForeignLoad)
    }

    /// What stands in when no node of the fleet knows: a slow phone on a poor mobile link. Hashing is SHA-256 without
    /// instructions for it.
    fn constant(self) -> f64 {
        match self {
            Self::Bandwidth => 8e9,
            Self::Flops => 20e9,
            Self::Disk => 100e6,
            Self::Srtt => 0.2,
            Self::Rttvar => 0.1,
            Self::Down => 1e6,
            Self::Up => 0.5e6,
            Self::ClockCap => 0.75,
            Self::ForeignLoad => 0.5,
            Self::Hash => 400e6,
            Self::Accelerator | Self::FreeMemory => 0.0,
        }
    }

    /// The node's own figure, if it can be believed.
    pub(crate) fn claim(self, node: &NodeState, class: Class) -> Option<f64> {
        let profile = node.profile.as_deref();
        match self {
            Self::Bandwidth => believed(profile?.bandwidth_bytes_per_s?, class.maxima().bandwidth),
            Self::Flops => believed(profile?.flops_per_s?, class.maxima().flops),
            Self::Disk => believed(profile?.disk_bytes_per_s?, class.maxima().disk),
            Self::Srtt => Some(node.link?.srtt_s).filter(|s| (0.0..=60.0).contains(s)),
            Self::Rttvar => Some(node.link?.rttvar_s).filter(|s| (0.0..=60.0).contains(s)),
            Self::Down => believed(node.link?.down_bytes_per_s, FASTEST_LINK),
            Self::Up => believed(node.link?.up_bytes_per_s, FASTEST_LINK),
            Self::ClockCap => node.readings.clock_cap.filter(|c| *c > 0.0 && *c <= 1.0),
            Self::ForeignLoad => node.readings.foreign_load.filter(|l| (0.0..=1.0).contains(l)),
            Self::Hash => believed(profile?.hash_bytes_per_s?, FASTEST_HASH),
            Self::Accelerator | Self::FreeMemory => None,
        }
    }
}

/// 400 Gbit/s Ethernet.
const FASTEST_LINK: f64 = 50e9;
/// SHA-256 on one thread of the fastest processor with instructions for it, and as much again.
const FASTEST_HASH: f64 = 6e9;
/// A claim so many times its class's maximum is no exaggeration but nonsense.
const ABSURD: f64 = 1000.0;

/// A rate as far as it is believed: `None` if it is no rate.
pub(crate) fn believed(claim: f64, maximum: f64) -> Option<f64> {
    (claim.is_finite() && claim > 0.0 && claim <= maximum * ABSURD).then(|| claim.min(maximum))
}

/// The factors of a candidate that were not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct UnknownSet(u16);

impl UnknownSet {
    pub(crate) fn insert(&mut self, factor: Factor) {
        self.0 |= 1 << factor as u16;
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(crate) fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) fn contains(self, factor: Factor) -> bool {
        self.0 & (1 << factor as u16) != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn names(self) -> Vec<String> {
        Factor::ALL.into_iter().filter(|f| self.0 & (1 << *f as u16) != 0).map(|f| f.name().to_string()).collect()
    }
}

/// What stands in for unknown factors; computed when first asked for, since most fleets never do.
pub(crate) struct StandIns<'a> {
    nodes: &'a [Arc<NodeState>],
    figures: &'a RefCell<Figures>,
}

/// Figures that stand in, once computed.
pub(crate) type Figures = BTreeMap<(Factor, Class), f64>;

impl<'a> StandIns<'a> {
    pub(crate) fn new(nodes: &'a [Arc<NodeState>], figures: &'a RefCell<Figures>) -> Self {
        Self { nodes, figures }
    }

    /// The node's figure, or what stands in for it; then `unknown` gets the factor.
    pub(crate) fn figure(&self, factor: Factor, node: &NodeState, class: Class, unknown: &mut UnknownSet) -> f64 {
        factor.claim(node, class).unwrap_or_else(|| self.stand_in(factor, class, unknown))
    }

    /// What stands in for a factor of a node of that class.
    pub(crate) fn stand_in(&self, factor: Factor, class: Class, unknown: &mut UnknownSet) -> f64 {
        unknown.insert(factor);
        if let Some(figure) = self.figures.borrow().get(&(factor, class)) {
            return *figure;
        }
        let of = |only: Option<Class>| {
            let classes = self.nodes.iter().map(|n| (n, Class::of(n.profile.as_deref())));
            pessimistic_quartile(classes.filter(|(_, c)| only.is_none_or(|o| o == *c)).filter_map(|(n, c)| factor.claim(n, c)), factor)
        };
        let figure = of(Some(class)).or_else(|| of(None)).unwrap_or_else(|| factor.constant());
        // A quartile of other classes may be more than this one can do.
        let figure = match factor {
            Factor::Bandwidth => figure.min(class.maxima().bandwidth),
            Factor::Flops => figure.min(class.maxima().flops),
            Factor::Disk => figure.min(class.maxima().disk),
            _ => figure,
        };
        self.figures.borrow_mut().insert((factor, class), figure);
        figure
    }
}

/// The figure that three quarters of the values are at least as good as.
fn pessimistic_quartile(values: impl Iterator<Item = f64>, factor: Factor) -> Option<f64> {
    let mut worst_first: Vec<f64> = values.collect();
    let at = worst_first.len().checked_sub(1)? / 4;
    let worse = |a: &f64, b: &f64| if factor.larger_is_better() { a.total_cmp(b) } else { b.total_cmp(a) };
    Some(*worst_first.select_nth_unstable_by(at, worse).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_cut_to_the_class_and_nonsense_is_refused() {
        assert_eq!(believed(5e9, 1e10), Some(5e9));
        assert_eq!(believed(5e10, 1e10), Some(1e10));
        for bad in [f64::NAN, f64::INFINITY, 0.0, -1.0, 1e14] {
            assert_eq!(believed(bad, 1e10), None, "{bad}");
        }
    }

    #[test]
    fn the_quartile_is_the_bad_one() {
        let eight = [5.0, 1.0, 8.0, 2.0, 7.0, 3.0, 6.0, 4.0];
        assert_eq!(pessimistic_quartile(eight.into_iter(), Factor::Bandwidth), Some(2.0));
        assert_eq!(pessimistic_quartile(eight.into_iter(), Factor::Srtt), Some(7.0));
        assert_eq!(pessimistic_quartile([3.0].into_iter(), Factor::Srtt), Some(3.0));
        assert_eq!(pessimistic_quartile(std::iter::empty(), Factor::Srtt), None);
    }

    #[test]
    fn the_set_lists_what_it_holds() {
        let mut set = UnknownSet::default();
        set.insert(Factor::FreeMemory);
        set.insert(Factor::Disk);
        assert_eq!(set.names(), ["disk speed", "free memory"]);
        for (i, factor) in Factor::ALL.into_iter().enumerate() {
            assert_eq!(factor as usize, i, "the set's bits follow the list");
        }
    }
}
