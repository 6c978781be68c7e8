//! What reading a module needs of the thing that holds it: a mounted folder, a file system image, an archive.
//!
//! The rules are here and do no I/O; whoever owns the file handles brings them.

/// Something that holds an OCI image layout. Paths are relative, with `/` between their parts.
pub trait Volume {
    /// The whole content of a regular file of at most `max_bytes`; a larger one is refused without being read.
    ///
    /// # Errors
    /// What [`VolumeError`] tells apart.
    fn read(&self, path: &str, max_bytes: u64) -> Result<Vec<u8>, VolumeError>;

    /// The bytes of a regular file, as the file system has them.
    ///
    /// # Errors
    /// What [`VolumeError`] tells apart.
    fn file_bytes(&self, path: &str) -> Result<u64, VolumeError>;

    /// Reads the last block of a regular file: a volume whose copying was broken off fails here. An empty file has none.
    ///
    /// # Errors
    /// What [`VolumeError`] tells apart.
    fn read_last_block(&self, path: &str) -> Result<(), VolumeError>;
}

/// A file of a volume cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VolumeError {
    /// There is no such file.
    #[error("it is missing")]
    Missing,
    /// It is a directory, a symbolic link, a device or the like.
    #[error("it is not a regular file")]
    NotAFile,
    /// It is larger than what was asked for allows.
    #[error("it has {bytes} bytes, at most {max_bytes} are allowed")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// What was allowed.
        max_bytes: u64,
    },
    /// The device or the file system failed.
    #[error("it cannot be read: {problem}")]
    Unreadable {
        /// What was said.
        problem: String,
    },
}
