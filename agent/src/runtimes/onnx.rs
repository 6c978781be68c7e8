//! `onnx` containers: text in, JSON out, by the tensors their manifest declares. ONNX Runtime is loaded when first needed.

use super::{Job, JobError, Load, Plugged, Stream};
use ouro_common::step::FailureClass;
use ouro_engine::onnx::{OnnxError, OnnxModel, OnnxRuntime, Search, standard_directories};
use std::path::{Path, PathBuf};

struct Onnx {
    model: OnnxModel,
    input: String,
    output: String,
}

/// Where the library may be: what the configuration names, `ORT_DYLIB_PATH`, then where systems and Python put it.
pub(super) fn search(configured: Option<PathBuf>) -> Search {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let home = set("HOME");
    Search {
        configured,
        environment: set("ORT_DYLIB_PATH"),
        directories: standard_directories(Path::new("/"), home.as_deref()),
    }
}

/// Loads ONNX Runtime and the model.
pub(super) fn plug(load: &Load) -> Result<Box<dyn Plugged>, JobError> {
    let tensors = load.manifest.tensors.as_ref().ok_or_else(|| JobError::load("the manifest has no [tensors]"))?;
    let path = load.model.as_ref().ok_or_else(|| JobError::load("the container has no model file"))?;
    let refused = |e: OnnxError| JobError::load(e.to_string());
    let runtime = OnnxRuntime::load(&search(load.onnxruntime.clone())).map_err(refused)?;
    let model = OnnxModel::open(&runtime, path, tensors, load.threads.unwrap_or(1)).map_err(refused)?;
    let (input, output) = (tensors.input.port().to_string(), tensors.output.port().to_string());
    Ok(Box::new(Onnx { model, input, output }))
}

impl Plugged for Onnx {
    fn run(&mut self, job: &Job, _stream: Stream<'_>) -> Result<(), JobError> {
        let text = job.bytes(&self.input)?;
        let class = |e: &OnnxError| if e.is_invalid_input() { FailureClass::InvalidInput } else { FailureClass::Error };
        let json = self.model.run(&text).map_err(|e| JobError { class: class(&e), why: e.to_string() })?;
        job.write(&self.output, &json)
    }
}
