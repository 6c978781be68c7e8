//! What a model was read from, in the words of a line for people.

use crate::decoder::Architecture;
use crate::gguf::Gguf;
use crate::safetensors::Checkpoint;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

/// The files of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Which arithmetic it needs.
    pub architecture: Architecture,
    /// `GGUF` or `SafeTensors`.
    pub format: &'static str,
    /// Files with weights.
    pub files: usize,
    /// How many tensors there are of each type, the types with most bytes first.
    pub types: Vec<(String, usize)>,
    /// Size of the files with weights.
    pub bytes: u64,
    /// Bytes of memory that matrices take a second time, because they are not computed where they are mapped.
    pub copied_bytes: u64,
}

impl Origin {
    pub(super) fn of_file(file: &Gguf, architecture: Architecture) -> Self {
        let types = counted(file.tensors().map(|tensor| (tensor.kind.name(), tensor.bytes.len())));
        Self { architecture, format: "GGUF", files: 1, types, bytes: file.size_bytes(), copied_bytes: 0 }
    }

    pub(super) fn of_folder(folder: &Checkpoint, architecture: Architecture) -> Self {
        Self {
            architecture,
            format: "SafeTensors",
            files: folder.files(),
            types: counted(folder.types()),
            bytes: folder.size_bytes(),
            copied_bytes: folder.copied_bytes(),
        }
    }
}

/// Counts types; equals stand in the order of their names, so that the same file always says the same.
fn counted(tensors: impl Iterator<Item = (String, usize)>) -> Vec<(String, usize)> {
    let mut types: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for (kind, bytes) in tensors {
        let (all, count) = types.entry(kind).or_default();
        (*all, *count) = (*all + bytes, *count + 1);
    }
    let mut types: Vec<_> = types.into_iter().collect();
    types.sort_by_key(|(_, (bytes, _))| Reverse(*bytes));
    types.into_iter().map(|(kind, (_, count))| (kind, count)).collect()
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tensors: usize = self.types.iter().map(|(_, count)| count).sum();
        let types: Vec<String> = self.types.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let files = if self.files == 1 { "1 file".into() } else { format!("{} files", self.files) };
        let (architecture, format, mega) = (self.architecture, self.format, self.bytes as f64 / 1e6);
        write!(f, "{architecture:?}, {format}, {files}, {tensors} tensors ({}), {mega:.2} MB", types.join(", "))?;
        match self.copied_bytes {
            0 => Ok(()),
            bytes => write!(f, ", {:.2} MB of matrices copied into memory as F32", bytes as f64 / 1e6),
        }
    }
}
