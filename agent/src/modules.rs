//! What containers this node has: the built-in ones, those in the configured folders, and those on the modules plugged into it.
//!
//! A folder with containers in it is a module, and so is an OCI image layout, in a folder or on a device. What cannot be used
//! becomes a problem in the announcement, never a crash. An event or a tick means "look at everything again"; only differences
//! are told.

mod devices;
mod hold;
mod identity;
mod image;
mod scan;
mod service;
mod source;
mod trust;
mod volume;

pub use devices::DevicesOptions;
pub use hold::{Hold, InUse, Seat};
pub use identity::FileDigests;
pub use scan::{Installed, ModuleFolder, Snapshot, builtin_container, scan};
pub use service::{ModulesOptions, ModulesService};
pub use source::{LayerFile, Source};
pub use trust::{Trust, TrustedKeys, judge};
pub use volume::FolderVolume;

use crate::durable::FileError;
use crate::hotplug::intent::{Intent, Intents};
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::Digest;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};

/// How often a module is woken for one step that falls asleep again at once.
const WAKES: usize = 3;

/// What others ask of the watcher.
#[derive(Debug)]
enum Order {
    /// Let a module be mounted that waits for somebody's word.
    Release(String, oneshot::Sender<Result<String, Fault>>),
    /// Let a module wake whose slot is powered down; answered when it is awake or known to be gone.
    Wake(Seat, oneshot::Sender<()>),
    /// Something was found out about a module that changes what is offered.
    LookAgain,
}

/// What the others see of the modules.
#[derive(Clone)]
pub struct Modules {
    snapshot: watch::Receiver<Arc<Snapshot>>,
    orders: mpsc::Sender<Order>,
    intents: Option<Intents>,
}

impl Modules {
    /// What is there now.
    pub fn now(&self) -> Arc<Snapshot> {
        self.snapshot.borrow().clone()
    }

    /// A receiver that tells of changes.
    pub fn changes(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshot.clone()
    }

    /// The container with this identity.
    pub fn find(&self, digest: &Digest) -> Option<Installed> {
        self.now().installed.get(digest).cloned()
    }

    /// Makes sure that what a container is run from is what it is named by. The first use of a module's file reads the whole of it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn check(&self, installed: &Installed) -> Result<(), String> {
        let Some(hold) = installed.hold.clone() else { return Ok(()) };
        let blobs = installed.source.blobs();
        if blobs.iter().all(|blob| hold.known(blob) == Some(Ok(()))) {
            return Ok(());
        }
        let checked = tokio::task::spawn_blocking(move || blobs.iter().try_for_each(|blob| hold.check(blob, None)));
        let outcome = checked.await.unwrap_or_else(|e| Err(format!("hashing it failed: {e}")));
        if outcome.is_err() {
            // When the queue is full the watcher is about to look anyway.
            let _ = self.orders.try_send(Order::LookAgain);
        }
        outcome
    }

    /// A container whose module is awake, and stays so until the value beside it is dropped. One that sleeps is woken, and may come
    /// back in another place.
    ///
    /// # Errors
    /// Why it is not there any more.
    pub async fn awake(&self, installed: Installed) -> Result<(Installed, Option<InUse>), String> {
        let mut installed = installed;
        for _ in 0..WAKES {
            let Some(hold) = &installed.hold else {
                return Ok((installed, None));
            };
            let seat = hold.seat().clone();
            if let Some(using) = InUse::begin(hold) {
                return Ok((installed, Some(using)));
            }
            let (answer, answered) = oneshot::channel();
            let gone = || format!("the module {} slept in {} and did not come back when it was woken", seat.label, seat.slot);
            self.orders.send(Order::Wake(seat.clone(), answer)).await.map_err(|_| gone())?;
            answered.await.map_err(|_| gone())?;
            installed = self.find(&installed.container.digest).ok_or_else(gone)?;
        }
        Err("its module falls asleep as often as it is woken; `devices.power_down_after_s` of agent.toml is too short".into())
    }

    /// Gives a module up whose device does not answer.
    pub fn give_up(&self, hold: &Hold) {
        hold.fall_silent();
        // When the queue is full the watcher is about to look anyway.
        let _ = self.orders.try_send(Order::LookAgain);
    }

    /// Writes down that a container of a module is about to be loaded; taken back when the value is dropped. `None` for containers
    /// that are on no module.
    ///
    /// # Errors
    /// What the file system refused; then it must not be loaded.
    pub fn intent_to_load(&self, installed: &Installed) -> Result<Option<Intent>, FileError> {
        let (Some(hold), Some(intents)) = (&installed.hold, &self.intents) else {
            return Ok(None);
        };
        let seat = hold.seat();
        let what = format!("load {}", installed.container.manifest.reference());
        intents.begin(&seat.fingerprint, &seat.slot, Some(&seat.label), &what).map(Some)
    }

    /// Lets a module be mounted that waits for somebody's word; the slot it is in.
    ///
    /// # Errors
    /// `NOT_FOUND` when nothing of that name waits.
    pub async fn release(&self, wanted: &str) -> Result<String, Fault> {
        let ended = || Fault::new(FaultCode::Internal, "the agent is stopping");
        let (answer, answered) = oneshot::channel();
        self.orders.send(Order::Release(wanted.into(), answer)).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }
}
