//! The daemon that passes the kernel's events on: started where none runs, as in most containers, and then left running.

use crate::wait::{SHORT, eventually};
use std::path::Path;
use std::process::Command;

/// Where Debian has it.
const UDEVD: &str = "/lib/systemd/systemd-udevd";
/// Its socket.
const CONTROL: &str = "/run/udev/control";

/// Makes sure that udevd runs.
///
/// # Errors
/// Why it cannot be started.
pub fn ensure_udevd() -> Result<(), String> {
    if Path::new(CONTROL).exists() {
        return Ok(());
    }
    if !Path::new(UDEVD).exists() {
        return Err("there is no systemd-udevd; install the package udev".into());
    }
    let output = Command::new(UDEVD).arg("--daemon").output().map_err(|e| format!("systemd-udevd: {e}"))?;
    if !output.status.success() {
        return Err(format!("systemd-udevd: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    eventually("udevd's socket", SHORT, || Path::new(CONTROL).exists().then_some(()));
    Ok(())
}
