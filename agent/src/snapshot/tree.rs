//! The recorded tree: directories, files and links by path inside the root, built from what a reading touched.
//!
//! Links become relative, so that the tree can be unpacked anywhere. Listed directories keep the links and directories in
//! them even where nothing was read of those: that they are there is part of what was read.

use super::scrub::Scrubber;
use super::tar::Archive;
use crate::sensing::host_root::journal::Touched;
use crate::sensing::host_root::{HostRoot, Place};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    /// A directory.
    Directory,
    /// A file and its bytes.
    File(Vec<u8>),
    /// A link and its relative target.
    Link(String),
}

/// Nodes by path, without a leading slash; a directory comes before what is in it.
pub(super) type Tree = BTreeMap<String, Node>;

/// Builds the tree, scrubbed.
pub(super) fn build(root: &HostRoot, touched: &Touched, scrubber: &mut Scrubber) -> Tree {
    let mut tree = Tree::new();
    for place in &touched.places {
        add(root, place, touched, scrubber, &mut tree, true);
    }
    for directory in &touched.listed {
        for name in root.read_names(directory).unwrap_or_default() {
            add(root, &directory.join(&name), touched, scrubber, &mut tree, false);
        }
    }
    tree
}

/// Adds a place and the links on its way; files that were not touched themselves are left out.
fn add(root: &HostRoot, place: &Place, touched: &Touched, scrubber: &mut Scrubber, tree: &mut Tree, asked_for: bool) {
    let mut links: Vec<(Place, String)> = Vec::new();
    let end = root.walk(place, &mut |at, target| {
        links.push((at.clone(), relative(at, &target.to_string_lossy())));
    });
    for (at, target) in links {
        insert(tree, &scrubber.scrub_path(at.as_str()), Node::Link(scrubber.scrub_path(&target)));
    }
    let Ok(real) = end else { return };
    if root.is_directory(&real) {
        insert(tree, &scrubber.scrub_path(real.as_str()), Node::Directory);
    } else if root.is_file(&real) && asked_for {
        let bytes = touched.contents.get(&real).map(|(bytes, _)| bytes.as_slice()).unwrap_or_default();
        let bytes = scrubber.scrub_file(real.name(), bytes);
        insert(tree, &scrubber.scrub_path(real.as_str()), Node::File(bytes));
    }
}

/// Inserts a node and the directories above it; what is there already stays, but bytes replace no bytes.
fn insert(tree: &mut Tree, path: &str, node: Node) {
    let path = path.trim_start_matches('/');
    let mut above = path;
    while let Some((parent, _)) = above.rsplit_once('/') {
        tree.entry(parent.to_string()).or_insert(Node::Directory);
        above = parent;
    }
    if !path.is_empty() {
        tree.entry(path.to_string()).or_insert(node);
    }
}

/// An absolute target as seen from the link's directory.
fn relative(at: &Place, target: &str) -> String {
    if !target.starts_with('/') {
        return target.to_string();
    }
    let up = at.parts().count().saturating_sub(1);
    format!("{}{}", "../".repeat(up), target.trim_start_matches('/'))
}

/// Writes the tree into a folder.
pub(super) fn write(tree: &Tree, folder: &Path) -> io::Result<()> {
    for (path, node) in tree {
        let at = folder.join(path);
        match node {
            Node::Directory => fs::create_dir_all(at)?,
            Node::File(bytes) => fs::write(at, bytes)?,
            Node::Link(target) => std::os::unix::fs::symlink(target, at)?,
        }
    }
    Ok(())
}

/// Packs the tree below `prefix`.
pub(super) fn pack<W: Write>(tree: &Tree, prefix: &str, archive: &mut Archive<W>) -> io::Result<()> {
    archive.directory(prefix)?;
    for (path, node) in tree {
        let name = format!("{prefix}/{path}");
        match node {
            Node::Directory => archive.directory(&name)?,
            Node::File(bytes) => archive.file(&name, bytes)?,
            Node::Link(target) => archive.link(&name, target)?,
        }
    }
    Ok(())
}
