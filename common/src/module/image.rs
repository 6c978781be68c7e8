//! A container's OCI image manifest: read with care, and made in one canonical form.
//!
//! The sha256 of that manifest is the container's identity. An image and a plain folder with the same manifest and the same
//! model give the same bytes here, so the fleet knows them as one container.

use super::descriptor::{Descriptor, TITLE};
use super::index::{FormatError, sha256};
use super::layer::{Layer, LayerKind, misfit};
use super::limits;
use crate::container::Manifest;
use crate::id::Digest;
use serde::{Deserialize, Serialize};

/// The media type of an OCI image manifest.
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// What makes an OCI artifact one of our containers; also the media type of its config blob.
pub const ARTIFACT_TYPE: &str = "application/vnd.ouroboros.container.v1+json";
/// What errors call such a blob.
const FILE: &str = "OCI manifest";

/// A container in its canonical form: the two blobs that every module with it carries, whatever else is on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The container's identity: the sha256 of `manifest_json`.
    pub digest: Digest,
    /// The OCI manifest.
    pub manifest_json: Vec<u8>,
    /// The sha256 of `config_json`.
    pub config_digest: Digest,
    /// The container's own manifest.
    pub config_json: Vec<u8>,
}

impl Image {
    /// The image of a container with these layers.
    ///
    /// # Errors
    /// The manifest is wrong, or its runtime has no use for these layers.
    pub fn new(manifest: &Manifest, layers: &[Layer]) -> Result<Self, FormatError> {
        manifest.validate().map_err(|e| FormatError::new("container.toml", format!("{}: {}", e.field, e.problem)))?;
        if let Some(problem) = misfit(manifest, layers) {
            return Err(FormatError::new("container.toml", problem));
        }
        if let Some(problem) = layers.iter().find_map(|layer| absurd(layers.len(), layer.size_bytes)) {
            return Err(FormatError::new(FILE, problem));
        }
        let config_json = manifest.canonical_json();
        let config_digest = sha256(&config_json);
        let oci = OciManifest {
            schema_version: 2,
            media_type: Some(MANIFEST_TYPE.into()),
            artifact_type: Some(ARTIFACT_TYPE.into()),
            config: Descriptor::new(ARTIFACT_TYPE, config_digest, config_json.len() as u64),
            layers: layers.iter().map(|layer| describe(manifest, layer)).collect(),
        };
        let manifest_json = serde_json::to_vec(&oci).unwrap_or_default();
        Ok(Self { digest: sha256(&manifest_json), manifest_json, config_digest, config_json })
    }
}

fn describe(manifest: &Manifest, layer: &Layer) -> Descriptor {
    let descriptor = Descriptor::new(layer.kind.media_type(), layer.digest, layer.size_bytes);
    // For other tools, which name what they unpack by it; we read it nowhere.
    if layer.kind == LayerKind::Weights { descriptor.annotated(TITLE, manifest.model_file()) } else { descriptor }
}

/// The identity of a container with this manifest and these layers: a model file, a root filesystem, or none.
///
/// # Errors
/// As [`Image::new`].
pub fn container_digest(manifest: &Manifest, layers: &[Layer]) -> Result<Digest, FormatError> {
    Ok(Image::new(manifest, layers)?.digest)
}

/// An OCI image manifest as it is written in JSON; fields in the order in which they are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OciManifest {
    schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    /// The blob with the container's own manifest.
    pub(crate) config: Descriptor,
    layers: Vec<Descriptor>,
}

impl OciManifest {
    /// Reads an OCI manifest and checks all that can be checked without the config blob.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let wrong = |problem: String| FormatError::new(FILE, problem);
        let manifest: Self = serde_json::from_slice(bytes).map_err(|e| wrong(format!("it is not well-formed: {e}")))?;
        if manifest.schema_version != 2 {
            return Err(wrong(format!("its schemaVersion is {}, only 2 is understood", manifest.schema_version)));
        }
        // Tools that know nothing of artifact types drop the field; the config's media type says the same.
        let kind = manifest.artifact_type.as_deref().unwrap_or(&manifest.config.media_type);
        if kind != ARTIFACT_TYPE || manifest.config.media_type != ARTIFACT_TYPE {
            return Err(wrong(format!("it describes {kind:?}, not a container of Ouroboros ({ARTIFACT_TYPE})")));
        }
        if manifest.config.size_bytes > limits::CONFIG_BYTES {
            return Err(wrong(format!(
                "its config has {} bytes, at most {} are allowed",
                manifest.config.size_bytes,
                limits::CONFIG_BYTES
            )));
        }
        Ok(manifest)
    }

    /// The layers, in order.
    pub(crate) fn layers(&self) -> Result<Vec<Layer>, FormatError> {
        let read = |descriptor: &Descriptor| {
            if let Some(problem) = absurd(self.layers.len(), descriptor.size_bytes) {
                return Err(FormatError::new(FILE, problem));
            }
            let kind = LayerKind::from_media_type(&descriptor.media_type)
                .ok_or_else(|| FormatError::new(FILE, format!("a layer of media type {:?} is not understood", descriptor.media_type)))?;
            Ok(Layer { kind, digest: descriptor.digest, size_bytes: descriptor.size_bytes })
        };
        self.layers.iter().map(read).collect()
    }
}

fn absurd(layers: usize, size_bytes: u64) -> Option<String> {
    if layers > limits::LAYERS {
        return Some(format!("it has {layers} layers, at most {} are allowed", limits::LAYERS));
    }
    (size_bytes > limits::LAYER_BYTES).then(|| format!("a layer of {size_bytes} bytes is absurd"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "name = \"n\"\nversion = \"1.0.0\"\nsummary = \"s\"\nruntime = \"RUNTIME\"\ninputs = []\n\
                            outputs = [{ port = \"out\", media = \"text/plain\" }]\n";

    fn manifest(runtime: &str) -> Manifest {
        let process = if runtime == "oci" { "[needs]\nmemory_bytes = 1\n[oci]\nargs = [\"/tool\"]\n" } else { "" };
        Manifest::from_toml(&(MANIFEST.replace("RUNTIME", runtime) + process)).unwrap()
    }

    fn layer(kind: LayerKind) -> Layer {
        Layer { kind, digest: sha256(b"weights"), size_bytes: 7 }
    }

    #[test]
    fn the_canonical_form_reads_back_and_never_changes() {
        let image = Image::new(&manifest("gguf"), &[layer(LayerKind::Weights)]).unwrap();
        let read = OciManifest::parse(&image.manifest_json).unwrap();
        assert_eq!(read.layers().unwrap(), [layer(LayerKind::Weights)]);
        assert_eq!((read.config.digest, read.config.size_bytes), (image.config_digest, image.config_json.len() as u64));
        assert_eq!(container_digest(&manifest("gguf"), &[layer(LayerKind::Weights)]).unwrap(), image.digest);
        // Every module that was ever built names its containers so: a changed digest here is a broken fleet.
        let known = "sha256:447535ca0a7769031cd16cc43872b61bad9cab3e76e3f7dc1eae65861bb2f419";
        assert_eq!(image.digest.to_string(), known, "{}", String::from_utf8_lossy(&image.manifest_json));
    }

    #[test]
    fn layers_must_fit_the_runtime() {
        let (weights, tar) = (layer(LayerKind::Weights), layer(LayerKind::TarZstd));
        for (runtime, layers) in [
            ("gguf", vec![]),
            ("gguf", vec![weights, weights]),
            ("gguf", vec![tar]),
            ("oci", vec![]),
            ("oci", vec![weights]),
            ("builtin", vec![tar]),
        ] {
            let error = Image::new(&manifest(runtime), &layers).unwrap_err();
            assert!(error.problem.contains(runtime), "{error}");
        }
        Image::new(&manifest("oci"), &[tar, layer(LayerKind::Tar)]).unwrap();
        Image::new(&manifest("builtin"), &[]).unwrap();
        let huge = Layer { size_bytes: u64::MAX, ..weights };
        assert!(Image::new(&manifest("gguf"), &[huge]).unwrap_err().problem.contains("absurd"));
    }

    #[test]
    fn what_is_not_ours_is_told_from_what_is_broken() {
        let image = Image::new(&manifest("gguf"), &[layer(LayerKind::Weights)]).unwrap();
        let text = String::from_utf8(image.manifest_json).unwrap();
        let cases = [
            (text.replace(ARTIFACT_TYPE, "application/vnd.oci.image.config.v1+json"), "not a container of Ouroboros"),
            (text.replace("\"schemaVersion\":2", "\"schemaVersion\":1"), "schemaVersion is 1"),
            (text.replace("\"layers\":[", "\"layers\":[7,"), "not well-formed"),
        ];
        for (text, problem) in cases {
            let error = OciManifest::parse(text.as_bytes()).unwrap_err();
            assert!(error.problem.contains(problem), "{error}");
        }
        let other = text.replace("weight.v1.raw", "weight.v1.tar");
        assert!(OciManifest::parse(other.as_bytes()).unwrap().layers().unwrap_err().problem.contains("weight.v1.tar"));
    }
}
