//! The folder of one run: a small file system in memory that holds the bundle, the mounts and `/out`, and is gone with the run.
//!
//! `/out` has a size because the file system has one. It is detached as one piece, with all that is mounted in it; the
//! next start of an agent that was killed does that for every one it finds.

use rustix::fs::{CWD, Mode};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use std::ffi::CString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Room for the bundle itself, bytes.
const OWN_BYTES: u64 = 1 << 20;
/// The most files in it.
const INODES: u32 = 4096;

/// The folders of a run.
#[derive(Debug, Clone)]
pub(super) struct Enclosure {
    folder: PathBuf,
}

impl Enclosure {
    /// Makes and mounts the folder `NAME` in `base`; `out_bytes` is the size of `/out`, `owner` who may write there.
    ///
    /// # Errors
    /// What the system refused; then nothing is left.
    pub(super) fn make(base: &Path, name: &str, out_bytes: u64, owner: u32) -> io::Result<Self> {
        let enclosure = Self { folder: base.join(name) };
        let made = enclosure.build(out_bytes, owner);
        if made.is_err() {
            remove(&enclosure.folder);
        }
        made.map(|()| enclosure)
    }

    fn build(&self, out_bytes: u64, owner: u32) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        // The container's user must be able to walk here, and nobody to look around.
        for folder in self.folder.ancestors().take(2) {
            rustix::fs::chmod(folder, Mode::from_raw_mode(0o711))?;
        }
        let options = format!("size={},nr_inodes={INODES},mode=711", out_bytes.saturating_add(OWN_BYTES));
        let options = CString::new(options)?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        rustix::mount::mount("ouroboros", &self.folder, "tmpfs", flags, Some(options.as_c_str()))?;
        rustix::mount::mount_change(&self.folder, MountPropagationFlags::PRIVATE)?;
        for folder in [self.rootfs(), self.input(), self.output()] {
            fs::create_dir(&folder)?;
            rustix::fs::chmodat(CWD, &folder, Mode::from_raw_mode(0o755), rustix::fs::AtFlags::empty())?;
        }
        std::os::unix::fs::chown(self.output(), Some(owner), Some(owner))
    }

    /// Shows a folder of this machine at one of the enclosure's own, read-only.
    ///
    /// # Errors
    /// What the system refused.
    pub(super) fn bind(&self, from: &Path, to: &Path) -> io::Result<()> {
        rustix::mount::mount_bind(from, to)?;
        let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
        Ok(rustix::mount::mount_remount(to, flags, c"")?)
    }

    /// The bundle's folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
    /// Where the root filesystem is mounted.
    pub(super) fn rootfs(&self) -> PathBuf {
        self.folder.join("rootfs")
    }
    /// Where the inputs are mounted.
    pub(super) fn input(&self) -> PathBuf {
        self.folder.join("in")
    }
    /// Where the outputs appear.
    pub(super) fn output(&self) -> PathBuf {
        self.folder.join("out")
    }

    /// Whether hardly anything more can be written to `/out`.
    pub(super) fn is_full(&self) -> bool {
        rustix::fs::statvfs(&self.folder).is_ok_and(|s| s.f_bavail.saturating_mul(s.f_frsize) < 64 * 1024 || s.f_favail < 8)
    }

    /// Detaches and removes it.
    pub(super) fn remove(&self) {
        remove(&self.folder);
    }
}

fn remove(folder: &Path) {
    // More than one where something was mounted twice; the last answers that nothing is mounted.
    while rustix::mount::unmount(folder, UnmountFlags::DETACH).is_ok() {}
    // Not recursively: what is still mounted in it must not be emptied.
    if let Err(error) = fs::remove_dir(folder)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(folder = %folder.display(), %error, "a container's folder could not be removed");
    }
}

/// Removes every enclosure in `base`.
pub(super) fn sweep(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        remove(&entry.path());
    }
    let _ = fs::remove_dir(base);
}
