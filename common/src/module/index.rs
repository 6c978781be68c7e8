//! `oci-layout` and `index.json`: what says that a folder is a module, and which containers are on it.

use super::descriptor::{Descriptor, REF_NAME};
use super::image::{ARTIFACT_TYPE, Image, MANIFEST_TYPE};
use super::limits;
use crate::container::Manifest;
use crate::id::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The media type of an index.
pub const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
/// The file that says that a folder is an OCI image layout.
pub const LAYOUT_FILE: &str = "oci-layout";
/// The file that lists the containers.
pub const INDEX_FILE: &str = "index.json";
/// The signature over [`INDEX_FILE`].
pub const SIGNATURE_FILE: &str = "index.json.minisig";
/// The whole content of [`LAYOUT_FILE`] as we write it.
pub const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// A file of the layout is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct FormatError {
    /// The file, or what a blob should have been.
    pub file: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl FormatError {
    pub(crate) fn new(file: &'static str, problem: impl Into<String>) -> Self {
        Self { file, problem: problem.into() }
    }
}

/// The sha256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> Digest {
    Digest::sha256(Sha256::digest(bytes).into())
}

/// Checks the content of `oci-layout`.
///
/// # Errors
/// Another version of the layout, or no layout at all.
pub fn check_layout(bytes: &[u8]) -> Result<(), FormatError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Layout {
        image_layout_version: String,
    }
    let layout: Layout =
        serde_json::from_slice(bytes).map_err(|e| FormatError::new(LAYOUT_FILE, format!("it is no OCI image layout: {e}")))?;
    match layout.image_layout_version.as_str() {
        "1.0.0" => Ok(()),
        other => Err(FormatError::new(LAYOUT_FILE, format!("the layout's version is {other:?}, only \"1.0.0\" is understood"))),
    }
}

/// The list of a module's containers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// Always [`INDEX_TYPE`], where it is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// One for each container.
    pub manifests: Vec<Descriptor>,
}

impl Index {
    /// The index of these containers, sorted by name and version: the same containers make the same index.
    pub fn of(containers: &[(&Manifest, &Image)]) -> Self {
        let describe = |(manifest, image): &(&Manifest, &Image)| Descriptor {
            artifact_type: Some(ARTIFACT_TYPE.into()),
            ..Descriptor::new(MANIFEST_TYPE, image.digest, image.manifest_json.len() as u64)
                .annotated(REF_NAME, manifest.reference().to_string())
        };
        let mut sorted: Vec<_> = containers.to_vec();
        sorted.sort_by_key(|(manifest, image)| (manifest.name.clone(), manifest.version.clone(), image.digest));
        Self {
            schema_version: 2,
            media_type: Some(INDEX_TYPE.into()),
            manifests: sorted.iter().map(describe).collect(),
        }
    }

    /// The bytes of `index.json`, whose sha256 is the module's identity.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads `index.json`.
    ///
    /// # Errors
    /// It is too large, malformed, or lists more than a module can hold.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let wrong = |problem: String| FormatError::new(INDEX_FILE, problem);
        if bytes.len() as u64 > limits::INDEX_BYTES {
            return Err(wrong(format!("it has {} bytes, at most {} are allowed", bytes.len(), limits::INDEX_BYTES)));
        }
        let index: Self = serde_json::from_slice(bytes).map_err(|e| wrong(format!("it is no OCI image index: {e}")))?;
        if index.schema_version != 2 {
            return Err(wrong(format!("its schemaVersion is {}, only 2 is understood", index.schema_version)));
        }
        if let Some(other) = index.media_type.as_deref().filter(|t| *t != INDEX_TYPE) {
            return Err(wrong(format!("its media type is {other:?} instead of {INDEX_TYPE}")));
        }
        if index.manifests.len() > limits::CONTAINERS {
            return Err(wrong(format!("it lists {} containers, at most {} are allowed", index.manifests.len(), limits::CONTAINERS)));
        }
        Ok(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_that_is_none_or_too_much_is_refused() {
        check_layout(LAYOUT.as_bytes()).unwrap();
        assert!(check_layout(br#"{"imageLayoutVersion":"2.0.0"}"#).unwrap_err().problem.contains("2.0.0"));
        let one = format!(r#"{{"mediaType":"{MANIFEST_TYPE}","digest":"sha256:{}","size":2}}"#, "0".repeat(64));
        let many = vec![one.as_str(); limits::CONTAINERS + 1].join(",");
        let cases = [
            ("{}".to_string(), "schemaVersion"),
            (r#"{"schemaVersion":1,"manifests":[]}"#.into(), "schemaVersion is 1"),
            (r#"{"schemaVersion":2,"mediaType":"text/plain","manifests":[]}"#.into(), "text/plain"),
            (format!(r#"{{"schemaVersion":2,"manifests":[{many}]}}"#), "257 containers"),
            (format!(r#"{{"schemaVersion":2,"manifests":{}"#, "[".repeat(5000)), "no OCI image index"),
            (" ".repeat(limits::INDEX_BYTES as usize + 1), "at most"),
        ];
        for (text, problem) in cases {
            let error = Index::parse(text.as_bytes()).unwrap_err();
            assert!(error.problem.contains(problem), "{error}");
        }
        assert_eq!(Index::parse(&Index::of(&[]).to_json()).unwrap(), Index::of(&[]));
    }
}
