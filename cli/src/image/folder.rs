//! A module in a plain folder: an unpacked layout, or a mounted stick. Symbolic links are not followed.

use super::blobs::{Blobs, PIECE_BYTES, unreadable};
use ouro_common::module::{Volume, VolumeError};
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// The folder that holds `oci-layout`.
pub(crate) struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The layout in this folder.
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }

    /// The file at `path` and its size, if every step of the way is what it should be.
    fn open(&self, path: &str) -> Result<(File, u64), VolumeError> {
        let mut full = self.root.clone();
        let parts: Vec<&str> = path.split('/').collect();
        for (i, part) in parts.iter().enumerate() {
            full.push(part);
            let kind = fs::symlink_metadata(&full).map_err(|e| unreadable(&e))?.file_type();
            let last = i + 1 == parts.len();
            if (last && !kind.is_file()) || (!last && !kind.is_dir()) {
                return Err(VolumeError::NotAFile);
            }
        }
        let file = File::open(&full).map_err(|e| unreadable(&e))?;
        let bytes = file.metadata().map_err(|e| unreadable(&e))?.len();
        Ok((file, bytes))
    }
}

impl Volume for Folder {
    fn read(&self, path: &str, max_bytes: u64) -> Result<Vec<u8>, VolumeError> {
        let (file, bytes) = self.open(path)?;
        if bytes > max_bytes {
            return Err(VolumeError::TooLarge { bytes, max_bytes });
        }
        let mut content = vec![];
        file.take(max_bytes).read_to_end(&mut content).map_err(|e| unreadable(&e))?;
        Ok(content)
    }

    fn file_bytes(&self, path: &str) -> Result<u64, VolumeError> {
        Ok(self.open(path)?.1)
    }

    fn read_last_block(&self, path: &str) -> Result<(), VolumeError> {
        let (mut file, bytes) = self.open(path)?;
        file.seek(SeekFrom::Start(bytes.saturating_sub(1) / 4096 * 4096)).map_err(|e| unreadable(&e))?;
        file.read_to_end(&mut vec![]).map(|_| ()).map_err(|e| unreadable(&e))
    }
}

impl Blobs for Folder {
    fn stream(&self, path: &str, sink: &mut dyn FnMut(&[u8])) -> Result<(), VolumeError> {
        let (mut file, _) = self.open(path)?;
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match file.read(&mut piece).map_err(|e| unreadable(&e))? {
                0 => return Ok(()),
                n => sink(&piece[..n]),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbolic_links_are_not_followed_and_sizes_are_kept_to() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join("blobs/sha256")).unwrap();
        fs::write(home.path().join("index.json"), "{}").unwrap();
        fs::write(home.path().join("blobs/sha256/a"), vec![7; 10_000]).unwrap();
        std::os::unix::fs::symlink("../index.json", home.path().join("blobs/link")).unwrap();
        std::os::unix::fs::symlink("blobs", home.path().join("other")).unwrap();
        let volume = Folder::new(home.path());
        assert_eq!(volume.read("index.json", 2).unwrap(), b"{}");
        assert_eq!(volume.read("index.json", 1), Err(VolumeError::TooLarge { bytes: 2, max_bytes: 1 }));
        for (path, error) in [
            ("blobs/link", VolumeError::NotAFile),
            ("other/sha256/a", VolumeError::NotAFile),
            ("blobs", VolumeError::NotAFile),
            ("absent", VolumeError::Missing),
            ("index.json/x", VolumeError::NotAFile),
        ] {
            assert_eq!(volume.file_bytes(path), Err(error), "{path}");
        }
        volume.read_last_block("blobs/sha256/a").unwrap();
        let mut seen = 0;
        volume.stream("blobs/sha256/a", &mut |piece| seen += piece.len()).unwrap();
        assert_eq!(seen, 10_000);
    }
}
