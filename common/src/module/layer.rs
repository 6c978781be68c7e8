//! The kinds of layer a container may have: a model file as it is, or a root filesystem as an archive.

use crate::container::{Manifest, Runtime};
use crate::id::Digest;
use std::fmt;

/// What the archive with the root filesystem of an `oci` container is called beside its `container.toml`.
pub const ROOTFS_ARCHIVES: [&str; 3] = ["rootfs.tar", "rootfs.tar.gz", "rootfs.tar.zst"];

/// What a layer's bytes are, told by its media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LayerKind {
    /// A model file, byte for byte (CNCF model specification).
    Weights,
    /// A root filesystem as a plain tar archive (OCI image specification).
    Tar,
    /// The same, compressed with gzip.
    TarGzip,
    /// The same, compressed with zstd.
    TarZstd,
}

impl LayerKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Weights, Self::Tar, Self::TarGzip, Self::TarZstd];

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Weights => "application/vnd.cncf.model.weight.v1.raw",
            Self::Tar => "application/vnd.oci.image.layer.v1.tar",
            Self::TarGzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::TarZstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }

    /// The kind with that media type.
    pub fn from_media_type(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.media_type() == text)
    }

    /// The kind of archive that begins with these bytes; at least four are needed to tell. Anything else is taken as plain tar.
    pub fn of_archive(first_bytes: &[u8]) -> Self {
        match first_bytes {
            [0x1f, 0x8b, ..] => Self::TarGzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::TarZstd,
            _ => Self::Tar,
        }
    }
}

impl fmt::Display for LayerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.media_type())
    }
}

/// A layer of a container: which blob, and what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    /// What its bytes are.
    pub kind: LayerKind,
    /// The sha256 of its bytes, which is also its file's name.
    pub digest: Digest,
    /// How many bytes it has.
    pub size_bytes: u64,
}

/// Whether these layers are what the manifest's runtime needs; if not, what is wrong.
pub(crate) fn misfit(manifest: &Manifest, layers: &[Layer]) -> Option<String> {
    let weights = layers.iter().filter(|layer| layer.kind == LayerKind::Weights).count();
    let archives = layers.len() - weights;
    let runtime = manifest.runtime.name();
    match manifest.runtime {
        Runtime::Onnx | Runtime::Gguf if weights != 1 || archives != 0 => Some(format!(
            "a container of runtime {runtime} has one layer, its model file; this one has {weights} and {archives} others"
        )),
        Runtime::Oci if weights != 0 || archives == 0 => Some(format!(
            "a container of runtime oci has root filesystem layers only; this one has {archives}, and {weights} model files"
        )),
        Runtime::Builtin if !layers.is_empty() => {
            Some(format!("a container of runtime builtin has no layers; this one has {}", layers.len()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_and_first_bytes_name_the_kind() {
        for kind in LayerKind::ALL {
            assert_eq!(LayerKind::from_media_type(kind.media_type()), Some(kind));
        }
        assert_eq!(LayerKind::from_media_type("application/vnd.docker.image.rootfs.diff.tar.gzip"), None);
        assert_eq!(LayerKind::of_archive(&[0x1f, 0x8b, 8, 0]), LayerKind::TarGzip);
        assert_eq!(LayerKind::of_archive(&[0x28, 0xb5, 0x2f, 0xfd]), LayerKind::TarZstd);
        assert_eq!(LayerKind::of_archive(b"etc/"), LayerKind::Tar);
        assert_eq!(LayerKind::of_archive(&[]), LayerKind::Tar);
    }
}
