//! From a folder of containers to everything that a module of them holds.
//!
//! Each folder with a `container.toml` is a container, the given one or those in it. What cannot be packed is an error that
//! names the file: a module is built whole or not at all.

use super::blobs::PIECE_BYTES;
use super::rootfs::write_archive;
use ouro_common::container::{Manifest, Runtime};
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::Digest;
use ouro_common::module::{INDEX_FILE, Image, Index, LAYOUT, LAYOUT_FILE, Layer, LayerKind, ROOTFS_ARCHIVES, blob_path, limits, sha256};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufWriter, Read as _};
use std::path::{Path, PathBuf};

/// What a file of the module is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A file of this size.
    File(PathBuf, u64),
}

impl Content {
    /// Its size, bytes.
    pub(crate) fn size_bytes(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, size_bytes) => *size_bytes,
        }
    }
}

/// A module, ready to be written in one form or another.
#[derive(Debug)]
pub(crate) struct Packing {
    /// The module's identity: the digest of its index.
    pub(crate) digest: Digest,
    /// Its files by their path in the layout.
    pub(crate) files: BTreeMap<String, Content>,
}

impl Packing {
    /// The bytes of its index, which are what is signed.
    pub(crate) fn index(&self) -> &[u8] {
        match self.files.get(INDEX_FILE) {
            Some(Content::Bytes(bytes)) => bytes,
            _ => &[],
        }
    }
}

/// A container that was found, before its files were read.
#[derive(Debug)]
struct Found {
    folder: PathBuf,
    manifest: Manifest,
    file: Option<PathBuf>,
}

/// Where containers were found, and how much reading them takes.
#[derive(Debug)]
pub(crate) struct Gathering {
    found: Vec<Found>,
    /// The bytes that will be hashed.
    pub(crate) total_bytes: u64,
}

fn wrong(path: &Path, problem: impl Into<String>) -> Fault {
    Fault::new(FaultCode::ModelInvalid, problem).at(path.display())
}

fn unread(path: &Path) -> impl FnOnce(io::Error) -> Fault + '_ {
    move |error| wrong(path, format!("it cannot be read: {error}"))
}

/// Finds the containers in `folder`; root filesystems that are folders become archives in `scratch`.
///
/// # Errors
/// There are none, or one of them cannot be packed.
pub(crate) fn find(folder: &Path, scratch: &Path) -> Result<Gathering, Fault> {
    let mut folders = vec![];
    if folder.join("container.toml").exists() {
        folders.push(folder.to_path_buf());
    } else {
        let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(unread(folder))?;
        folders.extend(entries.into_iter().map(|e| e.path()).filter(|path| path.join("container.toml").exists()));
        folders.sort();
    }
    if folders.is_empty() {
        return Err(wrong(folder, "it holds no container")
            .remedy("put a folder for each container into it, with a container.toml and the model or root filesystem"));
    }
    if folders.len() > limits::CONTAINERS {
        return Err(wrong(folder, format!("it holds {} containers, a module has at most {}", folders.len(), limits::CONTAINERS)));
    }
    let found = folders.iter().enumerate().map(|(i, f)| container(f, &scratch.join(format!("rootfs-{i}.tar"))));
    let found = found.collect::<Result<Vec<_>, _>>()?;
    let mut names = BTreeSet::new();
    for one in &found {
        if !names.insert(one.manifest.reference().to_string()) {
            return Err(wrong(&one.folder, format!("another folder holds {} as well", one.manifest.reference()))
                .remedy("give each container a name and version of its own"));
        }
    }
    let mut total_bytes = 0;
    for file in found.iter().filter_map(|one| one.file.as_ref()) {
        total_bytes += fs::metadata(file).map_err(unread(file))?.len();
    }
    Ok(Gathering { found, total_bytes })
}

fn container(folder: &Path, archive: &Path) -> Result<Found, Fault> {
    let path = folder.join("container.toml");
    let size = fs::metadata(&path).map_err(unread(&path))?.len();
    if size > limits::CONFIG_BYTES {
        return Err(wrong(&path, format!("it has {size} bytes, at most {} are allowed", limits::CONFIG_BYTES)));
    }
    let text = fs::read_to_string(&path).map_err(unread(&path))?;
    let manifest = Manifest::from_toml(&text).map_err(|e| wrong(&path, e.to_string()))?;
    let file = match manifest.runtime {
        Runtime::Onnx | Runtime::Gguf => Some(folder.join(manifest.model_file())),
        Runtime::Oci => Some(root_filesystem(folder, archive)?),
        Runtime::Builtin => None,
    };
    Ok(Found { folder: folder.to_path_buf(), manifest, file })
}

/// The archive with the root filesystem: as it is, or made from the folder `rootfs`.
fn root_filesystem(folder: &Path, archive: &Path) -> Result<PathBuf, Fault> {
    let unpacked = folder.join("rootfs");
    let mut there: Vec<PathBuf> = ROOTFS_ARCHIVES.iter().map(|name| folder.join(name)).filter(|path| path.exists()).collect();
    if unpacked.is_dir() {
        there.push(unpacked.clone());
    }
    match there.as_slice() {
        [one] if *one == unpacked => {
            let file = File::create(archive).map_err(unread(archive))?;
            write_archive(one, &mut BufWriter::new(file)).map_err(|e| wrong(&unpacked, e.to_string()))?;
            Ok(archive.to_path_buf())
        }
        [one] => Ok(one.clone()),
        [] => {
            Err(wrong(folder, "it has no root filesystem").remedy(format!("add one of {} or a folder rootfs", ROOTFS_ARCHIVES.join(", "))))
        }
        _ => Err(wrong(folder, "it has more than one root filesystem")
            .remedy(format!("keep one of {} and the folder rootfs", ROOTFS_ARCHIVES.join(", ")))),
    }
}

impl Gathering {
    /// Reads everything once, for the digests; `read` is told of every piece, in bytes.
    ///
    /// # Errors
    /// A file cannot be read, or does not fit its manifest.
    pub(crate) fn pack(&self, read: &mut dyn FnMut(u64)) -> Result<Packing, Fault> {
        let (mut files, mut images) = (BTreeMap::new(), vec![]);
        for found in &self.found {
            let mut layers = vec![];
            if let Some(file) = &found.file {
                let archive = found.manifest.runtime == Runtime::Oci;
                let layer = hash(file, archive, read).map_err(unread(file))?;
                files.insert(blob_path(&layer.digest), Content::File(file.clone(), layer.size_bytes));
                layers.push(layer);
            }
            let image = Image::new(&found.manifest, &layers).map_err(|e| wrong(&found.folder, e.to_string()))?;
            images.push((&found.manifest, image));
        }
        for (_, image) in &images {
            files.insert(blob_path(&image.digest), Content::Bytes(image.manifest_json.clone()));
            files.insert(blob_path(&image.config_digest), Content::Bytes(image.config_json.clone()));
        }
        let listed: Vec<_> = images.iter().map(|(manifest, image)| (*manifest, image)).collect();
        let index = Index::of(&listed).to_json();
        let digest = sha256(&index);
        files.insert(INDEX_FILE.into(), Content::Bytes(index));
        files.insert(LAYOUT_FILE.into(), Content::Bytes(LAYOUT.into()));
        Ok(Packing { digest, files })
    }
}

fn hash(path: &Path, archive: bool, read: &mut dyn FnMut(u64)) -> io::Result<Layer> {
    let (mut file, mut hasher, mut piece) = (File::open(path)?, Sha256::new(), vec![0; PIECE_BYTES]);
    let (mut size_bytes, mut kind) = (0, LayerKind::Weights);
    loop {
        let n = file.read(&mut piece)?;
        if n == 0 {
            return Ok(Layer { kind, digest: Digest::sha256(hasher.finalize().into()), size_bytes });
        }
        if archive && size_bytes == 0 {
            kind = LayerKind::of_archive(&piece[..n]);
        }
        hasher.update(&piece[..n]);
        size_bytes += n as u64;
        read(n as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(home: &Path, folder: &str, name: &str, runtime: &str, files: &[(&str, &str)]) {
        let folder = home.join(folder);
        fs::create_dir_all(&folder).unwrap();
        let text = format!(
            "name = \"{name}\"\nversion = \"1.0.0\"\nsummary = \"s\"\nruntime = \"{runtime}\"\ninputs = []\n\
             outputs = [{{ port = \"out\", media = \"text/plain\" }}]\n"
        );
        let text = if runtime == "oci" { text + "[needs]\nmemory_bytes = 1\n[oci]\nargs = [\"/bin/run\"]\n" } else { text };
        fs::write(folder.join("container.toml"), text).unwrap();
        for (file, content) in files {
            fs::create_dir_all(folder.join(file).parent().unwrap()).unwrap();
            fs::write(folder.join(file), content).unwrap();
        }
    }

    fn pack(home: &Path) -> Result<Packing, Fault> {
        let scratch = tempfile::tempdir().unwrap();
        find(home, scratch.path())?.pack(&mut |_| ())
    }

    #[test]
    fn the_same_containers_make_the_same_module_wherever_they_lie() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (home, a, b) in [(&one, "a", "b"), (&other, "y", "x")] {
            put(home.path(), a, "model", "gguf", &[("model.gguf", "weights")]);
            put(home.path(), b, "program", "oci", &[("rootfs/bin/run", "#!")]);
        }
        let (packed, again) = (pack(one.path()).unwrap(), pack(other.path()).unwrap());
        assert_eq!(packed.digest, again.digest);
        assert_eq!(packed.files.len(), 2 + 2 * 3);
        assert_eq!(sha256(packed.index()), packed.digest);
        // One container by itself is a module as well.
        assert_eq!(pack(&one.path().join("a")).unwrap().files.len(), 2 + 3);
    }

    #[test]
    fn what_cannot_be_packed_is_named() {
        type Case = (&'static str, &'static str, &'static [(&'static str, &'static str)], &'static str);
        let cases: [Case; 4] = [
            ("a", "gguf", &[], "a.gguf"),
            ("b", "oci", &[], "no root filesystem"),
            ("c", "oci", &[("rootfs.tar", ""), ("rootfs/x", "")], "more than one"),
            ("d", "steam", &[], "container.toml"),
        ];
        for (name, runtime, files, problem) in cases {
            let home = tempfile::tempdir().unwrap();
            put(home.path(), name, name, runtime, files);
            let fault = pack(home.path()).unwrap_err();
            assert!(fault.to_string().contains(problem), "{fault}");
        }
        let empty = tempfile::tempdir().unwrap();
        assert!(pack(empty.path()).unwrap_err().problem.contains("no container"));
        put(empty.path(), "a", "same", "builtin", &[]);
        put(empty.path(), "b", "same", "builtin", &[]);
        assert!(pack(empty.path()).unwrap_err().problem.contains("same:1.0.0"));
    }
}
