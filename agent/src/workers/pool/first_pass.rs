//! The model of the first pass in the pool: one worker, under the same limit, policies and pressure as those of containers.
//!
//! It is no container: no module carries it, so none can be pulled from under it, and the server does not hear of it.

use super::room::{NoRoom, Wants};
use super::{Busy, Pool, RunFailure, Start};
use crate::modules::Source;
use crate::workers::process::WorkerOptions;
use crate::workers::protocol::{Order, Word};
use ouro_common::document::FIRST_PASS;
use ouro_common::id::Digest;
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc;

/// Its place among the containers, which have the digests of manifests.
pub(crate) fn first_pass_key() -> Digest {
    Digest::from_blake3(blake3::hash(b"the model of the first pass"))
}

/// What its worker is started with.
pub(crate) struct FirstPassLoad<'a> {
    /// The model.
    pub(crate) model: &'a Path,
    /// Its size.
    pub(crate) bytes: u64,
    /// How the worker is started.
    pub(crate) workers: &'a WorkerOptions,
    /// The order that opens the model.
    pub(crate) order: Order,
}

/// A worker that cannot be had.
#[derive(Debug)]
pub(crate) enum Unready {
    /// There is no room for it.
    NoRoom(NoRoom),
    /// It could not be started or loaded, or it died.
    Failed(RunFailure),
}

impl From<NoRoom> for Unready {
    fn from(no_room: NoRoom) -> Self {
        Self::NoRoom(no_room)
    }
}

impl From<RunFailure> for Unready {
    fn from(failure: RunFailure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Unready> for RunFailure {
    fn from(unready: Unready) -> Self {
        match unready {
            Unready::NoRoom(no_room) => no_room.into(),
            Unready::Failed(failure) => failure,
        }
    }
}

/// The worker, while somebody speaks with it. Dropped, it is killed.
pub(crate) struct Lent(Busy);

impl Lent {
    /// Gives it an order and passes its text on; its last word.
    ///
    /// # Errors
    /// What it refused, or what it died of.
    pub(crate) async fn ask(&mut self, order: &Order, chunks: &mpsc::Sender<String>) -> Result<Word, RunFailure> {
        self.0.carry_out(order, Some(chunks)).await
    }

    /// It has answered: it waits, or leaves memory where the policy says so.
    pub(crate) fn give_back(self) {
        self.0.give_back();
    }

    /// It waits for the first order.
    pub(crate) fn wait(self) {
        self.0.wait();
    }
}

impl Pool {
    /// The worker with the model, which is loaded where that is needed. Without room it waits, at most for as long as `patience`.
    /// One asker at a time.
    pub(crate) async fn first_pass(&self, load: FirstPassLoad<'_>, patience: Option<Duration>) -> Result<Lent, Unready> {
        let (key, source) = (first_pass_key(), Source::Model(load.model.to_path_buf()));
        self.unless_yielding(&key).await;
        if let Some(idle) = self.take_idle(&key, &source) {
            return Ok(Lent(Busy::new(self.clone(), key, source, idle.process)));
        }
        let start = Start {
            wants: Wants { digest: key, name: FIRST_PASS.into(), bytes: load.bytes },
            source,
            in_force: self.policies().of_first_pass(),
            workers: load.workers,
            order: load.order,
        };
        self.start(start, None, patience).await.map(Lent)
    }

    /// Whether its model is in memory.
    pub(crate) fn has_first_pass(&self) -> bool {
        self.kept().iter().any(|kept| kept.digest == first_pass_key())
    }
}
