//! A container's ONNX model: opened against its declared tensors, then a port's bytes in and JSON bytes out.

use super::input::Input;
use super::labels::Labels;
use super::{OnnxError, OnnxRuntime};
use ort::session::Session;
use ort::value::{Outlet, Tensor, TensorElementType, ValueType};
use ouro_common::container::{OutputTensor, Tensors};
use std::path::Path;

/// An open model.
pub struct OnnxModel {
    session: Session,
    input_name: String,
    input: Input,
    output_name: String,
    output: Labels,
}

impl std::fmt::Debug for OnnxModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnnxModel")
            .field("input", &self.input_name)
            .field("output", &self.output_name)
            .finish_non_exhaustive()
    }
}

impl OnnxModel {
    /// Opens a model and checks that it takes and gives what the manifest declares. Weights must be inside the file.
    pub fn open(runtime: &OnnxRuntime, path: &Path, tensors: &Tensors, threads: usize) -> Result<Self, OnnxError> {
        let input_name = tensors.input.name();
        let OutputTensor::Labels { name: output_name, .. } = &tensors.output;
        let (input, output) = (Input::new(&tensors.input)?, Labels::new(&tensors.output)?);
        let bytes = std::fs::read(path).map_err(|problem| OnnxError::File { path: path.to_path_buf(), problem })?;
        let session = commit(runtime, &bytes, threads).map_err(|problem| OnnxError::Model { path: path.to_path_buf(), problem })?;
        let refuse = |name: &str, problem: String| OnnxError::Signature { path: path.to_path_buf(), name: name.to_string(), problem };
        if let Some(other) = session.inputs().iter().find(|outlet| outlet.name() != input_name) {
            return Err(refuse(other.name(), "the model needs it, but the manifest does not declare it".into()));
        }
        check(session.inputs(), input_name, &input.shape()).map_err(|problem| refuse(input_name, problem))?;
        check(session.outputs(), output_name, &[1, output.count()]).map_err(|problem| refuse(output_name, problem))?;
        Ok(Self { session, input_name: input_name.to_string(), input, output_name: output_name.clone(), output })
    }

    /// The answer to an input port's bytes, as JSON.
    pub fn run(&mut self, bytes: &[u8]) -> Result<Vec<u8>, OnnxError> {
        let values = self.input.values(bytes)?;
        let run = |problem| OnnxError::Run { problem };
        let tensor = Tensor::from_array((self.input.shape(), values)).map_err(run)?;
        let outputs = self.session.run(ort::inputs![self.input_name.as_str() => tensor]).map_err(run)?;
        let refuse = |problem: String| OnnxError::Output { name: self.output_name.clone(), problem };
        let value = outputs.get(&self.output_name).ok_or_else(|| refuse("the model did not give it".into()))?;
        let (_, probabilities) = value.try_extract_tensor::<f32>().map_err(|e| refuse(e.to_string()))?;
        self.output.json(probabilities)
    }
}

fn commit(runtime: &OnnxRuntime, bytes: &[u8], threads: usize) -> ort::Result<Session> {
    Session::builder(runtime.environment())?
        .with_intra_threads(threads.max(1))?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?
        .commit_from_memory(bytes)
}

/// Whether there is a tensor of `f32` with this name whose extents are as expected or open.
fn check(outlets: &[Outlet], name: &str, expected: &[usize]) -> Result<(), String> {
    let Some(outlet) = outlets.iter().find(|outlet| outlet.name() == name) else {
        let names: Vec<_> = outlets.iter().map(Outlet::name).collect();
        return Err(format!("the model has no such tensor, only {}", names.join(", ")));
    };
    match outlet.dtype() {
        ValueType::Tensor { ty: TensorElementType::Float32, shape, .. } => {
            let fits = |(extent, expected): (&i64, &usize)| *extent < 0 || usize::try_from(*extent) == Ok(*expected);
            match shape.len() == expected.len() && shape.iter().zip(expected).all(fits) {
                true => Ok(()),
                false => Err(format!("its shape is {shape:?}, expected {expected:?}")),
            }
        }
        other => Err(format!("it is {other:?}, expected a tensor of f32")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::runtime::tests::runtime;
    use super::super::tiny_model;
    use super::*;
    use ouro_common::container::{InputTensor, LabelEntry};
    use proptest::prelude::*;
    use std::path::PathBuf;

    fn tensors(buckets: usize, labels: usize) -> Tensors {
        let labels = (0..labels).map(|n| LabelEntry { id: format!("l{n}"), name: format!("Label {n}") }).collect();
        Tensors {
            input: InputTensor::CharNgrams {
                name: "x".into(),
                port: "text".parse().unwrap(),
                lowercase: true,
                min_n: 1,
                max_n: 1,
                buckets,
                hash: "fnv1a32".into(),
                weight: "log1p_l2".into(),
                max_chars: 100,
            },
            output: OutputTensor::Labels { name: "y".into(), port: "label".parse().unwrap(), key: "label".into(), labels },
        }
    }

    fn open(runtime: &OnnxRuntime, bytes: &[u8], tensors: &Tensors) -> Result<OnnxModel, OnnxError> {
        let directory = tempfile::tempdir().unwrap();
        let path: PathBuf = directory.path().join("tiny.onnx");
        std::fs::write(&path, bytes).unwrap();
        OnnxModel::open(runtime, &path, tensors, 1)
    }

    #[test]
    fn a_model_answers_and_its_manifest_must_fit() {
        let Some(runtime) = runtime("a_model_answers_and_its_manifest_must_fit") else {
            return;
        };
        // One bucket, so the feature is 1 for every text, and the scores are the matrix itself.
        let model = tiny_model::softmax(1, &[0.0, 2.0, 1.0]);
        let mut open_model = open(&runtime, &model, &tensors(1, 3)).unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&open_model.run("hello".as_bytes()).unwrap()).unwrap();
        assert_eq!((&answer["label"], &answer["alternatives"][0]["label"]), (&"l1".into(), &"l2".into()));
        let total = 1.0 + 2_f64.exp() + 1_f64.exp();
        assert!((answer["confidence"].as_f64().unwrap() - 2_f64.exp() / total).abs() < 1e-5, "{answer}");

        let error = open_model.run(b"ab\xff").unwrap_err();
        assert!(error.is_invalid_input() && error.to_string().contains("byte 2"), "{error}");
        for (declared, words) in [(tensors(2, 3), "[1, 2]"), (tensors(1, 4), "[1, 4]")] {
            let error = open(&runtime, &model, &declared).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("tiny.onnx"), "{error}");
        }
        let mut renamed = tensors(1, 3);
        let OutputTensor::Labels { name, .. } = &mut renamed.output;
        *name = "z".into();
        let error = open(&runtime, &model, &renamed).unwrap_err().to_string();
        assert!(error.contains("\"z\"") && error.contains("only y"), "{error}");
    }

    #[test]
    fn garbage_is_an_error() {
        let Some(runtime) = runtime("garbage_is_an_error") else { return };
        let model = tiny_model::softmax(4, &[0.5; 8]);
        let missing = OnnxModel::open(&runtime, Path::new("/nowhere/x.onnx"), &tensors(4, 2), 1).unwrap_err();
        assert!(matches!(missing, OnnxError::File { .. }));
        proptest!(ProptestConfig::with_cases(48), |(bytes in proptest::collection::vec(any::<u8>(), 0..200))| {
            prop_assert!(open(&runtime, &bytes, &tensors(4, 2)).is_err());
        });
        for length in (0..model.len()).step_by(7) {
            assert!(open(&runtime, &model[..length], &tensors(4, 2)).is_err(), "{length}");
        }
    }

    #[test]
    fn manifests_that_cannot_be_carried_out_are_refused() {
        let chars = r#"{"kind": "char_ngrams", "name": "x", "port": "p", "lowercase": true, "min_n": 1, "max_n": 2, "buckets": 4,
            "hash": "fnv1a32", "weight": "log1p_l2", "max_chars": 9}"#;
        let words = chars.replace("char_ngrams", "word_ngrams").replace("max_chars", "max_words");
        let image = r#"{"kind": "image_gray", "name": "x", "port": "p", "width": 8, "height": 8, "invert": "auto", "threshold": 0.25,
            "margin": 0.0, "scale": 1.0}"#;
        let ngrams = [("hash", r#""md5""#), ("weight", r#""raw""#), ("min_n", "9"), ("buckets", "18446744073709551615")];
        let pixels = [("invert", r#""maybe""#), ("width", "0"), ("threshold", "0.0"), ("margin", "-1.0"), ("scale", "0.0")];
        let char_cases = ngrams.iter().chain(&[("max_chars", "0")]).map(|case| (chars, case));
        let word_cases = ngrams.iter().chain(&[("max_words", "0")]).map(|case| (words.as_str(), case));
        for (json, (field, bad)) in char_cases.chain(word_cases).chain(pixels.iter().map(|case| (image, case))) {
            let mut declared: serde_json::Value = serde_json::from_str(json).unwrap();
            assert!(Input::new(&serde_json::from_value(declared.clone()).unwrap()).is_ok());
            declared[field] = serde_json::from_str(bad).unwrap();
            let message = Input::new(&serde_json::from_value(declared).unwrap()).unwrap_err().to_string();
            assert!(message.contains(&format!("tensors.input.{field}")), "{message}");
        }
        assert!(Labels::new(&tensors(4, 0).output).is_err());
    }
}
