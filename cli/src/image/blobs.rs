//! A volume whose blobs can also be read from beginning to end, piece by piece.

use ouro_common::module::{Volume, VolumeError};

/// How much is read at once, bytes.
pub(crate) const PIECE_BYTES: usize = 1 << 20;

/// A volume that can hand out whole blobs without holding them in memory.
pub(crate) trait Blobs: Volume {
    /// Gives the content of a regular file to `sink`, piece by piece.
    ///
    /// # Errors
    /// What [`VolumeError`] tells apart.
    fn stream(&self, path: &str, sink: &mut dyn FnMut(&[u8])) -> Result<(), VolumeError>;
}

/// What the operating system said, as a volume says it.
pub(crate) fn unreadable(error: &std::io::Error) -> VolumeError {
    match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => VolumeError::Missing,
        std::io::ErrorKind::IsADirectory => VolumeError::NotAFile,
        _ => VolumeError::Unreadable { problem: error.to_string() },
    }
}
