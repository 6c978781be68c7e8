//! A loop device over a file, which ends with the value that holds it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

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
        let path = PathBuf::from(losetup(Command::new("losetup").args(["--find", "--show"]).arg(file))?);
        // A loop device, unlike a stick, is the same device for the next file: it stays read-only where an agent that was killed
        // had made it so.
        let _ = Command::new("blockdev").arg("--setrw").arg(&path).status();
        Ok(Self { path })
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
        losetup(Command::new("losetup").arg("--read-only").arg(&self.path).arg(file)).map(drop)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Attaches, and gives what was printed. A device whose last mount is only just gone is busy for a moment: then again, for ten
/// seconds at most.
fn losetup(command: &mut Command) -> Result<String, String> {
    let start = Instant::now();
    loop {
        let output = command.output().map_err(|e| format!("losetup: {e}"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_string());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
        if !said.contains("busy") || start.elapsed() > Duration::from_secs(10) {
            return Err(said);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.path).status();
    }
}
