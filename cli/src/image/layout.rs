//! A module written as a plain folder, for tools that read OCI image layouts from there.

use super::blobs::PIECE_BYTES;
use super::gather::{Content, Packing};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// A file of the layout cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub(crate) struct LayoutError {
    /// Which.
    pub(crate) path: PathBuf,
    /// Why.
    pub(crate) source: io::Error,
}

/// Writes every file below `root`; `written` is told of every piece, in bytes. The index comes last: a layout that was
/// broken off is no module.
///
/// # Errors
/// Which file could not be written.
pub(crate) fn write(packing: &Packing, root: &Path, written: &mut dyn FnMut(u64)) -> Result<(), LayoutError> {
    let (last, others): (Vec<_>, Vec<_>) = packing.files.iter().partition(|(path, _)| path.starts_with("index"));
    for (path, content) in others.into_iter().chain(last) {
        let full = root.join(path);
        let mut put = || {
            fs::create_dir_all(full.parent().unwrap_or(root))?;
            let mut out = File::create(&full)?;
            match content {
                Content::Bytes(bytes) => out.write_all(bytes)?,
                Content::File(source, _) => copy(&mut File::open(source)?, &mut out, written)?,
            }
            out.sync_all()
        };
        put().map_err(|source| LayoutError { path: full.clone(), source })?;
    }
    Ok(())
}

fn copy(from: &mut File, to: &mut File, written: &mut dyn FnMut(u64)) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match from.read(&mut piece)? {
            0 => return Ok(()),
            n => {
                to.write_all(&piece[..n])?;
                written(n as u64);
            }
        }
    }
}
