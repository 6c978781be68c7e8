//! Where a reading is now: the place that was asked for last, so that who waits in vain can say for what.

use super::Place;
use std::sync::{Arc, Mutex, PoisonError};

/// The place that was asked for last. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Current(Arc<Mutex<Option<Place>>>);

impl Current {
    /// The place, once something was asked for.
    pub fn place(&self) -> Option<Place> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, place: &Place) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(place.clone());
    }
}
