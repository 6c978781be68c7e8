//! Mounting what may be hostile: the device set read-only, then `ro,nosuid,nodev,noexec,nosymfollow` in a folder of the agent's own.
//!
//! ext4 gets `noload`, so that no journal is replayed, and `errors=continue`, since a volume can ask for a kernel panic when it is
//! damaged. Unmounting is lazy: whoever still has a file open keeps it, and the next user is not held up.

use super::superblock::Filesystem;
use crate::durable::{self, FileError};
use crate::sensing::host_root::HostRoot;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{Setter, ioctl};
use rustix::mount::{MountFlags, UnmountFlags};
use std::fs;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// `BLKROSET` of `linux/fs.h`: sets a block device read-only, or writable again.
const BLKROSET: rustix::ioctl::Opcode = rustix::ioctl::opcode::none(0x12, 93);

/// How often an unmounting that was refused is tried again.
const RETRY: Duration = Duration::from_millis(50);

/// Ends the slot in a mount folder's name; no device has it in its own.
const NAME_END: char = '-';

/// A device could not be mounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The agent has not the rights.
    #[error("this agent may not mount it ({problem}): run the agent as root, or copy the module into a folder and name that in `modules`")]
    NoRights {
        /// What the system said.
        problem: Errno,
    },
    /// The kernel cannot read such file systems.
    #[error("this kernel has no {0}: install its module, or build the kernel with it")]
    NoDriver(&'static str),
    /// The device or its file system is damaged.
    #[error("it cannot be mounted: {0}; check it with fsck, or write it again with `ouroctl module write`")]
    Damaged(Errno),
    /// The folder to mount on could not be made.
    #[error(transparent)]
    Folder(#[from] FileError),
}

/// The folder in which the agent mounts.
#[derive(Debug, Clone)]
pub struct Mounts {
    folder: PathBuf,
}

impl Mounts {
    /// The mounts in `folder`; what an earlier run left there is unmounted, and its device may be written again.
    ///
    /// # Errors
    /// What the file system refused.
    pub fn open(folder: PathBuf, root: &HostRoot) -> Result<Self, FileError> {
        durable::make_folder(&folder)?;
        // Mount points are compared as the kernel names them.
        let folder = fs::canonicalize(&folder).map_err(FileError::at(&folder))?;
        for entry in fs::read_dir(&folder).map_err(FileError::at(&folder))?.flatten() {
            release(&entry.path());
            if let Some((slot, _)) = entry.file_name().to_str().and_then(|name| name.split_once(NAME_END)) {
                let_write(root, slot);
            }
        }
        Ok(Self { folder })
    }

    /// Where the mounts are, as the kernel names it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Mounts the device `slot`; `suffix` tells its folder from every other mount's.
    ///
    /// # Errors
    /// [`MountError`]; then nothing is mounted.
    pub fn mount(&self, root: &HostRoot, slot: &str, suffix: &str, filesystem: Filesystem) -> Result<PathBuf, MountError> {
        let device = root.dev(slot);
        let at = self.folder.join(format!("{slot}{NAME_END}{suffix}"));
        release(&at);
        durable::make_folder(&at)?;
        let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::NOSYMFOLLOW;
        let options = (filesystem == Filesystem::Ext4).then_some(c"noload,errors=continue");
        match rustix::mount::mount(device.as_str(), &at, filesystem.driver(), flags, options) {
            // After the mount: while somebody else still writes to the device, the mount is refused and nothing is changed.
            Ok(()) => match set_read_only(Path::new(device.as_str()), true) {
                Ok(()) => Ok(at),
                Err(error) => {
                    release(&at);
                    Err(error)
                }
            },
            Err(errno) => {
                let _ = fs::remove_dir(&at);
                Err(match errno {
                    Errno::PERM | Errno::ACCESS => MountError::NoRights { problem: errno },
                    Errno::NODEV => MountError::NoDriver(filesystem.driver()),
                    other => MountError::Damaged(other),
                })
            }
        }
    }
}

/// Unmounts what is mounted at `at`, lazily, and removes the folder. That nothing is there is no error.
pub fn release(at: &Path) {
    // Mounted over by somebody, it has more than one layer.
    while rustix::mount::unmount(at, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).is_ok() {}
    if let Err(error) = fs::remove_dir(at)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(at = %at.display(), %error, "the folder of a mount cannot be removed");
    }
}

/// Unmounts what is mounted at `at` as soon as nobody has a file of it open, and removes the folder. `false`: somebody still had one
/// after `patience`, and it is mounted as before. Blocks.
pub fn unmount_unused(at: &Path, patience: Duration) -> bool {
    let begin = Instant::now();
    loop {
        match rustix::mount::unmount(at, UnmountFlags::NOFOLLOW) {
            // Not mounted at all: somebody else has unmounted it.
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => break,
            Err(_) if begin.elapsed() < patience => std::thread::sleep(RETRY),
            Err(_) => return false,
        }
    }
    release(at);
    true
}

/// Lets a device be written again that was set read-only for a mount. The flag stays with a loop device, or a reader of cards, when
/// what was in it has gone. That the device is gone as well is no error.
pub fn let_write(root: &HostRoot, slot: &str) {
    // Not even opening a broken device may hold anybody up.
    let device = PathBuf::from(root.dev(slot).as_str());
    let thread = std::thread::Builder::new().name(format!("release {slot}"));
    drop(thread.spawn(move || set_read_only(&device, false)));
}

/// Sets a device read-only, or lets it be written again.
///
/// # Errors
/// [`MountError::NoRights`] or what the device said.
pub fn set_read_only(device: &Path, read_only: bool) -> Result<(), MountError> {
    let refused = |errno| match errno {
        Errno::PERM | Errno::ACCESS => MountError::NoRights { problem: errno },
        other => MountError::Damaged(other),
    };
    let file = rustix::fs::open(device, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).map_err(refused)?;
    let value = libc::c_int::from(read_only);
    // SAFETY: BLKROSET reads one int through the pointer that `Setter` passes, and keeps nothing.
    unsafe { ioctl(file.as_fd(), Setter::<BLKROSET, libc::c_int>::new(value)) }.map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_rights_the_remedy_is_named() {
        let error = MountError::NoRights { problem: Errno::PERM };
        assert!(error.to_string().contains("as root") && error.to_string().contains("`modules`"), "{error}");
    }

    #[test]
    fn what_is_no_device_is_not_mounted_and_leaves_no_folder() {
        let dir = tempfile::tempdir().unwrap();
        let mounts = Mounts::open(dir.path().join("mounts"), &HostRoot::live()).unwrap();
        let missing = mounts.mount(&HostRoot::live(), "ouro-no-such-device", "x", Filesystem::Ext4).unwrap_err();
        assert!(matches!(missing, MountError::Damaged(Errno::NOENT)), "{missing}");
        assert_eq!(fs::read_dir(mounts.folder()).unwrap().count(), 0);
    }
}
