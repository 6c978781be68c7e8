//! A module in a tar archive of a layout, as `skopeo copy … oci-archive:` and `docker save` write it.

use super::blobs::{Blobs, PIECE_BYTES, unreadable};
use ouro_common::module::{Volume, VolumeError};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// The most files an archive may hold: far more than any module has, and little enough to remember.
const MAX_FILES: usize = 100_000;

/// Where each regular file of the archive lies.
pub(crate) struct Archive {
    file: File,
    files: HashMap<String, (u64, u64)>,
}

/// Whether a file that begins so is a tar archive (POSIX.1-1988, "ustar").
pub(crate) fn is_tar(head: &[u8]) -> bool {
    head.get(257..262) == Some(b"ustar")
}

impl Archive {
    /// Looks through an archive once.
    ///
    /// # Errors
    /// It is cut off, or no archive.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut files = HashMap::new();
        let mut archive = tar::Archive::new(File::open(path)?);
        for entry in archive.entries_with_seek()? {
            let entry = entry?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let name = entry.path()?.to_string_lossy().trim_start_matches("./").to_string();
            files.insert(name, (entry.raw_file_position(), entry.size()));
            if files.len() > MAX_FILES {
                return Err(io::Error::other(format!("it holds more than {MAX_FILES} files")));
            }
        }
        Ok(Self { file: File::open(path)?, files })
    }

    fn find(&self, path: &str) -> Result<(u64, u64), VolumeError> {
        self.files.get(path).copied().ok_or(VolumeError::Missing)
    }

    fn piece(&self, at: u64, into: &mut [u8]) -> Result<(), VolumeError> {
        self.file.read_exact_at(into, at).map_err(|e| unreadable(&e))
    }
}

impl Volume for Archive {
    fn read(&self, path: &str, max_bytes: u64) -> Result<Vec<u8>, VolumeError> {
        let (at, bytes) = self.find(path)?;
        if bytes > max_bytes {
            return Err(VolumeError::TooLarge { bytes, max_bytes });
        }
        let mut content = vec![0; usize::try_from(bytes).unwrap_or_default()];
        self.piece(at, &mut content)?;
        Ok(content)
    }

    fn file_bytes(&self, path: &str) -> Result<u64, VolumeError> {
        Ok(self.find(path)?.1)
    }

    fn read_last_block(&self, path: &str) -> Result<(), VolumeError> {
        let (at, bytes) = self.find(path)?;
        if bytes == 0 { Ok(()) } else { self.piece(at + bytes - 1, &mut [0]) }
    }
}

impl Blobs for Archive {
    fn stream(&self, path: &str, sink: &mut dyn FnMut(&[u8])) -> Result<(), VolumeError> {
        let (mut at, bytes) = self.find(path)?;
        let end = at + bytes;
        let mut piece = vec![0; PIECE_BYTES];
        while at < end {
            let n = usize::try_from(end - at).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            self.piece(at, &mut piece[..n])?;
            sink(&piece[..n]);
            at += n as u64;
        }
        Ok(())
    }
}
