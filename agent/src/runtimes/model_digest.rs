//! What a model is known by: the BLAKE3 digest of its file; of a folder's model that of the list of its files with their digests.
//!
//! Reading two gigabytes takes longer than the rest of a cold start, so what was found is kept in a file of the agent's, as long as
//! the system says that the model's file is the same and unchanged. That is believed only of files that this machine may write:
//! a read-only file system was written elsewhere, perhaps with times that somebody made up. What is not legible in the file of
//! digests is found out anew.

use crate::durable::{self, FileError, Keep};
use ouro_common::id::Digest;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

const SCHEMA: &str = "ouroboros.model_digests/1";
/// More models than anybody takes turns with; what was found longest ago goes.
const MOST: usize = 64;
/// Larger than any file of digests.
const MAX_BYTES: u64 = 1 << 20;
/// A file that changed so shortly before it was read may change again without its time showing it: clocks of file systems tick.
const SETTLED_NS: i64 = 2_000_000_000;
/// What of a folder tells what its model computes.
const OF_FOLDERS: [&str; 3] = ["json", "jinja", "safetensors"];

/// By what a file is recognised. Every change of its content changes the last time, which nobody can set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    device: u64,
    inode: u64,
    size_bytes: u64,
    modified_ns: i64,
    changed_ns: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    file: Identity,
    digest: Digest,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    schema: String,
    files: Vec<Entry>,
}

/// The digest of a model, which is kept in the file `kept` if there is one.
///
/// # Errors
/// What of the model cannot be read.
pub(crate) fn of(model: &Path, kept: Option<&Path>) -> Result<Digest, FileError> {
    if !model.is_dir() {
        return of_file(model, kept);
    }
    let mut files: Vec<PathBuf> = vec![];
    for entry in fs::read_dir(model).map_err(FileError::at(model))? {
        let path = entry.map_err(FileError::at(model))?.path();
        let counts = path.extension().is_some_and(|extension| OF_FOLDERS.iter().any(|known| extension == *known));
        if counts && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    let mut list = blake3::Hasher::new();
    for file in files {
        let name = file.file_name().unwrap_or_default().as_encoded_bytes();
        list.update(&(name.len() as u64).to_le_bytes())
            .update(name)
            .update(of_file(&file, kept)?.to_string().as_bytes());
    }
    Ok(Digest::from_blake3(list.finalize()))
}

/// The size of a model's file, or of all files of a folder together, bytes.
pub(crate) fn size_bytes(model: &Path) -> io::Result<u64> {
    let about = fs::metadata(model)?;
    if !about.is_dir() {
        return Ok(about.len());
    }
    fs::read_dir(model)?.try_fold(0, |sum, entry| {
        let about = fs::metadata(entry?.path())?;
        Ok(sum + if about.is_file() { about.len() } else { 0 })
    })
}

fn of_file(path: &Path, kept: Option<&Path>) -> Result<Digest, FileError> {
    let file = File::open(path).map_err(FileError::at(path))?;
    let before = identity(&file).map_err(FileError::at(path))?;
    let known = kept.map(read).unwrap_or_default();
    if let Some(entry) = known.files.iter().find(|entry| Some(entry.file) == before) {
        return Ok(entry.digest);
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_mmap(path).map_err(FileError::at(path))?;
    let digest = Digest::from_blake3(hasher.finalize());
    // By its name: what was mapped may be another file than was opened.
    let after = File::open(path).and_then(|file| identity(&file)).map_err(FileError::at(path))?;
    if let (Some(kept), Some(file)) = (kept, before.filter(|before| after == Some(*before) && before.is_settled())) {
        keep(kept, known, Entry { file, digest });
    }
    Ok(digest)
}

/// By what a file will be recognised; `None` where its file system is read-only here.
fn identity(file: &File) -> io::Result<Option<Identity>> {
    if rustix::fs::fstatvfs(file)?.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        return Ok(None);
    }
    let about = file.metadata()?;
    let ns = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
    Ok(Some(Identity {
        device: about.dev(),
        inode: about.ino(),
        size_bytes: about.len(),
        modified_ns: ns(about.mtime(), about.mtime_nsec()),
        changed_ns: ns(about.ctime(), about.ctime_nsec()),
    }))
}

impl Identity {
    fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        i64::try_from(now).is_ok_and(|now| self.changed_ns.max(self.modified_ns).saturating_add(SETTLED_NS) <= now)
    }
}

/// What is kept; nothing where that is not legible.
fn read(path: &Path) -> Kept {
    let legible = |path: &Path| {
        let about = fs::metadata(path).ok().filter(|about| about.is_file() && about.len() <= MAX_BYTES)?;
        let bytes = fs::read(path).ok().filter(|bytes| bytes.len() as u64 == about.len())?;
        serde_json::from_slice::<Kept>(&bytes).ok().filter(|kept| kept.schema == SCHEMA)
    };
    legible(path).unwrap_or_default()
}

/// Keeps a digest more. That it cannot be kept costs time only.
fn keep(path: &Path, mut kept: Kept, entry: Entry) {
    kept.schema = SCHEMA.into();
    kept.files.retain(|known| (known.file.device, known.file.inode) != (entry.file.device, entry.file.inode));
    kept.files.insert(0, entry);
    kept.files.truncate(MOST);
    let text = serde_json::to_vec(&kept).unwrap_or_default();
    if let Err(error) = durable::write(path, &text, Keep::ThroughPowerLoss) {
        tracing::warn!(%error, "the digest of a model could not be kept; it will be computed again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// A file as if it had been written long ago is not to be had: nobody can set the time of the last change.
    fn settled(path: &Path, content: &[u8]) {
        fs::write(path, content).unwrap();
        std::thread::sleep(Duration::from_millis(2_100));
    }

    fn hashed(content: &[u8]) -> Digest {
        Digest::from_blake3(blake3::hash(content))
    }

    #[test]
    fn a_digest_is_kept_while_its_file_is_the_same_and_garbage_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (model, kept) = (folder.path().join("m.gguf"), folder.path().join("digests.json"));
        settled(&model, b"one");
        assert_eq!(of(&model, Some(&kept)).unwrap(), hashed(b"one"));
        // What is kept is believed: another digest in it comes back.
        let lie = hashed(b"a lie");
        let written = fs::read_to_string(&kept).unwrap().replace(&hashed(b"one").to_string(), &lie.to_string());
        fs::write(&kept, &written).unwrap();
        assert_eq!(of(&model, Some(&kept)).unwrap(), lie);
        // Of the same size, in the same place, at the same time as far as a person can set it.
        let times = fs::metadata(&model).unwrap();
        fs::write(&model, b"two").unwrap();
        let file = File::options().write(true).open(&model).unwrap();
        file.set_times(fs::FileTimes::new().set_modified(times.modified().unwrap())).unwrap();
        assert_eq!(of(&model, Some(&kept)).unwrap(), hashed(b"two"));
        assert!(fs::read_to_string(&kept).unwrap() == written, "a file that has just changed is not kept");
        std::thread::sleep(Duration::from_millis(2_100));
        for garbage in [&b""[..], b"{", b"\xff\xfe", b"[]", b"{\"schema\":\"other/1\",\"files\":[]}"] {
            fs::write(&kept, garbage).unwrap();
            assert_eq!(of(&model, Some(&kept)).unwrap(), hashed(b"two"));
            assert_eq!(read(&kept).files.len(), 1, "{garbage:?} was replaced");
        }
        fs::remove_file(&kept).unwrap();
        fs::create_dir(&kept).unwrap();
        assert_eq!(of(&model, Some(&kept)).unwrap(), hashed(b"two"), "what cannot be kept is found out anew");
        assert!(of(&folder.path().join("none"), None).unwrap_err().to_string().contains("none"));
    }

    #[test]
    fn a_folder_is_known_by_all_that_tells_what_it_computes() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| fs::write(folder.path().join(name), content).unwrap();
        write("config.json", "{}");
        write("model.safetensors", "weights");
        let first = of(folder.path(), None).unwrap();
        assert_eq!(size_bytes(folder.path()).unwrap(), 9);
        write("README.md", "words");
        assert_eq!(of(folder.path(), None).unwrap(), first);
        for (name, content) in [("config.json", "{ }"), ("model.safetensors", "Weights"), ("chat_template.jinja", "x")] {
            let before = of(folder.path(), None).unwrap();
            write(name, content);
            assert_ne!(of(folder.path(), None).unwrap(), before, "{name}");
        }
    }
}
