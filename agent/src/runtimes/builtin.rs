//! Containers that are code of the worker itself: small text tools where no model is needed, `compose`, and `noop`.
//!
//! A manifest with `runtime = "builtin"` picks its code by its name.

mod compose;
mod noop;
mod text;

use super::{Job, JobError, Plugged, Stream};
use ouro_common::container::Manifest;

/// A builtin's code.
type Code = fn(&Job) -> Result<(), JobError>;

/// The code that `name` picks.
fn code(name: &str) -> Option<Code> {
    match name {
        "compose" => Some(compose::run),
        "csv-stats" => Some(text::csv_stats),
        "noop" => Some(noop::run),
        "keywords" => Some(text::keywords),
        "summarize" => Some(text::summarize),
        _ => None,
    }
}

/// Whether there is code for a builtin container of this name.
pub fn exists(name: &str) -> bool {
    code(name).is_some()
}

struct Builtin(Code);

impl Plugged for Builtin {
    fn run(&mut self, job: &Job, _stream: Stream<'_>) -> Result<(), JobError> {
        (self.0)(job)
    }
}

/// The builtin that a manifest names.
///
/// # Errors
/// `LOAD_FAILED` when this build has no such builtin.
pub fn plug(manifest: &Manifest) -> Result<Box<dyn Plugged>, JobError> {
    match code(manifest.name.as_str()) {
        Some(code) => Ok(Box::new(Builtin(code))),
        None => Err(JobError::load(format!("this agent has no builtin called {}; update the agent", manifest.name))),
    }
}

/// A whole-number parameter within its limits, or its default.
fn parameter(job: &Job, name: &str, range: std::ops::RangeInclusive<u64>, default: u64) -> Result<u64, JobError> {
    match job.params.get(name) {
        None | Some(serde_json::Value::Null) => Ok(default),
        Some(value) => value.as_u64().filter(|v| range.contains(v)).ok_or_else(|| {
            JobError::input(format!("the parameter {name} must be a whole number from {} to {}, not {value}", range.start(), range.end()))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtimes::JobInput;
    use std::fs;
    use std::path::Path;

    /// A job in `folder` with one input a part: port, tag, media and text.
    pub(super) fn job(folder: &Path, params: &str, parts: &[(&str, &str, &str, &str)]) -> Job {
        fs::create_dir_all(folder.join("out")).unwrap();
        let inputs = parts.iter().enumerate().map(|(n, (port, tag, media, text))| {
            let file = folder.join(format!("{n}"));
            fs::write(&file, text).unwrap();
            JobInput { port: port.parse().unwrap(), tag: tag.parse().unwrap(), media: (*media).into(), file }
        });
        Job {
            folder: folder.into(),
            params: serde_json::from_str(params).unwrap(),
            inputs: inputs.collect(),
            stream: false,
            scope: None,
        }
    }

    #[test]
    fn every_shipped_builtin_manifest_has_its_code_and_ports() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/containers");
        for name in ["compose", "csv-stats", "noop", "keywords", "summarize"] {
            let text = fs::read_to_string(folder.join(name).join("container.toml")).unwrap();
            let manifest = Manifest::from_toml(&text).unwrap();
            let mut plugged = plug(&manifest).unwrap_or_else(|e| panic!("{name}: {e}"));
            let home = tempfile::tempdir().unwrap();
            let port = manifest.inputs[0].port.to_string();
            let input = [(port.as_str(), "text", "text/plain", "A cat sat. The cat ran. A dog barked at the cat.")];
            plugged.run(&job(home.path(), "{}", &input), &mut |_| ()).unwrap();
            for output in &manifest.outputs {
                assert!(home.path().join("out").join(output.port.as_str()).exists(), "{name} writes {}", output.port);
            }
        }
    }

    #[test]
    fn parameters_outside_their_limits_are_invalid_input() {
        let home = tempfile::tempdir().unwrap();
        for bad in [r#"{"sleep_ms": -1}"#, r#"{"sleep_ms": 60001}"#, r#"{"output_bytes": "many"}"#] {
            let error = noop::run(&job(home.path(), bad, &[])).unwrap_err();
            assert_eq!(error.class, ouro_common::step::FailureClass::InvalidInput, "{bad}");
        }
    }
}
