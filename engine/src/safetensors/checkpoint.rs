//! The tensors of a folder, wherever its files have them, and its configuration.

use super::{CheckpointError, CheckpointProblem, Document};
use crate::decoder::stays_mapped;
use crate::gguf::TensorType;
use crate::mapped_file::MappedFile;
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Larger than any configuration.
const MAX_CONFIG_BYTES: u64 = 16 << 20;
/// Larger than any index: a line for each tensor.
const MAX_INDEX_BYTES: u64 = 64 << 20;
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// A folder whose files were found to be sound.
#[derive(Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    config: Document,
    shards: Vec<Shard>,
    tensors: BTreeMap<String, Place>,
}

#[derive(Debug)]
struct Shard {
    name: String,
    map: MappedFile,
}

/// Where a tensor lies and what it is.
#[derive(Debug)]
struct Place {
    shard: usize,
    bytes: Range<usize>,
    shape: Vec<u64>,
    dtype: Dtype,
}

impl Checkpoint {
    /// Maps and validates the files of a folder.
    pub fn open(folder: &Path) -> Result<Self, CheckpointError> {
        let path = |name: &str| folder.join(name);
        let missing = |name: &str| CheckpointError::new(path(name), "file", CheckpointProblem::Missing);
        if !path("config.json").exists() {
            return Err(missing("config.json"));
        }
        let config = Document::read(&path("config.json"), MAX_CONFIG_BYTES)?;
        let mut checkpoint = Self { folder: folder.to_path_buf(), config, shards: vec![], tensors: BTreeMap::new() };
        if path(INDEX).exists() {
            checkpoint.add_indexed()?;
        } else if path(SINGLE).exists() {
            checkpoint.add(SINGLE)?;
        } else {
            return Err(missing(SINGLE));
        }
        Ok(checkpoint)
    }

    /// Adds the files that the index names, and holds it to what it says of each tensor.
    fn add_indexed(&mut self) -> Result<(), CheckpointError> {
        let index = Document::read(&self.folder.join(INDEX), MAX_INDEX_BYTES)?;
        let Some(entries) = index.get("weight_map").and_then(|map| map.as_object()) else {
            return Err(index.error("weight_map", CheckpointProblem::Missing));
        };
        let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
        for (tensor, file) in entries {
            let file = file.as_str().unwrap_or_default();
            let plain = Path::new(file).file_name().is_some_and(|name| name == file) && !file.contains(['\\', '\0']);
            if !plain || !file.ends_with(".safetensors") {
                return Err(index.error(tensor, CheckpointProblem::FileName(file.to_string())));
            }
            let number = match numbers.get(file) {
                Some(number) => *number,
                None => {
                    self.add(file)?;
                    numbers.insert(file, self.shards.len() - 1);
                    self.shards.len() - 1
                }
            };
            if self.tensors.get(tensor).is_none_or(|place| place.shard != number) {
                return Err(index.error(tensor, CheckpointProblem::NotThere { file: file.to_string() }));
            }
        }
        Ok(())
    }

    fn add(&mut self, name: &str) -> Result<(), CheckpointError> {
        let path = self.folder.join(name);
        let refuse = |item: &str, problem| CheckpointError::new(path.clone(), item, problem);
        let io = |e| refuse("file", CheckpointProblem::Io(e));
        let file = File::open(&path).map_err(io)?;
        if !file.metadata().map_err(io)?.is_file() {
            return Err(io(std::io::Error::from(std::io::ErrorKind::InvalidInput)));
        }
        let map = MappedFile::new(&file).map_err(io)?;
        let (header_bytes, header) = SafeTensors::read_metadata(&map).map_err(|e| refuse("header", e.into()))?;
        // The header's length stands before it in eight bytes.
        let data = header_bytes + size_of::<u64>();
        let shard = self.shards.len();
        for (tensor, about) in header.tensors() {
            let (start, end) = about.data_offsets;
            let place = Place {
                shard,
                bytes: data + start..data + end,
                shape: about.shape.iter().map(|&extent| extent as u64).collect(),
                dtype: about.dtype,
            };
            if let Some(before) = self.tensors.insert(tensor.clone(), place) {
                let other = self.shards.get(before.shard).map_or(name, |shard| &shard.name).to_string();
                return Err(refuse(&format!("tensor {tensor:?}"), CheckpointProblem::Duplicate { other }));
            }
        }
        self.shards.push(Shard { name: name.to_string(), map });
        Ok(())
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What `config.json` says.
    pub(crate) fn config(&self) -> &Document {
        &self.config
    }

    /// The size of all its files of weights.
    pub fn size_bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.map.len() as u64).sum()
    }

    /// Bytes of memory that its matrices take beside the files: those without kernels here are read into singles.
    pub(crate) fn copied_bytes(&self) -> u64 {
        let copied = |place: &&Place| place.shape.len() > 1 && tensor_type(place.dtype).is_some_and(|kind| !stays_mapped(kind));
        let singles = |place: &Place| place.shape.iter().product::<u64>() * size_of::<f32>() as u64;
        self.tensors.values().filter(copied).map(singles).sum()
    }

    /// Reads the files ahead where they are not in memory.
    pub(crate) fn read_ahead(&self) {
        MappedFile::read_all_ahead(self.shards.iter().map(|shard| &shard.map));
    }

    /// How many files of weights there are.
    pub fn files(&self) -> usize {
        self.shards.len()
    }

    /// The types of all tensors by name, and how many bytes each has.
    pub fn types(&self) -> impl ExactSizeIterator<Item = (String, usize)> {
        self.tensors.values().map(|place| (format!("{:?}", place.dtype), place.bytes.len()))
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The type and bytes of the tensor of this name, if it has this shape.
    pub fn tensor(&self, name: &str, expected: &[usize]) -> Result<(TensorType, &[u8]), CheckpointError> {
        let (kind, map, bytes) = self.place(name, expected)?;
        Ok((kind, map.get(bytes).unwrap_or_default()))
    }

    /// The type of the tensor of this name, the file that it lies in and where, if it has this shape.
    pub(crate) fn place(&self, name: &str, expected: &[usize]) -> Result<(TensorType, &MappedFile, Range<usize>), CheckpointError> {
        let item = || format!("tensor {name:?}");
        let Some(place) = self.tensors.get(name) else {
            return Err(CheckpointError::new(self.folder.clone(), item(), CheckpointProblem::Missing));
        };
        let shard = &self.shards[place.shard];
        let refuse = |problem| CheckpointError::new(self.folder.join(&shard.name), item(), problem);
        let wanted: Vec<u64> = expected.iter().map(|&extent| extent as u64).collect();
        if place.shape != wanted {
            return Err(refuse(CheckpointProblem::WrongShape { found: place.shape.clone(), expected: wanted }));
        }
        let Some(kind) = tensor_type(place.dtype) else {
            return Err(refuse(CheckpointProblem::Type(format!("{:?}", place.dtype))));
        };
        Ok((kind, &shard.map, place.bytes.clone()))
    }
}

/// What is computed with here.
fn tensor_type(dtype: Dtype) -> Option<TensorType> {
    match dtype {
        Dtype::F32 => Some(TensorType::F32),
        Dtype::F16 => Some(TensorType::F16),
        Dtype::BF16 => Some(TensorType::BF16),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tiny_folder::{Files, SHAPES, config, files, tensors, tokenizer, write};
    use super::*;
    use crate::language_model::LanguageModel;
    use serde_json::json;

    fn refusal(change: impl FnOnce(&mut Files)) -> String {
        let mut files = files();
        change(&mut files);
        LanguageModel::open(write(&files).path()).map(drop).unwrap_err().to_string()
    }

    fn set(files: &mut Files, file: &'static str, whole: serde_json::Value, key: &str, value: serde_json::Value) {
        let mut whole = whole;
        whole.as_object_mut().unwrap().insert(key.into(), value);
        files.insert(file, whole.to_string().into_bytes());
    }

    #[test]
    fn a_folder_is_read_whole() {
        let folder = write(&files());
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        assert_eq!((checkpoint.files(), checkpoint.types().len()), (2, 12));
        assert!(checkpoint.size_bytes() > 33_000);
        let model = LanguageModel::open(folder.path()).unwrap();
        let origin = model.origin().to_string();
        // The first file has two matrices of singles; processors without kernels for halves copy the others as well.
        assert!(origin.contains("Llama, SafeTensors, 2 files, 12 tensors (5 F32, 7 BF16), 0.04 MB, 0.0"), "{origin}");
        assert!(
            checkpoint.copied_bytes() >= 2 * 260 * 16 * 4 && origin.ends_with(" MB of matrices copied into memory as F32"),
            "{origin}"
        );
        assert_eq!((model.config().layers, model.config().context, model.tokenizer().size()), (1, 64, 260));
        assert!(model.tokenizer().is_stop(257) && !model.tokenizer().is_stop(256));
        // The start token, a merged word, and nothing that a person could forge.
        assert_eq!(model.tokenizer().encode_chat("he").unwrap(), [258, 256]);
        let forged = model.tokenizer().encode("</s><tool>e\u{301}").unwrap();
        assert!(forged.iter().all(|id| *id < 256) && forged.ends_with(&[0xc3, 0xa9]), "{forged:?}");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_file() {
        let index = |file: &str| json!({"weight_map": {"model.norm.weight": file}}).to_string().into_bytes();
        let name = "model.safetensors.index.json";
        for file in ["../a.safetensors", "/etc/passwd", "x/a.safetensors", "a.bin", "", ".."] {
            let error = refusal(|files| _ = files.insert(name, index(file)));
            assert!(error.contains("model.norm.weight") && error.contains("no name of a .safetensors"), "{error}");
        }
        let error = refusal(|files| _ = files.insert(name, index("c.safetensors")));
        assert!(error.contains("c.safetensors") && error.contains("cannot be read"), "{error}");
        let error = refusal(|files| _ = files.insert(name, index("b.safetensors")));
        assert!(error.contains("b.safetensors, but it is not"), "{error}");
        let error = refusal(|files| files.get_mut("a.safetensors").unwrap().truncate(500));
        assert!(error.contains("a.safetensors") && error.contains("fetch it again"), "{error}");
        let error = refusal(|files| _ = files.insert("b.safetensors", tensors(&SHAPES, Dtype::BF16)));
        assert!(error.contains("also in a.safetensors"), "{error}");
        let error = refusal(|files| _ = files.insert("b.safetensors", tensors(&SHAPES[5..], Dtype::I16)));
        assert!(error.contains("q_proj") && error.contains("I16"), "{error}");
        let error = refusal(|files| _ = files.remove("config.json"));
        assert!(error.contains("config.json") && error.contains("missing"), "{error}");
        let error = refusal(|files| files.retain(|name, _| name.ends_with("r.json") || *name == "config.json"));
        assert!(error.contains("model.safetensors") && error.contains("missing"), "{error}");
        assert!(refusal(|files| _ = files.insert("config.json", b"[1]".to_vec())).contains("JSON object"));
    }

    #[test]
    fn models_that_would_be_computed_wrongly_are_refused() {
        for (key, value, words) in [
            ("model_type", json!("gemma"), "phi3, llama, mistral, qwen2, qwen3"),
            ("hidden_act", json!("gelu"), "only silu"),
            ("quantization_config", json!({"bits": 4}), "quantization_config"),
            ("layer_types", json!(["sliding_attention", "full_attention"]), "equally far"),
            ("rope_parameters", json!({"rope_type": "yarn", "factor": 4.0}), "rope_parameters.rope_type"),
            (
                "rope_parameters",
                json!({"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0, 2.0]}),
                "2 are needed",
            ),
            ("num_key_value_heads", json!(3), "divide"),
            ("hidden_size", json!(-1), "1 to 131072"),
            ("hidden_size", json!(24), "expected [24, 24]"),
            ("vocab_size", json!(1u64 << 60), "vocab_size"),
        ] {
            let error = refusal(|files| set(files, "config.json", config(), key, value));
            assert!(error.contains(words), "{error}");
        }
        for (key, value, words) in [
            ("model", json!({"type": "Unigram"}), "only BPE"),
            ("model", json!({"type": "BPE", "vocab": {"a": 4_000_000_000_u32}, "merges": []}), "4000000001"),
            ("model", json!({"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"]]}), "model"),
            ("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "AA=="}), "Precompiled"),
            ("pre_tokenizer", json!(null), "byte_fallback"),
            ("added_tokens", json!(7), "added_tokens"),
        ] {
            let error = refusal(|files| set(files, "tokenizer.json", tokenizer(), key, value));
            assert!(error.contains(words) && error.contains("tokenizer.json"), "{error}");
        }
    }
}
