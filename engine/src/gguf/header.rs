//! Reads and validates the part of a GGUF file before its tensor data. Pure: bytes in, a description or a problem out.

use super::tensor::storage_bytes;
use super::{Array, GgufProblem, TensorInfo, TensorType, Value, ValueKind};
use std::collections::BTreeMap;

/// More metadata keys than any model has.
const MAX_KEYS: u64 = 1 << 16;
/// More tensors than any model has.
const MAX_TENSORS: u64 = 1 << 17;
/// Longer than the longest key or tensor name the specification allows.
const MAX_NAME_BYTES: u64 = 1 << 16;
/// ggml computes with at most four extents.
const MAX_DIMENSIONS: u64 = 4;
/// Arrays of arrays are allowed; nobody nests them deeper.
const MAX_DEPTH: usize = 4;
const DEFAULT_ALIGNMENT: u64 = 32;

/// What a file says before its tensor data.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Header {
    pub(super) metadata: BTreeMap<String, Value>,
    pub(super) tensors: BTreeMap<String, TensorInfo>,
}

/// An item's name and what is wrong with it.
pub(super) type Refusal = (String, GgufProblem);

/// A cursor that cannot leave the file.
struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: u64) -> Result<&'a [u8], GgufProblem> {
        let truncated = GgufProblem::Truncated { offset: self.position as u64, needed: count, file_bytes: self.bytes.len() as u64 };
        let Some(end) = usize::try_from(count).ok().and_then(|count| self.position.checked_add(count)) else {
            return Err(truncated);
        };
        let taken = self.bytes.get(self.position..end).ok_or(truncated)?;
        self.position = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], GgufProblem> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    fn u32(&mut self) -> Result<u32, GgufProblem> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, GgufProblem> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn string(&mut self, limit: u64) -> Result<&'a str, GgufProblem> {
        let count = self.u64()?;
        if count > limit {
            return Err(GgufProblem::TooMany { count, limit });
        }
        std::str::from_utf8(self.take(count)?).map_err(|_| GgufProblem::NotUtf8)
    }

    fn count(&mut self, limit: u64) -> Result<u64, GgufProblem> {
        let count = self.u64()?;
        if count > limit { Err(GgufProblem::TooMany { count, limit }) } else { Ok(count) }
    }

    fn remaining(&self) -> u64 {
        (self.bytes.len() - self.position) as u64
    }

    fn kind(&mut self) -> Result<ValueKind, GgufProblem> {
        let number = self.u32()?;
        ValueKind::from_number(number).ok_or(GgufProblem::UnknownValueType(number))
    }

    fn value(&mut self) -> Result<Value, GgufProblem> {
        let kind = self.kind()?;
        if let Some(size) = kind.fixed_bytes() {
            let bytes = self.take(size as u64)?;
            return Value::decode_fixed(kind, bytes).ok_or(GgufProblem::UnknownValueType(kind as u32));
        }
        match kind {
            ValueKind::String => Ok(Value::String(self.string(u64::MAX)?.to_string())),
            _ => Ok(Value::Array(self.walk_array(0)?)),
        }
    }

    /// Steps over an array so that every element is known to lie inside the file; keeps nothing but its range.
    fn walk_array(&mut self, depth: usize) -> Result<Array, GgufProblem> {
        if depth == MAX_DEPTH {
            return Err(GgufProblem::TooDeep(MAX_DEPTH));
        }
        let kind = self.kind()?;
        let least = kind.fixed_bytes().unwrap_or(8) as u64;
        let count = self.u64()?;
        let limit = self.remaining() / least;
        if count > limit {
            return Err(GgufProblem::TooMany { count, limit });
        }
        let start = self.position;
        match kind {
            ValueKind::String => {
                for _ in 0..count {
                    self.string(u64::MAX)?;
                }
            }
            ValueKind::Array => {
                for _ in 0..count {
                    self.walk_array(depth + 1)?;
                }
            }
            _ => {
                self.take(count * least)?;
            }
        }
        Ok(Array { kind, count: usize::try_from(count).unwrap_or(usize::MAX), bytes: start..self.position })
    }
}

/// Decodes the strings of an array that [`Header::parse`] walked.
pub(super) fn decode_strings<'a>(file: &'a [u8], array: &Array) -> Result<Vec<&'a str>, GgufProblem> {
    let mut cursor = Cursor { bytes: file.get(..array.bytes.end).unwrap_or_default(), position: array.bytes.start };
    (0..array.count).map(|_| cursor.string(u64::MAX)).collect()
}

/// A tensor's entry before its range in the file is known.
struct Entry {
    name: String,
    shape: Vec<u64>,
    kind: TensorType,
    offset: u64,
}

impl Header {
    /// Reads the header of a file whose whole content is `bytes`.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let mut cursor = Cursor { bytes, position: 0 };
        let (keys, tensor_count) = read_counts(&mut cursor)?;
        let metadata = read_metadata(&mut cursor, keys)?;
        let entries = read_entries(&mut cursor, tensor_count)?;
        let alignment = alignment(&metadata)?;
        let data_start = (cursor.position as u64).next_multiple_of(alignment);
        let mut tensors = BTreeMap::new();
        for entry in entries {
            let name = entry.name.clone();
            let info = place(entry, data_start, alignment, bytes.len() as u64).map_err(|e| (tensor_item(&name), e))?;
            if tensors.insert(name.clone(), info).is_some() {
                return Err((tensor_item(&name), GgufProblem::Duplicate));
            }
        }
        refuse_overlaps(&tensors)?;
        Ok(Self { metadata, tensors })
    }
}

/// Two tensors over the same bytes are a lie about one of them.
fn refuse_overlaps(tensors: &BTreeMap<String, TensorInfo>) -> Result<(), Refusal> {
    let mut placed: Vec<_> = tensors.iter().map(|(name, info)| (info.bytes.start, info.bytes.end, name)).collect();
    placed.sort_unstable();
    match placed.windows(2).find(|pair| pair[1].0 < pair[0].1) {
        None => Ok(()),
        Some(pair) => Err((tensor_item(pair[1].2), GgufProblem::Overlap { other: pair[0].2.clone() })),
    }
}

fn tensor_item(name: &str) -> String {
    format!("tensor {name:?}")
}

/// Checks magic and version; gives the numbers of keys and of tensors.
fn read_counts(cursor: &mut Cursor<'_>) -> Result<(u64, u64), Refusal> {
    let at = |item: &'static str| move |problem| (item.to_string(), problem);
    let magic: [u8; 4] = cursor.array().map_err(|_| ("magic".to_string(), GgufProblem::NotGguf))?;
    if &magic != b"GGUF" {
        return Err(("magic".into(), GgufProblem::NotGguf));
    }
    let version = cursor.u32().map_err(at("version"))?;
    match version {
        2 | 3 => {}
        _ if matches!(version.swap_bytes(), 2 | 3) => return Err(("version".into(), GgufProblem::BigEndian)),
        _ => return Err(("version".into(), GgufProblem::Version(version))),
    }
    let tensors = cursor.count(MAX_TENSORS).map_err(at("tensor count"))?;
    let keys = cursor.count(MAX_KEYS).map_err(at("metadata count"))?;
    Ok((keys, tensors))
}

fn read_metadata(cursor: &mut Cursor<'_>, keys: u64) -> Result<BTreeMap<String, Value>, Refusal> {
    let mut metadata = BTreeMap::new();
    for index in 0..keys {
        let key = cursor.string(MAX_NAME_BYTES).map_err(|e| (format!("metadata key {index}"), e))?.to_string();
        let value = cursor.value().map_err(|e| (key.clone(), e))?;
        if metadata.contains_key(&key) {
            return Err((key, GgufProblem::Duplicate));
        }
        metadata.insert(key, value);
    }
    Ok(metadata)
}

fn read_entries(cursor: &mut Cursor<'_>, count: u64) -> Result<Vec<Entry>, Refusal> {
    let mut entries = Vec::new();
    for index in 0..count {
        let name = cursor.string(MAX_NAME_BYTES).map_err(|e| (format!("tensor {index}"), e))?.to_string();
        let entry = read_entry(cursor, &name).map_err(|e| (tensor_item(&name), e))?;
        entries.push(entry);
    }
    Ok(entries)
}

fn read_entry(cursor: &mut Cursor<'_>, name: &str) -> Result<Entry, GgufProblem> {
    let dimensions = u64::from(cursor.u32()?);
    if dimensions > MAX_DIMENSIONS {
        return Err(GgufProblem::TooMany { count: dimensions, limit: MAX_DIMENSIONS });
    }
    let mut shape = (0..dimensions).map(|_| cursor.u64()).collect::<Result<Vec<_>, _>>()?;
    shape.reverse();
    let number = cursor.u32()?;
    let kind = TensorType::from_number(number).ok_or(GgufProblem::UnknownTensorType(number))?;
    Ok(Entry { name: name.to_string(), shape, kind, offset: cursor.u64()? })
}

/// `general.alignment`: a power of two, a multiple of 8 by the specification, so that blocks can be read in place.
fn alignment(metadata: &BTreeMap<String, Value>) -> Result<u64, Refusal> {
    let key = "general.alignment";
    let value = match metadata.get(key) {
        None => return Ok(DEFAULT_ALIGNMENT),
        Some(Value::Integer(_, value)) => *value,
        Some(other) => return Err((key.into(), GgufProblem::WrongKind { found: other.kind(), expected: "an integer" })),
    };
    match u64::try_from(value) {
        Ok(value) if value.is_power_of_two() && (8..=1 << 20).contains(&value) => Ok(value),
        _ => Err((
            key.into(),
            GgufProblem::OutOfRange { value: value.to_string(), expected: "a power of two from 8 to 1048576 is needed".into() },
        )),
    }
}

fn place(entry: Entry, data_start: u64, alignment: u64, file_bytes: u64) -> Result<TensorInfo, GgufProblem> {
    let Some(needed) = storage_bytes(&entry.shape, entry.kind) else {
        return Err(GgufProblem::Shape(entry.shape));
    };
    if !entry.offset.is_multiple_of(alignment) {
        return Err(GgufProblem::Alignment { value: entry.offset, alignment });
    }
    let offset = data_start.saturating_add(entry.offset);
    let end = offset.checked_add(needed).filter(|&end| end <= file_bytes);
    let range = end.and_then(|end| Some(usize::try_from(offset).ok()?..usize::try_from(end).ok()?));
    let Some(bytes) = range else {
        return Err(GgufProblem::Truncated { offset, needed, file_bytes });
    };
    Ok(TensorInfo { shape: entry.shape, kind: entry.kind, bytes })
}

#[cfg(test)]
mod tests {
    use super::super::writer::GgufWriter;
    use super::*;
    use proptest::prelude::*;

    fn small() -> Vec<u8> {
        let mut writer = GgufWriter::new();
        writer.string("general.architecture", "phi3");
        writer.u32("phi3.block_count", 2);
        writer.f32("eps", 1e-5);
        writer.strings("tokens", &["a", "bb", ""]);
        writer.i32s("types", &[1, 2, 3]);
        writer.tensor_f32("x", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        writer.tensor_raw("q", &[2, 32], TensorType::Q8_0, &[7; 68]);
        writer.finish()
    }

    #[test]
    fn a_good_file_reads_as_it_was_written() {
        let bytes = small();
        let header = Header::parse(&bytes).unwrap();
        assert_eq!(header.metadata["phi3.block_count"], Value::Integer(ValueKind::U32, 2));
        let Value::Array(tokens) = &header.metadata["tokens"] else {
            panic!("not an array")
        };
        assert_eq!(decode_strings(&bytes, tokens).unwrap(), ["a", "bb", ""]);
        assert_eq!(header.tensors["x"].shape, [2, 3]);
        assert_eq!(&bytes[header.tensors["x"].bytes.clone()][4..8], 2.0_f32.to_le_bytes());
        assert_eq!(header.tensors["q"].bytes.len(), 68);
    }

    #[test]
    fn every_truncation_is_refused() {
        let bytes = small();
        for length in 0..bytes.len() {
            assert!(Header::parse(&bytes[..length]).is_err(), "{length} of {}", bytes.len());
        }
    }

    #[test]
    fn lies_are_named() {
        let bytes = small();
        let lie = |offset: usize, with: &[u8]| {
            let mut bytes = bytes.clone();
            bytes[offset..offset + with.len()].copy_from_slice(with);
            Header::parse(&bytes).unwrap_err()
        };
        assert!(matches!(lie(0, b"GGML"), (item, GgufProblem::NotGguf) if item == "magic"));
        assert!(matches!(lie(4, &3_u32.to_be_bytes()), (_, GgufProblem::BigEndian)));
        assert!(matches!(lie(4, &9_u32.to_le_bytes()), (_, GgufProblem::Version(9))));
        assert!(matches!(lie(8, &[255; 8]), (item, GgufProblem::TooMany { .. }) if item == "tensor count"));
        assert!(matches!(lie(16, &[255; 8]), (item, GgufProblem::TooMany { .. }) if item == "metadata count"));
        let second = bytes.windows(9).rposition(|w| w == b"\x01\0\0\0\0\0\0\0q").unwrap() + 9 + 4 + 16 + 4;
        assert!(matches!(lie(second, &[0; 8]), (item, GgufProblem::Overlap { other }) if item == "tensor \"x\"" || other == "x"));
        assert!(matches!(lie(24, &[255; 8]), (item, GgufProblem::TooMany { .. }) if item == "metadata key 0"));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), real in any::<bool>()) {
            if real && bytes.len() >= 8 {
                bytes[..8].copy_from_slice(b"GGUF\x03\0\0\0");
            }
            let _ = Header::parse(&bytes);
        }

        #[test]
        fn flipped_bytes_give_a_header_inside_the_file_or_an_error(flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
            let mut bytes = small();
            for (index, with) in flips {
                let at = index.index(bytes.len());
                bytes[at] = with;
            }
            if let Ok(header) = Header::parse(&bytes) {
                for tensor in header.tensors.values() {
                    prop_assert!(tensor.bytes.end <= bytes.len());
                }
                for value in header.metadata.values() {
                    if let Value::Array(array) = value && array.kind == ValueKind::String {
                        prop_assert_eq!(decode_strings(&bytes, array).unwrap().len(), array.count);
                    }
                }
            }
        }
    }
}
