//! `ouro-server backup` and `restore`: the CA, the keys it trusts, the store as it is at one moment, and the blobs that it needs, in
//! one tar file.
//!
//! A backup is taken while the server runs. A restored store gives epochs of a new generation, so that nothing which
//! agents still do for the old one is mistaken for its own.

pub use restore::{Restored, restore};

mod restore;

use crate::init::{ServerFiles, io_fault, load_authority, store_fault};
use crate::store::{DatabaseCopy, SqliteStore};
use ouro_common::clock::WallTime;
use ouro_common::error::{Fault, FaultCode};
use ouro_common::home::Home;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The first entry of every backup: what it is.
const MANIFEST: &str = "ouroboros-backup.json";
/// The version of the archive's layout.
const SCHEMA: &str = "ouroboros.backup/1";
const CA: &str = "ca.pem";
const CA_KEY: &str = "ca-key.pem";
const STORE: &str = "store.db";
const BLOBS: &str = "blobs/";
const OPERATOR: &str = "operator/";
/// Without them every module in the fleet would be untrusted.
const TRUSTED_KEYS: &str = "trusted-keys/";

/// What a backup says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    schema: String,
    /// When it was taken.
    taken_unix_ms: u64,
    /// The build that took it.
    version: String,
    generation: u32,
    requests: u64,
    nodes: u64,
    blobs: u64,
}

/// What was backed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackedUp {
    /// What the store's copy holds.
    pub store: DatabaseCopy,
    /// Blobs that had gone meanwhile: their requests had ended and their time was over.
    pub gone: usize,
    /// The file's size.
    pub bytes: u64,
}

/// Writes a backup of the fleet in `home` to `file`, which is replaced only by a whole one.
///
/// # Errors
/// There is no fleet in the home, or a file cannot be read or written.
pub fn backup(home: &Home, file: &Path, now: WallTime) -> Result<BackedUp, Fault> {
    load_authority(home)?;
    let folder = home.server();
    let files = ServerFiles(&folder);
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |e: io::Error| io_fault(file, &e);
    // Beside the target: the same disk, and the same rights.
    let scratch = tempfile::Builder::new().prefix(".ouro-backup-").tempdir_in(parent).map_err(failed)?;
    let copy = scratch.path().join(STORE);
    let store = SqliteStore::copy(&files.database(), &copy).map_err(|e| store_fault(&e))?;
    let whole = scratch.path().join("backup.tar");
    let out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&whole).map_err(failed)?;
    let manifest = Manifest {
        schema: SCHEMA.into(),
        taken_unix_ms: now.0,
        version: env!("CARGO_PKG_VERSION").into(),
        generation: store.generation,
        requests: store.requests,
        nodes: store.nodes,
        blobs: store.blobs.len() as u64,
    };
    let mut archive = tar::Builder::new(out);
    let text = serde_json::to_vec_pretty(&manifest).map_err(|e| Fault::new(FaultCode::Internal, e.to_string()))?;
    append(&mut archive, MANIFEST, &text[..], text.len() as u64).map_err(failed)?;
    add_file(&mut archive, CA, &files.authority_certificate())?;
    add_file(&mut archive, CA_KEY, &files.authority_key())?;
    add_file(&mut archive, STORE, &copy)?;
    let mut gone = 0;
    for digest in &store.blobs {
        match add_file(&mut archive, &format!("{BLOBS}{}", digest.hex()), &files.blobs().join(digest.hex())) {
            Err(fault) if fault.code == FaultCode::NotFound => gone += 1,
            other => other?,
        }
    }
    add_folder(&mut archive, TRUSTED_KEYS, &files.trusted_keys())?;
    // The operator may have moved to another machine.
    add_folder(&mut archive, OPERATOR, &home.operator())?;
    let out = archive.into_inner().map_err(failed)?;
    out.sync_all().map_err(failed)?;
    let bytes = out.metadata().map_err(failed)?.len();
    fs::rename(&whole, file).map_err(failed)?;
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed)?;
    Ok(BackedUp { store, gone, bytes })
}

/// The files of a folder, which need not be there.
fn add_folder(archive: &mut tar::Builder<File>, prefix: &str, folder: &Path) -> Result<(), Fault> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(io_fault(folder, &e)),
    };
    for entry in entries {
        let path = entry.map_err(|e| io_fault(folder, &e))?.path();
        if let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|_| path.is_file()) {
            add_file(archive, &format!("{prefix}{name}"), &path)?;
        }
    }
    Ok(())
}

fn add_file(archive: &mut tar::Builder<File>, name: &str, path: &Path) -> Result<(), Fault> {
    let file = File::open(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => Fault::new(FaultCode::NotFound, "the file is gone").at(path.display()),
        _ => io_fault(path, &e),
    })?;
    let bytes = file.metadata().map_err(|e| io_fault(path, &e))?.len();
    append(archive, name, file, bytes).map_err(|e| io_fault(path, &e))
}

fn append(archive: &mut tar::Builder<File>, name: &str, content: impl io::Read, bytes: u64) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(0o600);
    archive.append_data(&mut header, name, content)
}
