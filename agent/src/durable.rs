//! Files that are there whole or not at all: written beside their place, fsynced, renamed, and their folder fsynced.

mod record_log;

pub use record_log::RecordLog;

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// A file or folder of the agent's own could not be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct FileError {
    /// Which.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl FileError {
    /// What happened at `path`.
    pub fn at(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self { path, source }
    }
}

/// Whether a file must survive a loss of power, or only the end of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// fsynced, as is its folder.
    ThroughPowerLoss,
    /// Left to the kernel: it survives a crash of the agent.
    ThroughCrash,
}

/// Writes `content` to `path`, replacing what was there, readable by the owner only.
///
/// # Errors
/// What the file system refused; then the old content stands.
pub fn write(path: &Path, content: &[u8], keep: Keep) -> Result<(), FileError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let neighbour = folder.join(format!(".{name}.new"));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&neighbour)
        .map_err(FileError::at(&neighbour))?;
    file.write_all(content).map_err(FileError::at(&neighbour))?;
    if keep == Keep::ThroughPowerLoss {
        file.sync_all().map_err(FileError::at(&neighbour))?;
    }
    fs::rename(&neighbour, path).map_err(FileError::at(path))?;
    if keep == Keep::ThroughPowerLoss {
        sync_folder(folder)?;
    }
    Ok(())
}

/// Makes the names in a folder durable.
///
/// # Errors
/// What the file system refused.
pub fn sync_folder(folder: &Path) -> Result<(), FileError> {
    fs::File::open(folder).and_then(|f| f.sync_all()).map_err(FileError::at(folder))
}

/// Makes a folder and those above it, for the owner only.
///
/// # Errors
/// What the file system refused.
pub fn make_folder(folder: &Path) -> Result<(), FileError> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(FileError::at(folder))
}

/// Removes a file; that it is not there is no error.
///
/// # Errors
/// What the file system refused.
pub fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError { path: path.into(), source: error }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_leaves_no_neighbour() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        write(&path, b"first, and longer", Keep::ThroughPowerLoss).unwrap();
        write(&path, b"second", Keep::ThroughCrash).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let error = write(&folder.path().join("no/such/file"), b"", Keep::ThroughCrash).unwrap_err();
        assert!(error.to_string().contains("no/such"), "the path is named: {error}");
    }
}
