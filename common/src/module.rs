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
use crate::device::PcieLink;
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
    /// Its slot is powered down, since no step wanted it for a while; the next step wakes it.
    Asleep,
    /// Its signature is missing or by a key the fleet does not trust.
    Untrusted,
    /// A blob is missing or cut off.
    Incomplete,
    /// It was being mounted or loaded when its node went down.
    Suspect,
    /// Another digest under the same name and version is in the fleet.
    Conflict,
}

impl ModuleState {
    /// Whether steps can be given to its containers, though they may have to wait until it is awake.
    pub fn offers(self) -> bool {
        matches!(self, Self::Ready | Self::Asleep)
    }
}

/// What is demanded of a module's signature before its containers are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrustPolicy {
    /// It must be by a key the fleet trusts.
    Enforce,
    /// It should be; otherwise that is said, and the module used.
    Warn,
    /// It does not matter.
    Off,
}

/// What a module says of itself, so that others than the node it sits in can check its signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedIndex {
    /// The content of `index.json`, byte for byte.
    pub index: String,
    /// The content of `index.json.minisig`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// Where a module's containers come from, and what speaks for them: of a module that is an image, not a plain folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// What its signature is worth, by the keys its node knows.
    pub signature: Verdict,
    /// What its node demands of it.
    pub policy: TrustPolicy,
    /// What the signature covers, for the server's own check; left out where it is very long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<SignedIndex>,
    /// The slowest PCIe link on the way to it, bytes per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_bytes_per_s: Option<f64>,
    /// What the PCIe port it is in says it can carry; on a virtual machine, what the hypervisor says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_link: Option<PcieLink>,
    /// From the kernel's event to the module being ready to be announced, ms; of one that was there at the start, from the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_after_ms: Option<f64>,
    /// Of a module that sleeps: how long it will take until it is ready, ms, as it took the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake_ms: Option<f64>,
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
    /// Of an image: who signed it, and how fast it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

impl Placement {
    /// The longest index that is announced, bytes. The control stream takes small messages only.
    pub const MAX_INDEX_BYTES: usize = 160 << 10;
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

    /// The containers of all placements that steps can be given to.
    pub fn ready_containers(&self) -> impl Iterator<Item = &Container> {
        self.placements.iter().filter(|p| p.state.offers()).flat_map(|p| &p.containers)
    }
}
