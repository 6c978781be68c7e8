//! All logs of this node, by attempt: those of running steps in memory, those of ended ones as files for a day.

use super::writer::LogWriter;
use crate::durable::{self, FileError};
use ouro_common::id::{AttemptKey, Digest};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long an ended step's log is kept.
const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// The most files; the oldest go first.
const MAX_FILES: usize = 2000;
/// Files may be this many more, and this much older, until somebody looks: looking costs more than writing one.
const LOOKED_AFTER_FILES: u32 = 100;
const LOOKED_AFTER: Duration = Duration::from_secs(60);
/// The most bytes that are read at once.
const MAX_PART_BYTES: usize = 16 * 1024;

/// A piece of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogPart {
    /// Where it stands in the whole; later than asked for when the bytes before are gone.
    pub offset: u64,
    /// The bytes.
    pub data: Vec<u8>,
    /// Whether nothing comes after it, now or later.
    pub last: bool,
}

/// The logs of this node. Clones share them.
#[derive(Debug, Clone)]
pub struct LogBook {
    folder: PathBuf,
    running: Arc<Mutex<HashMap<AttemptKey, LogWriter>>>,
    looked: Arc<Mutex<Looked>>,
}

/// When files were last looked for that may go.
#[derive(Debug)]
struct Looked {
    at: Instant,
    written_since: u32,
}

/// A running step's log; dropped, it is written to the disk.
#[derive(Debug)]
pub struct Running {
    book: LogBook,
    key: AttemptKey,
    /// Where the step's words go.
    pub writer: LogWriter,
}

impl LogBook {
    /// The logs in `folder`; those that are too old are removed.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn open(folder: PathBuf) -> Result<Self, FileError> {
        durable::make_folder(&folder)?;
        let looked = Arc::new(Mutex::new(Looked { at: Instant::now(), written_since: 0 }));
        let book = Self { folder, running: Arc::default(), looked };
        book.tidy();
        Ok(book)
    }

    fn running(&self) -> MutexGuard<'_, HashMap<AttemptKey, LogWriter>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, key: &AttemptKey) -> PathBuf {
        self.folder.join(format!("{}.log", &Digest::blake3(key.to_string().as_bytes()).hex()[..32]))
    }

    /// Begins a step's log.
    pub fn begin(&self, key: &AttemptKey) -> Running {
        let writer = LogWriter::nowhere();
        self.running().insert(key.clone(), writer.clone());
        Running { book: self.clone(), key: key.clone(), writer }
    }

    /// What a step said from `offset` on. Waits up to `patience` for something new; `None` when there is no such log here.
    pub async fn read(&self, key: &AttemptKey, offset: u64, patience: Duration) -> Option<LogPart> {
        let writer = self.running().get(key).cloned();
        let Some(writer) = writer else {
            return from_file(&self.path(key), offset);
        };
        let mut grown = writer.grown();
        let _ = tokio::time::timeout(patience, async {
            while !has_more(&writer, offset) {
                if grown.changed().await.is_err() {
                    return;
                }
            }
        })
        .await;
        Some(from_ring(&writer, offset))
    }

    /// One more file is there.
    fn written(&self) {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        looked.written_since += 1;
        if looked.written_since >= LOOKED_AFTER_FILES || looked.at.elapsed() >= LOOKED_AFTER {
            *looked = Looked { at: Instant::now(), written_since: 0 };
            drop(looked);
            self.tidy();
        }
    }

    fn tidy(&self) {
        let mut files: Vec<_> = fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        files.sort();
        let too_many = files.len().saturating_sub(MAX_FILES);
        for (n, (modified, path)) in files.iter().enumerate() {
            if n < too_many || modified.elapsed().is_ok_and(|age| age > KEPT_FOR) {
                let _ = fs::remove_file(path);
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.writer.end();
        let bytes = {
            let mut ring = self.writer.ring();
            let mut bytes = ring.from.to_le_bytes().to_vec();
            bytes.extend_from_slice(ring.bytes.make_contiguous());
            bytes
        };
        if bytes.len() > 8 {
            if let Err(error) = fs::write(self.book.path(&self.key), bytes) {
                tracing::warn!(%error, "a step's log could not be kept");
            }
            self.book.written();
        }
        self.book.running().remove(&self.key);
    }
}

fn has_more(writer: &LogWriter, offset: u64) -> bool {
    let ring = writer.ring();
    ring.ended || ring.from + ring.bytes.len() as u64 > offset
}

fn from_ring(writer: &LogWriter, offset: u64) -> LogPart {
    let mut ring = writer.ring();
    let (from, ended) = (ring.from, ring.ended);
    part(from, ring.bytes.make_contiguous(), offset, ended)
}

fn from_file(path: &Path, offset: u64) -> Option<LogPart> {
    let bytes = fs::read(path).ok()?;
    let (from, kept) = bytes.split_first_chunk::<8>()?;
    Some(part(u64::from_le_bytes(*from), kept, offset, true))
}

fn part(from: u64, kept: &[u8], offset: u64, ended: bool) -> LogPart {
    let skip = usize::try_from(offset.saturating_sub(from)).unwrap_or(usize::MAX).min(kept.len());
    let rest = &kept[skip..];
    let data = rest[..rest.len().min(MAX_PART_BYTES)].to_vec();
    LogPart { offset: from + skip as u64, last: ended && data.len() == rest.len(), data }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::Stream;
    use ouro_common::id::{Epoch, RequestId};

    fn key(n: u32) -> AttemptKey {
        let request = RequestId::from_parts(1, [1; 10]);
        AttemptKey { request, plan: 1, step: "s".parse().unwrap(), epoch: Epoch { generation: 1, n } }
    }

    #[tokio::test]
    async fn a_log_is_read_while_it_grows_and_after_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let book = LogBook::open(folder.path().join("logs")).unwrap();
        assert_eq!(book.read(&key(1), 0, Duration::ZERO).await, None);
        let running = book.begin(&key(1));
        running.writer.write(Stream::Out, b"one\n");
        let first = book.read(&key(1), 0, Duration::from_secs(5)).await.unwrap();
        assert_eq!((first.data.as_slice(), first.last), (&b"one\n"[..], false));
        let waiting = {
            let book = book.clone();
            tokio::spawn(async move { book.read(&key(1), 4, Duration::from_secs(30)).await })
        };
        tokio::task::yield_now().await;
        running.writer.write(Stream::Err, b"two\n");
        assert_eq!(waiting.await.unwrap().unwrap().data, b"two\n");
        drop(running);
        let again = LogBook::open(folder.path().join("logs")).unwrap();
        let whole = again.read(&key(1), 2, Duration::ZERO).await.unwrap();
        assert_eq!((whole.offset, whole.data.as_slice(), whole.last), (2, &b"e\ntwo\n"[..], true));
        let beyond = again.read(&key(1), 999, Duration::ZERO).await.unwrap();
        assert!(beyond.data.is_empty() && beyond.last);
    }

    #[test]
    fn there_are_never_many_more_files_than_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let book = LogBook::open(folder.path().into()).unwrap();
        let most = MAX_FILES + LOOKED_AFTER_FILES as usize;
        for n in 0..u32::try_from(most + 150).unwrap() {
            book.begin(&key(n)).writer.write(Stream::Out, b"x");
        }
        let files = fs::read_dir(folder.path()).unwrap().count();
        assert!((MAX_FILES..=most).contains(&files), "{files}");
        drop(book.begin(&key(1)));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), files, "who says nothing leaves no file");
    }

    #[tokio::test]
    async fn what_is_long_comes_in_parts_and_what_is_gone_is_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let book = LogBook::open(folder.path().into()).unwrap();
        let running = book.begin(&key(1));
        running.writer.write(Stream::Out, &vec![b'a'; super::super::writer::KEPT_BYTES + 100]);
        let first = book.read(&key(1), 0, Duration::ZERO).await.unwrap();
        assert_eq!((first.offset, first.data.len(), first.last), (100, MAX_PART_BYTES, false));
    }
}
