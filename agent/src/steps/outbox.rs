//! What the server has yet to be told, on disk: a log of attempts that began, that ended, and whose result was acknowledged.
//!
//! An attempt is recorded with the boot of the kernel that it began under. One that a new process finds open was cut off; under
//! another boot that is evidence: it may have taken the machine down.

use super::Outcome;
use crate::durable::{self, FileError, Keep, RecordLog};
use ouro_common::id::{AttemptKey, BootId, Digest};
use ouro_common::step::{Evidence, FailureClass};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// The log's name in its folder.
const LOG: &str = "log";
/// A log without anything that is still to be told is emptied above this size, bytes.
const EMPTIED_BYTES: u64 = 64 << 10;
/// Another is written anew above this size and four times what it held then, bytes.
const REWRITTEN_BYTES: u64 = 1 << 20;

/// A line of the log.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "attempt", rename_all = "snake_case")]
enum Record {
    /// It began.
    Began { key: AttemptKey, boot: BootId },
    /// It ended.
    Ended { key: AttemptKey, outcome: Arc<Outcome> },
    /// The server knows, or does not care.
    Told { key: AttemptKey },
}

/// What the log says, and the log.
#[derive(Debug)]
struct State {
    log: RecordLog,
    began: BTreeMap<AttemptKey, BootId>,
    ended: BTreeMap<AttemptKey, Arc<Outcome>>,
    rewrite_at: u64,
}

/// The outbox in a folder. Clones share it.
#[derive(Debug, Clone)]
pub struct Outbox {
    boot: BootId,
    state: Arc<Mutex<State>>,
    bell: Arc<Notify>,
}

impl State {
    fn take(&mut self, record: Record) {
        match record {
            Record::Began { key, boot } => drop(self.began.insert(key, boot)),
            Record::Ended { key, outcome } => {
                self.began.remove(&key);
                self.ended.insert(key, outcome);
            }
            Record::Told { key } => {
                self.began.remove(&key);
                self.ended.remove(&key);
            }
        }
    }

    fn records(&self) -> impl Iterator<Item = Record> {
        let began = self.began.iter().map(|(key, boot)| Record::Began { key: key.clone(), boot: *boot });
        began.chain(self.ended.iter().map(|(key, outcome)| Record::Ended { key: key.clone(), outcome: outcome.clone() }))
    }

    /// Keeps the log from growing for ever.
    fn trim(&mut self) -> Result<(), FileError> {
        if self.began.is_empty() && self.ended.is_empty() && self.log.size_bytes() > EMPTIED_BYTES {
            return self.log.clear();
        }
        if self.log.size_bytes() > self.rewrite_at {
            let records: Vec<_> = self.records().collect();
            self.log.replace(records)?;
            self.rewrite_at = REWRITTEN_BYTES.max(4 * self.log.size_bytes());
        }
        Ok(())
    }
}

impl Outbox {
    /// The outbox in `folder`, with what earlier runs have left to tell.
    ///
    /// # Errors
    /// When the folder cannot be used. A damaged record in it is left out: its attempt is given to another node.
    pub fn open(folder: &Path, boot: BootId) -> Result<Self, FileError> {
        durable::make_folder(folder)?;
        for entry in fs::read_dir(folder).map_err(FileError::at(folder))? {
            let path = entry.map_err(FileError::at(folder))?.path();
            if path.file_name().is_none_or(|name| name != LOG) {
                durable::remove(&path)?;
            }
        }
        let (log, records) = RecordLog::open(folder.join(LOG))?;
        let mut state = State { log, began: BTreeMap::new(), ended: BTreeMap::new(), rewrite_at: 0 };
        records.into_iter().for_each(|record| state.take(record));
        for (key, began) in std::mem::take(&mut state.began) {
            state.ended.insert(key, Arc::new(cut_off(began == boot)));
        }
        state.trim()?;
        durable::sync_folder(folder)?;
        Ok(Self { boot, state: Arc::new(Mutex::new(state)), bell: Arc::default() })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers that an attempt begins. With `Keep::ThroughPowerLoss` it is known even after the machine went down.
    ///
    /// # Errors
    /// What the file system refused; then the attempt must not begin.
    pub fn begin(&self, key: &AttemptKey, keep: Keep) -> Result<(), FileError> {
        let mut state = self.state();
        let record = Record::Began { key: key.clone(), boot: self.boot };
        state.log.append(&record, keep)?;
        state.take(record);
        Ok(())
    }

    /// Remembers what came of an attempt, and rings.
    ///
    /// # Errors
    /// What the file system refused; the outcome is told all the same as long as this process lives.
    pub fn end(&self, key: &AttemptKey, outcome: Arc<Outcome>) -> Result<(), FileError> {
        let mut state = self.state();
        let record = Record::Ended { key: key.clone(), outcome };
        // Before anybody hears of it. A loss of power costs no more than running the step again, so this need not be fsynced.
        let written = state.log.append(&record, Keep::ThroughCrash);
        state.take(record);
        self.bell.notify_one();
        written
    }

    /// The server has the result, or does not want it.
    pub fn acknowledge(&self, key: &AttemptKey) {
        let mut state = self.state();
        if !state.began.contains_key(key) && !state.ended.contains_key(key) {
            return;
        }
        let record = Record::Told { key: key.clone() };
        let written = state.log.append(&record, Keep::ThroughCrash);
        state.take(record);
        if let Err(error) = written.and_then(|()| state.trim()) {
            tracing::warn!(%error, "that a result was delivered could not be noted; it is told once more after a restart");
        }
    }

    /// Forgets an attempt that must not be reported, because it was cancelled.
    pub fn drop_attempt(&self, key: &AttemptKey) {
        self.acknowledge(key);
    }

    /// Attempts whose outcome is still to be told.
    pub fn keys(&self) -> Vec<AttemptKey> {
        self.state().ended.keys().cloned().collect()
    }

    /// What is still to be told, but for what is in `told`.
    pub fn untold(&self, told: &HashSet<AttemptKey>) -> Vec<(AttemptKey, Arc<Outcome>)> {
        let state = self.state();
        state
            .ended
            .iter()
            .filter(|(key, _)| !told.contains(key))
            .map(|(key, outcome)| (key.clone(), outcome.clone()))
            .collect()
    }

    /// What came of an attempt.
    pub fn outcome(&self, key: &AttemptKey) -> Option<Arc<Outcome>> {
        self.state().ended.get(key).cloned()
    }

    /// Rings when there is something new to tell.
    pub fn bell(&self) -> Arc<Notify> {
        self.bell.clone()
    }
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
        let outbox = Outbox::open(home.path(), boot(1)).unwrap();
        outbox.begin(&key(1), Keep::ThroughCrash).unwrap();
        outbox.end(&key(1), Arc::new(made.clone())).unwrap();
        let again = Outbox::open(home.path(), boot(1)).unwrap();
        assert_eq!(again.keys(), [key(1)]);
        assert_eq!(*again.outcome(&key(1)).unwrap(), made);
        again.acknowledge(&key(1));
        assert!(Outbox::open(home.path(), boot(1)).unwrap().keys().is_empty());
    }

    #[test]
    fn an_attempt_found_open_is_evidence_only_after_a_reboot() {
        let home = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(home.path(), boot(1)).unwrap();
        outbox.begin(&key(1), Keep::ThroughPowerLoss).unwrap();
        let restarted = Outbox::open(home.path(), boot(1)).unwrap();
        assert!(matches!(
            *restarted.outcome(&key(1)).unwrap(),
            Outcome::Failed { class: FailureClass::Lost, evidence: None, .. }
        ));
        restarted.acknowledge(&key(1));
        restarted.begin(&key(2), Keep::ThroughPowerLoss).unwrap();
        let rebooted = Outbox::open(home.path(), boot(2)).unwrap();
        assert!(matches!(*rebooted.outcome(&key(2)).unwrap(), Outcome::Failed { evidence: Some(Evidence::Rebooted), .. }));
        let log = home.path().join(LOG);
        let content = fs::read_to_string(&log).unwrap();
        fs::write(&log, content + "{half").unwrap();
        assert_eq!(Outbox::open(home.path(), boot(2)).unwrap().keys(), [key(2)], "damage costs one record, not the start");
    }

    #[test]
    fn the_log_stays_short_and_loses_nothing_that_is_still_to_be_told() {
        let home = tempfile::tempdir().unwrap();
        let size = || fs::metadata(home.path().join(LOG)).unwrap().len();
        let failed = |why: &str| Arc::new(Outcome::Failed { class: FailureClass::Error, why: why.into(), evidence: None });
        let outbox = Outbox::open(home.path(), boot(1)).unwrap();
        let long = "x".repeat(10_000);
        for n in 2..500 {
            outbox.begin(&key(n), Keep::ThroughCrash).unwrap();
            outbox.end(&key(n), failed(&long)).unwrap();
            outbox.acknowledge(&key(n));
        }
        assert!(size() <= EMPTIED_BYTES, "{}", size());
        outbox.end(&key(1), failed("untold")).unwrap();
        outbox.begin(&key(1000), Keep::ThroughCrash).unwrap();
        for n in 2..500 {
            outbox.end(&key(n), failed(&long)).unwrap();
            outbox.acknowledge(&key(n));
        }
        assert!(size() <= REWRITTEN_BYTES, "{}", size());
        let again = Outbox::open(home.path(), boot(1)).unwrap();
        assert_eq!(again.keys(), [key(1), key(1000)]);
        assert_eq!(again.outcome(&key(1)), Some(failed("untold")));
    }
}
