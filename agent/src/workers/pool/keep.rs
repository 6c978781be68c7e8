//! Which containers stay in memory, and which leave it, when a person says so.
//!
//! Leaving memory is the end of the worker's process, so that all of it is returned. A worker at work is not disturbed: it ends
//! when its step has.

use super::Pool;
use crate::workers::load_policy::LoadPolicies;
use ouro_common::document::BatchState;
use ouro_common::id::Digest;
use std::time::Duration;

/// A worker as it is kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kept {
    /// What it has loaded.
    pub digest: Digest,
    /// Its process.
    pub process: u32,
    /// How long it has waited; `None` while it works.
    pub idle: Option<Duration>,
    /// What a language model computes.
    pub batch: Option<BatchState>,
}

impl Pool {
    /// The workers, in a fixed order.
    pub fn kept(&self) -> Vec<Kept> {
        let mut state = self.state();
        state.forget_dead();
        let mut kept: Vec<Kept> = vec![];
        for (digest, list) in &state.idle {
            let one = |process, since: std::time::Instant| Kept { digest: *digest, process, idle: Some(since.elapsed()), batch: None };
            kept.extend(list.iter().filter_map(|idle| Some(one(idle.process.id()?, idle.since))));
        }
        for (digest, list) in &state.busy {
            kept.extend(list.iter().map(|&process| Kept { digest: *digest, process, idle: None, batch: None }));
        }
        let parting = state.parting.iter().filter_map(|(digest, resident)| Some((*digest, resident.upgrade()?)));
        let residents = state.residents.iter().map(|(digest, resident)| (*digest, resident.clone())).chain(parting);
        kept.extend(residents.filter(|(_, resident)| !resident.is_dead()).map(|(digest, resident)| Kept {
            digest,
            process: resident.id(),
            idle: resident.idle(),
            batch: Some(resident.batch()),
        }));
        kept.sort_by_key(|kept| (kept.digest, kept.process));
        kept
    }

    /// Which load policies hold here.
    pub fn policies(&self) -> &LoadPolicies {
        &self.options.policies
    }

    /// Bytes that all containers in memory may take together.
    pub fn memory_limit_bytes(&self) -> u64 {
        self.options.memory_bytes
    }

    /// The containers that stay however long they wait.
    pub fn pinned(&self) -> Vec<Digest> {
        let mut pinned: Vec<Digest> = self.state().pinned.iter().copied().collect();
        pinned.sort();
        pinned
    }

    /// Keeps a container's workers however long they wait, or no longer does.
    pub fn pin(&self, digest: Digest, stays: bool) {
        let mut state = self.state();
        if stays {
            state.leaving.remove(&digest);
            state.pinned.insert(digest);
        } else {
            state.pinned.remove(&digest);
        }
    }

    /// Ends a container's workers: those that wait now, those that work when they are done. It is no longer pinned.
    pub fn unload(&self, digest: &Digest) {
        let mut state = self.state();
        state.pinned.remove(digest);
        state.parked.remove(digest);
        if state.busy.contains_key(digest) {
            state.leaving.insert(*digest);
        }
        // Dropping a worker kills it; that needs no lock.
        let ended = (state.idle.remove(digest), state.residents.remove(digest));
        if let Some(resident) = &ended.1 {
            state.parting.push((*digest, std::sync::Arc::downgrade(resident)));
        }
        drop(state);
        drop(ended);
    }
}
