//! Intents: what the agent is about to do with a module, on the disk before it does it.
//!
//! A stick can take the kernel down, and would do so at every start. So the word "I mount this" is fsynced first and taken back
//! afterwards; one that is found under another boot ID makes its module suspect until somebody releases it. One that an agent left
//! under the same boot ID says nothing: only the agent ended.

use crate::durable::{self, FileError, Keep};
use ouro_common::id::BootId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What was about to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    boot: BootId,
    fingerprint: String,
    slot: String,
    label: Option<String>,
    what: String,
}

/// The folder of intents.
#[derive(Debug, Clone)]
pub struct Intents {
    folder: PathBuf,
    boot: BootId,
}

/// An intent that is open. Dropped, it is taken back.
#[derive(Debug)]
pub struct Intent {
    path: PathBuf,
}

impl Intents {
    /// The intents in `folder`; those of this boot are taken back, the others stay.
    ///
    /// # Errors
    /// What the file system refused.
    pub fn open(folder: PathBuf, boot: BootId) -> Result<Self, FileError> {
        durable::make_folder(&folder)?;
        let intents = Self { folder, boot };
        for (path, record) in intents.records()? {
            match record {
                Some(record) if record.boot != boot => {
                    tracing::warn!(
                        label = record.label,
                        slot = record.slot,
                        "the machine went down during `{}`: the module is suspect until `ouroctl module release`",
                        record.what
                    );
                }
                // What cannot be read was cut off in writing: nothing had begun.
                _ => durable::remove(&path)?,
            }
        }
        Ok(intents)
    }

    /// Fingerprints of volumes that were being used when the machine went down.
    pub fn suspects(&self) -> BTreeSet<String> {
        let records = self.records().unwrap_or_default().into_iter().filter_map(|(_, record)| record);
        records.filter(|record| record.boot != self.boot).map(|record| record.fingerprint).collect()
    }

    /// Writes down that `what` is about to be done with a volume.
    ///
    /// # Errors
    /// What the file system refused; then it must not be done.
    pub fn begin(&self, fingerprint: &str, slot: &str, label: Option<&str>, what: &str) -> Result<Intent, FileError> {
        let record = Record {
            boot: self.boot,
            fingerprint: fingerprint.into(),
            slot: slot.into(),
            label: label.map(str::to_string),
            what: what.into(),
        };
        let plain: String = what.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
        let path = self.folder.join(format!("{fingerprint}-{slot}-{plain}.json"));
        durable::write(&path, &serde_json::to_vec(&record).unwrap_or_default(), Keep::ThroughPowerLoss)?;
        Ok(Intent { path })
    }

    /// Forgets what speaks against a volume.
    ///
    /// # Errors
    /// What the file system refused.
    pub fn release(&self, fingerprint: &str) -> Result<(), FileError> {
        for (path, record) in self.records()? {
            if record.is_some_and(|record| record.fingerprint == fingerprint && record.boot != self.boot) {
                durable::remove(&path)?;
            }
        }
        durable::sync_folder(&self.folder)
    }

    fn records(&self) -> Result<Vec<(PathBuf, Option<Record>)>, FileError> {
        let entries = fs::read_dir(&self.folder).map_err(FileError::at(&self.folder))?;
        let read = |path: &Path| serde_json::from_slice(&fs::read(path).ok()?).ok();
        Ok(entries.flatten().map(|entry| entry.path()).map(|path| (path.clone(), read(&path))).collect())
    }
}

impl Drop for Intent {
    fn drop(&mut self) {
        if let Err(error) = durable::remove(&self.path) {
            tracing::warn!(%error, "an intent cannot be taken back; a restart of the machine would make its module suspect");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(n: u8) -> BootId {
        BootId::from_parts(0, [n; 10])
    }

    #[test]
    fn an_intent_of_another_boot_makes_its_module_suspect_until_released() {
        let home = tempfile::tempdir().unwrap();
        let open = |n| Intents::open(home.path().join("intents"), boot(n)).unwrap();
        let first = open(1);
        let mounting = first.begin("f00d", "sda1", Some("OURO-A"), "mount").unwrap();
        std::mem::forget(mounting);
        drop(first.begin("beef", "sdb", None, "load langid:1.2.0").unwrap());
        assert!(first.suspects().is_empty(), "it goes on");
        let after_panic = open(2);
        assert_eq!(after_panic.suspects(), BTreeSet::from(["f00d".to_string()]));
        assert_eq!(open(3).suspects().len(), 1, "time alone does not clear it");
        after_panic.release("f00d").unwrap();
        assert!(open(4).suspects().is_empty());
    }

    #[test]
    fn an_agent_that_was_killed_says_nothing_about_the_module() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("intents");
        let first = Intents::open(folder.clone(), boot(1)).unwrap();
        std::mem::forget(first.begin("f00d", "sda1", None, "mount").unwrap());
        fs::write(folder.join("cut-off.json"), "{").unwrap();
        Intents::open(folder.clone(), boot(1)).unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }
}
