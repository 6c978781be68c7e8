//! Writes small GGUF files for tests; nothing outside tests makes models.

use super::TensorType;

/// Collects metadata and tensors, then lays them out as the specification says, version 3.
#[derive(Default, Clone)]
pub(crate) struct GgufWriter {
    metadata: Vec<(String, Vec<u8>)>,
    tensors: Vec<(String, Vec<u64>, TensorType, Vec<u8>)>,
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

impl GgufWriter {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn key(&mut self, key: &str, kind: u32, value: &[u8]) {
        self.metadata.retain(|(name, _)| name != key);
        self.metadata.push((key.to_string(), [&kind.to_le_bytes()[..], value].concat()));
    }

    pub(crate) fn string(&mut self, key: &str, value: &str) {
        self.key(key, 8, &string(value));
    }

    pub(crate) fn u32(&mut self, key: &str, value: u32) {
        self.key(key, 4, &value.to_le_bytes());
    }

    pub(crate) fn f32(&mut self, key: &str, value: f32) {
        self.key(key, 6, &value.to_le_bytes());
    }

    pub(crate) fn bool(&mut self, key: &str, value: bool) {
        self.key(key, 7, &[u8::from(value)]);
    }

    fn array(&mut self, key: &str, kind: u32, items: impl ExactSizeIterator<Item = Vec<u8>>) {
        let mut value = kind.to_le_bytes().to_vec();
        value.extend((items.len() as u64).to_le_bytes());
        value.extend(items.flatten());
        self.key(key, 9, &value);
    }

    pub(crate) fn strings<S: AsRef<str>>(&mut self, key: &str, values: &[S]) {
        self.array(key, 8, values.iter().map(|s| string(s.as_ref())));
    }

    pub(crate) fn i32s(&mut self, key: &str, values: &[i32]) {
        self.array(key, 5, values.iter().map(|v| v.to_le_bytes().to_vec()));
    }

    pub(crate) fn f32s(&mut self, key: &str, values: &[f32]) {
        self.array(key, 6, values.iter().map(|v| v.to_le_bytes().to_vec()));
    }

    /// `shape` with rows first.
    pub(crate) fn tensor_raw(&mut self, name: &str, shape: &[u64], kind: TensorType, bytes: &[u8]) {
        self.tensors.retain(|(other, ..)| other != name);
        self.tensors.push((name.to_string(), shape.to_vec(), kind, bytes.to_vec()));
    }

    pub(crate) fn tensor_f32(&mut self, name: &str, shape: &[u64], values: &[f32]) {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensor_raw(name, shape, TensorType::F32, &bytes);
    }

    pub(crate) fn remove_tensor(&mut self, name: &str) {
        self.tensors.retain(|(other, ..)| other != name);
    }

    pub(crate) fn finish(&self) -> Vec<u8> {
        let mut out = b"GGUF\x03\0\0\0".to_vec();
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            out.extend(string(key));
            out.extend(value);
        }
        let mut data: Vec<u8> = Vec::new();
        for (name, shape, kind, bytes) in &self.tensors {
            data.resize(data.len().next_multiple_of(32), 0);
            out.extend(string(name));
            out.extend((shape.len() as u32).to_le_bytes());
            shape.iter().rev().for_each(|extent| out.extend(extent.to_le_bytes()));
            out.extend(kind.number().to_le_bytes());
            out.extend((data.len() as u64).to_le_bytes());
            data.extend(bytes);
        }
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(data);
        out
    }
}
