//! A step's folder: inputs in `in/PORT/N`, outputs in `out/PORT`, gone when the step has ended.

use super::outbox::name_of;
use super::{Assignment, Inline, Output, StepInput};
use crate::durable::{self, FileError};
use crate::runtimes::{Job, JobInput};
use crate::spool::Spool;
use crate::workers::RunFailure;
use ouro_common::container::Manifest;
use ouro_common::envelope::INLINE_TAG_BYTES;
use ouro_common::id::{Digest, Name};
use ouro_common::step::FailureClass;
use std::fs;
use std::path::{Path, PathBuf};

/// The folder of one attempt. Dropping it removes it.
pub(super) struct StepFolder {
    path: PathBuf,
}

impl StepFolder {
    /// An empty folder for the attempt, under `work`.
    pub(super) fn make(work: &Path, step: &Assignment) -> Result<Self, FileError> {
        let folder = Self { path: work.join(name_of(&step.key)) };
        if folder.path.exists() {
            fs::remove_dir_all(&folder.path).map_err(FileError::at(&folder.path))?;
        }
        durable::make_folder(&folder.path)?;
        durable::make_folder(&folder.path.join("out"))?;
        for input in &step.inputs {
            durable::make_folder(&folder.path.join("in").join(input.port.as_str()))?;
        }
        Ok(folder)
    }

    /// Where the n-th input's bytes go.
    pub(super) fn input(&self, n: usize, input: &StepInput) -> PathBuf {
        self.path.join("in").join(input.port.as_str()).join(n.to_string())
    }

    /// The job for the worker.
    pub(super) fn job(&self, step: &Assignment, files: Vec<PathBuf>, stream: bool) -> Job {
        let inputs = step.inputs.iter().zip(files).map(|(input, file)| JobInput {
            port: input.port.clone(),
            tag: input.tag.clone(),
            media: input.media.clone(),
            file,
        });
        Job {
            folder: self.path.clone(),
            params: step.params.clone(),
            inputs: inputs.collect(),
            stream,
            scope: step.scope.clone(),
        }
    }

    /// Finds the outputs the step was to write.
    pub(super) fn outputs(&self, step: &Assignment, manifest: &Manifest) -> Result<Outputs, RunFailure> {
        let mut found = vec![];
        for port in step.outputs.keys() {
            let path = self.path.join("out").join(port.as_str());
            // A link could show the worker's caller any file of the machine.
            let meta = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file);
            let Some(meta) = meta else {
                return Err(RunFailure::new(FailureClass::Error, format!("the container wrote nothing to its port {port}")));
            };
            check_size(manifest, port, meta.len())?;
            found.push((meta.len(), port.clone(), path));
        }
        // The smallest first, so that as many as possible ride along.
        found.sort();
        Ok(Outputs(found))
    }
}

/// Files that a step has written: size, port, path; the smallest first.
pub(super) struct Outputs(Vec<(u64, Name, PathBuf)>);

impl Outputs {
    /// Whether all of them are small enough to travel with the result.
    pub(super) fn all_ride(&self) -> bool {
        self.0.iter().map(|(size_bytes, ..)| size_bytes).sum::<u64>() <= INLINE_TAG_BYTES as u64
    }

    /// Takes them: small ones into the result, the others into the spool.
    pub(super) fn take(self, step: &Assignment, manifest: &Manifest, spool: &Spool) -> Result<Vec<Output>, RunFailure> {
        let mut inline_bytes = 0;
        let mut outputs = vec![];
        for (size_bytes, port, path) in self.0 {
            inline_bytes += size_bytes;
            let rides = inline_bytes <= INLINE_TAG_BYTES as u64;
            outputs.push(output(step, manifest, &port, &path, rides.then_some(()), spool)?);
        }
        Ok(outputs)
    }
}

impl Drop for StepFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// The largest output that is taken, where the manifest names no limit: the largest request with all its inputs.
const MAX_OUTPUT_BYTES: u64 = ouro_common::envelope::MAX_REQUEST_BYTES;

fn check_size(manifest: &Manifest, port: &Name, size_bytes: u64) -> Result<(), RunFailure> {
    let limit = manifest.output(port).and_then(|p| p.max_bytes).unwrap_or(MAX_OUTPUT_BYTES);
    if size_bytes > limit {
        let why = format!("the output on the port {port} has {size_bytes} bytes, at most {limit} are allowed");
        return Err(RunFailure::new(FailureClass::Error, why));
    }
    Ok(())
}

fn output(
    step: &Assignment,
    manifest: &Manifest,
    port: &Name,
    path: &Path,
    rides: Option<()>,
    spool: &Spool,
) -> Result<Output, RunFailure> {
    let disk = |e: FileError| RunFailure::new(FailureClass::Rejected, format!("this node's disk refuses the result: {e}"));
    let media = manifest.output(port).map_or_else(|| "application/octet-stream".into(), |p| p.media.to_string());
    let (digest, size_bytes, inline) = match rides {
        Some(()) => {
            let bytes = fs::read(path).map_err(FileError::at(path)).map_err(disk)?;
            (Digest::blake3(&bytes), bytes.len() as u64, Some(Inline(bytes)))
        }
        None => {
            let (digest, size_bytes) = spool.take(path).map_err(disk)?;
            (digest, size_bytes, None)
        }
    };
    Ok(Output { port: port.clone(), media, digest, size_bytes, answers: step.answers && inline.is_none(), inline })
}
