//! What runs containers, inside a worker: the one thing they share is [`Plugged`], a loaded container that takes jobs.
//!
//! Nothing here is ever called in the agent's own process.

pub mod builtin;
pub(crate) mod gguf;
pub mod local_model;
pub(crate) mod model_digest;
mod onnx;
mod probe;

pub use probe::probe;

use ouro_common::container::{Manifest, Runtime};
use ouro_common::id::Name;
use ouro_common::step::FailureClass;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// An input of a job, as a file in the job's folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobInput {
    /// The port it is bound to.
    pub port: Name,
    /// The tag it came from.
    pub tag: Name,
    /// Its media type.
    pub media: String,
    /// Where its bytes are.
    pub file: PathBuf,
}

/// A step as a worker sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Outputs are written to `out/PORT` in here.
    pub folder: PathBuf,
    /// The step's parameters.
    pub params: serde_json::Value,
    /// The inputs, ports in the manifest's order, tags in the step's order.
    pub inputs: Vec<JobInput>,
    /// Whether text is wanted as it is made.
    pub stream: bool,
    /// Whose request it is, in a word that says no more than that: a model keeps what it computed for the same one.
    #[serde(default)]
    pub scope: Option<String>,
}

/// A job that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct JobError {
    /// What kind of failure.
    pub class: FailureClass,
    /// What was wrong and, where there is something, what to do.
    pub why: String,
}

impl JobError {
    /// The input is not what the container takes.
    pub fn input(why: impl Into<String>) -> Self {
        Self { class: FailureClass::InvalidInput, why: why.into() }
    }
    /// The container said that it failed.
    pub fn error(why: impl Into<String>) -> Self {
        Self { class: FailureClass::Error, why: why.into() }
    }
    /// The container cannot be used here.
    pub fn load(why: impl Into<String>) -> Self {
        Self { class: FailureClass::LoadFailed, why: why.into() }
    }
}

/// Text as it is made.
pub type Stream<'a> = &'a mut dyn FnMut(&str);

/// A container in memory that does one job after the other.
pub trait Plugged {
    /// Runs one job; its outputs are files in `out` of the job's folder when it returns.
    ///
    /// # Errors
    /// What was wrong with the input or the container.
    fn run(&mut self, job: &Job, stream: Stream<'_>) -> Result<(), JobError>;
}

/// What a container is loaded from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// What it says about itself.
    pub manifest: Manifest,
    /// Its model file.
    pub model: Option<PathBuf>,
    /// The ONNX Runtime library the configuration names.
    pub onnxruntime: Option<PathBuf>,
    /// Threads it may compute with; all when `None`.
    pub threads: Option<usize>,
    /// What the requests of a language model may take together.
    #[serde(default)]
    pub batch: BatchLimits,
    /// What a language model left when it left memory last.
    #[serde(default)]
    pub sessions: Option<PathBuf>,
}

/// What the requests of a language model may take together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchLimits {
    /// The most that are computed together.
    pub most: u32,
    /// Bytes of keys and values of all of them.
    pub cache_bytes: u64,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { most: 1, cache_bytes: u64::MAX }
    }
}

/// Loads a container that does one job after the other.
///
/// # Errors
/// `LOAD_FAILED` with what is missing and what to do.
pub fn plug(load: &Load) -> Result<Box<dyn Plugged>, JobError> {
    match load.manifest.runtime {
        Runtime::Builtin => builtin::plug(&load.manifest),
        Runtime::Onnx => onnx::plug(load),
        Runtime::Gguf => Err(JobError::load("a language model does its jobs together, not one after the other")),
        Runtime::Oci => Err(JobError::load("a worker runs no OCI images; the agent does")),
    }
}

impl Job {
    /// The bytes of the single input on `port`.
    ///
    /// # Errors
    /// `INVALID_INPUT` when nothing is bound to it.
    pub fn bytes(&self, port: &str) -> Result<Vec<u8>, JobError> {
        let input = self.inputs.iter().find(|i| i.port.as_str() == port);
        let input = input.ok_or_else(|| JobError::input(format!("nothing is bound to the port {port}")))?;
        input.read()
    }

    /// The text of the single input on `port`.
    ///
    /// # Errors
    /// `INVALID_INPUT` when it is not UTF-8.
    pub fn text(&self, port: &str) -> Result<String, JobError> {
        String::from_utf8(self.bytes(port)?)
            .map_err(|e| JobError::input(format!("the text on the port {port} is not UTF-8 (byte {})", e.utf8_error().valid_up_to())))
    }

    /// Where the output on `port` goes.
    pub fn out(&self, port: &str) -> PathBuf {
        self.folder.join("out").join(port)
    }

    /// Writes the output on `port`.
    ///
    /// # Errors
    /// When the disk refuses it.
    pub fn write(&self, port: &str, bytes: &[u8]) -> Result<(), JobError> {
        let path = self.out(port);
        fs::write(&path, bytes).map_err(|e| JobError::error(format!("the output cannot be written: {}: {e}", path.display())))
    }
}

impl JobInput {
    /// Its bytes.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&self) -> Result<Vec<u8>, JobError> {
        read(&self.file)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, JobError> {
    fs::read(path).map_err(|e| JobError::error(format!("the input cannot be read: {}: {e}", path.display())))
}
