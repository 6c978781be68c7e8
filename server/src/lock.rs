//! One server for one home: an advisory lock that the kernel takes back when its process ends, however it ends.

use ouro_common::error::{Fault, FaultCode};
use std::fs::{File, OpenOptions};
use std::path::Path;

/// Holds the home until it is dropped.
#[derive(Debug)]
pub struct HomeLock(#[expect(dead_code, reason = "held for its lock")] File);

impl HomeLock {
    /// Takes the lock in `folder`.
    ///
    /// # Errors
    /// `HOME_IN_USE` when another process has it.
    pub fn take(folder: &Path) -> Result<Self, Fault> {
        let path = folder.join("lock");
        let io = |e: std::io::Error| Fault::new(FaultCode::Internal, format!("the lock file cannot be opened: {e}")).at(path.display());
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(io)?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            Fault::new(FaultCode::HomeInUse, "another ouro-server runs on this home")
                .at(folder.display())
                .remedy("stop it first, or set OUROBOROS_HOME to another folder")
        })?;
        Ok(Self(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_has_one_holder_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let held = HomeLock::take(folder.path()).unwrap();
        assert_eq!(HomeLock::take(folder.path()).unwrap_err().code, FaultCode::HomeInUse);
        drop(held);
        assert!(HomeLock::take(folder.path()).is_ok());
    }
}
