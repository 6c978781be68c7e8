//! The source tree as rules see it: every file that is not ignored, its size, and its text where it has one.
//!
//! The tree is walked, not asked of git, so that the rules also hold in an unpacked archive; what the root's
//! `.gitignore` names is left out.

use crate::Rust;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// Files above this are not read, only measured.
const MAX_TEXT_BYTES: u64 = 2 * 1024 * 1024;

/// A file of the tree.
#[derive(Debug, Clone)]
pub struct File {
    /// Its path from the root, with `/` between the parts.
    pub path: String,
    /// Its size.
    pub size_bytes: u64,
    /// Its text; `None` for what is not UTF-8 or too large to be source.
    pub text: Option<String>,
}

impl File {
    /// Its name without folders.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// Its text, or nothing.
    pub fn text(&self) -> &str {
        self.text.as_deref().unwrap_or("")
    }

    /// Whether it is `place`, `place.rs`, or lies in the folder `place`.
    pub fn is_in(&self, place: &str) -> bool {
        self.path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest == ".rs" || rest.starts_with('/'))
    }

    /// Whether it is test code of its own: in a folder called `tests`.
    pub fn is_in_tests(&self) -> bool {
        self.path.split('/').rev().skip(1).any(|part| part == "tests")
    }
}

/// All files of a source tree, sorted by path.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// The files.
    pub files: Vec<File>,
}

impl Tree {
    /// Reads the tree under `root`.
    pub fn read(root: &Path) -> Result<Self> {
        let ignored = fs::read_to_string(root.join(".gitignore")).unwrap_or_default();
        let patterns: Vec<&str> = ignored.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')).collect();
        let mut tree = Self::default();
        tree.walk(root, "", &patterns)?;
        tree.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(tree)
    }

    /// A tree of the given paths and texts: what the rules' own tests plant their violations in.
    pub fn planted(files: &[(&str, &str)]) -> Self {
        let file = |(path, text): &(&str, &str)| File {
            path: (*path).to_string(),
            size_bytes: text.len() as u64,
            text: Some((*text).to_string()),
        };
        Self { files: files.iter().map(file).collect() }
    }

    /// The file at exactly this path.
    pub fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|f| f.path == path)
    }

    /// Whether a file or a folder lies at this path.
    pub fn exists(&self, path: &str) -> bool {
        self.files
            .iter()
            .any(|f| f.path == path || f.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')))
    }

    /// The Rust files, with code, literals and comments told apart.
    pub fn rust(&self) -> impl Iterator<Item = (&File, Rust)> {
        self.with_extension("rs").map(|f| (f, Rust::read(f.text())))
    }

    /// The files with an extension.
    pub fn with_extension<'a>(&'a self, extension: &'a str) -> impl Iterator<Item = &'a File> {
        self.files.iter().filter(move |f| f.name().rsplit_once('.').is_some_and(|(_, e)| e == extension))
    }

    fn walk(&mut self, folder: &Path, prefix: &str, ignored: &[&str]) -> Result<()> {
        for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
            let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
            if path == ".git" || ignored.iter().any(|pattern| matches(pattern, &path, &name)) {
                continue;
            }
            let kind = entry.file_type().with_context(|| format!("cannot look at {path}"))?;
            if kind.is_dir() {
                self.walk(&entry.path(), &path, ignored)?;
            } else if kind.is_file() {
                let size_bytes = entry.metadata().with_context(|| format!("cannot look at {path}"))?.len();
                let text = if size_bytes <= MAX_TEXT_BYTES {
                    String::from_utf8(fs::read(entry.path()).with_context(|| format!("cannot read {path}"))?).ok()
                } else {
                    None
                };
                self.files.push(File { path, size_bytes, text });
            }
        }
        Ok(())
    }
}

/// The three forms of pattern that the root's `.gitignore` uses: `/from-the-root`, `*ending`, and a plain name.
fn matches(pattern: &str, path: &str, name: &str) -> bool {
    match (pattern.strip_prefix('/'), pattern.strip_prefix('*')) {
        (Some(from_root), _) => path == from_root.trim_end_matches('/'),
        (None, Some(ending)) => name.ends_with(ending),
        (None, None) => name == pattern.trim_end_matches('/'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_files_are_not_part_of_the_tree() {
        assert!(matches("/target", "target", "target"));
        assert!(!matches("/target", "agent/target", "target"));
        assert!(matches("__pycache__", "models/__pycache__", "__pycache__"));
        assert!(matches("*.pyc", "models/a.pyc", "a.pyc"));
    }

    #[test]
    fn a_place_is_a_file_or_a_folder_but_not_a_longer_name() {
        let tree = Tree::planted(&[("agent/src/uplink.rs", ""), ("agent/src/uplink/dial.rs", ""), ("agent/src/uplinks.rs", "")]);
        let inside: Vec<bool> = tree.files.iter().map(|f| f.is_in("agent/src/uplink")).collect();
        assert_eq!(inside, [true, true, false]);
        assert!(tree.exists("agent/src") && !tree.exists("agent/sr"));
    }

    #[test]
    fn this_crate_is_found_when_it_is_read_from_disk() {
        let tree = Tree::read(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        assert!(tree.file("src/tree.rs").is_some_and(|f| f.text().starts_with("//!")));
    }
}
