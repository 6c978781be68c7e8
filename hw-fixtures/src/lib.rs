//! Recorded machines of our own making: a folder each, with `root/` (what the agent reads), `expected.json` (what a careful
//! reader concludes from it) and `ORIGIN.md` (how it came to be). Some have `uevents/`: the same machine as umockdev is told of
//! it, and events to replay.
//!
//! For tests only. The trees hold no serial numbers and no hardware addresses.

use ouro_common::device::HardwareReport;
use std::fs;
use std::path::{Path, PathBuf};

/// One recorded machine.
#[derive(Debug, Clone)]
pub struct Fixture {
    /// The folder's name.
    pub name: String,
    /// The root that stands for `/`.
    pub root: PathBuf,
    /// What a careful reader concludes; its `root` field is the fixture's name, since paths differ between checkouts.
    pub expected: HardwareReport,
}

/// A fixture could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum FixtureError {
    /// No folder of that name.
    #[error("there is no recorded machine {name:?}; there are {known:?}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// `expected.json` is missing or no report.
    #[error("{}: {problem}", path.display())]
    Expected {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// The folder that holds the machines.
fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The names of all machines, in order.
pub fn names() -> Vec<String> {
    let entries = fs::read_dir(folder()).into_iter().flatten().flatten();
    let machines = entries.filter(|entry| entry.path().join("root").is_dir());
    let mut names: Vec<String> = machines.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// Opens one machine.
///
/// # Errors
/// [`FixtureError`] when there is no such machine, or its expectation cannot be read.
pub fn open(name: &str) -> Result<Fixture, FixtureError> {
    let known = names();
    if !known.iter().any(|machine| machine == name) {
        return Err(FixtureError::Unknown { name: name.to_string(), known });
    }
    let path = folder().join(name).join("expected.json");
    let broken = |problem: String| FixtureError::Expected { path: path.clone(), problem };
    let text = fs::read_to_string(&path).map_err(|e| broken(e.to_string()))?;
    let expected = serde_json::from_str(&text).map_err(|e| broken(e.to_string()))?;
    Ok(Fixture { name: name.to_string(), root: folder().join(name).join("root"), expected })
}

/// Opens one machine for a test.
///
/// # Panics
/// When it cannot be opened: in a test that is the failure to show.
pub fn get(name: &str) -> Fixture {
    open(name).unwrap_or_else(|error| panic!("{error}"))
}

/// Opens all machines for a test.
///
/// # Panics
/// When one of them cannot be opened.
pub fn all() -> Vec<Fixture> {
    names().iter().map(|name| get(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_machine_opens_and_says_where_it_came_from() {
        assert!(all().len() >= 12, "{:?}", names());
        for fixture in all() {
            let origin = fs::read_to_string(fixture.root.with_file_name("ORIGIN.md")).unwrap();
            assert!(origin.starts_with("# "), "{}", fixture.name);
            assert_eq!(fixture.expected.root, fixture.name);
            assert_eq!(fixture.expected.schema, HardwareReport::SCHEMA);
        }
        assert!(matches!(open("no-such-machine"), Err(FixtureError::Unknown { .. })));
    }
}
