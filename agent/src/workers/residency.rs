//! Who leaves memory when it is short: rules over values, without a clock or a process.
//!
//! What works is never touched, and what is pinned neither. Of what waits, first goes what is loaded again soonest. What has just
//! been used rests for a moment first, so that two containers that take turns do not push each other out with every request.

use ouro_common::device::Readings;
use ouro_common::id::Digest;
use ouro_common::mfpi::threshold::Gate;
use std::time::Duration;

/// So long a container has waited before it makes room for another, or leaves because the machine needs it.
pub(crate) const RESTS: Duration = Duration::from_secs(5);
/// The time between two that leave because the machine is short of something: it has to be seen what the first one brought.
pub(crate) const BETWEEN: Duration = Duration::from_secs(10);
/// Work waited for memory in this share of the last ten seconds: some of it, or all of it. Below half of that it is over.
const STALL_PERCENT: (f64, f64) = (20.0, 5.0);
/// A GPU with less than this share of its memory free is full; above three times that it is not any more.
const GPU_FREE: f64 = 0.05;

/// How much a container wants to stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stays {
    /// While it is used, and for a while.
    WhileUsed,
    /// Until others need its place.
    Persistent,
    /// Until a person says otherwise.
    Pinned,
}

/// A container in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) digest: Digest,
    /// What it was reckoned to take when it was loaded, bytes.
    pub(crate) bytes: u64,
    /// How long it would take to load it again.
    pub(crate) reload: Duration,
    /// How long it has waited; `None` while it works.
    pub(crate) idle: Option<Duration>,
    pub(crate) stays: Stays,
    /// Memory that it has on GPUs, bytes.
    pub(crate) gpu_bytes: u64,
}

impl Held {
    fn rests(&self) -> bool {
        self.stays != Stays::Pinned && self.idle.is_some_and(|idle| idle >= RESTS)
    }

    /// What is smaller leaves sooner.
    fn rank(&self) -> impl Ord + use<> {
        (self.stays, self.reload, std::cmp::Reverse(self.bytes), self.digest)
    }
}

/// Whether a container can be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Room {
    /// When these have left.
    Now(Vec<Digest>),
    /// When one of these has come to rest, the first of them soonest.
    Later(Vec<Digest>),
    /// Not as long as so much is pinned.
    Never { pinned: u64 },
}

/// Whether there is room for `needs` bytes beside those in memory, of `limit` for all.
pub(crate) fn make_room(held: &[Held], needs: u64, limit: u64) -> Room {
    let sum = |held: &mut dyn Iterator<Item = &Held>| held.fold(0_u64, |sum, held| sum.saturating_add(held.bytes));
    let pinned = sum(&mut held.iter().filter(|held| held.stays == Stays::Pinned));
    if pinned.saturating_add(needs) > limit {
        return Room::Never { pinned };
    }
    let mut over = sum(&mut held.iter()).saturating_add(needs).saturating_sub(limit);
    let mut order: Vec<&Held> = held.iter().filter(|held| held.stays != Stays::Pinned).collect();
    order.sort_by_key(|held| held.rank());
    let mut leaving: Vec<&Held> = vec![];
    for candidate in order.iter().filter(|held| held.rests()) {
        if over == 0 {
            break;
        }
        over = over.saturating_sub(candidate.bytes);
        leaving.push(candidate);
    }
    if over > 0 {
        return Room::Later(order.iter().map(|held| held.digest).collect());
    }
    // A later one may have brought so much that an earlier one need not leave.
    let mut spare = limit - needs - (sum(&mut held.iter()) - sum(&mut leaving.iter().copied()));
    let mut kept = vec![];
    for candidate in leaving.iter().rev() {
        if candidate.bytes <= spare {
            spare -= candidate.bytes;
            kept.push(candidate.digest);
        }
    }
    Room::Now(leaving.iter().map(|held| held.digest).filter(|digest| !kept.contains(digest)).collect())
}

/// What the machine is short of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Strain {
    /// Work waits for memory.
    pub(crate) memory: bool,
    /// Others have filled a GPU.
    pub(crate) gpu: bool,
    /// Battery or heat forbid everything.
    pub(crate) spared: Option<String>,
}

impl Strain {
    /// The strain after new readings; what has begun ends later than it would have to begin.
    pub(crate) fn next(&self, readings: &Readings, gate: &Gate, own: impl Fn(u32) -> bool) -> Self {
        let part = if self.memory { 0.5 } else { 1.0 };
        let memory = readings.pressure.memory.is_some_and(|stall| {
            let all = stall.full.is_some_and(|full| full.avg10_percent >= STALL_PERCENT.1 * part);
            stall.some.avg10_percent >= STALL_PERCENT.0 * part || all
        });
        let free = if self.gpu { 3.0 * GPU_FREE } else { GPU_FREE };
        let gpu = readings.gpus.iter().any(|gpu| {
            let sum = |of_own: bool| gpu.processes.iter().filter(|p| own(p.pid) == of_own).filter_map(|p| p.memory_bytes).sum::<u64>();
            let (others, ours) = (sum(false), sum(true));
            others > 0 && ours > 0 && (gpu.memory_bytes.saturating_sub(others + ours) as f64) < free * gpu.memory_bytes as f64
        });
        let spared = match gate {
            Gate::Refuse(why) => Some(why.clone()),
            Gate::Normal | Gate::Light(_) => None,
        };
        Self { memory, gpu, spared }
    }

    /// Who leaves because of it, and why; one at a time.
    pub(crate) fn relieve(&self, held: &[Held]) -> Option<(Digest, String)> {
        let cheapest = |of: &dyn Fn(&&Held) -> bool| held.iter().filter(|held| held.rests()).filter(of).min_by_key(|held| held.rank());
        if self.memory
            && let Some(held) = cheapest(&|held| held.bytes > 0)
        {
            return Some((held.digest, "work on this machine waits for memory".into()));
        }
        if self.gpu
            && let Some(held) = cheapest(&|held| held.gpu_bytes > 0)
        {
            return Some((held.digest, "others need the GPU's memory".into()));
        }
        let why = self.spared.as_ref()?;
        cheapest(&|held| held.stays == Stays::WhileUsed).map(|held| (held.digest, why.clone()))
    }
}

#[cfg(test)]
mod tests;
