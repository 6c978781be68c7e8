//! A mapped GGUF file with typed access to its metadata and tensors.

use super::header::{Header, decode_strings};
use super::{Array, GgufError, GgufProblem, TensorInfo, Value, ValueKind};
use crate::mapped_file::MappedFile;
use std::fs::File;
use std::path::{Path, PathBuf};

/// An open GGUF file whose header was found to be sound.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    map: MappedFile,
    header: Header,
}

impl Gguf {
    /// Maps and validates the file.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let refuse = |(item, problem)| GgufError { path: path.to_path_buf(), item, problem };
        let io = |e: std::io::Error| refuse(("file".into(), GgufProblem::Io(e)));
        let file = File::open(path).map_err(io)?;
        if !file.metadata().map_err(io)?.is_file() {
            return Err(io(std::io::Error::from(std::io::ErrorKind::IsADirectory)));
        }
        let map = MappedFile::new(&file).map_err(io)?;
        let header = Header::parse(&map).map_err(refuse)?;
        Ok(Self { path: path.to_path_buf(), map, header })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's size.
    pub fn size_bytes(&self) -> u64 {
        self.map.len() as u64
    }

    /// An error about an item of this file.
    pub fn error(&self, item: impl Into<String>, problem: GgufProblem) -> GgufError {
        GgufError { path: self.path.clone(), item: item.into(), problem }
    }

    /// A metadata value.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.header.metadata.get(key)
    }

    fn wrong(&self, key: &str, value: &Value, expected: &'static str) -> GgufError {
        self.error(key, GgufProblem::WrongKind { found: value.kind(), expected })
    }

    /// An integer that fits `u64`; `None` if the key is absent.
    pub fn integer(&self, key: &str) -> Result<Option<u64>, GgufError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Integer(_, value)) => u64::try_from(*value).map(Some).map_err(|_| {
                self.error(key, GgufProblem::OutOfRange { value: value.to_string(), expected: "it must not be negative".into() })
            }),
            Some(other) => Err(self.wrong(key, other, "an integer")),
        }
    }

    /// A finite number; `None` if the key is absent.
    pub fn number(&self, key: &str) -> Result<Option<f64>, GgufError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Float(_, value)) if value.is_finite() => Ok(Some(*value)),
            Some(Value::Float(_, value)) => {
                Err(self.error(key, GgufProblem::OutOfRange { value: value.to_string(), expected: "it must be finite".into() }))
            }
            Some(other) => Err(self.wrong(key, other, "a floating-point number")),
        }
    }

    /// A truth value; `None` if the key is absent.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>, GgufError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(self.wrong(key, other, "a truth value")),
        }
    }

    /// Text; `None` if the key is absent.
    pub fn text(&self, key: &str) -> Result<Option<&str>, GgufError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::String(value)) => Ok(Some(value)),
            Some(other) => Err(self.wrong(key, other, "a string")),
        }
    }

    fn array(&self, key: &str, kind: ValueKind, expected: &'static str) -> Result<Option<&Array>, GgufError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Array(array)) if array.kind == kind => Ok(Some(array)),
            Some(other) => Err(self.wrong(key, other, expected)),
        }
    }

    /// An array of strings; `None` if the key is absent.
    pub fn strings(&self, key: &str) -> Result<Option<Vec<&str>>, GgufError> {
        let Some(array) = self.array(key, ValueKind::String, "an array of strings")? else {
            return Ok(None);
        };
        decode_strings(&self.map, array).map(Some).map_err(|e| self.error(key, e))
    }

    /// An array of `i32`; `None` if the key is absent.
    pub fn i32s(&self, key: &str) -> Result<Option<Vec<i32>>, GgufError> {
        let Some(array) = self.array(key, ValueKind::I32, "an array of 32-bit integers")? else {
            return Ok(None);
        };
        let (quads, _) = self.map[array.bytes.clone()].as_chunks::<4>();
        Ok(Some(quads.iter().map(|quad| i32::from_le_bytes(*quad)).collect()))
    }

    /// An array of `f32`; `None` if the key is absent.
    pub fn f32s(&self, key: &str) -> Result<Option<Vec<f32>>, GgufError> {
        let Some(array) = self.array(key, ValueKind::F32, "an array of 32-bit floating-point numbers")? else {
            return Ok(None);
        };
        let (quads, _) = self.map[array.bytes.clone()].as_chunks::<4>();
        Ok(Some(quads.iter().map(|quad| f32::from_le_bytes(*quad)).collect()))
    }

    /// All tensors.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = &TensorInfo> {
        self.header.tensors.values()
    }

    /// What is known of a tensor.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.header.tensors.get(name)
    }

    /// The bytes of a tensor of this file.
    pub fn tensor_bytes(&self, tensor: &TensorInfo) -> &[u8] {
        self.map.get(tensor.bytes.clone()).unwrap_or_default()
    }

    /// The file as it is mapped.
    pub(crate) fn map(&self) -> &MappedFile {
        &self.map
    }
}

#[cfg(test)]
mod tests {
    use super::super::writer::GgufWriter;
    use super::*;

    #[test]
    fn errors_name_the_path_the_item_and_the_remedy() {
        let directory = tempfile::tempdir().unwrap();
        let missing = Gguf::open(&directory.path().join("none.gguf")).unwrap_err().to_string();
        assert!(missing.contains("none.gguf") && missing.contains("check the path"), "{missing}");
        assert!(Gguf::open(directory.path()).is_err());

        let path = directory.path().join("short.gguf");
        let mut writer = GgufWriter::new();
        writer.string("general.name", "x");
        writer.tensor_f32("t", &[4], &[0.0; 4]);
        let bytes = writer.finish();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let error = Gguf::open(&path).unwrap_err().to_string();
        assert!(
            error.contains("short.gguf") && error.contains("tensor \"t\"") && error.contains("fetch the file again"),
            "{error}"
        );

        std::fs::write(&path, &bytes).unwrap();
        let file = Gguf::open(&path).unwrap();
        assert_eq!(file.text("general.name").unwrap(), Some("x"));
        let error = file.integer("general.name").unwrap_err().to_string();
        assert!(error.contains("general.name") && error.contains("a string, expected an integer"), "{error}");
        std::fs::write(&path, []).unwrap();
        assert!(Gguf::open(&path).is_err());
    }
}
