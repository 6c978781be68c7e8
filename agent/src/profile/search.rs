//! Which runtimes work here, looked for beside everything else: a library or a program that hangs costs itself, and neither the other
//! runtimes nor the start of the agent.

use super::bench;
use crate::oci::{self, Oci, OciOptions};
use crate::sensing::speeds::Speeds;
use crate::workers::WorkerOptions;
use crate::workers::probe::{Finding, probe};
use crate::workers::protocol::ProbeOrder;
use ouro_common::device::{Achieved, RuntimeAvailability};
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The runtimes that there are, as they are told.
const RUNTIMES: [&str; 4] = ["builtin", "gguf", "onnx", "oci"];
/// The time in which a worker says what it can load, and measures: its end is known to nobody when a library hangs.
const PROBE_LIMIT: Duration = Duration::from_secs(120);

/// What runs containers that are programs, as soon as it is found.
pub type Containers = watch::Receiver<Option<Oci>>;

/// What is known so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// What was found out about runtimes, in the order in which it was.
    known: Vec<RuntimeAvailability>,
    /// What was measured on the way.
    pub achieved: Option<Achieved>,
    /// What was measured of disk and hashing.
    pub speeds: Option<Speeds>,
}

impl Found {
    /// One entry a runtime; those that are still looked for are not available.
    pub fn runtimes(&self) -> Vec<RuntimeAvailability> {
        let of = |name: &str| {
            let known = self.known.iter().find(|r| r.runtime == name).cloned();
            known.unwrap_or_else(|| RuntimeAvailability { pending: true, ..unavailable(name, "still being tried") })
        };
        RUNTIMES.map(of).to_vec()
    }

    /// Whether nothing is looked for any more.
    pub fn is_whole(&self) -> bool {
        RUNTIMES.iter().all(|name| self.known.iter().any(|r| r.runtime == *name))
    }

    fn learn(&mut self, runtime: RuntimeAvailability) {
        self.known.retain(|r| r.runtime != runtime.runtime);
        self.known.push(runtime);
    }
}

fn unavailable(runtime: &str, why: &str) -> RuntimeAvailability {
    RuntimeAvailability { runtime: runtime.into(), available: false, detail: why.into(), pending: false }
}

/// What the search needs.
pub struct SearchOptions {
    /// How workers are started: one of them tries libraries and measures.
    pub workers: WorkerOptions,
    /// The ONNX Runtime library that the configuration names.
    pub onnxruntime: Option<PathBuf>,
    /// Where the measurement is kept, if one is to be made.
    pub measure: Option<PathBuf>,
    /// How containers that are programs are run.
    pub oci: OciOptions,
}

/// A search under way; dropped, it ends.
pub struct Search {
    found: watch::Receiver<Found>,
    containers: Containers,
    _tasks: JoinSet<()>,
}

impl Search {
    /// Begins to look.
    pub fn begin(options: SearchOptions) -> Self {
        let (found, receiver) = watch::channel(Found::default());
        let (slot, containers) = watch::channel(None);
        let mut tasks = JoinSet::new();
        let SearchOptions { workers, onnxruntime, measure, oci } = options;
        tasks.spawn(look_for_programs(oci, slot, found.clone()));
        tasks.spawn(look_in_a_worker(workers, onnxruntime, measure, found));
        Self { found: receiver, containers, _tasks: tasks }
    }

    /// What is known so far, and word of what is found later.
    pub fn found(&self) -> watch::Receiver<Found> {
        self.found.clone()
    }

    /// What runs containers that are programs, as soon as it is found.
    pub fn containers(&self) -> Containers {
        self.containers.clone()
    }

    /// Waits until all is known, and not longer than this.
    pub async fn settle(&self, patience: Duration) -> Found {
        let mut found = self.found.clone();
        let whole = async { found.wait_for(Found::is_whole).await.map(|whole| whole.clone()) };
        match tokio::time::timeout(patience, whole).await {
            Ok(Ok(whole)) => whole,
            Ok(Err(_)) | Err(_) => self.found.borrow().clone(),
        }
    }
}

async fn look_for_programs(options: OciOptions, slot: watch::Sender<Option<Oci>>, found: watch::Sender<Found>) {
    let oci::Finding { runtime, says } = oci::find(options).await;
    tracing::info!(available = says.available, detail = says.detail, "the oci runtime");
    // First what runs them, then the word that they can be run.
    slot.send_replace(runtime);
    found.send_modify(|found| found.learn(says));
}

async fn look_in_a_worker(workers: WorkerOptions, onnxruntime: Option<PathBuf>, measure: Option<PathBuf>, found: watch::Sender<Found>) {
    let folder = measure.as_ref().and_then(|file| file.parent()).map(PathBuf::from);
    let order = ProbeOrder { onnxruntime, runtimes: true, measure: folder };
    let told = &found;
    let probed = probe(&workers, order, move |finding| match finding {
        Finding::Runtime(runtime) => told.send_modify(|found| found.learn(runtime)),
        Finding::Measured(achieved) => {
            if let Some(file) = &measure {
                bench::keep(file, achieved);
            }
            told.send_modify(|found| found.achieved = Some(achieved));
        }
        Finding::Speeds(speeds) => {
            if let Some(file) = &measure {
                bench::keep_speeds(file, speeds);
            }
            told.send_modify(|found| found.speeds = Some(speeds));
        }
    });
    let outcome = tokio::time::timeout(PROBE_LIMIT, probed).await;
    let hangs = || Err(format!("trying it took longer than {} s: a library hangs", PROBE_LIMIT.as_secs()));
    let Err(why) = outcome.unwrap_or_else(|_| hangs()) else { return };
    tracing::error!(why, "the runtimes could not all be tried");
    found.send_modify(|found| {
        for name in RUNTIMES.iter().filter(|name| **name != "oci") {
            if !found.known.iter().any(|r| r.runtime == **name) {
                found.learn(unavailable(name, &why));
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensing::host_root::HostRoot;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use tempfile::TempDir;

    fn program(folder: &TempDir, text: &str) -> PathBuf {
        let path = folder.path().join("worker");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn search(program: PathBuf, folder: &Path) -> Search {
        let oci = OciOptions {
            runtimes: vec![],
            home: folder.into(),
            runs: folder.into(),
            agent: "none".into(),
            cache_max_bytes: 1,
            cpus: 1,
            root: HostRoot::recorded(folder),
        };
        let workers = WorkerOptions { program, address_space_bytes: None, threads: None };
        Search::begin(SearchOptions { workers, onnxruntime: None, measure: None, oci })
    }

    #[tokio::test]
    async fn what_hangs_is_named_and_the_others_are_there_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let says = r#"{"word":"works","runtime":{"runtime":"builtin","available":true,"detail":"d"}}"#;
        let search = search(program(&folder, &format!("#!/bin/sh\necho '{says}'\nexec sleep 1000\n")), folder.path());
        let mut changes = search.found();
        let both = |found: &Found| found.known.iter().any(|r| r.runtime == "builtin") && found.known.iter().any(|r| r.runtime == "oci");
        changes.wait_for(both).await.unwrap();
        let found = search.settle(Duration::from_millis(1)).await;
        assert!(!found.is_whole());
        let details: Vec<_> = found.runtimes().into_iter().map(|r| (r.available, r.detail)).collect();
        assert_eq!((details[0].0, details[1].clone()), (true, (false, "still being tried".into())));
        assert!(details[3].1.contains("switched off"), "{details:?}");
        tokio::time::pause();
        let whole = search.settle(PROBE_LIMIT * 2).await;
        assert!(whole.is_whole() && whole.runtimes()[0].available);
        assert!(whole.runtimes()[2].detail.contains("hangs"), "{whole:?}");
    }

    #[tokio::test]
    async fn a_worker_that_dies_says_nothing_of_what_it_had_found() {
        let folder = tempfile::tempdir().unwrap();
        let search = search(program(&folder, "#!/bin/sh\nexit 3\n"), folder.path());
        let whole = search.settle(Duration::from_secs(60)).await;
        assert!(whole.is_whole() && whole.runtimes().iter().all(|r| !r.available), "{whole:?}");
    }
}
