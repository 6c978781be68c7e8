//! What containers this node has: the built-in ones, and those in the configured folders, looked at again and again.
//!
//! A folder is a module; each folder in it with a `container.toml` is a container. What cannot be used becomes a problem
//! in the announcement, never a crash. An event or a tick means "look at everything again"; only differences are told.

mod identity;
mod scan;
mod source;

pub use identity::FileDigests;
pub use scan::{Installed, ModuleFolder, Snapshot, builtin_container, scan};
pub use source::{LayerFile, Source};

use ouro_common::id::Digest;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often the folders are looked at when nothing rings.
const PERIOD: Duration = Duration::from_secs(2);

/// What the modules' watcher needs to know.
#[derive(Debug, Clone)]
pub struct ModulesOptions {
    /// The folders.
    pub folders: Vec<ModuleFolder>,
}

/// Looks at the folders until it is told to stop.
pub struct ModulesService {
    options: ModulesOptions,
    digests: Arc<Mutex<FileDigests>>,
    snapshot: watch::Sender<Arc<Snapshot>>,
}

/// What the others see of the modules.
#[derive(Clone)]
pub struct Modules {
    snapshot: watch::Receiver<Arc<Snapshot>>,
}

impl ModulesService {
    /// A watcher that has seen the built-in containers only, and the handle to what it sees.
    pub fn new(options: ModulesOptions) -> (Self, Modules) {
        let (sender, receiver) = watch::channel(Arc::new(scan(&[], &mut FileDigests::default())));
        (Self { options, digests: Arc::default(), snapshot: sender }, Modules { snapshot: receiver })
    }

    /// Looks now, and tells what changed.
    pub async fn look(&self) {
        let (folders, digests) = (self.options.folders.clone(), self.digests.clone());
        let looked = tokio::task::spawn_blocking(move || {
            // Held for the whole look: two looks at once would hash a large model twice.
            let mut digests = digests.lock().unwrap_or_else(PoisonError::into_inner);
            scan(&folders, &mut digests)
        });
        match looked.await {
            Ok(seen) => {
                self.snapshot.send_if_modified(|known| {
                    let changed = known.announcement != seen.announcement;
                    if changed {
                        tracing::info!(containers = seen.installed.len(), "the containers of this node changed");
                        *known = Arc::new(seen);
                    }
                    changed
                });
            }
            Err(error) => tracing::error!(%error, "looking at the modules failed"),
        }
    }

    /// Looks every two seconds until `drain`.
    pub async fn run(self, drain: CancellationToken) {
        loop {
            self.look().await;
            tokio::select! {
                () = drain.cancelled() => return,
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
    }
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_differences_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let here = ModuleFolder { path: folder.path().into(), required: true };
        let (service, modules) = ModulesService::new(ModulesOptions { folders: vec![here] });
        let mut changes = modules.changes();
        service.look().await;
        changes.changed().await.unwrap();
        service.look().await;
        assert!(!changes.has_changed().unwrap(), "nothing changed, nothing is told");
        std::fs::create_dir(folder.path().join("broken")).unwrap();
        std::fs::write(folder.path().join("broken/container.toml"), "name = 1").unwrap();
        service.look().await;
        assert!(changes.has_changed().unwrap());
        let now = modules.now();
        let placement = now.announcement.placements.iter().find(|p| p.slot.starts_with("dir:")).unwrap();
        assert!(placement.problems[0].contains("broken"), "{:?}", placement.problems);
    }
}
