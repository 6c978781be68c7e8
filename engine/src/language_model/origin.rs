//! What a model was read from, in the words of a line for people.

use crate::decoder::Architecture;
use crate::gguf::Gguf;
use crate::safetensors::Checkpoint;
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
    /// How many tensors there are of each type, in the order in which types occur first.
    pub types: Vec<(String, usize)>,
    /// Size of the files with weights.
    pub bytes: u64,
}

impl Origin {
    pub(super) fn of_file(file: &Gguf, architecture: Architecture) -> Self {
        let types = counted(file.tensors().map(|tensor| tensor.kind.name()));
        Self { architecture, format: "GGUF", files: 1, types, bytes: file.size_bytes() }
    }

    pub(super) fn of_folder(folder: &Checkpoint, architecture: Architecture) -> Self {
        Self {
            architecture,
            format: "SafeTensors",
            files: folder.files(),
            types: counted(folder.types()),
            bytes: folder.size_bytes(),
        }
    }
}

fn counted(types: impl Iterator<Item = String>) -> Vec<(String, usize)> {
    let mut counts: Vec<(String, usize)> = vec![];
    for kind in types {
        match counts.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => counts.push((kind, 1)),
        }
    }
    counts
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tensors: usize = self.types.iter().map(|(_, count)| count).sum();
        let types: Vec<String> = self.types.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let files = if self.files == 1 { "1 file".into() } else { format!("{} files", self.files) };
        let (architecture, format, mega) = (self.architecture, self.format, self.bytes as f64 / 1e6);
        write!(f, "{architecture:?}, {format}, {files}, {tensors} tensors ({}), {mega:.2} MB", types.join(", "))?;
        // Quantised matrices are computed where they are mapped; what candle loads is in memory a second time.
        if self.format == "SafeTensors" { f.write_str(", kept as F32 in memory") } else { Ok(()) }
    }
}
