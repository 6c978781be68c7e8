//! The spool: large results on this node's disk, named by their BLAKE3, kept until the server says they may go.
//!
//! A result is fsynced here before the server is told of it, since the commit names this node as its holder. Above the
//! limit the result that was used longest ago goes; the server then learns of the loss when it asks for it, and the step
//! runs again. The files survive a restart; what is found at the start is reported in the hello.

use crate::durable::{self, FileError};
use ouro_common::id::{Digest, DigestAlgorithm};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// What the spool knows of a file.
#[derive(Debug, Clone, Copy)]
struct Kept {
    size_bytes: u64,
    /// Counts uses; the lowest goes first.
    used: u64,
}

#[derive(Debug, Default)]
struct Index {
    kept: HashMap<Digest, Kept>,
    uses: u64,
}

/// The spool in a folder. Clones share it.
#[derive(Debug, Clone)]
pub struct Spool {
    folder: PathBuf,
    max_bytes: u64,
    index: Arc<Mutex<Index>>,
}

impl Spool {
    /// The spool in `folder`, with what a run before has left there. What is no finished result is removed.
    ///
    /// # Errors
    /// When the folder cannot be made or listed.
    pub fn open(folder: PathBuf, max_bytes: u64) -> Result<Self, FileError> {
        durable::make_folder(&folder)?;
        let mut found = vec![];
        for entry in fs::read_dir(&folder).map_err(FileError::at(&folder))? {
            let entry = entry.map_err(FileError::at(&folder))?;
            let meta = entry.metadata().map_err(FileError::at(entry.path()))?;
            match named(&entry.file_name().to_string_lossy()) {
                Some(digest) if meta.is_file() => found.push((meta.modified().unwrap_or(SystemTime::UNIX_EPOCH), digest, meta.len())),
                _ => drop(fs::remove_file(entry.path())),
            }
        }
        found.sort();
        let mut index = Index::default();
        for (_, digest, size_bytes) in found {
            index.uses += 1;
            index.kept.insert(digest, Kept { size_bytes, used: index.uses });
        }
        Ok(Self { folder, max_bytes, index: Arc::new(Mutex::new(index)) })
    }

    fn index(&self) -> std::sync::MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path_of(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.hex())
    }

    /// Takes a finished file into the spool; it lies on the same file system and is gone from its old place afterwards.
    ///
    /// # Errors
    /// What the file system refused; then nothing is promised to anybody.
    pub fn take(&self, file: &Path) -> Result<(Digest, u64), FileError> {
        let (digest, size_bytes) = hash_file(file)?;
        File::open(file).and_then(|f| f.sync_all()).map_err(FileError::at(file))?;
        let path = self.path_of(&digest);
        fs::rename(file, &path).map_err(FileError::at(&path))?;
        durable::sync_folder(&self.folder)?;
        let mut index = self.index();
        index.uses += 1;
        let used = index.uses;
        index.kept.insert(digest, Kept { size_bytes, used });
        self.make_room(&mut index, &digest);
        Ok((digest, size_bytes))
    }

    /// Removes what was used longest ago until the limit holds; never the one that was just taken.
    fn make_room(&self, index: &mut Index, newest: &Digest) {
        let mut total: u64 = index.kept.values().map(|k| k.size_bytes).sum();
        while total > self.max_bytes {
            let oldest = index.kept.iter().filter(|(d, _)| *d != newest).min_by_key(|(_, k)| k.used).map(|(d, k)| (*d, k.size_bytes));
            let Some((digest, size_bytes)) = oldest else { return };
            tracing::warn!(%digest, size_bytes, limit = self.max_bytes, "the spool is full: its least recently used result goes");
            index.kept.remove(&digest);
            let _ = fs::remove_file(self.path_of(&digest));
            total -= size_bytes;
        }
    }

    /// The file with these bytes, if they are here.
    pub fn find(&self, digest: &Digest) -> Option<PathBuf> {
        let mut index = self.index();
        index.uses += 1;
        let used = index.uses;
        index.kept.get_mut(digest)?.used = used;
        let path = self.path_of(digest);
        if path.exists() {
            return Some(path);
        }
        index.kept.remove(digest);
        None
    }

    /// Removes results nobody needs any more.
    pub fn forget(&self, digests: &[Digest]) {
        let mut index = self.index();
        for digest in digests {
            if index.kept.remove(digest).is_some() {
                let _ = fs::remove_file(self.path_of(digest));
            }
        }
    }

    /// Everything that is kept, sorted.
    pub fn digests(&self) -> Vec<Digest> {
        let mut list: Vec<_> = self.index().kept.keys().copied().collect();
        list.sort();
        list
    }

    /// Bytes kept in all.
    pub fn size_bytes(&self) -> u64 {
        self.index().kept.values().map(|k| k.size_bytes).sum()
    }
}

/// The BLAKE3 digest that a file's name says.
fn named(name: &str) -> Option<Digest> {
    let digest: Digest = format!("blake3:{name}").parse().ok()?;
    (digest.algorithm == DigestAlgorithm::Blake3).then_some(digest)
}

/// The BLAKE3 and the size of a file.
///
/// # Errors
/// What the file system said.
pub fn hash_file(path: &Path) -> Result<(Digest, u64), FileError> {
    let mut hasher = blake3::Hasher::new();
    let mut file = File::open(path).map_err(FileError::at(path))?;
    let size_bytes = io::copy(&mut file, &mut hasher).map_err(FileError::at(path))?;
    Ok((Digest::from_blake3(hasher.finalize()), size_bytes))
}

/// Removes what an earlier run left in a folder of files in the making.
///
/// # Errors
/// When the folder cannot be made.
pub fn clear_folder(folder: &Path) -> Result<(), FileError> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(FileError::at(folder))?;
    }
    durable::make_folder(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(spool: &Spool, folder: &Path, content: &[u8]) -> Digest {
        let file = folder.join("made");
        fs::write(&file, content).unwrap();
        spool.take(&file).unwrap().0
    }

    #[test]
    fn results_survive_a_restart_and_forgetting_removes_them() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("spool");
        let spool = Spool::open(folder.clone(), 1000).unwrap();
        let digest = put(&spool, home.path(), b"large");
        assert_eq!(digest, Digest::blake3(b"large"));
        fs::write(folder.join("half-written"), "x").unwrap();
        let again = Spool::open(folder.clone(), 1000).unwrap();
        assert_eq!(again.digests(), [digest]);
        assert!(!folder.join("half-written").exists());
        assert_eq!(fs::read(again.find(&digest).unwrap()).unwrap(), b"large");
        again.forget(&[digest, Digest::blake3(b"never seen")]);
        assert!(again.find(&digest).is_none() && fs::read_dir(&folder).unwrap().count() == 0);
    }

    #[test]
    fn above_the_limit_the_least_recently_used_goes() {
        let home = tempfile::tempdir().unwrap();
        let spool = Spool::open(home.path().join("spool"), 10).unwrap();
        let [a, b] = [put(&spool, home.path(), b"aaaa"), put(&spool, home.path(), b"bbbb")];
        assert!(spool.find(&a).is_some());
        let c = put(&spool, home.path(), b"cccc");
        assert!(spool.find(&a).is_some() && spool.find(&c).is_some());
        assert!(spool.find(&b).is_none(), "b was used longest ago");
        let huge = put(&spool, home.path(), &[0; 100]);
        assert_eq!(spool.digests(), [huge], "the newest stays even when it alone is too large");
    }
}
