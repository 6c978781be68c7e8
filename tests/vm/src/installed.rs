//! The second disk: what `make install` puts on a machine, and the papers the journey needs.

use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Its file system's label; not one of a module's.
pub const LABEL: &str = "installed";
/// The folder on it that is no part of the installation: documents, containers, libraries.
pub const LUGGAGE: &str = "luggage";

/// Where everything for the image is gathered.
#[derive(Debug)]
pub struct Packing {
    root: PathBuf,
}

impl Packing {
    /// Begins with the folder that `make install` was given as DESTDIR.
    pub fn of(installed: &Path) -> Self {
        Self { root: installed.into() }
    }

    /// Adds a text file to the luggage.
    ///
    /// # Errors
    /// What the file system refused.
    pub fn text(&self, name: &str, content: &str) -> Result<()> {
        let path = self.place(name)?;
        std::fs::write(&path, content).with_context(|| path.display().to_string())
    }

    /// Adds a copy of a file to the luggage.
    ///
    /// # Errors
    /// What the file system refused.
    pub fn copy(&self, name: &str, from: &Path) -> Result<()> {
        let path = self.place(name)?;
        std::fs::copy(from, &path).with_context(|| from.display().to_string())?;
        Ok(())
    }

    /// The folder of the luggage, for what other programs write there.
    ///
    /// # Errors
    /// What the file system refused.
    pub fn place(&self, name: &str) -> Result<PathBuf> {
        let path = self.root.join(LUGGAGE).join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        }
        Ok(path)
    }

    /// Makes the image.
    ///
    /// # Errors
    /// What mke2fs said.
    pub fn image(&self, file: &Path) -> Result<()> {
        make_ext4(&self.root, LABEL, 400, file)
    }
}

/// An ext4 image of a folder, without a journal, as modules are.
///
/// # Errors
/// What mke2fs said.
pub fn make_ext4(folder: &Path, label: &str, mib: u32, file: &Path) -> Result<()> {
    let mut command = Command::new("mke2fs");
    command.args(["-q", "-t", "ext4", "-O", "^has_journal", "-E", "root_owner=0:0", "-L", label, "-d"]);
    let made = command.arg(folder).arg(file).arg(format!("{mib}M")).output().context("mke2fs cannot be run")?;
    if !made.status.success() {
        bail!("mke2fs: {}", String::from_utf8_lossy(&made.stderr).trim());
    }
    Ok(())
}
