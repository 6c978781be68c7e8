//! A module in an ext4 file system, in an image file or on a device: read without mounting it, and so without being root.

use super::blobs::{Blobs, PIECE_BYTES};
use ext4_view::{Ext4, Ext4Error};
use ouro_common::module::{Volume, VolumeError};
use std::path::Path;

/// Where the superblock's label begins, in bytes (Linux, Documentation/filesystems/ext4, "Super Block").
const LABEL_AT: usize = 1024 + 0x78;
/// Where its magic number stands.
const MAGIC_AT: usize = 1024 + 0x38;
/// How much of a file tells whether it is such a file system.
pub(crate) const HEAD_BYTES: usize = 2048;

/// Whether a file that begins so holds an ext file system.
pub(crate) fn is_ext(head: &[u8]) -> bool {
    head.get(MAGIC_AT..MAGIC_AT + 2) == Some(&[0x53, 0xef])
}

/// The label in the superblock of a file that begins so.
pub(crate) fn label(head: &[u8]) -> Option<String> {
    let bytes = head.get(LABEL_AT..LABEL_AT + 16).filter(|_| is_ext(head))?;
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
}

/// How large the superblock of a file that begins so says the file system is, bytes; the feature `64bit` is assumed only
/// where its bit is set.
pub(crate) fn declared_bytes(head: &[u8]) -> Option<u64> {
    let u32_at = |offset: usize| Some(u32::from_le_bytes(head.get(1024 + offset..1024 + offset + 4)?.try_into().ok()?));
    let high = if u32_at(0x60)? & 0x80 == 0 { 0 } else { u64::from(u32_at(0x150)?) };
    let blocks = u64::from(u32_at(4)?) | high << 32;
    is_ext(head).then(|| blocks.checked_mul(1024u64.checked_shl(u32_at(0x18)?)?))?
}

/// A file system.
pub(crate) struct Ext4Image {
    fs: Ext4,
}

impl Ext4Image {
    /// Opens an image or device.
    ///
    /// # Errors
    /// It is damaged, or has a feature that cannot be read here.
    pub(crate) fn open(path: &Path) -> Result<Self, VolumeError> {
        Ok(Self { fs: Ext4::load_from_path(path).map_err(said)? })
    }

    fn regular(&self, path: &str) -> Result<(String, u64), VolumeError> {
        let full = format!("/{path}");
        let mut there = String::new();
        for part in path.split('/') {
            there = format!("{there}/{part}");
            let kind = self.fs.symlink_metadata(there.as_str()).map_err(said)?.file_type();
            if there != full && !kind.is_dir() || there == full && !kind.is_regular_file() {
                return Err(VolumeError::NotAFile);
            }
        }
        let bytes = self.fs.metadata(full.as_str()).map_err(said)?.len();
        Ok((full, bytes))
    }
}

fn said(error: Ext4Error) -> VolumeError {
    match error {
        Ext4Error::NotFound | Ext4Error::NotADirectory => VolumeError::Missing,
        Ext4Error::IsADirectory | Ext4Error::IsASpecialFile => VolumeError::NotAFile,
        other => VolumeError::Unreadable { problem: other.to_string() },
    }
}

impl Volume for Ext4Image {
    fn read(&self, path: &str, max_bytes: u64) -> Result<Vec<u8>, VolumeError> {
        let (full, bytes) = self.regular(path)?;
        if bytes > max_bytes {
            return Err(VolumeError::TooLarge { bytes, max_bytes });
        }
        self.fs.read(full.as_str()).map_err(said)
    }

    fn file_bytes(&self, path: &str) -> Result<u64, VolumeError> {
        Ok(self.regular(path)?.1)
    }

    fn read_last_block(&self, path: &str) -> Result<(), VolumeError> {
        let (full, bytes) = self.regular(path)?;
        let mut file = self.fs.open(full.as_str()).map_err(said)?;
        file.seek_to(bytes.saturating_sub(1)).map_err(said)?;
        file.read_bytes(&mut [0]).map(|_| ()).map_err(said)
    }
}

impl Blobs for Ext4Image {
    fn stream(&self, path: &str, sink: &mut dyn FnMut(&[u8])) -> Result<(), VolumeError> {
        let (full, _) = self.regular(path)?;
        let mut file = self.fs.open(full.as_str()).map_err(said)?;
        let (mut piece, mut filled) = (vec![0; PIECE_BYTES], 0);
        loop {
            // A block at a time is all the reader gives; larger pieces are cheaper to hash.
            let n = file.read_bytes(&mut piece[filled..]).map_err(said)?;
            filled += n;
            if n == 0 || filled == piece.len() {
                sink(&piece[..filled]);
                filled = 0;
            }
            if n == 0 {
                return Ok(());
            }
        }
    }
}
