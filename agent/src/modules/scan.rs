//! One look at everything: from the folders as they are now to what is announced and what can be run.

use super::identity::{FileDigests, container_digest};
use super::source::{LayerFile, Source, layer_names};
use crate::runtimes::builtin;
use ouro_common::container::{Container, Manifest, Runtime};
use ouro_common::id::Digest;
use ouro_common::module::{Announcement, ModuleState, Placement};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

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
    Some(Container { digest: container_digest(&manifest, &[]), manifest })
}

/// Looks at the built-in containers and the folders.
pub fn scan(folders: &[ModuleFolder], digests: &mut FileDigests) -> Snapshot {
    digests.retain_existing();
    let mut snapshot = Snapshot::default();
    let embedded = EMBEDDED.iter().filter_map(|(name, _)| builtin_container(name));
    let found = embedded.map(|container| Installed { container, source: Source::Program }).collect();
    snapshot.add("builtin".into(), "builtin".into(), found, vec![]);
    for folder in folders {
        let slot = format!("dir:{}", folder.path.display());
        let label = folder.path.file_name().map_or_else(|| slot.clone(), |n| n.to_string_lossy().into_owned());
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
        });
        self.installed.extend(found.into_iter().map(|i| (i.container.digest, i)));
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
    let (source, sha256) = source(folder, &manifest, digests)?;
    Ok(Installed { container: Container { digest: container_digest(&manifest, &sha256), manifest }, source })
}

/// What a container is run from, and the hashes of those files.
fn source(folder: &Path, manifest: &Manifest, digests: &mut FileDigests) -> Result<(Source, Vec<[u8; 32]>), String> {
    match manifest.runtime {
        Runtime::Onnx | Runtime::Gguf => {
            let model = folder.join(manifest.model_file());
            let sha256 = digests.sha256(&model).map_err(|e| format!("the model file {}: {e}", model.display()))?;
            Ok((Source::Model(model), vec![sha256]))
        }
        Runtime::Oci => {
            let mut layers = vec![];
            for name in layer_names(folder).map_err(|e| format!("{}: {e}", folder.display()))? {
                let path = folder.join(&name);
                let sha256 = digests.sha256(&path).map_err(|e| format!("the layer {name}: {e}"))?;
                layers.push(LayerFile { path, digest: Digest::sha256(sha256) });
            }
            if layers.is_empty() {
                return Err("there is no root filesystem: put rootfs.tar, rootfs.tar.gz or rootfs.tar.zst beside container.toml".into());
            }
            let sha256 = layers.iter().map(|layer| layer.digest.bytes).collect();
            Ok((Source::RootFs(layers), sha256))
        }
        Runtime::Builtin if builtin::exists(manifest.name.as_str()) => Ok((Source::Program, vec![])),
        Runtime::Builtin => Err(format!("this agent has no builtin called {}; update the agent", manifest.name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "name = \"NAME\"\nversion = \"1.0.0\"\nsummary = \"s\"\nruntime = \"RUNTIME\"\ninputs = []\n\
                            outputs = [{ port = \"out\", media = \"text/plain\" }]\n";

    fn put(folder: &Path, name: &str, runtime: &str, files: &[(&str, &str)]) {
        let folder = folder.join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("container.toml"), MANIFEST.replace("NAME", name).replace("RUNTIME", runtime)).unwrap();
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
        let seen = scan(&folders, &mut FileDigests::default());
        let [builtin, module, missing] = seen.announcement.placements.as_slice() else {
            panic!("{:?}", seen.announcement)
        };
        assert_eq!(builtin.containers.len(), 2);
        assert_eq!(module.containers.iter().map(|c| c.manifest.name.as_str()).collect::<Vec<_>>(), ["good"]);
        assert_eq!(module.problems.len(), 3, "{:?}", module.problems);
        assert!(module.problems.iter().any(|p| p.contains("empty.gguf")));
        assert_eq!(missing.state, ModuleState::Incomplete);
        assert_eq!(seen.installed.len(), 3);
        assert_eq!(seen, scan(&folders, &mut FileDigests::default()), "the same folders give the same announcement");
    }

    #[test]
    fn the_layers_of_a_root_filesystem_make_its_identity() {
        let home = tempfile::tempdir().unwrap();
        let tool = home.path().join("tool");
        let look = || scan(&[ModuleFolder { path: home.path().into(), required: true }], &mut FileDigests::default());
        put(home.path(), "tool", "oci", &[]);
        let toml = fs::read_to_string(tool.join("container.toml")).unwrap();
        fs::write(tool.join("container.toml"), format!("{toml}[needs]\nmemory_bytes = 1\n[oci]\nargs = [\"/tool\"]\n")).unwrap();
        assert!(look().announcement.placements[1].problems[0].contains("rootfs.tar"));
        let mut identities = vec![];
        for (file, content) in [("layer-1.tar.gz", "upper"), ("layer-0.tar", "lower"), ("layer-0.tar", "other")] {
            fs::write(tool.join(file), content).unwrap();
            let seen = look();
            let (digest, installed) = seen.installed.iter().find(|(_, i)| i.source != Source::Program).unwrap();
            identities.push(*digest);
            let Source::RootFs(layers) = &installed.source else {
                panic!("{installed:?}")
            };
            assert!(layers.is_sorted_by_key(|l| l.path.clone()));
        }
        identities.dedup();
        assert_eq!(identities.len(), 3);
    }

    #[test]
    fn the_program_s_own_containers_are_whole() {
        for (name, _) in EMBEDDED {
            assert_eq!(builtin_container(name).unwrap().manifest.name.as_str(), name);
        }
    }
}
