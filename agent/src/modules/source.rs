//! What a container is run from: code of the agent, a model file, or the layers of a root filesystem.
//!
//! In a folder a root filesystem is `rootfs.tar`, or several layers `layer-0.tar`, `layer-1.tar` …, the lowest first. Each may be
//! compressed, `.tar.gz` or `.tar.zst`; what it really is, is told by its first bytes.

use ouro_common::id::Digest;
use std::path::{Path, PathBuf};

/// What a container is run from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Code that is part of the agent.
    Program,
    /// A model file.
    Model(PathBuf),
    /// The layers of a root filesystem, the lowest first.
    RootFs(Vec<LayerFile>),
}

/// An archive with a layer of a root filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerFile {
    /// Where it lies.
    pub path: PathBuf,
    /// The sha256 of its bytes, as they lie there.
    pub digest: Digest,
}

impl Source {
    /// Whether running it touches anything beside the agent's own code.
    pub fn is_foreign(&self) -> bool {
        *self != Self::Program
    }

    /// The model file, if it is one.
    pub fn model(&self) -> Option<&Path> {
        match self {
            Self::Model(path) => Some(path),
            Self::Program | Self::RootFs(_) => None,
        }
    }
}

/// The names of the layers in a container's folder, the lowest first.
///
/// # Errors
/// What the file system said.
pub(super) fn layer_names(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut found: Vec<(u32, String)> = vec![];
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        found.extend(position(&name).map(|n| (n, name)));
    }
    found.sort();
    Ok(found.into_iter().map(|(_, name)| name).collect())
}

/// Which layer, from the bottom, a file of that name is; `None` when it is none.
fn position(name: &str) -> Option<u32> {
    let (stem, _) = [".tar", ".tar.gz", ".tar.zst"].iter().find_map(|end| Some((name.strip_suffix(end)?, end)))?;
    match stem.strip_prefix("layer-") {
        Some(number) => number.parse().ok(),
        None => (stem == "rootfs").then_some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_found_by_name_and_stand_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["layer-10.tar", "layer-2.tar.gz", "layer-0.tar.zst", "layer-x.tar", "container.toml", "notes.tar"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(layer_names(folder.path()).unwrap(), ["layer-0.tar.zst", "layer-2.tar.gz", "layer-10.tar"]);
        assert_eq!(position("rootfs.tar.gz"), Some(0));
        assert_eq!(position("rootfs.zip"), None);
    }
}
