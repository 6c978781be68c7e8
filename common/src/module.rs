//! Modules: volumes that carry containers, what is on them, and where they are plugged in.

pub mod limits;

mod descriptor;
mod image;
mod index;
mod layer;
mod read;
mod signature;
mod volume;

pub use descriptor::{Descriptor, REF_NAME, TITLE, blob_path};
pub use image::{ARTIFACT_TYPE, Image, MANIFEST_TYPE, container_digest};
pub use index::{FormatError, INDEX_FILE, INDEX_TYPE, Index, LAYOUT, LAYOUT_FILE, SIGNATURE_FILE, check_layout, sha256};
pub use layer::{Layer, LayerKind, ROOTFS_ARCHIVES};
pub use read::{ModuleContents, ModuleError, ModuleProblem, PackedContainer, ProblemKind, read_module};
pub use signature::{KeyError, KeyId, TrustedKey, Verdict, verify};
pub use volume::{Volume, VolumeError};

use crate::container::Container;
use crate::id::Digest;
use serde::{Deserialize, Serialize};

/// Where a module is in its life on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModuleState {
    /// The kernel told of it.
    Seen,
    /// Its file system is mounted, read-only.
    Mounted,
    /// Its signature and sizes are right.
    Verified,
    /// Its containers can be plugged.
    Ready,
    /// Its signature is missing or by a key the fleet does not trust.
    Untrusted,
    /// A blob is missing or cut off.
    Incomplete,
    /// It was being mounted or loaded when its node went down.
    Suspect,
    /// Another digest under the same name and version is in the fleet.
    Conflict,
}

/// A module on a node: what an agent announces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Placement {
    /// The module's identity: the digest of its index.
    pub module: Digest,
    /// Its label: the file system's, or the directory's name.
    pub label: String,
    /// Where it sits on the node: `dir:/path`, `nvme0n1`, `loop0` …
    pub slot: String,
    /// Where it is in its life.
    pub state: ModuleState,
    /// Why, where that is not evident.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Sequential read speed its weights can be loaded with, bytes per second.
    pub read_bytes_per_s: Option<f64>,
    /// The containers on it.
    pub containers: Vec<Container>,
    /// What could not be used, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// Everything one node offers, announced whole whenever its digest changes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Announcement {
    /// By slot.
    pub placements: Vec<Placement>,
}

impl Announcement {
    /// Names this announcement: the same digest means nothing changed.
    pub fn digest(&self) -> Digest {
        Digest::blake3(&serde_json::to_vec(self).unwrap_or_default())
    }

    /// The containers of all ready placements.
    pub fn ready_containers(&self) -> impl Iterator<Item = &Container> {
        self.placements.iter().filter(|p| p.state == ModuleState::Ready).flat_map(|p| &p.containers)
    }
}
