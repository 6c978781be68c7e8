//! A mounted file system as the format's reader wants it: regular files below one folder, and nothing a link points to.
//!
//! Every path is resolved by the kernel with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV` (openat2(2)), so that a
//! module can name no file but its own.

use ouro_common::module::{Volume, VolumeError};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::Path;

/// What is read of a file's end to know that it is there.
const BLOCK_BYTES: u64 = 4096;

/// A folder that holds a module.
#[derive(Debug)]
pub struct FolderVolume {
    folder: OwnedFd,
}

impl FolderVolume {
    /// The module in `folder`.
    ///
    /// # Errors
    /// What the system said.
    pub fn open(folder: &Path) -> Result<Self, VolumeError> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::open(folder, flags, Mode::empty()).map(|folder| Self { folder }).map_err(volume_error)
    }

    /// Opens a regular file.
    ///
    /// # Errors
    /// [`VolumeError`]
    pub fn file(&self, path: &str) -> Result<(File, u64), VolumeError> {
        // A pipe must not hold up the reader.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let file = rustix::fs::openat2(&self.folder, path, flags, Mode::empty(), within).map_err(volume_error)?;
        let stat = rustix::fs::fstat(&file).map_err(volume_error)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(VolumeError::NotAFile);
        }
        Ok((File::from(file), u64::try_from(stat.st_size).unwrap_or(0)))
    }
}

impl Volume for FolderVolume {
    fn read(&self, path: &str, max_bytes: u64) -> Result<Vec<u8>, VolumeError> {
        let (file, bytes) = self.file(path)?;
        if bytes > max_bytes {
            return Err(VolumeError::TooLarge { bytes, max_bytes });
        }
        let mut content = Vec::new();
        file.take(max_bytes).read_to_end(&mut content).map_err(unreadable)?;
        Ok(content)
    }

    fn file_bytes(&self, path: &str) -> Result<u64, VolumeError> {
        Ok(self.file(path)?.1)
    }

    fn read_last_block(&self, path: &str) -> Result<(), VolumeError> {
        let (mut file, bytes) = self.file(path)?;
        let from = bytes.saturating_sub(1) / BLOCK_BYTES * BLOCK_BYTES;
        file.seek(SeekFrom::Start(from)).map_err(unreadable)?;
        let mut block = vec![];
        file.take(BLOCK_BYTES).read_to_end(&mut block).map_err(unreadable)?;
        match block.len() as u64 == bytes - from {
            true => Ok(()),
            false => Err(VolumeError::Unreadable { problem: "its end cannot be read".into() }),
        }
    }
}

fn unreadable(error: std::io::Error) -> VolumeError {
    VolumeError::Unreadable { problem: error.to_string() }
}

fn volume_error(errno: Errno) -> VolumeError {
    match errno {
        Errno::NOENT => VolumeError::Missing,
        // A link, a way out, a file where a folder should be, a socket.
        Errno::LOOP | Errno::XDEV | Errno::NOTDIR | Errno::ISDIR | Errno::NXIO => VolumeError::NotAFile,
        other => unreadable(other.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_the_module_s_own_regular_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let (module, outside) = (dir.path().join("module"), dir.path().join("secret"));
        std::fs::create_dir_all(module.join("blobs")).unwrap();
        std::fs::write(&outside, "secret").unwrap();
        std::fs::write(module.join("blobs/a"), vec![7; 5000]).unwrap();
        std::fs::write(module.join("empty"), "").unwrap();
        symlink("../secret", module.join("link")).unwrap();
        symlink(&outside, module.join("absolute")).unwrap();
        symlink("blobs", module.join("inside")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, module.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let volume = FolderVolume::open(&module).unwrap();
        assert_eq!(volume.file_bytes("blobs/a").unwrap(), 5000);
        volume.read_last_block("blobs/a").unwrap();
        volume.read_last_block("empty").unwrap();
        assert_eq!(volume.read("blobs/a", 4999), Err(VolumeError::TooLarge { bytes: 5000, max_bytes: 4999 }));
        for path in ["link", "absolute", "inside/a", "../secret", "blobs", "pipe"] {
            assert_eq!(volume.read(path, 100), Err(VolumeError::NotAFile), "{path}");
        }
        assert_eq!(volume.read("none", 100), Err(VolumeError::Missing));
    }
}
