//! The newest of every part, put together and published when it is another than before.

use crate::config::OnUnplug;
use crate::sensing::readings::{Part, Parts};
use ouro_common::device::{LoadedContainer, Readings, Warning};
use ouro_common::mfpi::threshold;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Where sensors put what they read.
pub(super) struct Board {
    state: Mutex<State>,
    readings: watch::Sender<Arc<Readings>>,
    on_unplug: OnUnplug,
}

#[derive(Default)]
struct State {
    parts: Parts,
    loaded: Vec<LoadedContainer>,
    silent: BTreeMap<&'static str, Warning>,
}

impl Board {
    /// An empty board, and what is published of it.
    pub(super) fn new(on_unplug: OnUnplug) -> (Self, watch::Receiver<Arc<Readings>>) {
        let (readings, receiver) = watch::channel(Arc::default());
        (Self { state: Mutex::default(), readings, on_unplug }, receiver)
    }

    /// A sensor has read its part, and the containers in memory if it looked at the workers.
    pub(super) fn answered(&self, sensor: &'static str, part: Part, loaded: Option<Vec<LoadedContainer>>) {
        self.change(|state| {
            state.parts.put(part);
            if let Some(loaded) = loaded {
                state.loaded = loaded;
            }
            if let Some(warning) = state.silent.remove(sensor) {
                tracing::info!(path = warning.path, "{sensor} answers again");
            }
        });
    }

    /// A sensor does not answer: what it said last stays for a while, then `part` takes its place.
    pub(super) fn silent(&self, sensor: &'static str, warning: Warning, part: Option<Part>) {
        tracing::warn!(path = warning.path, "{}", warning.problem);
        self.change(|state| {
            state.silent.insert(sensor, warning);
            if let Some(part) = part {
                state.parts.put(part);
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        let mut readings = state.parts.readings();
        readings.draining = self.on_unplug.draining(threshold::on_battery(&readings));
        readings.warnings = state.silent.values().cloned().collect();
        readings.loaded.clone_from(&state.loaded);
        // Under the lock, so that an older state never follows a newer one.
        self.readings.send_if_modified(|published| {
            let changed = **published != readings;
            if changed {
                *published = Arc::new(readings);
            }
            changed
        });
    }
}
