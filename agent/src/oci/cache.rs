//! Unpacked root filesystems, each under the digests of its layers: unpacked once, used read-only by any number of runs.
//!
//! A folder appears under its name only when it is whole and on the disk. What has not been used for longest goes first when
//! there is more than the limit.

use super::inside::MOUNT_POINTS;
use super::unpack::{UnpackError, unpack};
use crate::durable;
use crate::modules::LayerFile;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, Timespec, Timestamps, UTIME_NOW};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Root filesystems in a folder. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    folder: PathBuf,
    limit_bytes: u64,
    shift: u32,
    /// One lock a name, so that two steps do not unpack the same layers at once; who holds it uses it.
    names: Arc<Mutex<HashMap<String, Arc<Mutex<()>>>>>,
    used: Arc<Mutex<BTreeMap<String, usize>>>,
}

/// A root filesystem in use: as long as this lives it is not removed.
#[derive(Debug)]
pub(super) struct RootFs {
    /// The folder.
    pub(super) path: PathBuf,
    name: String,
    used: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Drop for RootFs {
    fn drop(&mut self) {
        if let Some(users) = lock(&self.used).get_mut(&self.name) {
            *users = users.saturating_sub(1);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cache {
    /// The cache in `folder`. What an earlier run left half unpacked is removed.
    ///
    /// # Errors
    /// What the file system refused.
    pub(super) fn open(folder: PathBuf, limit_bytes: u64, shift: u32) -> io::Result<Self> {
        durable::make_folder(&folder).map_err(|e| e.source)?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with('.') {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(Self { folder, limit_bytes, shift, names: Arc::default(), used: Arc::default() })
    }

    /// The root filesystem that these layers make, unpacked now if it is not there. Blocks.
    ///
    /// # Errors
    /// What is wrong with a layer, or with the disk.
    pub(super) fn get(&self, layers: &[LayerFile], allowed_bytes: u64) -> Result<RootFs, UnpackError> {
        let name = self.name(layers);
        let turn = lock(&self.names).entry(name.clone()).or_default().clone();
        let _turn = lock(&turn);
        *lock(&self.used).entry(name.clone()).or_default() += 1;
        let path = self.folder.join(&name);
        let rootfs = RootFs { path: path.join("rootfs"), name, used: self.used.clone() };
        if path.exists() {
            touch(&path);
            return Ok(rootfs);
        }
        let partly = self.folder.join(format!(".{}", rootfs.name));
        let made = self.make(layers, allowed_bytes, &partly);
        if made.is_err() {
            let _ = fs::remove_dir_all(&partly);
        }
        made?;
        let io = |source| UnpackError::Io { path: path.clone(), source };
        fs::rename(&partly, &path).map_err(io)?;
        self.evict();
        Ok(rootfs)
    }

    fn make(&self, layers: &[LayerFile], allowed_bytes: u64, folder: &Path) -> Result<(), UnpackError> {
        let io = |source: io::Error| UnpackError::Io { path: folder.to_path_buf(), source };
        let root = folder.join("rootfs");
        fs::create_dir_all(&root).map_err(io)?;
        let bytes = unpack(layers, &root, allowed_bytes, self.shift)?;
        for name in MOUNT_POINTS {
            mount_point(&root.join(name), self.shift).map_err(io)?;
        }
        std::os::unix::fs::chown(&root, Some(self.shift), Some(self.shift)).map_err(io)?;
        fs::write(folder.join("bytes"), bytes.to_string()).map_err(io)?;
        // A rename may reach the disk before the files do; then half a root filesystem would look whole after a power cut.
        rustix::fs::syncfs(File::open(folder).map_err(io)?).map_err(|e| io(e.into()))
    }

    fn name(&self, layers: &[LayerFile]) -> String {
        let mut hash = Sha256::new();
        for layer in layers {
            hash.update(layer.layer.digest.bytes);
        }
        let hash = data_encoding::HEXLOWER.encode(&hash.finalize());
        format!("{}-{}", &hash[..40], self.shift)
    }

    fn evict(&self) {
        let mut found: Vec<(std::time::SystemTime, String, u64)> = vec![];
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let bytes = fs::read_to_string(entry.path().join("bytes")).ok().and_then(|b| b.parse().ok());
            let modified = entry.metadata().and_then(|m| m.modified());
            if let (Some(bytes), Ok(modified)) = (bytes, modified) {
                found.push((modified, entry.file_name().to_string_lossy().into_owned(), bytes));
            }
        }
        found.sort();
        let mut total: u64 = found.iter().map(|(_, _, bytes)| bytes).sum();
        for (_, name, bytes) in found {
            // Held over the removal: nobody begins to use what goes.
            let used = lock(&self.used);
            if total <= self.limit_bytes || used.get(&name).is_some_and(|users| *users > 0) {
                continue;
            }
            let going = self.folder.join(format!(".{name}"));
            if fs::rename(self.folder.join(&name), &going).is_ok() {
                drop(used);
                let _ = fs::remove_dir_all(&going);
                total = total.saturating_sub(bytes);
            }
        }
    }
}

/// A folder of the root filesystem that something is mounted on. A link of that name would lead the mount elsewhere.
fn mount_point(path: &Path, owner: u32) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => return Ok(()),
        Ok(_) => fs::remove_file(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    fs::create_dir(path)?;
    rustix::fs::chmodat(CWD, path, Mode::from_raw_mode(0o755), AtFlags::empty())?;
    std::os::unix::fs::chown(path, Some(owner), Some(owner))
}

fn touch(path: &Path) {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    if let Ok(folder) = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        let _ = rustix::fs::futimens(folder, &Timestamps { last_access: now, last_modification: now });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ouro_common::id::Digest;
    use ouro_common::module::{Layer, LayerKind};

    fn layer(folder: &Path, name: &str, bytes: usize) -> LayerFile {
        let mut builder = tar::Builder::new(vec![]);
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, vec![1; bytes].as_slice()).unwrap();
        let archive = builder.into_inner().unwrap();
        let path = folder.join(name);
        fs::write(&path, &archive).unwrap();
        let digest = Digest::sha256(Sha256::digest(&archive).into());
        LayerFile { path, layer: Layer { kind: LayerKind::Tar, digest, size_bytes: archive.len() as u64 } }
    }

    #[test]
    fn layers_are_unpacked_once_and_the_unused_go_when_there_are_too_many() {
        let folder = tempfile::tempdir().unwrap();
        let own = rustix::process::getuid().as_raw();
        let cache = Cache::open(folder.path().join("cache"), 30_000, own).unwrap();
        let (a, b) = (layer(folder.path(), "a", 20_000), layer(folder.path(), "b", 20_000));
        let first = cache.get(std::slice::from_ref(&a), 1 << 20).unwrap();
        assert!(first.path.join("a").is_file() && first.path.join("out").is_dir());
        fs::remove_file(&a.path).unwrap();
        let again = cache.get(std::slice::from_ref(&a), 1 << 20).unwrap();
        assert_eq!(again.path, first.path, "the archive was not read again");
        let _b = cache.get(std::slice::from_ref(&b), 1 << 20).unwrap();
        assert!(first.path.exists(), "what is used stays");
        let gone = first.path.clone();
        drop((first, again));
        let c = layer(folder.path(), "c", 20_000);
        let _c = cache.get(std::slice::from_ref(&c), 1 << 20).unwrap();
        assert!(!gone.exists());
    }

    #[test]
    fn a_failed_unpacking_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let own = rustix::process::getuid().as_raw();
        let cache = Cache::open(folder.path().join("cache"), 30_000, own).unwrap();
        let a = layer(folder.path(), "a", 20_000);
        assert!(cache.get(&[a], 100).is_err());
        assert_eq!(fs::read_dir(folder.path().join("cache")).unwrap().count(), 0);
    }
}
