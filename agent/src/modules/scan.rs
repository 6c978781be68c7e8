//! One look at everything: from the folders as they are now to what is announced and what can be run.

use super::hold::Hold;
use super::identity::FileDigests;
use super::image::{Found, Image, Judge, Link};
use super::source::{LayerFile, Source};
use crate::runtimes::builtin;
use ouro_common::container::{Container, Manifest, Runtime};
use ouro_common::id::Digest;
use ouro_common::module::{
    Announcement, LAYOUT_FILE, ModuleState, Placement, ROOTFS_ARCHIVES, TrustPolicy, TrustedKey, blob_path, container_digest,
};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Manifests that are part of the program: every node can compose answers and be benchmarked.
const EMBEDDED: [(&str, &str); 2] = [
    ("compose", include_str!("../../../models/containers/compose/container.toml")),
    ("noop", include_str!("../../../models/containers/noop/container.toml")),
];

/// A folder that is a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleFolder {
    /// Where.
    pub path: PathBuf,
    /// Whether somebody named it: then its absence is a problem, else nothing.
    pub required: bool,
}

/// A container this node can run.
#[derive(Debug, Clone, PartialEq)]
pub struct Installed {
    /// What it is.
    pub container: Container,
    /// What it is run from.
    pub source: Source,
    /// The device it is on, if it is on one.
    pub hold: Option<Arc<Hold>>,
}

/// Everything that was seen in one look.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// What the server is told.
    pub announcement: Announcement,
    /// What can be run, by identity.
    pub installed: HashMap<Digest, Installed>,
}

/// A container that is part of the program.
pub fn builtin_container(name: &str) -> Option<Container> {
    let (_, text) = EMBEDDED.iter().find(|(n, _)| *n == name)?;
    let manifest = Manifest::from_toml(text).ok()?;
    Some(Container { digest: container_digest(&manifest, &[]).ok()?, manifest })
}

/// Looks at the built-in containers and the folders.
pub fn scan(folders: &[ModuleFolder], keys: &[TrustedKey], policy: TrustPolicy, digests: &mut FileDigests) -> Snapshot {
    digests.retain_existing();
    let mut snapshot = Snapshot::default();
    let embedded = EMBEDDED.iter().filter_map(|(name, _)| builtin_container(name));
    let found = embedded.map(|container| Installed { container, source: Source::Program, hold: None }).collect();
    snapshot.add("builtin".into(), "builtin".into(), found, vec![]);
    for folder in folders {
        let slot = format!("dir:{}", folder.path.display());
        let label = folder.path.file_name().map_or_else(|| slot.clone(), |n| n.to_string_lossy().into_owned());
        if folder.path.join(LAYOUT_FILE).is_file() {
            snapshot.add_image(&folder.path, (&label, &slot), Judge { keys, policy }, digests);
            continue;
        }
        match containers_in(&folder.path, digests) {
            Ok((found, problems)) => snapshot.add(label, slot, found, problems),
            Err(error) if !folder.required && error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                let problem = format!("{}: {error}; mend `modules` in agent.toml or make the folder", folder.path.display());
                snapshot.add(label, slot, vec![], vec![problem]);
            }
        }
    }
    snapshot
}

impl Snapshot {
    /// Whether a container is still run from there. What is on a module that sleeps is run from nowhere until it wakes.
    pub fn runs(&self, digest: &Digest, source: &Source) -> bool {
        let awake = |installed: &Installed| !installed.hold.as_ref().is_some_and(|hold| hold.is_asleep());
        self.installed.get(digest).is_some_and(|installed| installed.source == *source && awake(installed))
    }

    fn add(&mut self, label: String, slot: String, found: Vec<Installed>, mut problems: Vec<String>) {
        problems.sort();
        let mut hasher = Sha256::new();
        for installed in &found {
            hasher.update(installed.container.digest.bytes);
        }
        let usable = !found.is_empty() || problems.is_empty();
        self.announcement.placements.push(Placement {
            module: Digest::sha256(hasher.finalize().into()),
            label,
            slot,
            state: if usable { ModuleState::Ready } else { ModuleState::Incomplete },
            why: if usable { String::new() } else { "nothing on it can be used".into() },
            read_bytes_per_s: None,
            containers: found.iter().map(|i| i.container.clone()).collect(),
            problems,
            origin: None,
        });
        self.installed.extend(found.into_iter().map(|i| (i.container.digest, i)));
    }

    /// A folder that is an image: its files are hashed as those of any folder are, once and when they change.
    fn add_image(&mut self, at: &Path, (label, slot): (&str, &str), judged: Judge<'_>, digests: &mut FileDigests) {
        let problem = match Image::read(at) {
            Ok(image) => {
                let found = Found { label, slot, at, hold: None, link: Link::default(), ready_after_ms: None, asleep: None };
                let mut damaged = |blob: &Digest| {
                    digests.weights(&at.join(blob_path(blob))).map_or_else(
                        |error| Some(format!("{}: {error}", blob_path(blob))),
                        |layer| (layer.digest != *blob).then(|| format!("{}: its content is not what its name says", blob_path(blob))),
                    )
                };
                let (placement, installed) = image.placement(&found, judged, &mut damaged);
                self.announcement.placements.push(placement);
                self.installed.extend(installed.into_iter().map(|i| (i.container.digest, i)));
                return;
            }
            Err(error) => format!("{}: {error}", at.display()),
        };
        self.add(label.into(), slot.into(), vec![], vec![problem]);
    }
}

/// The containers of a module, sorted by name and version, and what is wrong with the others.
fn containers_in(folder: &Path, digests: &mut FileDigests) -> std::io::Result<(Vec<Installed>, Vec<String>)> {
    let (mut found, mut problems): (Vec<Installed>, _) = (vec![], vec![]);
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let manifest = path.join("container.toml");
        if !manifest.is_file() {
            continue;
        }
        match container(&path, &manifest, digests) {
            Ok(installed) => found.push(installed),
            Err(problem) => problems.push(format!("{}: {problem}", path.display())),
        }
    }
    found.sort_by_key(|i| (i.container.manifest.reference().to_string(), i.container.digest));
    found.dedup_by_key(|i| i.container.digest);
    Ok((found, problems))
}

fn container(folder: &Path, manifest: &Path, digests: &mut FileDigests) -> Result<Installed, String> {
    let size = fs::metadata(manifest).map_err(|e| format!("container.toml: {e}"))?.len();
    if size > Manifest::MAX_BYTES as u64 {
        return Err(format!("container.toml has {size} bytes, at most {} are allowed", Manifest::MAX_BYTES));
    }
    let text = fs::read_to_string(manifest).map_err(|e| format!("container.toml: {e}"))?;
    let manifest = Manifest::from_toml(&text).map_err(|e| e.to_string())?;
    let (source, layer) = match manifest.runtime {
        Runtime::Onnx | Runtime::Gguf => {
            let model = folder.join(manifest.model_file());
            let layer = digests.weights(&model).map_err(|e| format!("the model file {}: {e}", model.display()))?;
            (Source::Model(model), Some(layer))
        }
        Runtime::Oci => {
            let archive = root_filesystem(folder)?;
            let layer = digests.archive(&archive).map_err(|e| format!("the root filesystem {}: {e}", archive.display()))?;
            (Source::RootFs(vec![LayerFile { path: archive, layer }]), Some(layer))
        }
        Runtime::Builtin if !builtin::exists(manifest.name.as_str()) => {
            return Err(format!("this agent has no builtin called {}; update the agent", manifest.name));
        }
        Runtime::Builtin => (Source::Program, None),
    };
    let digest = container_digest(&manifest, layer.as_slice()).map_err(|e| e.to_string())?;
    Ok(Installed { container: Container { digest, manifest }, source, hold: None })
}

/// The archive with the root filesystem of an `oci` container.
fn root_filesystem(folder: &Path) -> Result<PathBuf, String> {
    let archives: Vec<PathBuf> = ROOTFS_ARCHIVES.iter().map(|name| folder.join(name)).filter(|path| path.exists()).collect();
    match archives.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(format!("it has no root filesystem: put one of {} beside container.toml", ROOTFS_ARCHIVES.join(", "))),
        _ => Err(format!("it has more than one root filesystem; keep one of {}", ROOTFS_ARCHIVES.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ouro_common::module::{Image, Layer, LayerKind, sha256};

    const MANIFEST: &str = "name = \"NAME\"\nversion = \"1.0.0\"\nsummary = \"s\"\nruntime = \"RUNTIME\"\ninputs = []\n\
                            outputs = [{ port = \"out\", media = \"text/plain\" }]\n";

    fn put(folder: &Path, name: &str, runtime: &str, files: &[(&str, &str)]) {
        let folder = folder.join(name);
        fs::create_dir_all(&folder).unwrap();
        let process = if runtime == "oci" { "[needs]\nmemory_bytes = 1\n[oci]\nargs = [\"/tool\"]\n" } else { "" };
        let manifest = MANIFEST.replace("NAME", name).replace("RUNTIME", runtime) + process;
        fs::write(folder.join("container.toml"), manifest).unwrap();
        for (file, content) in files {
            fs::write(folder.join(file), content).unwrap();
        }
    }

    #[test]
    fn what_cannot_be_used_is_a_problem_and_no_more() {
        let home = tempfile::tempdir().unwrap();
        put(home.path(), "good", "gguf", &[("good.gguf", "weights")]);
        put(home.path(), "empty", "gguf", &[]);
        put(home.path(), "unknown-code", "builtin", &[]);
        put(home.path(), "bad", "steam", &[]);
        fs::create_dir(home.path().join("no-container")).unwrap();
        let folders = [
            ModuleFolder { path: home.path().into(), required: false },
            ModuleFolder { path: home.path().join("not-there"), required: true },
            ModuleFolder { path: home.path().join("not-there-either"), required: false },
        ];
        let seen = scan(&folders, &[], TrustPolicy::Off, &mut FileDigests::default());
        let [builtin, module, missing] = seen.announcement.placements.as_slice() else {
            panic!("{:?}", seen.announcement)
        };
        assert_eq!(builtin.containers.len(), 2);
        assert_eq!(module.containers.iter().map(|c| c.manifest.name.as_str()).collect::<Vec<_>>(), ["good"]);
        assert_eq!(module.problems.len(), 3, "{:?}", module.problems);
        assert!(module.problems.iter().any(|p| p.contains("empty.gguf")));
        assert_eq!(missing.state, ModuleState::Incomplete);
        assert_eq!(seen.installed.len(), 3);
        assert_eq!(
            seen,
            scan(&folders, &[], TrustPolicy::Off, &mut FileDigests::default()),
            "the same folders give the same announcement"
        );
    }

    #[test]
    fn a_container_in_a_folder_has_the_identity_it_would_have_in_an_image() {
        let home = tempfile::tempdir().unwrap();
        put(home.path(), "model", "gguf", &[("model.gguf", "weights")]);
        put(home.path(), "program", "oci", &[("rootfs.tar.gz", "\u{1f}\u{8b}")]);
        put(home.path(), "two", "oci", &[("rootfs.tar.gz", ""), ("rootfs.tar", "")]);
        let folder = ModuleFolder { path: home.path().into(), required: true };
        let seen = scan(&[folder], &[], TrustPolicy::Off, &mut FileDigests::default());
        let placement = &seen.announcement.placements[1];
        assert!(placement.problems[0].contains("more than one root filesystem"), "{:?}", placement.problems);
        let [model, program] = placement.containers.as_slice() else {
            panic!("{:?}", placement.problems)
        };
        for (container, kind, content) in [(model, LayerKind::Weights, "weights"), (program, LayerKind::Tar, "\u{1f}\u{8b}")] {
            let layer = Layer { kind, digest: sha256(content.as_bytes()), size_bytes: content.len() as u64 };
            assert_eq!(Image::new(&container.manifest, &[layer]).unwrap().digest, container.digest);
        }
        let Source::RootFs(layers) = &seen.installed[&program.digest].source else {
            panic!("{seen:?}")
        };
        assert_eq!(layers[0].path, home.path().join("program/rootfs.tar.gz"));
    }

    #[test]
    fn the_program_s_own_containers_are_whole() {
        for (name, _) in EMBEDDED {
            assert_eq!(builtin_container(name).unwrap().manifest.name.as_str(), name);
        }
    }
}
