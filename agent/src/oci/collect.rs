//! Takes a container's outputs: regular files under the names of its ports, of a size, and nothing else.
//!
//! What lies there was written by somebody who may want this agent to read `/etc/shadow` for him: links are not followed,
//! and what is copied is what was looked at.

use crate::workers::RunFailure;
use ouro_common::container::Manifest;
use ouro_common::step::FailureClass;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Copies the outputs from `from` to `to`. A port that nothing was written to is left out.
///
/// # Errors
/// `ERROR` when something that is no plain file has a port's name or a file is too large; `REJECTED` when the disk is full.
pub(super) fn collect(manifest: &Manifest, limit: impl Fn(&str) -> u64, from: &Path, to: &Path) -> Result<(), RunFailure> {
    let hostile = |port: &str, problem: &str| RunFailure::new(FailureClass::Error, format!("the output on the port {port} {problem}"));
    for port in manifest.outputs.iter().map(|port| port.port.as_str()) {
        // Not blocking: it might be a FIFO nobody writes to.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(CWD, from.join(port), flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => continue,
            Err(Errno::LOOP) => return Err(hostile(port, "is a symbolic link, not a file; it was not followed")),
            Err(error) => return Err(hostile(port, &format!("cannot be read: {error}"))),
        };
        let stat = rustix::fs::fstat(&file).map_err(|e| hostile(port, &format!("cannot be looked at: {e}")))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(hostile(port, "is not a regular file"));
        }
        let most = limit(port);
        let size_bytes = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        if size_bytes > most {
            return Err(hostile(port, &format!("has {size_bytes} bytes, at most {most} are allowed")));
        }
        copy(&file, size_bytes, &to.join(port))
            .map_err(|e| RunFailure::new(FailureClass::Rejected, format!("this node's disk refuses the output on the port {port}: {e}")))?;
    }
    Ok(())
}

fn copy(from: &File, bytes: u64, to: &Path) -> io::Result<()> {
    let mut to = File::create(to)?;
    io::copy(&mut from.take(bytes), &mut to)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_plain_files_of_a_size_are_taken() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let manifest = crate::modules::builtin_container("noop").unwrap().manifest;
        let out = from.path().join("out");
        let take = || collect(&manifest, |_| 5, from.path(), to.path());
        take().unwrap();
        assert!(!to.path().join("out").exists(), "nothing there, nothing taken");
        fs::write(from.path().join("extra"), "not a port").unwrap();
        fs::write(&out, "12345").unwrap();
        take().unwrap();
        assert_eq!(fs::read_dir(to.path()).unwrap().count(), 1);
        fs::write(&out, "123456").unwrap();
        assert!(take().unwrap_err().why.contains("6 bytes"));
        fs::remove_file(&out).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &out).unwrap();
        assert!(take().unwrap_err().why.contains("symbolic link"));
        fs::remove_file(&out).unwrap();
        fs::create_dir(&out).unwrap();
        assert!(take().unwrap_err().why.contains("regular"));
        fs::remove_dir(&out).unwrap();
        rustix::fs::mkfifoat(CWD, &out, Mode::from_raw_mode(0o600)).unwrap();
        assert!(take().unwrap_err().why.contains("regular"));
    }
}
