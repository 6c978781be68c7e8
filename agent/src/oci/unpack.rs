//! Unpacks layers into a folder, never following a link on the way: every path is resolved as if the folder were the root.
//!
//! What may be unpacked at all is judged by pure rules before. The bytes are hashed as they are read, so what was unpacked is
//! what the digest names, whatever happens to the file meanwhile.

use super::layer_rules::{Act, Budget, Entry, LayerError, Parts, check_ratio, judge, mode};
use super::tar_stream;
use crate::modules::LayerFile;
use flate2::read::MultiGzDecoder;
use ouro_common::module::LayerKind;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A root filesystem could not be made from its layers.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnpackError {
    /// The layer has something no honest one has.
    #[error("the layer {}: {source}", path.display())]
    Layer {
        /// The layer.
        path: PathBuf,
        /// What it has.
        source: LayerError,
    },
    /// The layer is not what its digest names.
    #[error("the layer {} is damaged or was exchanged: its sha256 is not the one it is announced with", path.display())]
    Digest {
        /// The layer.
        path: PathBuf,
    },
    /// Reading the layer or writing the files failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The layer, or the folder it is unpacked into.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// How one entry failed, before the layer's name is added.
enum Failure {
    Rule(LayerError),
    Io(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        // The meter speaks through the readers above it.
        match error.downcast::<LayerError>() {
            Ok(rule) => Self::Rule(rule),
            Err(error) => Self::Io(error),
        }
    }
}
impl From<LayerError> for Failure {
    fn from(error: LayerError) -> Self {
        Self::Rule(error)
    }
}
impl From<Errno> for Failure {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

/// The archive's bytes as they lie there: hashed and counted.
struct Packed {
    file: File,
    hash: Sha256,
    bytes: u64,
}

#[derive(Clone)]
struct Shared(Rc<RefCell<Packed>>);

impl Read for Shared {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut packed = self.0.borrow_mut();
        let n = packed.file.read(buffer)?;
        packed.hash.update(&buffer[..n]);
        packed.bytes += n as u64;
        Ok(n)
    }
}

/// The unpacked bytes: ends a compression bomb while it is read.
struct Meter<R> {
    inner: R,
    packed: Shared,
    bytes: u64,
}

impl<R: Read> Read for Meter<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.bytes += n as u64;
        check_ratio(self.packed.0.borrow().bytes, self.bytes).map_err(io::Error::other)?;
        Ok(n)
    }
}

/// Unpacks the layers into the empty folder `into`, owners shifted by `shift`. Returns how many bytes that took.
///
/// # Errors
/// What is wrong with a layer, or with the disk. What was unpacked until then stays there.
pub(super) fn unpack(layers: &[LayerFile], into: &Path, allowed_bytes: u64, shift: u32) -> Result<u64, UnpackError> {
    let at = |source: io::Error| UnpackError::Io { path: into.to_path_buf(), source };
    let root =
        rustix::fs::openat(CWD, into, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(|e| at(e.into()))?;
    let mut tree = Tree { root, shift, budget: Budget { allowed_bytes, ..Budget::default() } };
    for layer in layers {
        tree.layer(layer)?;
    }
    Ok(tree.budget.bytes)
}

struct Tree {
    root: OwnedFd,
    shift: u32,
    budget: Budget,
}

impl Tree {
    fn layer(&mut self, layer: &LayerFile) -> Result<(), UnpackError> {
        let io = |source| UnpackError::Io { path: layer.path.clone(), source };
        let file = File::open(&layer.path).map_err(io)?;
        let packed = Shared(Rc::new(RefCell::new(Packed { file, hash: Sha256::new(), bytes: 0 })));
        let unpacked = match layer.layer.kind {
            LayerKind::TarGzip => self.archive(MultiGzDecoder::new(packed.clone()), &packed),
            LayerKind::TarZstd => match ruzstd::decoding::StreamingDecoder::new(packed.clone()) {
                Ok(decoder) => self.archive(decoder, &packed),
                Err(error) => Err(Failure::Io(io::Error::other(format!("it is no zstd archive: {error}")))),
            },
            LayerKind::Tar | LayerKind::Weights => self.archive(packed.clone(), &packed),
        };
        unpacked.map_err(|failure| match failure {
            Failure::Rule(source) => UnpackError::Layer { path: layer.path.clone(), source },
            Failure::Io(source) => io(source),
        })?;
        // What lies behind the archive's end belongs to the file that the digest names.
        io::copy(&mut packed.clone(), &mut io::sink()).map_err(io)?;
        let hash: [u8; 32] = packed.0.borrow().hash.clone().finalize().into();
        if hash != layer.layer.digest.bytes {
            return Err(UnpackError::Digest { path: layer.path.clone() });
        }
        Ok(())
    }

    fn archive(&mut self, archive: impl Read, packed: &Shared) -> Result<(), Failure> {
        let meter = Meter { inner: archive, packed: packed.clone(), bytes: 0 };
        tar_stream::for_each(meter, |entry, content| {
            self.budget.take(entry.size_bytes)?;
            self.carry_out(&entry, judge(&entry)?, content)
        })
    }

    fn carry_out(&self, entry: &Entry, act: Act, content: &mut dyn Read) -> Result<(), Failure> {
        match act {
            Act::Folder(parts) if parts.is_empty() => Ok(()),
            Act::Folder(parts) => self.folder(entry, &parts),
            Act::File(parts) => self.file(entry, &parts, content),
            Act::Symlink(parts, to) => {
                let (parent, name) = self.cleared(&parts)?;
                rustix::fs::symlinkat(OsStr::from_bytes(&to), &parent, name)?;
                self.own(&parent, name, entry)
            }
            Act::Hardlink(parts, to) => {
                let (from, old) = self.place(&to)?;
                if FileType::from_raw_mode(rustix::fs::statat(&from, old, AtFlags::SYMLINK_NOFOLLOW)?.st_mode) != FileType::RegularFile {
                    return Err(io::Error::other("an entry is a second name of something that is no file").into());
                }
                let (parent, name) = self.cleared(&parts)?;
                Ok(rustix::fs::linkat(&from, old, &parent, name, AtFlags::empty())?)
            }
            Act::Remove(parts) => match self.place(&parts) {
                Ok((parent, name)) => Ok(remove(&parent, name)?),
                Err(Failure::Io(e)) if e.kind() == io::ErrorKind::NotFound => Ok(()),
                Err(error) => Err(error),
            },
            Act::Empty(parts) => match self.open(&parts) {
                Ok(folder) => Ok(empty(&folder)?),
                Err(Errno::NOENT) => Ok(()),
                Err(error) => Err(error.into()),
            },
        }
    }

    fn folder(&self, entry: &Entry, parts: &Parts) -> Result<(), Failure> {
        let (parent, name) = self.place(parts)?;
        match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => {}
            Err(Errno::EXIST) if is_folder(&parent, name)? => {}
            Err(Errno::EXIST) => {
                remove(&parent, name)?;
                rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
            }
            Err(error) => return Err(error.into()),
        }
        // It is a folder and no link: nobody else writes here.
        rustix::fs::chmodat(&parent, name, Mode::from_raw_mode(mode(entry) | 0o700), AtFlags::empty())?;
        self.own(&parent, name, entry)
    }

    fn file(&self, entry: &Entry, parts: &Parts, content: &mut dyn Read) -> Result<(), Failure> {
        let (parent, name) = self.cleared(parts)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o600))?);
        let written = io::copy(&mut content.take(entry.size_bytes), &mut file)?;
        if written != entry.size_bytes {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        file.flush()?;
        self.own(&parent, name, entry)?;
        Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(mode(entry)))?)
    }

    fn own(&self, parent: &OwnedFd, name: &OsStr, entry: &Entry) -> Result<(), Failure> {
        let shifted = |id: u64| u32::try_from(id).unwrap_or(u32::from(u16::MAX)) + self.shift;
        let (uid, gid) = (Uid::from_raw(shifted(entry.uid)), Gid::from_raw(shifted(entry.gid)));
        Ok(rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// The folder of that path, as if the root filesystem were the root.
    fn open(&self, parts: &[Vec<u8>]) -> Result<OwnedFd, Errno> {
        let path = if parts.is_empty() { b".".to_vec() } else { parts.join(&b'/') };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat2(
            &self.root,
            OsStr::from_bytes(&path),
            flags,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )
    }

    /// The folder an entry lies in, made where it is missing, and the entry's name.
    fn place<'a>(&self, parts: &'a Parts) -> Result<(OwnedFd, &'a OsStr), Failure> {
        let Some((name, folders)) = parts.split_last() else {
            return Err(io::Error::other("an entry has no name").into());
        };
        let parent = match self.open(folders) {
            Err(Errno::NOENT) => self.make(folders)?,
            other => other?,
        };
        Ok((parent, OsStr::from_bytes(name)))
    }

    fn make(&self, folders: &[Vec<u8>]) -> Result<OwnedFd, Failure> {
        let mut folder = self.open(&[])?;
        for n in 1..=folders.len() {
            folder = match self.open(&folders[..n]) {
                Err(Errno::NOENT) => {
                    let name = OsStr::from_bytes(&folders[n - 1]);
                    rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o755))?;
                    let owner = (Uid::from_raw(self.shift), Gid::from_raw(self.shift));
                    rustix::fs::chownat(&folder, name, Some(owner.0), Some(owner.1), AtFlags::SYMLINK_NOFOLLOW)?;
                    self.open(&folders[..n])?
                }
                other => other?,
            };
        }
        Ok(folder)
    }

    /// The same, with nothing under that name any more.
    fn cleared<'a>(&self, parts: &'a Parts) -> Result<(OwnedFd, &'a OsStr), Failure> {
        let (parent, name) = self.place(parts)?;
        remove(&parent, name)?;
        Ok((parent, name))
    }
}

fn is_folder(parent: &OwnedFd, name: &OsStr) -> Result<bool, Errno> {
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Removes what lies under that name, with everything in it; nothing there is right as well.
fn remove(parent: &impl AsFd, name: &OsStr) -> Result<(), Errno> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            empty(&rustix::fs::openat(parent, name, flags, Mode::empty())?)?;
            rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
        }
        Err(error) => Err(error),
    }
}

fn empty(folder: &OwnedFd) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let readable = rustix::fs::openat(folder, ".", flags, Mode::empty())?;
    let names: Result<Vec<_>, _> = rustix::fs::Dir::read_from(&readable)?.map(|e| e.map(|e| e.file_name().to_owned())).collect();
    for name in names?.iter().filter(|n| !matches!(n.to_bytes(), b"." | b"..")) {
        remove(&readable, OsStr::from_bytes(name.to_bytes()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
