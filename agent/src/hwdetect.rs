//! `ouro-agent hwdetect`: what was found on this machine or a recorded one, and where it was read.
//!
//! It needs no server and no root rights. The JSON is [`HardwareReport`], schema `ouroboros.hwdetect/1`.

use crate::sensing::host_root::HostRoot;
use crate::sensing::nvml::{LiveNvml, NoNvml, NvidiaSource};
use crate::sensing::{ReportOptions, bandwidth, report};
use std::io::{self, Write};
use std::path::PathBuf;

use ouro_common::device::Warning;

#[cfg(doc)]
use ouro_common::device::HardwareReport;

mod table;

/// How the report is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HwdetectOutput {
    /// For people; fits 100 columns.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// What to read, and how to print it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HwdetectOptions {
    /// A recorded machine's folder with `sys` and mostly `proc`; this machine if there is none.
    pub root: Option<PathBuf>,
    /// The form.
    pub output: HwdetectOutput,
    /// Whether to measure the memory bandwidth, which takes under two seconds; only this machine's can be measured.
    pub measure: bool,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum HwdetectError {
    /// The folder is not there, or is no folder.
    #[error("{} is not a folder; give the folder of a recorded machine, which holds sys and mostly proc", .0.display())]
    NoSuchRoot(PathBuf),
    /// The folder is something else.
    #[error("{} holds neither sys nor proc nor a phone's battery output; give the folder that holds them", .0.display())]
    NoMachine(PathBuf),
    /// The report could not be written.
    #[error("the report cannot be written: {0}")]
    Write(#[from] io::Error),
    /// The report could not be turned into JSON.
    #[error("the report cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Reads the machine and writes the report to `out`.
///
/// # Errors
/// [`HwdetectError`] when there is no machine at the root, or `out` refuses.
pub fn run(options: &HwdetectOptions, out: &mut dyn Write) -> Result<(), HwdetectError> {
    let root = open_root(options)?;
    let nvidia: &'static (dyn NvidiaSource + Sync) = if root.is_live() { &LiveNvml } else { &NoNvml };
    let measured = match options.measure {
        true => bandwidth::measure_if_apt(&root),
        false => Err("not measured; --measure does, in under two seconds".to_string()),
    };
    let not_measured = measured.as_ref().err().cloned().unwrap_or_default();
    let mut report = report(&root, ReportOptions { nvidia, achieved: measured.ok() });
    if options.measure && !not_measured.is_empty() {
        report.warnings.push(Warning { path: "bandwidth".into(), problem: not_measured.clone() });
    }
    match options.output {
        HwdetectOutput::Json => {
            serde_json::to_writer_pretty(&mut *out, &report)?;
            writeln!(out)?;
        }
        HwdetectOutput::Table => out.write_all(table::render(&report, &not_measured).as_bytes())?,
    }
    Ok(())
}

fn open_root(options: &HwdetectOptions) -> Result<HostRoot, HwdetectError> {
    let Some(folder) = &options.root else { return Ok(HostRoot::live()) };
    if !folder.is_dir() {
        return Err(HwdetectError::NoSuchRoot(folder.clone()));
    }
    let root = HostRoot::recorded(folder);
    if root.holds_machine() { Ok(root) } else { Err(HwdetectError::NoMachine(folder.clone())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_on(root: PathBuf, output: HwdetectOutput) -> Result<String, HwdetectError> {
        let mut out = Vec::new();
        run(&HwdetectOptions { root: Some(root), output, measure: false }, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_root_that_is_no_machine_is_refused_with_a_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let missing = run_on(dir.path().join("missing"), HwdetectOutput::Json).unwrap_err();
        assert!(matches!(missing, HwdetectError::NoSuchRoot(_)) && missing.to_string().contains("recorded machine"));
        assert!(matches!(run_on(dir.path().to_path_buf(), HwdetectOutput::Json), Err(HwdetectError::NoMachine(_))));
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(matches!(run_on(dir.path().join("file"), HwdetectOutput::Json), Err(HwdetectError::NoSuchRoot(_))));
    }

    #[test]
    fn tables_fit_a_hundred_columns_and_json_has_the_schema() {
        for fixture in hw_fixtures::all() {
            let table = run_on(fixture.root.clone(), HwdetectOutput::Table).unwrap();
            for line in table.lines() {
                assert!(line.chars().count() <= 100, "{}: {line}", fixture.name);
            }
            let json: serde_json::Value = serde_json::from_str(&run_on(fixture.root, HwdetectOutput::Json).unwrap()).unwrap();
            assert_eq!(json["schema"], "ouroboros.hwdetect/1");
        }
    }

    #[test]
    fn this_machine_can_be_read() {
        let mut out = Vec::new();
        run(&HwdetectOptions { output: HwdetectOutput::Json, ..HwdetectOptions::default() }, &mut out).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert!(json["memory"]["total_bytes"].as_u64().is_some_and(|bytes| bytes > 0));
        assert!(json["machine"]["cpu"]["logical"].as_u64().is_some_and(|threads| threads > 0));
    }
}
