//! Whether every layer's bytes are what its digest says: the part of the check that reads the whole module.

use super::blobs::Blobs;
use ouro_common::id::Digest;
use ouro_common::module::{ModuleContents, blob_path};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// The bytes that checking will read.
pub(crate) fn total_bytes(contents: &ModuleContents) -> u64 {
    layers(contents).into_values().map(|(_, bytes)| bytes).sum()
}

/// Every layer once, with the first container that has it.
fn layers(contents: &ModuleContents) -> BTreeMap<Digest, (String, u64)> {
    let mut all = BTreeMap::new();
    for packed in &contents.containers {
        for layer in &packed.layers {
            let name = packed.container.manifest.reference().to_string();
            all.entry(layer.digest).or_insert((name, layer.size_bytes));
        }
    }
    all
}

/// Reads every layer; what is wrong with them, a sentence each. `read` is told of every piece, in bytes.
pub(crate) fn check(blobs: &dyn Blobs, contents: &ModuleContents, read: &mut dyn FnMut(u64)) -> Vec<String> {
    let mut problems = vec![];
    for (digest, (container, _)) in layers(contents) {
        let (path, mut hasher) = (blob_path(&digest), Sha256::new());
        let streamed = blobs.stream(&path, &mut |piece| {
            hasher.update(piece);
            read(piece.len() as u64);
        });
        match streamed {
            Err(error) => problems.push(format!("{container}: its layer {path}: {error}")),
            Ok(()) if Digest::sha256(hasher.finalize().into()) != digest => {
                problems
                    .push(format!("{container}: its layer {path} is not what its digest says: it was changed or the volume is damaged"));
            }
            Ok(()) => {}
        }
    }
    problems
}
