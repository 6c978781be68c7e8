//! What is found on good, cut off, lying and arbitrary volumes.

use super::*;
use crate::module::{Image, LAYOUT, LayerKind};
use proptest::prelude::*;

/// Files by path.
#[derive(Debug, Clone, Default)]
struct Files(BTreeMap<String, Vec<u8>>);

impl Volume for Files {
    fn read(&self, path: &str, max_bytes: u64) -> Result<Vec<u8>, VolumeError> {
        let bytes = self.0.get(path).ok_or(VolumeError::Missing)?;
        if bytes.len() as u64 > max_bytes {
            return Err(VolumeError::TooLarge { bytes: bytes.len() as u64, max_bytes });
        }
        Ok(bytes.clone())
    }
    fn file_bytes(&self, path: &str) -> Result<u64, VolumeError> {
        self.0.get(path).map(|bytes| bytes.len() as u64).ok_or(VolumeError::Missing)
    }
    fn read_last_block(&self, path: &str) -> Result<(), VolumeError> {
        if self.0[path] == b"rotten" {
            Err(VolumeError::Unreadable { problem: "input/output error".into() })
        } else {
            Ok(())
        }
    }
}

impl Files {
    fn blob(&mut self, bytes: &[u8]) -> Digest {
        self.0.insert(blob_path(&sha256(bytes)), bytes.to_vec());
        sha256(bytes)
    }
}

fn manifest(name: &str, runtime: &str) -> Manifest {
    let process = if runtime == "oci" { "[needs]\nmemory_bytes = 1\n[oci]\nargs = [\"/tool\"]\n" } else { "" };
    let text = format!(
        "name = \"{name}\"\nversion = \"1.0.0\"\nsummary = \"s\"\nruntime = \"{runtime}\"\ninputs = []\n\
         outputs = [{{ port = \"out\", media = \"text/plain\" }}]\n{process}"
    );
    Manifest::from_toml(&text).unwrap()
}

/// A volume with one container for each of (name, runtime, content of its layer).
fn volume(containers: &[(&str, &str, &str)]) -> Files {
    let mut files = Files::default();
    let mut packed = vec![];
    for (name, runtime, content) in containers {
        let kind = if *runtime == "oci" { LayerKind::Tar } else { LayerKind::Weights };
        let digest = files.blob(content.as_bytes());
        let layer = Layer { kind, digest, size_bytes: content.len() as u64 };
        let manifest = manifest(name, runtime);
        let image = Image::new(&manifest, &[layer]).unwrap();
        files.blob(&image.manifest_json);
        files.blob(&image.config_json);
        packed.push((manifest, image));
    }
    let listed: Vec<_> = packed.iter().map(|(manifest, image)| (manifest, image)).collect();
    files.0.insert(INDEX_FILE.into(), Index::of(&listed).to_json());
    files.0.insert(LAYOUT_FILE.into(), LAYOUT.into());
    files
}

fn read(files: &Files) -> ModuleContents {
    read_module(files, &[]).unwrap()
}

/// The one problem of a module, and whether anything else is usable.
fn only_problem(files: &Files) -> (ProblemKind, String, usize) {
    let contents = read(files);
    assert_eq!(contents.problems.len(), 1, "{:?}", contents.problems);
    (contents.problems[0].kind, contents.problems[0].to_string(), contents.containers.len())
}

#[test]
fn what_was_packed_is_found_whatever_the_order() {
    let files = volume(&[("b", "gguf", "weights b"), ("a", "oci", "archive a")]);
    let contents = read(&files);
    assert_eq!(contents.problems, []);
    assert_eq!(contents.signature, Verdict::Unsigned);
    let names: Vec<_> = contents.containers.iter().map(|p| p.container.manifest.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(contents.digest, sha256(&files.0[INDEX_FILE]));
    assert_eq!(
        contents.containers[1].layers,
        [Layer { kind: LayerKind::Weights, digest: sha256(b"weights b"), size_bytes: 9 }]
    );
    assert_eq!(contents.container(&contents.containers[0].container.digest), contents.containers.first());
    let other_order = volume(&[("a", "oci", "archive a"), ("b", "gguf", "weights b")]);
    assert_eq!(read(&other_order).digest, contents.digest);
}

#[test]
fn what_is_missing_or_cut_off_may_come_later() {
    let whole = volume(&[("a", "gguf", "weights a"), ("b", "gguf", "weights b")]);
    let layer = blob_path(&sha256(b"weights a"));
    let mut missing = whole.clone();
    missing.0.remove(&layer);
    let mut short = whole.clone();
    short.0.insert(layer.clone(), b"weigh".to_vec());
    for (files, what) in [
        (missing, "it is missing"),
        (short, "has 5 bytes instead of 9"),
        (volume(&[("a", "gguf", "rotten"), ("b", "gguf", "b")]), "input/output error"),
    ] {
        let (kind, text, usable) = only_problem(&files);
        assert_eq!((kind, usable), (ProblemKind::Incomplete, 1));
        assert!(text.starts_with("a:1.0.0: its layer blobs/sha256/") && text.contains(what), "{text}");
        assert!(read(&files).is_incomplete());
    }
    let mut no_index = whole.clone();
    no_index.0.remove(INDEX_FILE);
    assert!(read_module(&no_index, &[]).unwrap_err().is_incomplete());
    let mut no_layout = whole;
    no_layout.0.remove(LAYOUT_FILE);
    let error = read_module(&no_layout, &[]).unwrap_err();
    assert!(error.is_no_module() && !error.is_incomplete());
}

#[test]
fn a_manifest_that_is_not_what_its_digest_says_is_damaged() {
    let mut files = volume(&[("a", "gguf", "weights")]);
    let digest = read(&files).containers[0].container.digest;
    let bytes = files.0.get_mut(&blob_path(&digest)).unwrap();
    let last = bytes.len() - 1;
    bytes[last] = b' ';
    let (kind, text, usable) = only_problem(&files);
    assert_eq!((kind, usable), (ProblemKind::Damaged, 0), "{text}");
}

#[test]
fn two_containers_of_one_name_and_version_are_a_conflict_and_one_twice_is_not() {
    let files = volume(&[("a", "gguf", "weights"), ("a", "gguf", "other weights"), ("b", "gguf", "weights")]);
    let (kind, text, usable) = only_problem(&files);
    assert_eq!((kind, usable), (ProblemKind::Conflict, 1));
    assert!(text.starts_with("a:1.0.0: 2 containers"), "{text}");
    let twice = read(&volume(&[("a", "gguf", "weights"), ("a", "gguf", "weights")]));
    assert_eq!((twice.containers.len(), twice.problems.len()), (1, 0));
}

#[test]
fn a_name_in_the_index_that_its_manifest_does_not_confirm_is_refused_and_escaped() {
    let mut files = volume(&[("a", "gguf", "weights")]);
    let index = String::from_utf8(files.0[INDEX_FILE].clone()).unwrap();
    files.0.insert(INDEX_FILE.into(), index.replace("a:1.0.0", "\\u001b[2Jbank").into_bytes());
    let (kind, text, _) = only_problem(&files);
    assert_eq!(kind, ProblemKind::Refused);
    assert!(text.starts_with("\\u{1b}[2Jbank: its manifest calls it a:1.0.0"), "{text}");
    let nameless = index.replace(r#","annotations":{"org.opencontainers.image.ref.name":"a:1.0.0"}"#, "");
    assert_ne!(nameless, index);
    files.0.insert(INDEX_FILE.into(), nameless.into_bytes());
    assert_eq!(read(&files).containers.len(), 1, "the manifest's own name is enough");
}

#[test]
fn an_index_of_100_mb_is_refused_by_its_size() {
    let mut files = volume(&[]);
    files.0.insert(INDEX_FILE.into(), vec![b'['; 100_000_000]);
    let error = read_module(&files, &[]).unwrap_err();
    assert_eq!(error.to_string(), "index.json: it has 100000000 bytes, at most 4194304 are allowed");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_in_any_file_are_survived(
        which in 0usize..6, cut in any::<prop::sample::Index>(), junk in prop::collection::vec(any::<u8>(), 0..64), insert in any::<bool>(),
    ) {
        let mut files = volume(&[("a", "gguf", "weights a"), ("b", "oci", "archive b")]);
        files.0.insert(SIGNATURE_FILE.into(), b"untrusted comment: x\nRWQ=\ntrusted comment: y\nAAAA\n".to_vec());
        let path = files.0.keys().nth(which).unwrap().clone();
        let bytes = files.0.get_mut(&path).unwrap();
        let at = cut.index(bytes.len() + 1);
        if insert { bytes.splice(at..at, junk); } else { bytes.truncate(at); bytes.extend(junk); }
        if let Ok(contents) = read_module(&files, &[]) {
            // Whatever was done to it, what is offered is what its digest says.
            for packed in &contents.containers {
                let image = Image::new(&packed.container.manifest, &packed.layers).unwrap();
                prop_assert_eq!(image.digest, packed.container.digest);
            }
            prop_assert!(!contents.signature.is_trusted());
        }
    }

    #[test]
    fn any_text_as_index_or_signature_is_survived(index in ".{0,300}", signature in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut files = volume(&[]);
        files.0.insert(INDEX_FILE.into(), index.into_bytes());
        files.0.insert(SIGNATURE_FILE.into(), signature);
        let _ = read_module(&files, &[]);
    }
}
