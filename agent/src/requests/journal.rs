//! The journal of requests: a folder each, `record.json` and the inputs, for seven days.
//!
//! A request is durable before its submitter hears of it: its folder is filled under another name, fsynced, and renamed.
//! Only what is needed to find a request is in memory.

use super::record::{Progress, Record};
use crate::durable::{self, FileError, Keep};
use crate::home::file_fault;
use ouro_common::envelope::{Envelope, Input, Principal};
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::{Digest, RequestId};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// How long a request is kept, ms: seven days.
const KEPT_MS: u64 = 7 * 24 * 3600 * 1000;
/// A reference shorter than this means too many requests.
const LEAST_REFERENCE: usize = 4;

/// What is needed to find a request.
#[derive(Debug, Clone)]
struct Entry {
    uid: u32,
    key: String,
    content: Digest,
    submitted_unix_ms: u64,
}

/// What came of accepting a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// It is durable.
    New(RequestId),
    /// It had been accepted before, under this id.
    Same(RequestId),
}

/// The journal in a folder. Clones share it.
#[derive(Debug, Clone)]
pub struct Journal {
    folder: PathBuf,
    index: Arc<Mutex<BTreeMap<RequestId, Entry>>>,
}

/// A request whose inputs are arriving. Dropped before it is accepted, it leaves nothing behind.
#[derive(Debug)]
pub struct Incoming {
    folder: PathBuf,
    next: usize,
    done: bool,
}

impl Journal {
    /// The journal in `folder`; entries older than seven days, half-written ones and damaged ones are removed.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn open(folder: PathBuf, now_unix_ms: u64) -> Result<Self, FileError> {
        durable::make_folder(&folder)?;
        let journal = Self { folder, index: Arc::default() };
        for entry in fs::read_dir(&journal.folder).map_err(FileError::at(&journal.folder))? {
            let path = entry.map_err(FileError::at(&journal.folder))?.path();
            let id = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.parse::<RequestId>().ok());
            let record = id.and_then(|id| journal.read(id).ok());
            match (id, record) {
                (Some(id), Some(record)) if now_unix_ms.saturating_sub(record.submitted_unix_ms) < KEPT_MS => {
                    journal.index().insert(id, entry_of(&record));
                }
                _ => {
                    tracing::info!(path = %path.display(), "an old or unfinished request is removed from the journal");
                    fs::remove_dir_all(&path).map_err(FileError::at(&path))?;
                }
            }
        }
        Ok(journal)
    }

    fn index(&self) -> std::sync::MutexGuard<'_, BTreeMap<RequestId, Entry>> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn folder_of(&self, id: RequestId) -> PathBuf {
        self.folder.join(id.to_string())
    }

    /// The file of the n-th input.
    pub fn input_file(&self, id: RequestId, n: usize) -> PathBuf {
        self.folder_of(id).join(format!("input-{n}"))
    }

    /// Whether the same submitter has asked the same under the same key before.
    ///
    /// # Errors
    /// `CONFLICT` when the key or the id stands for something else.
    pub fn repeated(&self, envelope: &Envelope) -> Result<Option<RequestId>, Fault> {
        let (uid, content) = (uid_of(envelope), envelope.content_digest());
        let index = self.index();
        let known = index.iter().find(|(_, e)| e.uid == uid && e.key == envelope.idempotency_key);
        match known.or_else(|| index.get_key_value(&envelope.id)) {
            None => Ok(None),
            Some((id, entry)) if entry.uid == uid && entry.content == content => Ok(Some(*id)),
            Some((id, _)) => {
                let fault = Fault::new(FaultCode::Conflict, format!("the same key or id stands for another request, {id}"));
                Err(fault.at("idempotency_key").remedy("use a new key for new content"))
            }
        }
    }

    /// Makes room for a request's inputs.
    ///
    /// # Errors
    /// What the file system refused.
    pub fn receive(&self, id: RequestId) -> Result<Incoming, Fault> {
        let folder = self.folder.join(format!("{id}.new"));
        let _ = fs::remove_dir_all(&folder);
        durable::make_folder(&folder).map_err(|e| file_fault(&e))?;
        Ok(Incoming { folder, next: 0, done: false })
    }

    /// Makes a request durable.
    ///
    /// # Errors
    /// What the file system refused; then nothing is kept. `CONFLICT` as in [`Self::repeated`].
    pub fn accept(&self, mut incoming: Incoming, record: &Record) -> Result<Accepted, Fault> {
        let id = record.envelope.id;
        let keep = || {
            write_record(&incoming.folder, record)?;
            let path = self.folder_of(id);
            fs::rename(&incoming.folder, &path).map_err(FileError::at(&path))?;
            durable::sync_folder(&self.folder)
        };
        if let Some(same) = self.repeated(&record.envelope)? {
            return Ok(Accepted::Same(same));
        }
        keep().map_err(|e| file_fault(&e))?;
        incoming.done = true;
        self.index().insert(id, entry_of(record));
        Ok(Accepted::New(id))
    }

    /// The entry of a request.
    ///
    /// # Errors
    /// When there is none, or it is damaged.
    pub fn read(&self, id: RequestId) -> Result<Record, Fault> {
        let path = self.folder_of(id).join("record.json");
        let bytes = fs::read(&path).map_err(|_| unknown(&id.to_string()))?;
        serde_json::from_slice(&bytes)
            .map_err(|e| Fault::new(FaultCode::Internal, format!("the journal's entry is damaged: {e}")).at(path.display()))
    }

    /// Replaces an entry.
    ///
    /// # Errors
    /// What the file system refused; then the old entry stands.
    pub fn update(&self, record: &Record) -> Result<(), Fault> {
        write_record(&self.folder_of(record.envelope.id), record).map_err(|e| file_fault(&e))
    }

    /// The inputs of a request are not needed here any more.
    pub fn drop_inputs(&self, record: &Record) {
        for n in 0..record.envelope.inputs.len() {
            let _ = fs::remove_file(self.input_file(record.envelope.id, n));
        }
    }

    /// Requests that `may_see`, the newest first.
    pub fn ids(&self, may_see: impl Fn(u32) -> bool) -> Vec<RequestId> {
        self.index().iter().rev().filter(|(_, e)| may_see(e.uid)).map(|(id, _)| *id).collect()
    }

    /// The request that a reference means: an id, the end of one, or `last`; `None` when it is none of this journal.
    ///
    /// # Errors
    /// When it fits several.
    pub fn resolve(&self, reference: &str, may_see: impl Fn(u32) -> bool) -> Result<Option<RequestId>, Fault> {
        let ids = self.ids(may_see);
        let reference = reference.trim().to_ascii_lowercase();
        if reference == "last" {
            return Ok(ids.first().copied());
        }
        if let Ok(id) = reference.parse::<RequestId>() {
            return Ok(ids.contains(&id).then_some(id));
        }
        let bare = reference.replace('-', "");
        if bare.len() < LEAST_REFERENCE {
            return Ok(None);
        }
        let mut fitting = ids.into_iter().filter(|id| id.to_string().replace('-', "").ends_with(&bare));
        match (fitting.next(), fitting.next()) {
            (first, None) => Ok(first),
            _ => {
                let fault = Fault::new(FaultCode::InvalidArgument, format!("{reference:?} fits several requests"));
                Err(fault.remedy("give more of the id's end"))
            }
        }
    }

    /// Requests that have neither ended here nor reached the server.
    pub fn unfinished(&self) -> Vec<RequestId> {
        let open = |id: &RequestId| self.read(*id).is_ok_and(|r| matches!(r.progress, Progress::Accepted | Progress::Offloading));
        let ids: Vec<RequestId> = self.index().keys().copied().collect();
        ids.into_iter().filter(open).collect()
    }

    /// Removes what is older than seven days.
    pub fn prune(&self, now_unix_ms: u64) {
        self.index().retain(|id, entry| {
            let keep = now_unix_ms.saturating_sub(entry.submitted_unix_ms) < KEPT_MS;
            if !keep {
                let _ = fs::remove_dir_all(self.folder_of(*id));
            }
            keep
        });
    }
}

/// There is no such request.
pub(crate) fn unknown(reference: &str) -> Fault {
    Fault::new(FaultCode::NotFound, format!("there is no request {reference:?}")).remedy("see `ouroctl requests`")
}

impl Incoming {
    /// Writes the next input; its bytes must be those that were announced.
    ///
    /// # Errors
    /// `DIGEST_MISMATCH`, or what the file system refused.
    pub fn keep(&mut self, input: &Input, bytes: &[u8]) -> Result<(), Fault> {
        if bytes.len() as u64 != input.size_bytes || Digest::blake3(bytes) != input.digest {
            return Err(Fault::new(FaultCode::DigestMismatch, "an input is not what was announced").at(&input.tag));
        }
        let path = self.folder.join(format!("input-{}", self.next));
        self.next += 1;
        let written = fs::File::create(&path).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        written.map_err(|source| file_fault(&FileError { path, source }))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.done {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

fn write_record(folder: &Path, record: &Record) -> Result<(), FileError> {
    let json = serde_json::to_vec(record).unwrap_or_default();
    durable::write(&folder.join("record.json"), &json, Keep::ThroughPowerLoss)
}

fn uid_of(envelope: &Envelope) -> u32 {
    match envelope.principal {
        Principal::Node { uid, .. } => uid,
        Principal::Operator(_) | Principal::Client(_) => u32::MAX,
    }
}

fn entry_of(record: &Record) -> Entry {
    Entry {
        uid: uid_of(&record.envelope),
        key: record.envelope.idempotency_key.clone(),
        content: record.envelope.content_digest(),
        submitted_unix_ms: record.submitted_unix_ms,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use ouro_common::id::NodeId;

    pub(in crate::requests) fn envelope(n: u64, uid: u32, key: &str, prompt: &str) -> Envelope {
        let principal = Principal::Node { node: NodeId::from_parts(1, [1; 10]), uid };
        Envelope {
            idempotency_key: key.into(),
            ..Envelope::new(RequestId::from_parts(n, [n as u8; 10]), principal, prompt)
        }
    }

    fn accept(journal: &Journal, envelope: Envelope, at: u64) -> Result<Accepted, Fault> {
        let incoming = journal.receive(envelope.id)?;
        journal.accept(incoming, &Record::new(envelope, false, at))
    }

    #[test]
    fn an_accepted_request_survives_and_half_of_one_does_not() {
        let home = tempfile::tempdir().unwrap();
        let journal = Journal::open(home.path().into(), 0).unwrap();
        let input = Input {
            tag: "text".parse().unwrap(),
            media: "text/plain".into(),
            digest: Digest::blake3(b"hello"),
            size_bytes: 5,
            file_name: None,
        };
        let whole = Envelope { inputs: vec![input.clone()], ..envelope(1, 7, "k1", "read this") };
        let mut incoming = journal.receive(whole.id).unwrap();
        assert_eq!(incoming.keep(&input, b"jello").unwrap_err().code, FaultCode::DigestMismatch);
        incoming.keep(&input, b"hello").unwrap();
        assert_eq!(journal.accept(incoming, &Record::new(whole.clone(), false, 10)), Ok(Accepted::New(whole.id)));
        let cut_off = journal.receive(envelope(2, 7, "k2", "x").id).unwrap();
        std::mem::forget(cut_off);
        let again = Journal::open(home.path().into(), 20).unwrap();
        assert_eq!(again.unfinished(), [whole.id]);
        assert_eq!(fs::read(again.input_file(whole.id, 0)).unwrap(), b"hello");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
        assert!(
            Journal::open(home.path().into(), 10 + KEPT_MS).unwrap().ids(|_| true).is_empty(),
            "after seven days it is gone"
        );
    }

    #[test]
    fn a_key_stands_for_one_content_of_one_user() {
        let home = tempfile::tempdir().unwrap();
        let journal = Journal::open(home.path().into(), 0).unwrap();
        let first = envelope(1, 7, "k", "one");
        accept(&journal, first.clone(), 0).unwrap();
        assert_eq!(accept(&journal, envelope(2, 7, "k", "one"), 0), Ok(Accepted::Same(first.id)));
        assert_eq!(accept(&journal, envelope(3, 7, "k", "two"), 0).unwrap_err().code, FaultCode::Conflict);
        assert!(
            matches!(accept(&journal, envelope(4, 8, "k", "two"), 0), Ok(Accepted::New(_))),
            "another user's key is another key"
        );
        assert_eq!(accept(&journal, envelope(1, 8, "other", "two"), 0).unwrap_err().code, FaultCode::Conflict, "an id is taken");
    }

    #[test]
    fn references_mean_what_the_user_may_see() {
        let home = tempfile::tempdir().unwrap();
        let journal = Journal::open(home.path().into(), 0).unwrap();
        for n in 1..=3 {
            accept(&journal, envelope(n, u32::try_from(n).unwrap(), "k", "x"), 0).unwrap();
        }
        let id = |n: u64| envelope(n, 0, "", "").id;
        assert_eq!(journal.resolve("last", |_| true), Ok(Some(id(3))));
        assert_eq!(journal.resolve("last", |uid| uid == 2), Ok(Some(id(2))));
        assert_eq!(journal.resolve(&id(1).short(), |_| true), Ok(Some(id(1))));
        assert_eq!(journal.resolve(&id(1).to_string(), |uid| uid == 2), Ok(None));
        assert_eq!(journal.resolve("01", |_| true), Ok(None), "too short to mean one");
    }
}
