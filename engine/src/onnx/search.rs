//! Where ONNX Runtime's library may be: a function of paths that are passed in, so that it can be tested on made-up trees.

use super::OnnxError;
use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::path::{Path, PathBuf};

/// Where to look. What a person named is taken alone; otherwise the directories are searched in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Search {
    /// The library's path from the configuration.
    pub configured: Option<PathBuf>,
    /// The value of `ORT_DYLIB_PATH`, if it is set and not empty.
    pub environment: Option<PathBuf>,
    /// Directories that may hold the library, or Python's `onnxruntime/capi` with it (a `site-packages`).
    pub directories: Vec<PathBuf>,
}

impl Search {
    /// The libraries that may be tried, best first; never none.
    pub fn candidates(&self) -> Result<Vec<PathBuf>, OnnxError> {
        if let Some(named) = self.configured.as_ref().or(self.environment.as_ref()) {
            return Ok(vec![named.clone()]);
        }
        let found: Vec<PathBuf> = self
            .directories
            .iter()
            .flat_map(|d| [d.clone(), d.join("onnxruntime/capi")])
            .flat_map(|d| libraries_in(&d))
            .collect();
        if found.is_empty() { Err(OnnxError::NotFound { searched_in: self.directories.clone() }) } else { Ok(found) }
    }
}

/// The directories under `root` where systems and Python keep libraries; `home` adds what `pip install --user` makes.
pub fn standard_directories(root: &Path, home: Option<&Path>) -> Vec<PathBuf> {
    let fixed = [
        "usr/local/lib",
        "usr/lib",
        "usr/lib64",
        "usr/lib/x86_64-linux-gnu",
        "usr/lib/aarch64-linux-gnu",
        "opt/onnxruntime/lib",
        "usr/lib/python3/dist-packages",
    ];
    let mut directories: Vec<PathBuf> = fixed.iter().map(|directory| root.join(directory)).collect();
    let user = home.map(|home| home.join(".local/lib"));
    for parent in [Some(root.join("usr/local/lib")), Some(root.join("usr/lib")), user].into_iter().flatten() {
        for python in names_in(&parent).into_iter().filter(|name| name.starts_with("python3.")) {
            directories.extend(["dist-packages", "site-packages"].map(|kind| parent.join(&python).join(kind)));
        }
    }
    directories
}

/// The libraries of a directory: the plain name first, which an administrator put there, then the newest version.
fn libraries_in(directory: &Path) -> Vec<PathBuf> {
    let plain = format!("{DLL_PREFIX}onnxruntime{DLL_SUFFIX}");
    let versioned = format!("{plain}.");
    let mut names = names_in(directory);
    names.retain(|name| *name == plain || name.starts_with(&versioned));
    names.sort_by_key(|name| (*name != plain, std::cmp::Reverse(version_of(name).unwrap_or_default())));
    names.into_iter().map(|name| directory.join(name)).collect()
}

/// The names in a directory, sorted; none if it cannot be read.
fn names_in(directory: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else { return vec![] };
    let mut names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The version at the end of a library's name, `libonnxruntime.so.1.24.2`.
fn version_of(name: &str) -> Option<Vec<u32>> {
    let (_, version) = name.split_once(&format!("{DLL_SUFFIX}."))?;
    version.split('.').map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"not a library").unwrap();
        }
        root
    }

    #[test]
    fn what_a_person_named_is_tried_alone() {
        let named = |configured: Option<&str>, environment: Option<&str>| Search {
            configured: configured.map(PathBuf::from),
            environment: environment.map(PathBuf::from),
            directories: vec![],
        };
        assert_eq!(named(Some("/a.so"), Some("/b.so")).candidates().unwrap(), [Path::new("/a.so")]);
        assert_eq!(named(None, Some("/b.so")).candidates().unwrap(), [Path::new("/b.so")]);
        let error = named(None, None).candidates().unwrap_err().to_string();
        assert!(error.contains("pip install onnxruntime"), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn system_and_python_directories_are_searched_newest_first() {
        let root = tree(&[
            "usr/lib/libonnxruntime.so.1.9.0",
            "usr/lib/libonnxruntime.so.1.24.1",
            "usr/lib/libonnxruntime_providers_shared.so",
            "usr/local/lib/python3.12/dist-packages/onnxruntime/capi/libonnxruntime.so.1.30.0",
            "home/ada/.local/lib/python3.11/site-packages/onnxruntime/capi/libonnxruntime.so.1.31.1",
        ]);
        let directories = standard_directories(root.path(), Some(&root.path().join("home/ada")));
        let found = Search { directories, ..Search::default() }.candidates().unwrap();
        let names: Vec<_> = found.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(
            names,
            ["libonnxruntime.so.1.24.1", "libonnxruntime.so.1.9.0", "libonnxruntime.so.1.30.0", "libonnxruntime.so.1.31.1"]
        );
        let empty = Search { directories: standard_directories(&root.path().join("none"), None), ..Search::default() };
        let error = empty.candidates().unwrap_err().to_string();
        assert!(error.contains("usr/local/lib") && error.contains("more"), "{error}");
    }
}
