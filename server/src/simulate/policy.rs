//! Who gives a request to which machine: the scheduler itself, the scheduler with a factor hidden from it, or a simpler rule.
//!
//! The simpler rules are those of the literature, and choose as soon as a request comes; queues are then on the machines. They
//! know which machines are in reach and have memory enough, and the capacities that machines claim.

use crate::scheduler::snapshot::NodeState;
use ouro_common::clock::Instant;
use ouro_common::device::NodeProfile;
use ouro_common::mfpi::Residuals;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// `decide`.
    Mfpi,
    /// `decide`, with one factor the same for all machines.
    Without(Factor),
    /// Any machine.
    Random,
    /// One after the other.
    RoundRobin,
    /// The one with the fewest requests.
    LeastLoaded,
    /// The one with fewer requests of two drawn.
    PowerOfTwo,
    /// Drawn in proportion to capacity.
    CapacityWeighted,
    /// An idle one drawn, any one if none is.
    JoinIdleQueue,
    /// The least (requests + 1) / capacity.
    ShortestExpectedDelay,
    /// The best sum of weighted, normalised factors.
    WeightedSum,
}

/// What can be hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Factor {
    /// Memory bandwidth.
    Bandwidth,
    /// Compute.
    Compute,
    /// Round trips and rates.
    Link,
    /// Which containers are in memory, and how fast the others are read.
    Plug,
    /// How long the work takes that a machine has.
    Queue,
    /// The share of others.
    ForeignLoad,
    /// Caps on clocks.
    ClockCap,
    /// What real runs taught.
    Learning,
    /// How often machines are lost.
    Loss,
}

impl Policy {
    /// What is compared by default.
    pub const BASELINES: [Self; 9] = [
        Self::Mfpi,
        Self::ShortestExpectedDelay,
        Self::LeastLoaded,
        Self::PowerOfTwo,
        Self::JoinIdleQueue,
        Self::CapacityWeighted,
        Self::RoundRobin,
        Self::Random,
        Self::WeightedSum,
    ];
    /// The scheduler, whole and with each factor hidden.
    pub const ABLATIONS: [Self; 10] = [
        Self::Mfpi,
        Self::Without(Factor::Bandwidth),
        Self::Without(Factor::Compute),
        Self::Without(Factor::Link),
        Self::Without(Factor::Plug),
        Self::Without(Factor::Queue),
        Self::Without(Factor::ForeignLoad),
        Self::Without(Factor::ClockCap),
        Self::Without(Factor::Learning),
        Self::Without(Factor::Loss),
    ];

    /// As tables show it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mfpi => "MFPI",
            Self::Without(Factor::Bandwidth) => "without bandwidth",
            Self::Without(Factor::Compute) => "without compute",
            Self::Without(Factor::Link) => "without link",
            Self::Without(Factor::Plug) => "without plugging",
            Self::Without(Factor::Queue) => "without queue",
            Self::Without(Factor::ForeignLoad) => "without foreign load",
            Self::Without(Factor::ClockCap) => "without clock cap",
            Self::Without(Factor::Learning) => "without learning",
            Self::Without(Factor::Loss) => "without losses",
            Self::Random => "random",
            Self::RoundRobin => "round robin",
            Self::LeastLoaded => "least loaded",
            Self::PowerOfTwo => "power of two choices",
            Self::CapacityWeighted => "capacity-weighted random",
            Self::JoinIdleQueue => "join idle queue",
            Self::ShortestExpectedDelay => "shortest expected delay",
            Self::WeightedSum => "weighted sum",
        }
    }

    /// The factor it may not see.
    pub(super) fn hidden(self) -> Option<Factor> {
        match self {
            Self::Without(factor) => Some(factor),
            _ => None,
        }
    }

    /// Whether `decide` places the requests.
    pub(super) fn decides(self) -> bool {
        matches!(self, Self::Mfpi | Self::Without(_))
    }
}

/// Makes one factor of a node the same for all: what `decide` sees of it is then no reason for anything.
pub(super) fn hide(factor: Factor, node: &mut NodeState, now: Instant) {
    let mut change = |change: &dyn Fn(&mut NodeProfile)| {
        if let Some(profile) = node.profile.as_mut() {
            change(Arc::make_mut(profile));
        }
    };
    match factor {
        Factor::Bandwidth => change(&|p| p.bandwidth_bytes_per_s = Some(40e9)),
        Factor::Compute => change(&|p| p.flops_per_s = Some(0.5e12)),
        Factor::Plug => {
            change(&|p| p.disk_bytes_per_s = Some(2e9));
            node.loaded.clear();
        }
        Factor::Loss => change(&|p| p.hardware.machine.kind = "server".into()),
        Factor::Link => node.link = Some(ouro_common::mfpi::reference().link),
        Factor::Queue => node.ends.iter_mut().for_each(|end| *end = now),
        Factor::ForeignLoad => node.readings.foreign_load = Some(0.2),
        Factor::ClockCap => node.readings.clock_cap = Some(1.0),
        Factor::Learning => node.residuals.values_mut().for_each(|r| *r = Residuals::default()),
    }
}

/// A machine as a simple rule sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// In reach, with memory enough.
    pub(super) eligible: bool,
    /// Requests it has.
    pub(super) queued: usize,
    /// Requests a second it says it can do.
    pub(super) capacity: f64,
    /// What the weighted sum adds up, each from 0 to 1: bandwidth, compute, disk, nearness, idleness.
    pub(super) normal: [f64; 5],
    /// Whether the container is in memory.
    pub(super) loaded: bool,
}

/// The weights of the weighted sum: bandwidth, compute, disk, nearness, idleness; then a loaded container and a short queue.
const WEIGHTS: [f64; 5] = [0.25, 0.15, 0.05, 0.10, 0.10];
const LOADED_WEIGHT: f64 = 0.15;
const QUEUE_WEIGHT: f64 = 0.20;

/// The machine that a simple rule chooses; `turn` counts its choices.
pub(super) fn choose(policy: Policy, seen: &[Seen], turn: usize, rng: &mut ChaCha8Rng) -> Option<usize> {
    let eligible: Vec<usize> = (0..seen.len()).filter(|i| seen[*i].eligible).collect();
    if eligible.is_empty() {
        return None;
    }
    let any = |of: &[usize], rng: &mut ChaCha8Rng| of[rng.random_range(0..of.len())];
    // Equals are chosen among by chance, or the first machines would get all.
    let least = |cost: &dyn Fn(usize) -> f64, rng: &mut ChaCha8Rng| {
        let best = eligible.iter().map(|i| cost(*i)).fold(f64::INFINITY, f64::min);
        let equal: Vec<usize> = eligible.iter().copied().filter(|i| cost(*i) <= best).collect();
        any(&equal, rng)
    };
    Some(match policy {
        Policy::RoundRobin => eligible[turn % eligible.len()],
        Policy::LeastLoaded => least(&|i| seen[i].queued as f64, rng),
        Policy::PowerOfTwo => {
            let (a, b) = (any(&eligible, rng), any(&eligible, rng));
            if seen[b].queued < seen[a].queued { b } else { a }
        }
        Policy::CapacityWeighted => {
            let mut drawn = rng.random_range(0.0..eligible.iter().map(|i| seen[*i].capacity).sum::<f64>());
            let passed = |i: &&usize| {
                drawn -= seen[**i].capacity;
                drawn <= 0.0
            };
            eligible.iter().find(passed).copied().unwrap_or(eligible[0])
        }
        Policy::JoinIdleQueue => {
            let idle: Vec<usize> = eligible.iter().copied().filter(|i| seen[*i].queued == 0).collect();
            any(if idle.is_empty() { &eligible } else { &idle }, rng)
        }
        Policy::ShortestExpectedDelay => least(&|i| (seen[i].queued + 1) as f64 / seen[i].capacity, rng),
        Policy::WeightedSum => least(&|i| -weighted_sum(&seen[i]), rng),
        Policy::Random | Policy::Mfpi | Policy::Without(_) => any(&eligible, rng),
    })
}

fn weighted_sum(seen: &Seen) -> f64 {
    let factors: f64 = WEIGHTS.iter().zip(seen.normal).map(|(weight, value)| weight * value).sum();
    let loaded = if seen.loaded { LOADED_WEIGHT } else { 0.0 };
    factors + loaded + QUEUE_WEIGHT / (1.0 + seen.queued as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn seen(queued: usize, capacity: f64) -> Seen {
        Seen { eligible: true, queued, capacity, normal: [0.5; 5], loaded: false }
    }

    #[test]
    fn each_rule_chooses_as_it_says() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let mut fleet = vec![seen(3, 9.0), seen(0, 1.0), seen(2, 1.0), seen(0, 1.0)];
        fleet[3].eligible = false;
        let mut pick = |policy, turn| choose(policy, &fleet, turn, &mut rng).unwrap();
        assert_eq!((0..4).map(|turn| pick(Policy::RoundRobin, turn)).collect::<Vec<_>>(), [0, 1, 2, 0]);
        assert_eq!(pick(Policy::LeastLoaded, 0), 1);
        assert_eq!(pick(Policy::JoinIdleQueue, 0), 1);
        assert_eq!(pick(Policy::ShortestExpectedDelay, 0), 0, "four ninths of a second beat one");
        assert_eq!(pick(Policy::WeightedSum, 0), 1);
        let drawn = (0..1100).filter(|_| pick(Policy::CapacityWeighted, 0) == 0).count();
        assert!((850..950).contains(&drawn), "nine in eleven: {drawn}");
        let long = (0..900).filter(|_| pick(Policy::PowerOfTwo, 0) == 0).count();
        assert!((60..140).contains(&long), "the longest queue only when drawn twice: {long}");
        assert_eq!(choose(Policy::Random, &[], 0, &mut rng), None);
    }
}
