//! What a reading touched, for the one who records the machine: every place asked for, and the first bytes read of it.
//!
//! A second read of the same file gets the first one's bytes, so that what is recorded is what the report was made of.

use super::Place;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What was touched so far.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    state: Mutex<Touched>,
}

/// The places and the bytes.
#[derive(Debug, Default, Clone)]
pub(crate) struct Touched {
    /// Every place that was asked for, whether or not it is there, as it was named.
    pub(crate) places: BTreeSet<Place>,
    /// Directories that were listed.
    pub(crate) listed: BTreeSet<Place>,
    /// The bytes that were read and how many were asked for, by real place.
    pub(crate) contents: BTreeMap<Place, (Vec<u8>, u64)>,
    /// What the system refused, and why.
    pub(crate) refused: BTreeMap<Place, String>,
}

impl Journal {
    pub(super) fn touch(&self, place: &Place) {
        self.lock().places.insert(place.clone());
    }

    pub(super) fn list(&self, place: &Place) {
        self.lock().listed.insert(place.clone());
    }

    pub(super) fn refuse(&self, place: &Place, problem: String) {
        self.lock().refused.insert(place.clone(), problem);
    }

    /// The bytes kept of a file, if it was read with at least this limit before.
    pub(super) fn kept(&self, real: &Place, limit: u64) -> Option<Vec<u8>> {
        let state = self.lock();
        let (bytes, asked) = state.contents.get(real)?;
        (*asked >= limit).then(|| bytes.iter().take(usize::try_from(limit).unwrap_or(usize::MAX)).copied().collect())
    }

    pub(super) fn keep(&self, real: Place, bytes: &[u8], limit: u64) {
        self.lock().contents.insert(real, (bytes.to_vec(), limit));
    }

    /// All of it.
    pub(crate) fn take(&self) -> Touched {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Touched> {
        // A sensor that panicked leaves a journal that is still true.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
