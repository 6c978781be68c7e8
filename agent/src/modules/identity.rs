//! What names a file of a plain folder: its sha256, remembered, and with it the layer it would be in an image.
//!
//! A container has one identity wherever it lies: the folder's files are described as the image's layers would be. A file's
//! hash is remembered by size, time and inode, so that a model of gigabytes is read once and not every two seconds.

use ouro_common::id::Digest;
use ouro_common::module::{Layer, LayerKind};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

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
    known: HashMap<PathBuf, (Stamp, Layer)>,
}

impl FileDigests {
    /// A model file as a layer.
    ///
    /// # Errors
    /// What the file system said.
    pub fn weights(&mut self, path: &Path) -> io::Result<Layer> {
        self.layer(path, |_| LayerKind::Weights)
    }

    /// A root filesystem's archive as a layer.
    ///
    /// # Errors
    /// What the file system said.
    pub fn archive(&mut self, path: &Path) -> io::Result<Layer> {
        self.layer(path, LayerKind::of_archive)
    }

    fn layer(&mut self, path: &Path, kind: fn(&[u8]) -> LayerKind) -> io::Result<Layer> {
        let meta = fs::metadata(path)?;
        if !meta.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        let stamp = Stamp { size: meta.len(), modified: (meta.mtime(), meta.mtime_nsec()), inode: meta.ino(), device: meta.dev() };
        if let Some((known, layer)) = self.known.get(path)
            && *known == stamp
        {
            return Ok(*layer);
        }
        let layer = hash(path, kind)?;
        self.known.insert(path.to_path_buf(), (stamp, layer));
        Ok(layer)
    }

    /// Forgets files that are gone.
    pub fn retain_existing(&mut self) {
        self.known.retain(|path, _| path.exists());
    }
}

/// The size is what was hashed, so that a file that grows meanwhile still gives a layer that fits itself.
fn hash(path: &Path, kind: fn(&[u8]) -> LayerKind) -> io::Result<Layer> {
    let (mut file, mut hasher, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; 1 << 16]);
    let (mut size_bytes, mut first_bytes) = (0, vec![]);
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(Layer { kind: kind(&first_bytes), digest: Digest::sha256(hasher.finalize().into()), size_bytes });
        }
        if first_bytes.len() < 4 {
            first_bytes.extend_from_slice(&buffer[..n.min(4)]);
        }
        hasher.update(&buffer[..n]);
        size_bytes += n as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_model_is_another_layer_and_an_unchanged_one_is_not_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.gguf");
        fs::write(&path, "weights").unwrap();
        let mut digests = FileDigests::default();
        let first = digests.weights(&path).unwrap();
        assert_eq!(first.digest.bytes.as_slice(), Sha256::digest(b"weights").as_slice());
        assert_eq!((first.kind, first.size_bytes), (LayerKind::Weights, 7));
        assert_eq!(digests.weights(&path).unwrap(), first);
        fs::write(&path, "other weights").unwrap();
        assert_ne!(digests.weights(&path).unwrap().digest, first.digest);
        let archive = folder.path().join("rootfs.tar");
        fs::write(&archive, [0x28, 0xb5, 0x2f, 0xfd, 0]).unwrap();
        assert_eq!(digests.archive(&archive).unwrap().kind, LayerKind::TarZstd);
        fs::remove_file(&archive).unwrap();
        fs::remove_file(&path).unwrap();
        digests.retain_existing();
        assert!(digests.known.is_empty());
    }
}
