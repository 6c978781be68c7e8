//! A request while it is under way here: the text that may be shown, and where it is, for whoever watches.

use ouro_common::id::RequestId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Where a request is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Stage {
    /// The first pass, or the way to the server.
    #[default]
    Here,
    /// With the server.
    There,
    /// It ended here.
    Ended,
}

/// What watchers see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LiveState {
    /// The answer so far.
    pub text: String,
    /// Counts how often what was shown became void.
    pub restarts: u32,
    /// What goes on, for people.
    pub note: String,
    /// Where it is.
    pub stage: Stage,
}

/// One request under way.
#[derive(Debug, Clone)]
pub struct Live {
    state: watch::Sender<LiveState>,
    cancel: CancellationToken,
}

impl Live {
    /// Ends it.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }
    /// Tells of its end.
    pub fn cancelled(&self) -> &CancellationToken {
        &self.cancel
    }
    /// Follows it.
    pub fn watch(&self) -> watch::Receiver<LiveState> {
        self.state.subscribe()
    }
    /// Changes what watchers see.
    pub fn change(&self, change: impl FnOnce(&mut LiveState)) {
        self.state.send_modify(change);
    }
}

/// All requests under way here. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct LiveTable(Arc<Mutex<HashMap<RequestId, Live>>>);

impl LiveTable {
    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<RequestId, Live>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    pub(super) fn begin(&self, id: RequestId, parent: &CancellationToken) -> Live {
        let live = Live { state: watch::Sender::new(LiveState::default()), cancel: parent.child_token() };
        self.table().insert(id, live.clone());
        live
    }
    pub(super) fn find(&self, id: RequestId) -> Option<Live> {
        self.table().get(&id).cloned()
    }
    pub(super) fn end(&self, id: RequestId) {
        self.table().remove(&id);
    }
}
