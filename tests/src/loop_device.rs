//! A loop device over a file, which ends with the value that holds it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A block device whose content is a file.
#[derive(Debug)]
pub struct LoopDevice {
    path: PathBuf,
}

impl LoopDevice {
    /// A device of this many bytes, over a new file.
    ///
    /// # Errors
    /// Why this machine gives none: not root, or no loop devices.
    pub fn of_size(file: &Path, bytes: u64) -> Result<Self, String> {
        File::create(file).and_then(|f| f.set_len(bytes)).map_err(|e| format!("{}: {e}", file.display()))?;
        Self::over(file)
    }

    /// A device over a file that is there.
    ///
    /// # Errors
    /// As [`Self::of_size`].
    pub fn over(file: &Path) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("a loop device needs root".into());
        }
        let output = Command::new("losetup").args(["--find", "--show"]).arg(file).output().map_err(|e| format!("losetup: {e}"))?;
        if !output.status.success() {
            return Err(format!("losetup: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        Ok(Self { path: PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()) })
    }

    /// The device's name: the slot that an agent knows it by.
    ///
    /// # Panics
    /// When the path has none.
    pub fn slot(&self) -> String {
        let name = self.path.file_name().expect("a device has a name");
        name.to_string_lossy().into_owned()
    }

    /// Pulls it out, though it may be in use.
    pub fn detach(&self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.path).status();
    }

    /// Plugs the file into the same device again.
    ///
    /// # Errors
    /// What losetup says.
    pub fn attach(&self, file: &Path) -> Result<(), String> {
        let output = Command::new("losetup")
            .arg("--read-only")
            .arg(&self.path)
            .arg(file)
            .output()
            .map_err(|e| format!("losetup: {e}"))?;
        match output.status.success() {
            true => Ok(()),
            false => Err(format!("losetup: {}", String::from_utf8_lossy(&output.stderr).trim())),
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.path).status();
    }
}
