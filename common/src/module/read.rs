//! Reading a whole module: from a volume to what its containers are, who signed it, and what is wrong with the rest.
//!
//! Everything small is checked here and now: the layout, the index, the signature, each container's two manifests against
//! their digests, and of each layer its size and its last block. A layer's own digest is not: that would read the whole
//! volume, and is due before the layer's first use.

use super::descriptor::{Descriptor, REF_NAME, blob_path};
use super::image::{MANIFEST_TYPE, OciManifest};
use super::index::{FormatError, INDEX_FILE, Index, LAYOUT_FILE, SIGNATURE_FILE, check_layout, sha256};
use super::layer::{Layer, misfit};
use super::limits;
use super::signature::{TrustedKey, Verdict, verify};
use super::volume::{Volume, VolumeError};
use crate::container::{Container, Manifest};
use crate::id::Digest;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Everything that was found on a volume.
#[derive(Debug, Clone, PartialEq)]
pub struct ModuleContents {
    /// The module's identity: the sha256 of its index.
    pub digest: Digest,
    /// Who signed it.
    pub signature: Verdict,
    /// What can be used, by name and version.
    pub containers: Vec<PackedContainer>,
    /// What cannot, in the order of the index.
    pub problems: Vec<ModuleProblem>,
}

impl ModuleContents {
    /// Whether a blob is missing or cut off, so that looking again later may find more.
    pub fn is_incomplete(&self) -> bool {
        self.problems.iter().any(|problem| problem.kind == ProblemKind::Incomplete)
    }

    /// The container with this identity.
    pub fn container(&self, digest: &Digest) -> Option<&PackedContainer> {
        self.containers.iter().find(|packed| packed.container.digest == *digest)
    }
}

/// A container as it lies on a module.
#[derive(Debug, Clone, PartialEq)]
pub struct PackedContainer {
    /// What it is.
    pub container: Container,
    /// Its layers in order: one model file, or a root filesystem's archives from the lowest up.
    pub layers: Vec<Layer>,
}

/// Something on a module that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleProblem {
    /// The container, by the name in the index, or by its digest where it has none; `None` for the whole module.
    pub container: Option<String>,
    /// What sort of problem.
    pub kind: ProblemKind,
    /// What is wrong.
    pub problem: String,
}

impl fmt::Display for ModuleProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.container {
            Some(container) => write!(f, "{container}: {}", self.problem),
            None => f.write_str(&self.problem),
        }
    }
}

/// The sorts of [`ModuleProblem`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProblemKind {
    /// A blob is missing, cut off or unreadable.
    Incomplete,
    /// Bytes do not have the digest they are named by.
    Damaged,
    /// It is not in the form of a container, or beyond a limit.
    Refused,
    /// Two containers of one name and version.
    Conflict,
}

/// A volume cannot be read as a module at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModuleError {
    /// A file that every module has cannot be read.
    #[error("{file}: {source}")]
    File {
        /// Which.
        file: &'static str,
        /// Why.
        source: VolumeError,
    },
    /// One of them is not what it should be.
    #[error(transparent)]
    Format(#[from] FormatError),
}

impl ModuleError {
    /// Whether the volume is simply no module: nothing says it is an OCI image layout.
    pub fn is_no_module(&self) -> bool {
        matches!(self, Self::File { file, source: VolumeError::Missing } if *file == LAYOUT_FILE)
    }

    /// Whether something is missing or unreadable, rather than wrong.
    pub fn is_incomplete(&self) -> bool {
        matches!(self, Self::File { source: VolumeError::Missing | VolumeError::Unreadable { .. }, .. }) && !self.is_no_module()
    }
}

/// Reads the module on a volume. Only the keys given count as trusted; what follows from a verdict is the caller's policy.
///
/// # Errors
/// The volume is no module, or its index cannot be read. What concerns single containers is in the problems.
pub fn read_module(volume: &dyn Volume, trusted: &[TrustedKey]) -> Result<ModuleContents, ModuleError> {
    let file = |file: &'static str, max_bytes| volume.read(file, max_bytes).map_err(|source| ModuleError::File { file, source });
    check_layout(&file(LAYOUT_FILE, limits::LAYOUT_BYTES)?)?;
    let index_json = file(INDEX_FILE, limits::INDEX_BYTES)?;
    let signature = match volume.read(SIGNATURE_FILE, limits::SIGNATURE_BYTES) {
        Ok(text) => verify(&index_json, &text, trusted),
        Err(VolumeError::Missing) => Verdict::Unsigned,
        Err(error) => Verdict::Bad { problem: error.to_string() },
    };
    let index = Index::parse(&index_json)?;
    let (mut found, mut problems, mut seen) = (vec![], vec![], BTreeSet::new());
    for descriptor in &index.manifests {
        // A tool that writes the same manifest twice says the same thing twice.
        let name = descriptor.annotations.get(REF_NAME);
        if !seen.insert((descriptor.digest, name)) {
            continue;
        }
        match read_container(volume, descriptor) {
            Ok(packed) => found.push(packed),
            Err((kind, problem)) => problems.push(ModuleProblem { container: Some(called(descriptor)), kind, problem }),
        }
    }
    problems.extend(take_conflicts(&mut found));
    found.sort_by_key(|packed| (packed.container.manifest.name.clone(), packed.container.manifest.version.clone()));
    Ok(ModuleContents { digest: sha256(&index_json), signature, containers: found, problems })
}

/// How a person would find the descriptor in the index. What the volume says is cut and escaped.
fn called(descriptor: &Descriptor) -> String {
    let name = descriptor.annotations.get(REF_NAME);
    name.map_or_else(|| descriptor.digest.to_string(), |name| name.chars().take(100).flat_map(char::escape_debug).collect())
}

type Problem = (ProblemKind, String);

fn refused(problem: impl ToString) -> Problem {
    (ProblemKind::Refused, problem.to_string())
}

fn read_container(volume: &dyn Volume, descriptor: &Descriptor) -> Result<PackedContainer, Problem> {
    if descriptor.media_type != MANIFEST_TYPE {
        return Err(refused(format!("it is of media type {:?}, not {MANIFEST_TYPE}", clipped(&descriptor.media_type))));
    }
    let oci = OciManifest::parse(&small_blob(volume, descriptor, "OCI manifest", limits::MANIFEST_BYTES)?).map_err(refused)?;
    let config = small_blob(volume, &oci.config, "container manifest", limits::CONFIG_BYTES)?;
    let manifest = Manifest::from_json(&config).map_err(refused)?;
    if let Some(name) = descriptor.annotations.get(REF_NAME)
        && *name != manifest.reference().to_string()
    {
        return Err(refused(format!("its manifest calls it {}; the name in the index must be the same", manifest.reference())));
    }
    let layers = oci.layers().map_err(refused)?;
    if let Some(problem) = misfit(&manifest, &layers) {
        return Err(refused(problem));
    }
    for layer in &layers {
        check_layer(volume, layer)?;
    }
    Ok(PackedContainer { container: Container { digest: descriptor.digest, manifest }, layers })
}

fn clipped(text: &str) -> String {
    text.chars().take(100).collect()
}

/// A blob that is read whole and checked against its descriptor at once.
fn small_blob(volume: &dyn Volume, descriptor: &Descriptor, what: &str, max_bytes: u64) -> Result<Vec<u8>, Problem> {
    let path = blob_path(&descriptor.digest);
    if descriptor.size_bytes > max_bytes {
        return Err(refused(format!("its {what} has {} bytes, at most {max_bytes} are allowed", descriptor.size_bytes)));
    }
    let bytes = volume.read(&path, max_bytes).map_err(|error| unreadable(what, &path, error))?;
    if bytes.len() as u64 != descriptor.size_bytes {
        return Err(cut_off(what, &path, descriptor.size_bytes, bytes.len() as u64));
    }
    if sha256(&bytes) != descriptor.digest {
        return Err((
            ProblemKind::Damaged,
            format!("its {what} {path} is not what its digest says: it was changed or the volume is damaged"),
        ));
    }
    Ok(bytes)
}

fn check_layer(volume: &dyn Volume, layer: &Layer) -> Result<(), Problem> {
    let path = blob_path(&layer.digest);
    let bytes = volume.file_bytes(&path).map_err(|error| unreadable("layer", &path, error))?;
    if bytes != layer.size_bytes {
        return Err(cut_off("layer", &path, layer.size_bytes, bytes));
    }
    volume.read_last_block(&path).map_err(|error| unreadable("layer", &path, error))
}

fn unreadable(what: &str, path: &str, error: VolumeError) -> Problem {
    let kind = match error {
        VolumeError::Missing | VolumeError::Unreadable { .. } => ProblemKind::Incomplete,
        VolumeError::NotAFile | VolumeError::TooLarge { .. } => ProblemKind::Refused,
    };
    (kind, format!("its {what} {path}: {error}"))
}

fn cut_off(what: &str, path: &str, expected: u64, bytes: u64) -> Problem {
    (ProblemKind::Incomplete, format!("its {what} {path} has {bytes} bytes instead of {expected}"))
}

/// Takes out containers that share name and version: which of them a plan means, nobody can say.
fn take_conflicts(found: &mut Vec<PackedContainer>) -> Vec<ModuleProblem> {
    let mut digests: BTreeMap<String, BTreeSet<Digest>> = BTreeMap::new();
    for packed in found.iter() {
        digests.entry(packed.container.manifest.reference().to_string()).or_default().insert(packed.container.digest);
    }
    let mut kept = BTreeSet::new();
    found.retain(|packed| {
        let name = packed.container.manifest.reference().to_string();
        digests.get(&name).is_some_and(|d| d.len() == 1) && kept.insert(name)
    });
    let conflicts = digests.into_iter().filter(|(_, digests)| digests.len() > 1);
    conflicts
        .map(|(name, digests)| ModuleProblem {
            container: Some(name),
            kind: ProblemKind::Conflict,
            problem: format!("{} containers on this module have that name and version; give each a version of its own", digests.len()),
        })
        .collect()
}

#[cfg(test)]
mod tests;
