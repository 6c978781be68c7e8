//! What a container is run from: code of the agent, a model file, or the layers of a root filesystem.
//!
//! In a folder a root filesystem is one archive, `rootfs.tar`, perhaps compressed; in an image it may be several layers. Here
//! they are the same.

use ouro_common::id::Digest;
use ouro_common::module::Layer;
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
    /// What it is said to be: its kind, its digest, its size.
    pub layer: Layer,
}

impl Source {
    /// Whether running it touches anything beside the agent's own code.
    pub fn is_foreign(&self) -> bool {
        *self != Self::Program
    }

    /// The blobs of an image that it is run from. Their files are named by them.
    pub fn blobs(&self) -> Vec<Digest> {
        match self {
            Self::Program => vec![],
            Self::Model(path) => path.file_name().and_then(|name| format!("sha256:{}", name.to_str()?).parse().ok()).into_iter().collect(),
            Self::RootFs(layers) => layers.iter().map(|file| file.layer.digest).collect(),
        }
    }

    /// The model file, if it is one.
    pub fn model(&self) -> Option<&Path> {
        match self {
            Self::Model(path) => Some(path),
            Self::Program | Self::RootFs(_) => None,
        }
    }
}
