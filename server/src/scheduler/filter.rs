//! Hard filters: what keeps a step from a node is never scored. The first requirement that fails is the reason.
//!
//! Requirements that only other hardware or software could meet come first, so that a node which could never take the
//! step says so even while it is offline; then whether the container is there; then what time or a person can change.

pub use super::refused::Refused;

use super::processor::{Processor, processor};
use super::snapshot::{Gate, NodeState, SessionState, StepState};
use ouro_common::container::{Manifest, Runtime};
use ouro_common::device::NodeProfile;
use ouro_common::step::AdminState;

/// Results after which a node is trusted with more than one attempt at a time.
pub const TRUSTED_AFTER_COMMITS: u64 = 5;

/// A step as the filters see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) step: &'a StepState,
    pub(crate) manifest: &'a Manifest,
    /// What it needs while it runs, weights and cache included, bytes.
    pub(crate) memory_bytes: u64,
    /// The label of the module that carries or last carried the container.
    pub(crate) module: Option<&'a str>,
    /// A language model's cache of this size was found too small for it, bytes.
    pub(crate) small_cache_bytes: Option<u64>,
}

/// What a node has to do, this decision's assignments included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    /// Live attempts.
    pub(crate) live: usize,
    /// Whether one of them must be alone.
    pub(crate) alone: bool,
    /// Memory that other containers assigned in this decision will take, bytes.
    pub(crate) taken_bytes: u64,
}

/// A node that may take the step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passed {
    pub(crate) processor: Processor,
    /// Free memory was not known; the total, or nothing, was looked at in its place.
    pub(crate) memory_unknown: bool,
}

/// Whether the container is on a module of the node. That it is in memory still does not count: heartbeats say so for seconds
/// after its module was pulled out, and a step that is given to the node in the meantime fails as often as it is tried.
pub(crate) fn holds(node: &NodeState, wanted: &Wanted<'_>) -> bool {
    node.present.contains_key(&wanted.step.container)
}

/// All filters that need no prediction.
pub(crate) fn check<'a>(node: &'a NodeState, wanted: &Wanted<'a>, work: Work) -> Result<Passed, Refused<'a>> {
    if node.admin == AdminState::Removed {
        return Err(Refused::Removed);
    }
    // A node that still tries the runtime has not said all of itself yet: the step waits for it.
    let told = node.profile.as_deref().filter(|profile| !still_tries(profile, wanted));
    let processor = told.map(|profile| fits(profile, wanted)).transpose()?;
    owner(node, wanted)?;
    cache(node, wanted)?;
    if !holds(node, wanted) {
        return Err(Refused::NotPresent { module: wanted.module });
    }
    standing(node)?;
    let processor = processor.ok_or(Refused::NoProfile)?;
    gate(node, wanted)?;
    if node.switched_off.contains(&wanted.step.container) {
        return Err(Refused::SwitchedOff);
    }
    let memory_unknown = free_memory(node, wanted, work.taken_bytes)?;
    room(node, wanted, work)?;
    Ok(Passed { processor, memory_unknown })
}

fn still_tries(profile: &NodeProfile, wanted: &Wanted<'_>) -> bool {
    profile.runtimes.iter().any(|r| r.pending && !r.available && r.runtime == wanted.manifest.runtime.name())
}

/// What the hardware and software of a node must be.
fn fits<'a>(profile: &'a NodeProfile, wanted: &Wanted<'a>) -> Result<Processor, Refused<'a>> {
    let runtime = wanted.manifest.runtime.name();
    match profile.runtimes.iter().find(|r| r.runtime == runtime) {
        Some(found) if found.available => {}
        found => return Err(Refused::Runtime { runtime, detail: found.map(|r| r.detail.as_str()) }),
    }
    let needs = &wanted.manifest.needs.accelerators;
    let processor = processor(&profile.hardware, needs).ok_or(Refused::Accelerators { needs, hardware: &profile.hardware })?;
    match total_memory(profile) {
        Some(has) if has < wanted.memory_bytes => Err(Refused::MemoryTotal { needs: wanted.memory_bytes, has }),
        _ => Ok(processor),
    }
}

pub(crate) fn total_memory(profile: &NodeProfile) -> Option<u64> {
    profile.hardware.memory.host_bytes.or(profile.hardware.memory.total_bytes)
}

fn owner<'a>(node: &'a NodeState, wanted: &Wanted<'a>) -> Result<(), Refused<'a>> {
    let has = node.labels.get("owner").map(String::as_str);
    match wanted.step.private_owner.as_deref() {
        Some(wanted) if has != Some(wanted) => Err(Refused::Owner { wanted, has }),
        _ => Ok(()),
    }
}

/// Where a step was too large, no attempt brings anything, nor where no more is allowed.
fn cache<'a>(node: &NodeState, wanted: &Wanted<'_>) -> Result<(), Refused<'a>> {
    let has = node.profile.as_deref().and_then(|profile| profile.cache_bytes);
    let as_small = has.zip(wanted.small_cache_bytes).is_some_and(|(has, small)| has <= small);
    if as_small || wanted.step.too_large_for.contains(&node.id) {
        Err(Refused::CacheTooSmall { has })
    } else {
        Ok(())
    }
}

fn standing(node: &NodeState) -> Result<(), Refused<'_>> {
    if node.admin != AdminState::Active {
        return Err(Refused::Admin(node.admin));
    }
    match node.session {
        SessionState::Online if node.slots == 0 => Err(Refused::NoSlots),
        SessionState::Online => Ok(()),
        SessionState::Suspect => Err(Refused::Suspect),
        SessionState::Offline => Err(Refused::Offline),
    }
}

fn gate<'a>(node: &'a NodeState, wanted: &Wanted<'a>) -> Result<(), Refused<'a>> {
    match &node.gate {
        Gate::Refuse(why) => Err(Refused::Gate(why)),
        Gate::Light(why) if wanted.manifest.runtime == Runtime::Gguf && !node.loaded.contains(&wanted.step.container) => {
            Err(Refused::LightLoad(why))
        }
        Gate::Light(_) | Gate::Normal => Ok(()),
    }
}

/// A loaded container has its memory already. Whether the free memory was unknown.
fn free_memory<'a>(node: &NodeState, wanted: &Wanted<'a>, taken_bytes: u64) -> Result<bool, Refused<'a>> {
    if wanted.memory_bytes == 0 || node.loaded.contains(&wanted.step.container) {
        return Ok(false);
    }
    match node.readings.memory_available_bytes.map(|free| free.saturating_sub(taken_bytes)) {
        Some(has) if has < wanted.memory_bytes => Err(Refused::MemoryNow { needs: wanted.memory_bytes, has }),
        Some(_) => Ok(false),
        // The total was looked at already.
        None => Ok(true),
    }
}

fn room<'a>(node: &NodeState, wanted: &Wanted<'a>, work: Work) -> Result<(), Refused<'a>> {
    if work.alone {
        return Err(Refused::RunsAlone);
    }
    if wanted.step.alone && work.live > 0 {
        return Err(Refused::NotIdle { running: work.live });
    }
    if node.commits < TRUSTED_AFTER_COMMITS && work.live > 0 {
        return Err(Refused::NewNode { commits: node.commits });
    }
    Ok(())
}
