//! The decoder against transformers, teacher-forced, on small random models of each architecture and quantisation.
//!
//! `parity/decoders.py` wrote `parity/decoders.json`: what stands before the tensors of each file, a recipe for the tensors,
//! which is repeated here, and the logits that transformers computed with the same numbers. Nothing here needs Python.

use data_encoding::{BASE64, HEXLOWER};
use ouro_engine::decoder::{Decoder, Row};
use ouro_engine::gguf::Gguf;
use ouro_engine::safetensors::Checkpoint;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

#[derive(Deserialize)]
struct Goldens {
    vocabulary: usize,
    files: Vec<Case>,
    folders: Vec<Folder>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    file: File,
    ids: Vec<u32>,
    logits: String,
}

/// A folder as transformers saved it.
#[derive(Deserialize)]
struct Folder {
    name: String,
    files: Vec<File>,
    texts: BTreeMap<String, String>,
    ids: Vec<u32>,
    logits: String,
}

/// A file of a model: its beginning as another program wrote it, and what follows.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    name: String,
    head: String,
    bytes: usize,
    sha256: String,
    tensors: Vec<Tensor>,
}

#[derive(Deserialize)]
struct Tensor {
    name: String,
    offset: usize,
    literal: Option<String>,
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    elements: usize,
    /// Of the numbers' size; none for positive ones around 1.
    exponent: Option<i32>,
}

fn goldens() -> Goldens {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/decoders.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn base64(text: &str) -> Vec<u8> {
    BASE64.decode(text.as_bytes()).unwrap()
}

fn logits(text: &str) -> Vec<f32> {
    base64(text).chunks(4).map(|quad| f32::from_le_bytes([quad[0], quad[1], quad[2], quad[3]])).collect()
}

/// As many bytes as wanted that look random and depend on the label.
fn stream(label: &str, count: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..count.div_ceil(32)).flat_map(|number| Sha256::digest(format!("{label} {number}"))).collect();
    bytes.truncate(count);
    bytes
}

/// A half whose size is between two to the power of `exponent` and twice that; -15 is below the normal ones.
fn half(word: u16, exponent: i32) -> u16 {
    if exponent >= -14 {
        word & 0x3ff | u16::try_from(15 + exponent).unwrap() << 10
    } else {
        word & 0x1ff | 0x200
    }
}

/// Numbers of 16 bits of which the lowest `bits` are the fraction.
fn short_floats(label: &str, elements: usize, bits: u32, bias: i32, exponent: Option<i32>) -> Vec<u8> {
    let words = stream(label, 2 * elements);
    let float = |pair: &[u8]| {
        let word = u16::from_le_bytes([pair[0], pair[1]]);
        let fraction = word & ((1 << bits) - 1);
        let spread = |size: i32| u16::try_from(size).unwrap() << bits;
        let float = match exponent {
            Some(exponent) => word & 0x8000 | fraction | spread(bias + exponent - i32::from(word >> bits & 3)),
            None => fraction | spread(bias - 1 + i32::from(word >> bits & 1)),
        };
        float.to_le_bytes()
    };
    words.chunks(2).flat_map(float).collect()
}

fn floats(label: &str, elements: usize, exponent: Option<i32>) -> Vec<u8> {
    let words = stream(label, 4 * elements);
    let float = |quad: &[u8]| {
        let word = u32::from_le_bytes([quad[0], quad[1], quad[2], quad[3]]);
        let float = match exponent {
            Some(exponent) => word & 0x807f_ffff | (u32::try_from(127 + exponent).unwrap() - (word >> 23 & 3)) << 23,
            None => word & 0x007f_ffff | (126 + (word >> 23 & 1)) << 23,
        };
        float.to_le_bytes()
    };
    words.chunks(4).flat_map(float).collect()
}

/// The recipe of `tensor_bytes` in decoders.py.
fn tensor_bytes(model: &str, tensor: &Tensor) -> Vec<u8> {
    if let Some(literal) = &tensor.literal {
        return base64(literal);
    }
    let label = format!("{model} {}", tensor.name);
    let (values, size, scales): (usize, usize, &[(usize, i32)]) = match tensor.kind.as_str() {
        "F32" => return floats(&label, tensor.elements, tensor.exponent),
        "F16" => return short_floats(&label, tensor.elements, 10, 15, tensor.exponent),
        "BF16" => return short_floats(&label, tensor.elements, 7, 127, tensor.exponent),
        "Q8_0" => (32, 34, &[(0, 0)]),
        "Q4_0" => (32, 18, &[(0, 0)]),
        "Q4_K" => (256, 144, &[(0, 0), (2, 3)]),
        "Q5_K" => (256, 176, &[(0, 0), (2, 4)]),
        "Q6_K" => (256, 210, &[(208, 0)]),
        other => panic!("{other}"),
    };
    let mut blocks = stream(&label, tensor.elements / values * size);
    for block in blocks.chunks_mut(size) {
        for &(at, above) in scales {
            let scale = half(u16::from_le_bytes([block[at], block[at + 1]]), tensor.exponent.unwrap() + above);
            block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
        }
    }
    blocks
}

impl File {
    /// The bytes that the other program wrote.
    fn make(&self, model: &str) -> Vec<u8> {
        let mut bytes = base64(&self.head);
        bytes.resize(self.bytes, 0);
        for tensor in &self.tensors {
            let data = tensor_bytes(model, tensor);
            bytes[tensor.offset..][..data.len()].copy_from_slice(&data);
        }
        assert_eq!(HEXLOWER.encode(&Sha256::digest(&bytes)), self.sha256, "{model}: the recipe gives other bytes");
        bytes
    }
}

fn argmax(logits: &[f32]) -> usize {
    (0..logits.len()).reduce(|best, index| if logits[index] > logits[best] { index } else { best }).unwrap()
}

/// How far the engine is from transformers.
#[derive(Debug)]
struct Parity {
    /// The largest difference between two logits, of the largest logit.
    error: f32,
    /// Positions where the first choice is beyond doubt, and all.
    decided: usize,
    positions: usize,
}

/// Feeds all of `ids` at once and then again one by one; fails where the first choice is another.
fn compare(name: &str, decoder: &Decoder, ids: &[u32], expected: &[f32], vocabulary: usize) -> Parity {
    let row = |position: usize| Row { sequence: 0, position, token: ids[position] };
    let rows: Vec<Row> = (0..ids.len()).map(row).collect();
    let want: Vec<usize> = (0..ids.len()).collect();
    let together = decoder.forward(&mut [&mut decoder.sequence(ids.len())], &rows, &want, &|| false).unwrap().unwrap();
    let mut sequence = decoder.sequence(ids.len());
    let singly: Vec<f32> = rows
        .iter()
        .flat_map(|&row| decoder.forward(&mut [&mut sequence], &[row], &[0], &|| false).unwrap().unwrap())
        .collect();
    let difference = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let error = difference(&together, expected).max(difference(&singly, expected));
    let mut decided = 0;
    for (position, logits) in expected.chunks(vocabulary).enumerate() {
        let best = argmax(logits);
        let second = logits.iter().enumerate().filter(|(id, _)| *id != best).map(|(_, l)| *l).fold(f32::MIN, f32::max);
        if logits[best] - second > error {
            decided += 1;
            for found in [&together, &singly] {
                assert_eq!(argmax(&found[position * vocabulary..][..vocabulary]), best, "{name}, position {position}");
            }
        }
    }
    let largest = expected.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    Parity { error: error / largest, decided, positions: ids.len() }
}

/// The largest error that a type of weights may have, of the largest logit. Keys and values are halves in all of them;
/// activations are rounded to 8 bits where the matrices are quantised.
fn bound(name: &str) -> f32 {
    if name.contains('Q') { 0.06 } else { 2e-3 }
}

#[expect(clippy::print_stderr, reason = "the errors are what the test is there to state")]
fn judge(name: &str, parity: &Parity, bound: f32) {
    let percent = parity.error * 100.0;
    eprintln!(
        "{name:24} error {percent:.3} % of the largest logit, same choice at {} of {}",
        parity.decided, parity.positions
    );
    assert!(parity.error < bound, "{name}: {percent} %");
    assert!(
        parity.decided * 2 > parity.positions,
        "{name}: the error leaves {} of {} open",
        parity.decided,
        parity.positions
    );
}

#[test]
fn gguf_models_compute_what_transformers_does() {
    let goldens = goldens();
    assert!(goldens.files.len() > 30);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.gguf");
    for case in &goldens.files {
        std::fs::write(&path, case.file.make(&case.name)).unwrap();
        let decoder = Decoder::load(&Arc::new(Gguf::open(&path).unwrap())).unwrap();
        let parity = compare(&case.name, &decoder, &case.ids, &logits(&case.logits), goldens.vocabulary);
        judge(&case.name, &parity, bound(&case.name));
    }
}

#[test]
fn folders_compute_what_transformers_does() {
    let goldens = goldens();
    assert!(goldens.folders.iter().any(|folder| folder.files.len() > 1), "one is in several files");
    for case in &goldens.folders {
        let directory = tempfile::tempdir().unwrap();
        for file in &case.files {
            std::fs::write(directory.path().join(&file.name), file.make(&case.name)).unwrap();
        }
        for (name, text) in &case.texts {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let decoder = Decoder::load_folder(&Checkpoint::open(directory.path()).unwrap()).unwrap();
        let parity = compare(&case.name, &decoder, &case.ids, &logits(&case.logits), goldens.vocabulary);
        judge(&case.name, &parity, bound(&case.name));
    }
}

/// A SafeTensors file whose tensors begin `by` bytes later: white space may follow the header.
fn shifted(bytes: &[u8], by: usize) -> Vec<u8> {
    let (length, rest) = bytes.split_at(8);
    let header = usize::try_from(u64::from_le_bytes(length.try_into().unwrap())).unwrap();
    let (header, data) = rest.split_at(header);
    let length = (header.len() + by) as u64;
    [&length.to_le_bytes(), header, &vec![b' '; by], data].concat()
}

/// Nothing aligns what SafeTensors files hold, and layers may be computed in two places: to the bit the same comes of it.
#[test]
fn folders_compute_the_same_from_odd_places_and_in_two_parts() {
    for case in &goldens().folders {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in &case.texts {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let rows: Vec<Row> = (0..case.ids.len()).map(|position| Row { sequence: 0, position, token: case.ids[position] }).collect();
        let want: Vec<usize> = (0..rows.len()).collect();
        let files: Vec<Vec<u8>> = case.files.iter().map(|file| file.make(&case.name)).collect();
        let mut expected: Option<Vec<f32>> = None;
        for by in [0, 1, 3, 4, 6, 7] {
            for (file, bytes) in case.files.iter().zip(&files) {
                let bytes = if file.name.ends_with(".safetensors") { shifted(bytes, by) } else { bytes.clone() };
                std::fs::write(directory.path().join(&file.name), bytes).unwrap();
            }
            let checkpoint = Checkpoint::open(directory.path()).unwrap();
            let whole = Decoder::load_folder(&checkpoint).unwrap();
            let found = whole.forward(&mut [&mut whole.sequence(rows.len())], &rows, &want, &|| false).unwrap().unwrap();
            assert_eq!(&found, expected.get_or_insert(found.clone()), "{}, {by} bytes later", case.name);
            if by > 1 {
                continue;
            }
            let first = Decoder::load_folder_layers(&checkpoint, 0..1).unwrap();
            let second = Decoder::load_folder_layers(&checkpoint, 1..usize::MAX).unwrap();
            let mut hidden = first.embed(&rows).unwrap();
            for part in [&first, &second] {
                assert!(part.blocks(&mut [&mut part.sequence(rows.len())], &rows, &mut hidden, &|| false).unwrap());
            }
            assert_eq!(second.logits(&hidden, &rows, &want).unwrap(), found, "{} in two parts", case.name);
        }
    }
}
