//! How much of a volume is believed before anything on it is: a stick comes from anywhere, and its index is read first.
//!
//! Each limit is far above what a real module needs, and small enough that reading the whole of one costs little.

/// The most bytes of `index.json`; a larger one is refused before it is parsed.
pub const INDEX_BYTES: u64 = 4 << 20;
/// The most bytes of `oci-layout`.
pub const LAYOUT_BYTES: u64 = 4 << 10;
/// The most bytes of `index.json.minisig`; minisign itself takes comments of 8 KiB.
pub const SIGNATURE_BYTES: u64 = 16 << 10;
/// The most bytes of a container's OCI manifest.
pub const MANIFEST_BYTES: u64 = 256 << 10;
/// The most bytes of a container's own manifest, the config blob.
pub const CONFIG_BYTES: u64 = crate::container::Manifest::MAX_BYTES as u64;
/// The most manifests an index may list.
pub const CONTAINERS: usize = 256;
/// The most layers of a container.
pub const LAYERS: usize = 128;
/// The most bytes of one layer: the largest file of ext4 with blocks of 4 KiB.
pub const LAYER_BYTES: u64 = 1 << 44;
