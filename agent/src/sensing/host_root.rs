//! The root under which a machine is read: `/` in life, a recorded machine's folder in tests and simulations.
//!
//! The only place that knows where `/sys`, `/proc` and `/dev` are. Everything else names a [`Place`] inside the root.
//! Reads are bounded, and a recorded root is a jail: its symbolic links are followed by hand, so that an absolute link
//! or a chain of `..` ends inside the folder and never on the machine that runs the test.

use journal::Journal;
use rustix::fs::OFlags;
use std::collections::VecDeque;
use std::fs;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use current::Current;

mod current;
pub(crate) mod journal;

/// The most that is read of a file in sysfs; the kernel's own attributes end at one page.
pub const SYSFS_LIMIT: u64 = 64 * 1024;
/// The most that is read of a table in procfs: cpuinfo of a machine with a thousand threads has 1.5 MiB.
pub const PROCFS_LIMIT: u64 = 8 * 1024 * 1024;
/// The most entries that are listed of one directory.
const DIRECTORY_LIMIT: usize = 8192;
/// As in the kernel (`MAXSYMLINKS`).
const LINK_LIMIT: usize = 40;

/// A file or directory of the machine, as the machine itself names it: `/sys/class/nvme`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place(String);

impl Place {
    /// The place `relative` to this one.
    #[must_use]
    pub fn join(&self, relative: &str) -> Self {
        Self(format!("{}/{}", self.0.trim_end_matches('/'), relative.trim_start_matches('/')))
    }
    /// The last part of the path.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }
    /// The directory that holds it; `None` at the top.
    pub fn parent(&self) -> Option<Self> {
        let (parent, name) = self.0.rsplit_once('/')?;
        (!name.is_empty() && !parent.is_empty()).then(|| Self(parent.to_string()))
    }
    /// The path's parts, from the top.
    pub fn parts(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/').filter(|part| !part.is_empty())
    }
    /// The path as the machine names it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a place could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not there: nothing, or a link that points nowhere.
    #[error("{0} does not exist")]
    Missing(Place),
    /// A directory where a file should be, a pipe, a file where a directory should be.
    #[error("is not a {expected}")]
    WrongKind {
        /// Where.
        place: Place,
        /// `file` or `directory`.
        expected: &'static str,
    },
    /// More links than the kernel would follow.
    #[error("is a loop of symbolic links")]
    Loop(Place),
    /// The kernel or the file system refused.
    #[error("{place}: {source}")]
    Io {
        /// Where.
        place: Place,
        /// What the system said.
        source: io::Error,
    },
}

impl ReadError {
    /// Whether there is simply nothing there, which on most machines is no fault.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing(_))
    }

    fn from_io(place: &Place, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Missing(place.clone()),
            _ => Self::Io { place: place.clone(), source },
        }
    }
}

/// The injectable root of a machine.
#[derive(Debug, Clone)]
pub struct HostRoot {
    root: PathBuf,
    live: bool,
    journal: Option<Arc<Journal>>,
    current: Option<Current>,
}

impl HostRoot {
    /// The machine this process runs on.
    pub fn live() -> Self {
        Self { root: PathBuf::from("/"), live: true, journal: None, current: None }
    }

    /// A recorded machine in `folder`, which holds `sys` and mostly `proc`; `/` itself is the live machine.
    pub fn recorded(folder: impl Into<PathBuf>) -> Self {
        let root = folder.into();
        let live = root == Path::new("/");
        Self { root, live, journal: None, current: None }
    }

    /// The same root; everything that is asked of it from now on is noted in `journal`.
    #[must_use]
    pub(crate) fn journaled(mut self, journal: Arc<Journal>) -> Self {
        self.journal = Some(journal);
        self
    }

    /// The same root; `current` tells which place it was asked for last, for who waits for the answer.
    #[must_use]
    pub fn followed(mut self, current: Current) -> Self {
        self.current = Some(current);
        self
    }

    /// A place is asked for.
    fn ask(&self, place: &Place) {
        if let Some(current) = &self.current {
            current.set(place);
        }
        if let Some(journal) = self.journal.as_deref() {
            journal.touch(place);
        }
    }

    /// Whether this is the machine the process runs on.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// The folder that is read.
    pub fn folder(&self) -> &Path {
        &self.root
    }

    /// Whether there is anything of a machine in the folder.
    pub fn holds_machine(&self) -> bool {
        let marks = [self.sys(""), self.proc(""), self.top("termux-battery-status.json"), self.top("dumpsys-battery.txt")];
        marks.iter().any(|place| self.read_path(place).is_ok_and(|path| path.exists()))
    }

    /// A place in sysfs.
    pub fn sys(&self, relative: &str) -> Place {
        Place("/sys".to_string()).join(relative)
    }

    /// A place in procfs.
    pub fn proc(&self, relative: &str) -> Place {
        Place("/proc".to_string()).join(relative)
    }

    /// A device node.
    pub fn dev(&self, relative: &str) -> Place {
        Place("/dev".to_string()).join(relative)
    }

    /// A file at the top of the root, where a recorded phone keeps the outputs of commands.
    pub fn top(&self, name: &str) -> Place {
        Place(String::new()).join(name)
    }

    /// Reads at most `limit` bytes of a regular file.
    ///
    /// # Errors
    /// [`ReadError`] when there is no such file, or it cannot be read.
    pub fn read_bytes(&self, place: &Place, limit: u64) -> Result<Vec<u8>, ReadError> {
        self.ask(place);
        let Some(journal) = self.journal.as_deref() else {
            return self.read_file(place, limit);
        };
        let read = || {
            let real = self.read_real_place(place)?;
            if let Some(kept) = journal.kept(&real, limit) {
                return Ok(kept);
            }
            let bytes = self.read_file(place, limit)?;
            journal.keep(real, &bytes, limit);
            Ok(bytes)
        };
        read().inspect_err(|error: &ReadError| {
            if !error.is_missing() {
                journal.refuse(place, error.to_string());
            }
        })
    }

    fn read_file(&self, place: &Place, limit: u64) -> Result<Vec<u8>, ReadError> {
        let path = self.read_path(place)?;
        let refused = |error: io::Error| ReadError::from_io(place, error);
        let is_file = |metadata: fs::Metadata| match metadata.is_file() {
            true => Ok(()),
            false => Err(ReadError::WrongKind { place: place.clone(), expected: "file" }),
        };
        // Opening a device can do things, so the kind is asked first; opening a pipe would block for ever, so that is not
        // relied on when it is opened.
        is_file(fs::metadata(&path).map_err(refused)?)?;
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = fs::OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(&path).map_err(refused)?;
        is_file(file.metadata().map_err(refused)?)?;
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes).map_err(refused)?;
        Ok(bytes)
    }

    /// Whether an attribute could be written, as far as rights and mounts decide that.
    ///
    /// # Errors
    /// [`ReadError`] when it is not there; inside, what forbids it.
    pub fn check_writable(&self, place: &Place) -> Result<Result<(), rustix::io::Errno>, ReadError> {
        let path = self.read_path(place)?;
        match rustix::fs::access(&path, rustix::fs::Access::WRITE_OK) {
            Err(rustix::io::Errno::NOENT) => Err(ReadError::Missing(place.clone())),
            other => Ok(other),
        }
    }

    /// Writes an attribute that is there. Nothing else in this crate changes anything in sysfs.
    ///
    /// # Errors
    /// [`ReadError`] when it is not there, or what the kernel said.
    pub fn write_attribute(&self, place: &Place, text: &str) -> Result<(), ReadError> {
        let path = self.read_path(place)?;
        let refused = |error: io::Error| ReadError::from_io(place, error);
        let mut file = fs::OpenOptions::new().write(true).truncate(true).open(path).map_err(refused)?;
        file.write_all(text.as_bytes()).map_err(refused)
    }

    /// The names in a directory, in natural order: `hwmon2` before `hwmon10`.
    ///
    /// # Errors
    /// [`ReadError`] when there is no such directory, or it cannot be listed.
    pub fn read_names(&self, place: &Place) -> Result<Vec<String>, ReadError> {
        self.ask(place);
        if let Some(journal) = self.journal.as_deref() {
            journal.list(place);
        }
        let path = self.read_path(place)?;
        if !fs::metadata(&path).map_err(|e| ReadError::from_io(place, e))?.is_dir() {
            return Err(ReadError::WrongKind { place: place.clone(), expected: "directory" });
        }
        let entries = fs::read_dir(&path).map_err(|e| ReadError::from_io(place, e))?;
        let mut names: Vec<String> = entries.take(DIRECTORY_LIMIT).filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort_by_key(|name| natural_key(name));
        Ok(names)
    }

    /// The place itself after all links, still as the machine names it.
    ///
    /// # Errors
    /// [`ReadError`] when it does not exist.
    pub fn read_real_place(&self, place: &Place) -> Result<Place, ReadError> {
        self.ask(place);
        let path = self.read_path(place)?;
        let path = if self.live { fs::canonicalize(&path).map_err(|e| ReadError::from_io(place, e))? } else { path };
        let inside = path.strip_prefix(&self.root).unwrap_or(&path);
        Ok(Place(format!("/{}", inside.to_string_lossy().trim_start_matches('/'))))
    }

    /// What the link at `place` says, whether or not its target exists.
    ///
    /// # Errors
    /// [`ReadError`] when it is no link.
    pub fn read_link_text(&self, place: &Place) -> Result<String, ReadError> {
        self.ask(place);
        let parent = place.parent().ok_or_else(|| ReadError::Missing(place.clone()))?;
        let path = self.read_path(&parent)?.join(place.name());
        let target = fs::read_link(path).map_err(|e| ReadError::from_io(place, e))?;
        Ok(target.to_string_lossy().into_owned())
    }

    /// Where the place lies on this computer, links resolved inside the root.
    fn read_path(&self, place: &Place) -> Result<PathBuf, ReadError> {
        if self.live {
            return Ok(PathBuf::from(place.as_str()));
        }
        let inside = self.walk(place, &mut |_, _| {})?;
        Ok(self.root.join(inside.as_str().trim_start_matches('/')))
    }

    /// Follows `place` link by link inside the root, and says of each link where it really lies and what it says.
    ///
    /// # Errors
    /// [`ReadError`] when it leads nowhere; the links met until then were told.
    pub(crate) fn walk(&self, place: &Place, on_link: &mut dyn FnMut(&Place, &Path)) -> Result<Place, ReadError> {
        let mut todo: VecDeque<String> = place.parts().map(str::to_string).collect();
        let mut inside: Vec<String> = Vec::new();
        let mut links = 0;
        while let Some(part) = todo.pop_front() {
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    inside.pop();
                    continue;
                }
                _ => inside.push(part),
            }
            let here = self.root.join(inside.iter().collect::<PathBuf>());
            let metadata = fs::symlink_metadata(&here).map_err(|e| ReadError::from_io(place, e))?;
            if metadata.file_type().is_symlink() {
                links += 1;
                if links > LINK_LIMIT {
                    return Err(ReadError::Loop(place.clone()));
                }
                let target = fs::read_link(&here).map_err(|e| ReadError::from_io(place, e))?;
                on_link(&Place(format!("/{}", inside.join("/"))), &target);
                inside.pop();
                if target.is_absolute() {
                    inside.clear();
                }
                for part in target.to_string_lossy().split('/').rev() {
                    todo.push_front(part.to_string());
                }
            }
        }
        Ok(Place(format!("/{}", inside.join("/"))))
    }

    /// Whether there is a directory at a real place (one that [`Self::walk`] returned).
    pub(crate) fn is_directory(&self, real: &Place) -> bool {
        fs::symlink_metadata(self.root.join(real.as_str().trim_start_matches('/'))).is_ok_and(|m| m.is_dir())
    }

    /// Whether there is a regular file at a real place.
    pub(crate) fn is_file(&self, real: &Place) -> bool {
        fs::symlink_metadata(self.root.join(real.as_str().trim_start_matches('/'))).is_ok_and(|m| m.is_file())
    }
}

/// A sort key that puts numbers inside names in numeric order.
pub(crate) fn natural_key(name: &str) -> Vec<(u64, String)> {
    let mut key = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let text_end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (text, after) = rest.split_at(text_end);
        let number_end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let (number, after) = after.split_at(number_end);
        // Text first, then the number that follows it.
        key.push((0, text.to_string()));
        key.push((number.parse().unwrap_or(u64::MAX), String::new()));
        rest = after;
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_end_inside_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = HostRoot::recorded(dir.path());
        fs::create_dir_all(dir.path().join("sys/devices/a")).unwrap();
        fs::create_dir_all(dir.path().join("sys/class/x")).unwrap();
        fs::write(dir.path().join("sys/devices/a/value"), "7\n").unwrap();
        symlink("../../devices/a", dir.path().join("sys/class/x/relative")).unwrap();
        symlink("/sys/devices/a", dir.path().join("sys/class/x/absolute")).unwrap();
        symlink("../../../../../../../../../sys/devices/a", dir.path().join("sys/class/x/above")).unwrap();
        symlink("/etc", dir.path().join("sys/class/x/outside")).unwrap();
        symlink("loop", dir.path().join("sys/class/x/loop")).unwrap();
        for name in ["relative", "absolute", "above"] {
            let place = root.sys("class/x").join(name);
            assert_eq!(root.read_bytes(&place.join("value"), 10).unwrap(), b"7\n", "{name}");
            assert_eq!(root.read_real_place(&place).unwrap().as_str(), "/sys/devices/a", "{name}");
        }
        assert!(root.read_names(&root.sys("class/x/outside")).unwrap_err().is_missing());
        assert!(matches!(root.read_bytes(&root.sys("class/x/loop"), 10), Err(ReadError::Loop(_))));
        assert!(matches!(root.read_bytes(&root.sys("devices/a"), 10), Err(ReadError::WrongKind { .. })));
    }

    #[test]
    fn reads_are_bounded_and_names_are_in_natural_order() {
        let dir = tempfile::tempdir().unwrap();
        let root = HostRoot::recorded(dir.path());
        for name in ["hwmon10", "hwmon2", "hwmon1", "card0-DP-1", "card0"] {
            fs::create_dir_all(dir.path().join("sys").join(name)).unwrap();
        }
        fs::write(dir.path().join("sys/long"), vec![b'x'; 100]).unwrap();
        assert_eq!(root.read_bytes(&root.sys("long"), 8).unwrap().len(), 8);
        assert_eq!(root.read_names(&root.sys("")).unwrap(), ["card0", "card0-DP-1", "hwmon1", "hwmon2", "hwmon10", "long"]);
    }
}
