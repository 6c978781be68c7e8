//! One reading of a machine: forgiving reads of a [`HostRoot`], and the warnings they leave.
//!
//! What is missing is silent, since most machines lack most sensors; what is there and cannot be read or understood is a
//! warning with its path. Values can be padded with NUL bytes, lack the newline, or carry spaces at either end.

use super::host_root::{HostRoot, PROCFS_LIMIT, Place, ReadError, SYSFS_LIMIT};
use ouro_common::device::Warning;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

mod phone_command;

/// More warnings than this say nothing new.
pub(super) const WARNING_LIMIT: usize = 200;

/// So long the output of a phone's command is taken for what it would print now: running it costs a phone a second of work.
const OUTPUT_HOLDS: Duration = Duration::from_secs(30);

/// What commands have printed, and when. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Outputs(Arc<Mutex<BTreeMap<&'static str, Output>>>);

/// When a command was run, and what it printed, if it could be run.
type Output = (Instant, Option<String>);

/// A reading in progress.
#[derive(Debug)]
pub struct Scan<'r> {
    root: &'r HostRoot,
    warnings: RefCell<Vec<Warning>>,
    outputs: Outputs,
}

impl<'r> Scan<'r> {
    /// Starts a reading of `root`.
    pub fn new(root: &'r HostRoot) -> Self {
        Self::with_outputs(root, Outputs::default())
    }

    /// Starts a reading of `root` that shares what commands print with others.
    pub fn with_outputs(root: &'r HostRoot, outputs: Outputs) -> Self {
        Self { root, warnings: RefCell::default(), outputs }
    }

    /// The root that is read.
    pub fn root(&self) -> &'r HostRoot {
        self.root
    }

    /// A place in sysfs.
    pub fn sys(&self, relative: &str) -> Place {
        self.root.sys(relative)
    }

    /// A place in procfs.
    pub fn proc(&self, relative: &str) -> Place {
        self.root.proc(relative)
    }

    /// Notes a problem.
    pub fn warn(&self, path: impl ToString, problem: impl Into<String>) {
        let warning = Warning { path: path.to_string(), problem: problem.into() };
        let mut warnings = self.warnings.borrow_mut();
        if warnings.len() < WARNING_LIMIT && !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    /// Ends the reading.
    pub fn into_warnings(self) -> Vec<Warning> {
        self.warnings.into_inner()
    }

    /// The text of an attribute, cut at the first NUL and trimmed; `None` if it is missing, empty or unreadable.
    pub fn text(&self, place: &Place) -> Option<String> {
        self.read(place, SYSFS_LIMIT).map(|bytes| clean(&bytes)).filter(|text| !text.is_empty())
    }

    /// The text of a table in procfs, which may be longer.
    pub fn table(&self, place: &Place) -> Option<String> {
        self.read(place, PROCFS_LIMIT).map(|bytes| clean(&bytes)).filter(|text| !text.is_empty())
    }

    /// A table that is no text; `None` if it is missing, empty or unreadable.
    pub fn bytes(&self, place: &Place) -> Option<Vec<u8>> {
        self.read(place, PROCFS_LIMIT).filter(|bytes| !bytes.is_empty())
    }

    /// An attribute that holds one number.
    pub fn number<T: FromStr>(&self, place: &Place) -> Option<T> {
        let text = self.text(place)?;
        let number = text.parse().ok();
        if number.is_none() {
            self.warn(place, format!("{:?} is not a number", shorten(&text)));
        }
        number
    }

    /// An attribute that holds 0 or 1.
    pub fn flag(&self, place: &Place) -> Option<bool> {
        self.number::<i64>(place).map(|value| value != 0)
    }

    /// The names in a directory; empty if there is none.
    pub fn names(&self, place: &Place) -> Vec<String> {
        self.note(place, self.root.read_names(place)).unwrap_or_default()
    }

    /// Whether something is there.
    pub fn exists(&self, place: &Place) -> bool {
        self.root.read_real_place(place).is_ok()
    }

    /// The place after all links.
    pub fn real(&self, place: &Place) -> Option<Place> {
        self.root.read_real_place(place).ok()
    }

    /// The last part of a link's target, existing or not: the driver's name of `driver`.
    pub fn link_name(&self, place: &Place) -> Option<String> {
        let target = self.root.read_link_text(place).ok()?;
        target.rsplit('/').find(|part| !part.is_empty()).map(str::to_string)
    }

    /// A value of a `uevent` file.
    pub fn uevent(&self, device: &Place, key: &str) -> Option<String> {
        let text = self.text(&device.join("uevent"))?;
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?.trim();
        (!value.is_empty()).then(|| value.to_string())
    }

    /// The driver bound to a device.
    pub fn driver(&self, device: &Place) -> Option<String> {
        self.link_name(&device.join("driver")).or_else(|| self.uevent(device, "DRIVER"))
    }

    /// What `command` prints: from `file` at the top of a recorded root, from the command itself on a live phone.
    pub fn command_output(&self, file: &'static str, command: Option<&str>) -> Option<String> {
        if !self.root.is_live() {
            return self.table(&self.root.top(file));
        }
        let outputs = || self.outputs.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, known)) = outputs().get(file)
            && at.elapsed() < OUTPUT_HOLDS
        {
            return known.clone();
        }
        let output = command.and_then(phone_command::run);
        outputs().insert(file, (Instant::now(), output.clone()));
        output
    }

    fn read(&self, place: &Place, limit: u64) -> Option<Vec<u8>> {
        self.note(place, self.root.read_bytes(place, limit))
    }

    fn note<T>(&self, place: &Place, result: Result<T, ReadError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) if error.is_missing() => None,
            Err(ReadError::Io { source, .. }) => {
                self.warn(place, source.to_string());
                None
            }
            Err(error) => {
                self.warn(place, error.to_string());
                None
            }
        }
    }
}

/// What a person would read of an attribute's bytes.
pub(crate) fn clean(bytes: &[u8]) -> String {
    // Some captures pad with NUL to a page: nothing after the first one counts.
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).trim().to_string()
}

/// The start of a text, for messages.
pub(crate) fn shorten(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_a_person_would() {
        let dir = tempfile::tempdir().unwrap();
        let sys = dir.path().join("sys");
        std::fs::create_dir_all(&sys).unwrap();
        for (name, bytes) in [
            ("padded", &b"APPLE SSD  \n\0\0\0\0"[..]),
            ("spaces", b"  1321"),
            ("empty", b""),
            ("blank", b" \n"),
            ("binary", b"\xff\xfe\x01"),
            ("uevent", b"A=1\nDRIVER=nvme\nEMPTY=\n"),
        ] {
            std::fs::write(sys.join(name), bytes).unwrap();
        }
        let root = HostRoot::recorded(dir.path());
        let scan = Scan::new(&root);
        assert_eq!(scan.text(&scan.sys("padded")).as_deref(), Some("APPLE SSD"));
        assert_eq!(scan.number::<u32>(&scan.sys("spaces")), Some(1321));
        assert_eq!(scan.text(&scan.sys("empty")), None);
        assert_eq!(scan.text(&scan.sys("blank")), None);
        assert_eq!(scan.number::<u32>(&scan.sys("binary")), None);
        assert_eq!(scan.driver(&scan.sys("")).as_deref(), Some("nvme"));
        assert_eq!(scan.uevent(&scan.sys(""), "EMPTY"), None);
        assert_eq!(scan.into_warnings().len(), 1, "only the binary value is worth a warning");
    }
}
