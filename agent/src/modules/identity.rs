//! What names a container on a plain folder: the sha256 of its manifest's canonical JSON followed by the sha256 of its files.
//!
//! So the same manifest and files (a model, or layers in their order) have one identity on every node, and a changed byte
//! gives another. A file's own hash is remembered by size, time and inode, so that gigabytes are read once and not every two
//! seconds.

use ouro_common::container::Manifest;
use ouro_common::id::Digest;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The identity of a container with this manifest and files of these sha256: its model, or its layers, the lowest first.
pub fn container_digest(manifest: &Manifest, files_sha256: &[[u8; 32]]) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update(manifest.canonical_json());
    for file in files_sha256 {
        hasher.update(file);
    }
    Digest::sha256(hasher.finalize().into())
}

/// What a file looked like when it was hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    size: u64,
    modified: (i64, i64),
    inode: u64,
    device: u64,
}

/// Hashes of files that have not changed since.
#[derive(Debug, Default)]
pub struct FileDigests {
    known: HashMap<PathBuf, (Stamp, [u8; 32])>,
}

impl FileDigests {
    /// The sha256 of a file.
    ///
    /// # Errors
    /// What the file system said.
    pub fn sha256(&mut self, path: &Path) -> io::Result<[u8; 32]> {
        let meta = fs::metadata(path)?;
        if !meta.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        let stamp = Stamp { size: meta.len(), modified: (meta.mtime(), meta.mtime_nsec()), inode: meta.ino(), device: meta.dev() };
        if let Some((known, digest)) = self.known.get(path)
            && *known == stamp
        {
            return Ok(*digest);
        }
        let digest = hash(path)?;
        self.known.insert(path.to_path_buf(), (stamp, digest));
        Ok(digest)
    }

    /// Forgets files that are gone.
    pub fn retain_existing(&mut self) {
        self.known.retain(|path, _| path.exists());
    }
}

fn hash(path: &Path) -> io::Result<[u8; 32]> {
    let (mut file, mut hasher, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().into()),
            n => hasher.update(&buffer[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_model_gives_another_identity_and_an_unchanged_one_is_not_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.gguf");
        fs::write(&path, "weights").unwrap();
        let mut digests = FileDigests::default();
        let first = digests.sha256(&path).unwrap();
        assert_eq!(first.as_slice(), Sha256::digest(b"weights").as_slice());
        assert_eq!(digests.sha256(&path).unwrap(), first);
        fs::write(&path, "other weights").unwrap();
        let second = digests.sha256(&path).unwrap();
        assert_ne!(first, second);
        let manifest = crate::modules::builtin_container("noop").unwrap().manifest;
        let identities = [&[][..], &[first], &[second]].map(|m| container_digest(&manifest, m));
        assert!(identities[0] != identities[1] && identities[1] != identities[2]);
        fs::remove_file(&path).unwrap();
        digests.retain_existing();
        assert!(digests.known.is_empty());
    }
}
