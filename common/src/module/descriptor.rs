//! A content descriptor of the OCI image specification: what a blob is, its digest and its size.
//!
//! Unknown fields are left alone, as the specification asks. A digest is a well-formed sha256 or the descriptor is refused:
//! blobs are found by digest alone, so no name on a volume ever becomes a path.

use crate::id::{Digest, DigestAlgorithm};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// The annotation that names a manifest within its index.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation that tells other tools which file name a layer would have.
pub const TITLE: &str = "org.opencontainers.image.title";

/// A descriptor as it is written in JSON; fields in the order in which they are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is.
    pub media_type: String,
    /// What kind of artifact a manifest describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The sha256 of the blob.
    #[serde(deserialize_with = "sha256_only")]
    pub digest: Digest,
    /// Its size, bytes.
    #[serde(rename = "size")]
    pub size_bytes: u64,
    /// Names given to it.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// A descriptor without annotations.
    pub fn new(media_type: &str, digest: Digest, size_bytes: u64) -> Self {
        Self { media_type: media_type.into(), artifact_type: None, digest, size_bytes, annotations: BTreeMap::new() }
    }

    /// The same with one more annotation.
    #[must_use]
    pub fn annotated(mut self, key: &str, value: impl Into<String>) -> Self {
        self.annotations.insert(key.into(), value.into());
        self
    }
}

fn sha256_only<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
    let digest = Digest::deserialize(deserializer)?;
    if digest.algorithm == DigestAlgorithm::Sha256 {
        Ok(digest)
    } else {
        Err(serde::de::Error::custom("blobs are named by sha256"))
    }
}

fn null_is_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Where a blob lies within a layout.
pub fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_well_formed_sha256_names_a_blob() {
        let text = |digest: &str| format!(r#"{{"mediaType":"a/b","digest":"{digest}","size":1,"urls":[],"annotations":null}}"#);
        let zeros = "0".repeat(64);
        let good: Descriptor = serde_json::from_str(&text(&format!("sha256:{zeros}"))).unwrap();
        assert_eq!(blob_path(&good.digest), format!("blobs/sha256/{zeros}"));
        for bad in [
            format!("blake3:{zeros}"),
            "sha256:../../etc/passwd".into(),
            format!("sha256:{}", "A".repeat(64)),
            "sha512:00".into(),
        ] {
            assert!(serde_json::from_str::<Descriptor>(&text(&bad)).is_err(), "{bad}");
        }
    }
}
