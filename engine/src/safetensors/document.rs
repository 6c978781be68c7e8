//! A JSON file of a folder, with typed access that names the key when a value is not what it should be.

use super::{CheckpointError, CheckpointProblem};
use serde_json::Value;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A JSON object and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    path: PathBuf,
    /// What stands before the keys: `rope_parameters.` or nothing.
    prefix: String,
    value: Value,
}

impl Document {
    /// Reads a file of at most `limit` bytes.
    pub(crate) fn read(path: &Path, limit: u64) -> Result<Self, CheckpointError> {
        let refuse = |problem| CheckpointError::new(path.to_path_buf(), "file", problem);
        let io = |e| refuse(CheckpointProblem::Io(e));
        let file = File::open(path).map_err(io)?;
        let about = file.metadata().map_err(io)?;
        if !about.is_file() {
            return Err(io(std::io::Error::from(std::io::ErrorKind::InvalidInput)));
        }
        let mut bytes = vec![];
        file.take(limit + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 > limit {
            return Err(refuse(CheckpointProblem::TooLarge { bytes: about.len(), limit }));
        }
        let value: Value = serde_json::from_slice(&bytes).map_err(|e| refuse(e.into()))?;
        let document = Self { path: path.to_path_buf(), prefix: String::new(), value };
        if document.value.is_object() {
            Ok(document)
        } else {
            document.refuse("file", "no object", "it must be a JSON object")
        }
    }

    /// An error about a key.
    pub(crate) fn error(&self, key: &str, problem: CheckpointProblem) -> CheckpointError {
        CheckpointError::new(self.path.clone(), format!("{}{key}", self.prefix), problem)
    }

    /// Refuses a value.
    pub(crate) fn refuse<T>(&self, key: &str, value: impl ToString, expected: impl Into<String>) -> Result<T, CheckpointError> {
        Err(self.error(key, CheckpointProblem::OutOfRange { value: shortened(value.to_string()), expected: expected.into() }))
    }

    /// What stands under a key; `null` counts as nothing.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.value.get(key).filter(|value| !value.is_null())
    }

    /// The object under a key.
    pub(crate) fn section(&self, key: &str) -> Result<Option<Self>, CheckpointError> {
        match self.get(key) {
            None => Ok(None),
            Some(value) if value.is_object() => {
                Ok(Some(Self { path: self.path.clone(), prefix: format!("{}{key}.", self.prefix), value: value.clone() }))
            }
            Some(other) => self.refuse(key, other, "it must be an object"),
        }
    }

    /// A whole number from 1 to `most`.
    pub(crate) fn size(&self, key: &str, most: u64) -> Result<Option<usize>, CheckpointError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_u64().and_then(|size| usize::try_from(size).ok()) {
            Some(size) if (1..=most).contains(&(size as u64)) => Ok(Some(size)),
            _ => self.refuse(key, value, format!("it must be a whole number from 1 to {most}")),
        }
    }

    /// As [`Document::size`], but it must be there.
    pub(crate) fn needed(&self, key: &str, most: u64) -> Result<usize, CheckpointError> {
        self.size(key, most)?.ok_or_else(|| self.error(key, CheckpointProblem::Missing))
    }

    /// A number greater than 0.
    pub(crate) fn positive(&self, key: &str) -> Result<Option<f64>, CheckpointError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_f64() {
            Some(number) if number > 0.0 && number.is_finite() => Ok(Some(number)),
            _ => self.refuse(key, value, "it must be a number greater than 0"),
        }
    }

    /// A truth value.
    pub(crate) fn boolean(&self, key: &str) -> Result<Option<bool>, CheckpointError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => self.refuse(key, other, "it must be true or false"),
        }
    }

    /// Text.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&str>, CheckpointError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(value)) => Ok(Some(value)),
            Some(other) => self.refuse(key, other, "it must be text"),
        }
    }

    /// A list of positive numbers.
    pub(crate) fn positives(&self, key: &str) -> Result<Option<Vec<f32>>, CheckpointError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = |value: &Value| value.as_f64().map(|number| number as f32).filter(|number| *number > 0.0 && number.is_finite());
        let numbers = value.as_array().and_then(|list| list.iter().map(number).collect());
        match numbers {
            Some(numbers) => Ok(Some(numbers)),
            None => self.refuse(key, value, "it must be a list of numbers greater than 0"),
        }
    }
}

/// What a message quotes of a value.
fn shortened(value: String) -> String {
    match value.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value,
    }
}
