//! A folder as a root filesystem's archive: the same folder always gives the same bytes.
//!
//! Entries are sorted, times are zero, owners are root, and of the modes only the permissions are kept. What a container
//! must not bring is refused here already: device files, sockets and pipes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// A folder cannot be archived.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RootfsError {
    /// Reading or writing failed.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something that no container may bring.
    #[error("{path}: it is a device, a socket or a pipe; a root filesystem has files, folders and links only")]
    Special {
        /// Where.
        path: PathBuf,
    },
}

/// Writes the folder's content to `out`.
///
/// # Errors
/// A file cannot be read, or is of a kind that a container must not bring.
pub(crate) fn write_archive(folder: &Path, out: &mut dyn Write) -> Result<(), RootfsError> {
    let mut builder = tar::Builder::new(out);
    append(&mut builder, folder, Path::new(""))?;
    builder.finish().map_err(|source| RootfsError::Io { path: folder.into(), source })
}

fn append(builder: &mut tar::Builder<&mut dyn Write>, folder: &Path, inside: &Path) -> Result<(), RootfsError> {
    let at = |path: &Path| {
        let path = path.to_path_buf();
        move |source| RootfsError::Io { path, source }
    };
    let mut entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(at(folder))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let name = inside.join(entry.file_name());
        let meta = fs::symlink_metadata(&path).map_err(at(&path))?;
        let mut header = tar::Header::new_gnu();
        header.set_mode(meta.permissions().mode() & 0o777);
        header.set_size(0);
        let kind = meta.file_type();
        let written = if kind.is_dir() {
            header.set_entry_type(tar::EntryType::Directory);
            builder.append_data(&mut header, name.join(""), io::empty())
        } else if kind.is_symlink() {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_mode(0o777);
            fs::read_link(&path).and_then(|target| builder.append_link(&mut header, &name, target))
        } else if kind.is_file() {
            header.set_size(meta.len());
            File::open(&path).and_then(|file| builder.append_data(&mut header, &name, file))
        } else {
            return Err(RootfsError::Special { path });
        };
        written.map_err(at(&path))?;
        if kind.is_dir() {
            append(builder, &path, &name)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(folder: &Path) -> Result<Vec<u8>, RootfsError> {
        let mut out = vec![];
        write_archive(folder, &mut out).map(|()| out)
    }

    #[test]
    fn the_same_folder_gives_the_same_bytes_and_no_privileges() {
        let make = |order: &[&str]| {
            let home = tempfile::tempdir().unwrap();
            for name in order {
                let path = home.path().join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, *name).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).unwrap();
            }
            std::os::unix::fs::symlink("a", home.path().join("bin/z")).unwrap();
            archive(home.path()).unwrap()
        };
        let bytes = make(&["bin/a", "etc/deep/b", "c"]);
        assert_eq!(bytes, make(&["c", "etc/deep/b", "bin/a"]));
        let mut read = tar::Archive::new(bytes.as_slice());
        let seen: Vec<_> = read
            .entries()
            .unwrap()
            .map(|e| {
                let e = e.unwrap();
                (e.path().unwrap().display().to_string(), e.header().mode().unwrap(), e.header().mtime().unwrap())
            })
            .collect();
        let names: Vec<_> = seen.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["bin/", "bin/a", "bin/z", "c", "etc/", "etc/deep/", "etc/deep/b"]);
        assert_eq!((seen[1].1, seen[1].2), (0o755, 0), "no setuid, no time");
    }

    #[test]
    fn what_a_container_must_not_bring_is_refused() {
        let home = tempfile::tempdir().unwrap();
        std::os::unix::net::UnixListener::bind(home.path().join("socket")).unwrap();
        assert!(matches!(archive(home.path()), Err(RootfsError::Special { path }) if path.ends_with("socket")));
    }
}
