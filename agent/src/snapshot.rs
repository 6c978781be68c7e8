//! `ouro-agent snapshot`: this machine, or a recorded one, as a fixture that tests can read.
//!
//! What is recorded is exactly what the sensors read: a reading is made of a root that keeps a journal, and the places of the
//! journal, with the links on their way, become a tree. Serial numbers, hardware and network addresses, UUIDs and host names
//! are replaced on the way ([`scrub`]), in contents, names and link targets alike. The snapshot is then read back, and its
//! report is the draft of what the fixture expects.

use crate::sensing::host_root::HostRoot;
use crate::sensing::host_root::journal::{Journal, Touched};
use crate::sensing::nvml::NoNvml;
use crate::sensing::readings::Sampler;
use crate::sensing::scan::Scan;
use crate::sensing::{ReportOptions, phone_output, recorded_load, report};
use ouro_common::device::HardwareReport;
use scrub::Scrubber;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tree::Node;

mod scrub;
mod secrets;
mod tar;
mod tree;

/// What to record, and where to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnapshotOptions {
    /// A recorded machine's folder; this machine if there is none.
    pub root: Option<PathBuf>,
    /// `NAME.tar`, or a folder if it ends in `/`. It must not exist yet.
    pub file: PathBuf,
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The folder to record holds no machine.
    #[error("{} is no recorded machine; give the folder that holds its sys and proc", .0.display())]
    NoMachine(PathBuf),
    /// The name says neither archive nor folder.
    #[error("{} ends neither in .tar nor in /; name an archive (machine.tar) or a folder (machine/)", .0.display())]
    UnclearForm(PathBuf),
    /// There is something already.
    #[error("{} exists already; a snapshot overwrites nothing, so choose another name or remove it", .0.display())]
    Exists(PathBuf),
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The report could not be turned into JSON.
    #[error("the snapshot's report cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl SnapshotError {
    fn io(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        move |source| match source.kind() {
            io::ErrorKind::AlreadyExists => Self::Exists(path.to_path_buf()),
            _ => Self::Io { path: path.to_path_buf(), source },
        }
    }
}

/// Records the machine and says on `out` what became of it.
///
/// # Errors
/// [`SnapshotError`] when there is no machine at the root, or the snapshot cannot be written; nothing half-written stays.
pub fn run(options: &SnapshotOptions, out: &mut dyn Write) -> Result<(), SnapshotError> {
    let form = Form::of(&options.file)?;
    let root = match &options.root {
        Some(folder) => HostRoot::recorded(folder),
        None => HostRoot::live(),
    };
    if !root.holds_machine() {
        return Err(SnapshotError::NoMachine(root.folder().to_path_buf()));
    }
    let recording = record(&root);
    let parent = options.file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Written beside its final place, so that a failure leaves nothing that looks like a snapshot.
    let staging = parent.join(format!(".{}.{}", form.name, std::process::id()));
    let written = write(&recording, &form, &staging, &options.file);
    let _gone = fs::remove_dir_all(&staging);
    let differences = written?;
    let shown = options.file.display();
    let said = writeln!(
        out,
        "{shown}: {} files, {} links; {} secrets replaced\n{}",
        recording.tree.values().filter(|node| matches!(node, Node::File(_))).count(),
        recording.tree.values().filter(|node| matches!(node, Node::Link(_))).count(),
        recording.replaced,
        match differences.len() {
            0 => "its report is the machine's; look through it before you share it".to_string(),
            count => format!("{count} values of its report differ from the machine's; ORIGIN.md names them"),
        }
    );
    said.map_err(SnapshotError::io(&options.file))
}

/// Archive or folder, and what the fixture is called.
#[derive(Debug, PartialEq, Eq)]
struct Form {
    name: String,
    archive: bool,
}

impl Form {
    fn of(file: &Path) -> Result<Self, SnapshotError> {
        let unclear = || SnapshotError::UnclearForm(file.to_path_buf());
        let archive = file.extension() == Some(OsStr::new("tar"));
        if !archive && !file.as_os_str().as_bytes().ends_with(b"/") {
            return Err(unclear());
        }
        if file.exists() {
            return Err(SnapshotError::Exists(file.to_path_buf()));
        }
        let name = if archive { file.file_stem() } else { file.file_name() };
        let name = name.map(|name| name.to_string_lossy().into_owned()).ok_or_else(unclear)?;
        Ok(Self { name, archive })
    }
}

/// A machine, recorded and scrubbed.
struct Recording {
    tree: tree::Tree,
    /// What the sensors concluded from the machine itself, scrubbed.
    original: serde_json::Value,
    refused: Vec<String>,
    live: bool,
    replaced: usize,
}

/// Reads the machine as the agent does, and keeps what was read.
fn record(root: &HostRoot) -> Recording {
    let journal = Arc::new(Journal::default());
    let noted = root.clone().journaled(Arc::clone(&journal));
    let original = report(&noted, REPORT);
    let _readings = Sampler::new().sample(&noted, Duration::ZERO);
    let scan = Scan::new(&noted);
    // A live machine counts ticks instead; its recording will be asked for the load average.
    let _load = recorded_load(&scan);
    let phone = phone_output(&scan);
    let touched: Touched = journal.take();
    let mut scrubber = Scrubber::new(secrets::collect(root));
    let mut tree = tree::build(root, &touched, &mut scrubber);
    for (file, text) in phone {
        tree.insert(file.to_string(), Node::File(scrubber.scrub_file(file, text.as_bytes())));
    }
    let refused = touched.refused.iter().map(|(place, problem)| scrubber.scrub_text(&format!("{place}: {problem}"))).collect();
    let original = serde_json::to_value(&original).map(|value| scrub_value(value, &mut scrubber)).unwrap_or_default();
    Recording { tree, original, refused, live: root.is_live(), replaced: scrubber.replaced() }
}

/// NVML has no files to record, so the expectation is what the files alone say.
const REPORT: ReportOptions = ReportOptions { nvidia: &NoNvml, achieved: None };

fn scrub_value(value: serde_json::Value, scrubber: &mut Scrubber) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::String(text) => Value::String(scrubber.scrub_text(&text)),
        Value::Array(items) => items.into_iter().map(|item| scrub_value(item, scrubber)).collect(),
        Value::Object(fields) => fields.into_iter().map(|(key, value)| (key, scrub_value(value, scrubber))).collect(),
        other => other,
    }
}

/// Writes the fixture into `staging` and moves or packs it to `file`; returns where its report differs from the original.
fn write(recording: &Recording, form: &Form, staging: &Path, file: &Path) -> Result<Vec<String>, SnapshotError> {
    let in_staging = SnapshotError::io(staging);
    let machine = staging.join("root");
    fs::create_dir_all(&machine).map_err(&in_staging)?;
    tree::write(&recording.tree, &machine).map_err(&in_staging)?;
    let expected = HardwareReport { root: form.name.clone(), ..report(&HostRoot::recorded(&machine), REPORT) };
    let differences = differences(&recording.original, &serde_json::to_value(&expected)?);
    let mut json = serde_json::to_vec_pretty(&expected)?;
    json.push(b'\n');
    fs::write(staging.join("expected.json"), &json).map_err(&in_staging)?;
    let origin = origin(recording, &form.name, &differences);
    fs::write(staging.join("ORIGIN.md"), &origin).map_err(&in_staging)?;
    let at_file = SnapshotError::io(file);
    if form.archive {
        let mut archive = tar::Archive::new(Vec::new());
        let packed = archive
            .file(&format!("{}/ORIGIN.md", form.name), origin.as_bytes())
            .and_then(|()| archive.file(&format!("{}/expected.json", form.name), &json))
            .and_then(|()| tree::pack(&recording.tree, &format!("{}/root", form.name), &mut archive))
            .and_then(|()| archive.finish());
        let bytes = packed.map_err(&at_file)?;
        fs::File::create_new(file).and_then(|mut file| file.write_all(&bytes)).map_err(&at_file)?;
    } else {
        fs::rename(staging, file).map_err(&at_file)?;
    }
    Ok(differences)
}

/// What `ORIGIN.md` says.
fn origin(recording: &Recording, name: &str, differences: &[String]) -> String {
    let source = if recording.live { "a live machine" } else { "a recorded machine" };
    let mut text = format!(
        "# {name}\nRecorded from {source} by `ouro-agent snapshot`, version {}. It holds what the sensors read and nothing else.\n\
         {} serial numbers, hardware and network addresses, UUIDs and host names were replaced; models were left.\n\
         `expected.json` is a draft, the agent's own report: go through it by hand before it becomes a test.\n",
        env!("CARGO_PKG_VERSION"),
        recording.replaced,
    );
    for (title, lines) in [
        ("Places that could not be read", &recording.refused[..]),
        ("Values that differ from the machine's own report", differences),
    ] {
        if !lines.is_empty() {
            let _infallible = write!(text, "\n{title}:\n");
            for line in lines {
                let _infallible = writeln!(text, "* {line}");
            }
        }
    }
    text
}

/// Paths at which two reports differ; where they were read is no difference.
fn differences(original: &serde_json::Value, recorded: &serde_json::Value) -> Vec<String> {
    fn compare(at: &str, a: &serde_json::Value, b: &serde_json::Value, found: &mut Vec<String>) {
        match (a.as_object(), b.as_object(), a.as_array(), b.as_array()) {
            (Some(a), Some(b), ..) => {
                for (key, value) in a {
                    compare(&format!("{at}.{key}"), value, b.get(key).unwrap_or(&serde_json::Value::Null), found);
                }
            }
            (.., Some(a), Some(b)) if a.len() == b.len() => {
                for (index, (a, b)) in a.iter().zip(b).enumerate() {
                    compare(&format!("{at}[{index}]"), a, b, found);
                }
            }
            _ if a == b => {}
            _ => found.push(format!("{}: {a} on the machine, {b} in the snapshot", at.trim_start_matches('.'))),
        }
    }
    let mut found = Vec::new();
    compare("", original, recorded, &mut found);
    found.retain(|line| !line.starts_with("root:"));
    found
}

#[cfg(test)]
mod tests;
