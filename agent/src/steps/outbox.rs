//! What the server has yet to be told, on disk: a file an attempt, from its start until its result is acknowledged.
//!
//! `ID.open` says that an attempt began, and under which boot of the kernel; `ID.json` holds what came of it. An attempt
//! that a new process finds open was cut off. Under another boot id that is evidence: it may have taken the machine down.

use super::Outcome;
use crate::durable::{self, FileError, Keep};
use ouro_common::id::{AttemptKey, BootId, Digest};
use ouro_common::step::{Evidence, FailureClass};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// An attempt that began.
#[derive(Debug, Serialize, Deserialize)]
struct Opened {
    key: AttemptKey,
    boot: BootId,
}

/// An attempt that ended.
#[derive(Debug, Serialize, Deserialize)]
struct Ended {
    key: AttemptKey,
    #[serde(flatten)]
    outcome: Outcome,
}

/// The outbox in a folder. Clones share it.
#[derive(Debug, Clone)]
pub struct Outbox {
    folder: PathBuf,
    boot: BootId,
    ended: Arc<Mutex<BTreeMap<AttemptKey, Arc<Outcome>>>>,
    bell: Arc<Notify>,
}

impl Outbox {
    /// The outbox in `folder`, with what earlier runs have left to tell.
    ///
    /// # Errors
    /// When the folder cannot be used. A damaged file in it is removed: its attempt is given to another node.
    pub fn open(folder: PathBuf, boot: BootId) -> Result<Self, FileError> {
        durable::make_folder(&folder)?;
        let outbox = Self { folder, boot, ended: Arc::default(), bell: Arc::default() };
        let mut opened: Vec<Opened> = vec![];
        for entry in fs::read_dir(&outbox.folder).map_err(FileError::at(&outbox.folder))? {
            let path = entry.map_err(FileError::at(&outbox.folder))?.path();
            match path.extension().and_then(|e| e.to_str()) {
                Some("open") => opened.extend(read::<Opened>(&path)),
                Some("json") => {
                    if let Some(ended) = read::<Ended>(&path) {
                        outbox.ended().insert(ended.key, Arc::new(ended.outcome));
                    }
                }
                _ => durable::remove(&path)?,
            }
        }
        for attempt in opened {
            if !outbox.ended().contains_key(&attempt.key) {
                outbox.end(&attempt.key, cut_off(attempt.boot == boot))?;
            }
        }
        Ok(outbox)
    }

    fn ended(&self) -> std::sync::MutexGuard<'_, BTreeMap<AttemptKey, Arc<Outcome>>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, key: &AttemptKey, extension: &str) -> PathBuf {
        self.folder.join(format!("{}.{extension}", name_of(key)))
    }

    /// Remembers that an attempt begins. With `Keep::ThroughPowerLoss` it is known even after the machine went down.
    ///
    /// # Errors
    /// What the file system refused; then the attempt must not begin.
    pub fn begin(&self, key: &AttemptKey, keep: Keep) -> Result<(), FileError> {
        let json = serde_json::to_vec(&Opened { key: key.clone(), boot: self.boot }).unwrap_or_default();
        durable::write(&self.file(key, "open"), &json, keep)
    }

    /// Remembers what came of an attempt, and rings.
    ///
    /// # Errors
    /// What the file system refused; the outcome is told all the same as long as this process lives.
    pub fn end(&self, key: &AttemptKey, outcome: Outcome) -> Result<(), FileError> {
        let ended = Ended { key: key.clone(), outcome };
        let json = serde_json::to_vec(&ended).unwrap_or_default();
        // Before anybody hears of it: an acknowledgement must find the file it removes. A loss of power costs no more than
        // running the step again, so this need not be fsynced.
        let written = durable::write(&self.file(key, "json"), &json, Keep::ThroughCrash);
        let written = written.and_then(|()| durable::remove(&self.file(key, "open")));
        self.ended().insert(ended.key, Arc::new(ended.outcome));
        self.bell.notify_one();
        written
    }

    /// The server has the result, or does not want it.
    pub fn acknowledge(&self, key: &AttemptKey) {
        self.ended().remove(key);
        for extension in ["json", "open"] {
            if let Err(error) = durable::remove(&self.file(key, extension)) {
                tracing::warn!(%error, "a delivered result could not be removed; it is told once more after a restart");
            }
        }
    }

    /// Forgets an attempt that must not be reported, because it was cancelled.
    pub fn drop_attempt(&self, key: &AttemptKey) {
        self.acknowledge(key);
    }

    /// Attempts whose outcome is still to be told.
    pub fn keys(&self) -> Vec<AttemptKey> {
        self.ended().keys().cloned().collect()
    }

    /// What came of an attempt.
    pub fn outcome(&self, key: &AttemptKey) -> Option<Arc<Outcome>> {
        self.ended().get(key).cloned()
    }

    /// Rings when there is something new to tell.
    pub fn bell(&self) -> Arc<Notify> {
        self.bell.clone()
    }
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    let value = fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    if value.is_none() {
        tracing::warn!(path = %path.display(), "a damaged journal entry is removed");
        let _ = durable::remove(path);
    }
    value
}

fn cut_off(same_boot: bool) -> Outcome {
    if same_boot {
        let why = "the agent was restarted while the step ran".to_string();
        Outcome::Failed { class: FailureClass::Lost, why, evidence: None }
    } else {
        let why = "the machine went down while the step ran".to_string();
        Outcome::Failed { class: FailureClass::Crashed, why, evidence: Some(Evidence::Rebooted) }
    }
}

/// A file name for an attempt: its key can be longer than a name may be.
pub(super) fn name_of(key: &AttemptKey) -> String {
    Digest::blake3(key.to_string().as_bytes()).hex()[..32].to_string()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use ouro_common::id::{Epoch, RequestId};

    pub(in crate::steps) fn key(n: u32) -> AttemptKey {
        let request = RequestId::from_parts(1, [1; 10]);
        AttemptKey { request, plan: 1, step: "s".parse().unwrap(), epoch: Epoch { generation: 1, n } }
    }

    fn boot(n: u8) -> BootId {
        BootId::from_parts(1, [n; 10])
    }

    #[test]
    fn results_are_told_until_they_are_acknowledged_across_restarts() {
        let home = tempfile::tempdir().unwrap();
        let made = Outcome::Made {
            outputs: vec![crate::steps::Output {
                port: "out".parse().unwrap(),
                media: "text/plain".into(),
                digest: Digest::blake3(b"\xff\x00"),
                size_bytes: 2,
                inline: Some(crate::steps::Inline(vec![0xff, 0])),
                answers: false,
            }],
            phases_ms: BTreeMap::from([("run".into(), 1.5)]),
        };
        let outbox = Outbox::open(home.path().into(), boot(1)).unwrap();
        outbox.begin(&key(1), Keep::ThroughCrash).unwrap();
        outbox.end(&key(1), made.clone()).unwrap();
        let again = Outbox::open(home.path().into(), boot(1)).unwrap();
        assert_eq!(again.keys(), [key(1)]);
        assert_eq!(*again.outcome(&key(1)).unwrap(), made);
        again.acknowledge(&key(1));
        assert!(Outbox::open(home.path().into(), boot(1)).unwrap().keys().is_empty());
    }

    #[test]
    fn an_attempt_found_open_is_evidence_only_after_a_reboot() {
        let home = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(home.path().into(), boot(1)).unwrap();
        outbox.begin(&key(1), Keep::ThroughPowerLoss).unwrap();
        let restarted = Outbox::open(home.path().into(), boot(1)).unwrap();
        assert!(matches!(
            *restarted.outcome(&key(1)).unwrap(),
            Outcome::Failed { class: FailureClass::Lost, evidence: None, .. }
        ));
        restarted.acknowledge(&key(1));
        restarted.begin(&key(2), Keep::ThroughPowerLoss).unwrap();
        let rebooted = Outbox::open(home.path().into(), boot(2)).unwrap();
        assert!(matches!(*rebooted.outcome(&key(2)).unwrap(), Outcome::Failed { evidence: Some(Evidence::Rebooted), .. }));
        fs::write(home.path().join("x.json"), "{half").unwrap();
        assert_eq!(Outbox::open(home.path().into(), boot(2)).unwrap().keys(), [key(2)], "damage costs one entry, not the start");
    }
}
