//! Restoring: the whole backup is unpacked and checked beside the home before anything of the home is touched.

use super::{BLOBS, CA, CA_KEY, MANIFEST, Manifest, OPERATOR, SCHEMA, STORE, TRUSTED_KEYS};
use crate::init::{ServerFiles, io_fault, store_fault};
use crate::lock::HomeLock;
use crate::store::{SqliteStore, Ticker};
use ouro_common::error::{Fault, FaultCode};
use ouro_common::home::Home;
use ouro_common::id::Digest;
use ouro_proto::identity::Authority;
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// When the backup was taken, ms since the Unix epoch.
    pub taken_unix_ms: u64,
    /// The generation of the epochs that are given from now on.
    pub generation: u32,
    /// Requests in the store.
    pub requests: u64,
    /// Nodes in the store.
    pub nodes: u64,
    /// Blobs that the store names and the backup has not: their requests had ended.
    pub missing_blobs: usize,
    /// Where the fleet lies that was in the home before.
    pub replaced: Option<PathBuf>,
}

/// Makes `home` the fleet that is in `file`. With `force` a fleet that is there is moved aside.
///
/// # Errors
/// `ALREADY_EXISTS` if there is a fleet and no `force`, `HOME_IN_USE` if a server runs on it, or what is wrong with the file.
pub fn restore(home: &Home, file: &Path, force: bool, ticker: &dyn Ticker) -> Result<Restored, Fault> {
    let folder = home.server();
    let occupied = fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some());
    if occupied && !force {
        return Err(Fault::new(FaultCode::AlreadyExists, "there is a fleet in this home already; nothing was changed")
            .at(folder.display())
            .remedy("add --force to move it aside, or set OUROBOROS_HOME to another folder"));
    }
    let _lock = if occupied { Some(HomeLock::take(&folder)?) } else { None };
    fs::create_dir_all(home.root()).map_err(|e| io_fault(home.root(), &e))?;
    let staging = tempfile::Builder::new()
        .prefix(".restoring-")
        .tempdir_in(home.root())
        .map_err(|e| io_fault(home.root(), &e))?;
    let manifest = unpack(file, staging.path())?;
    let (server, operator) = (staging.path().join("server"), staging.path().join("operator"));
    let store = check(&server)?;
    let held: BTreeSet<String> = names_in(&server.join("blobs"))?;
    let generation = SqliteStore::raise_generation(&ServerFiles(&server).database(), ticker).map_err(|e| store_fault(&e))?;
    let replaced = if occupied { Some(move_aside(&folder, ticker.wall().0)?) } else { None };
    if !occupied {
        let _ = fs::remove_dir(&folder);
    }
    fs::rename(&server, &folder).map_err(|e| io_fault(&folder, &e))?;
    if operator.exists() && !home.operator().exists() {
        fs::rename(&operator, home.operator()).map_err(|e| io_fault(&home.operator(), &e))?;
    }
    File::open(home.root()).and_then(|root| root.sync_all()).map_err(|e| io_fault(home.root(), &e))?;
    Ok(Restored {
        taken_unix_ms: manifest.taken_unix_ms,
        generation,
        requests: store.requests,
        nodes: store.nodes,
        missing_blobs: store.blobs.iter().filter(|digest| !held.contains(&digest.hex())).count(),
        replaced,
    })
}

fn move_aside(folder: &Path, now_unix_ms: u64) -> Result<PathBuf, Fault> {
    let aside = folder.with_file_name(format!("server.replaced-{}", now_unix_ms / 1000));
    if aside.exists() {
        return Err(Fault::new(FaultCode::AlreadyExists, "a fleet was moved aside there already; nothing was changed").at(aside.display()));
    }
    fs::rename(folder, &aside).map_err(|e| io_fault(&aside, &e))?;
    Ok(aside)
}

/// The CA must be one, and the store whole.
fn check(server: &Path) -> Result<crate::store::DatabaseCopy, Fault> {
    let files = ServerFiles(server);
    let read = |path: PathBuf| fs::read_to_string(&path).map_err(|_| damaged("it has no certificate authority", &path));
    Authority::from_pem(&read(files.authority_certificate())?, &read(files.authority_key())?)
        .map_err(|e| damaged(&format!("its certificate authority cannot be used: {e}"), server))?;
    let database = files.database();
    if !database.exists() {
        return Err(damaged("it has no store", &database));
    }
    SqliteStore::check(&database).map_err(|e| damaged(&e.to_string(), &database))
}

/// Unpacks into `server/` and `operator/` of the staging folder. Only names that a backup has are taken.
fn unpack(file: &Path, staging: &Path) -> Result<Manifest, Fault> {
    let input = File::open(file).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => Fault::new(FaultCode::NotFound, "there is no such file").at(file.display()),
        _ => io_fault(file, &e),
    })?;
    let unreadable = |e: io::Error| damaged(&format!("it is no whole tar archive: {e}"), file);
    for folder in ["server", "server/blobs", "server/trusted-keys", "operator"] {
        let path = staging.join(folder);
        fs::create_dir(&path)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o700)))
            .map_err(|e| io_fault(&path, &e))?;
    }
    let mut archive = tar::Archive::new(input);
    let mut manifest = None;
    for entry in archive.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if manifest.is_none() {
            manifest = Some(read_manifest(&mut entry, &name, file)?);
            continue;
        }
        let target = place_of(&name).ok_or_else(|| damaged(&format!("it holds {name:?}, which no backup has"), file))?;
        write(&mut entry, &staging.join(&target), name.strip_prefix(BLOBS), file)?;
    }
    if fs::read_dir(staging.join("operator")).is_ok_and(|mut entries| entries.next().is_none()) {
        let _ = fs::remove_dir(staging.join("operator"));
    }
    manifest.ok_or_else(|| damaged("it is empty", file))
}

/// Where an entry goes, relative to the staging folder. Names are single components, so that nothing leads out of it.
fn place_of(name: &str) -> Option<PathBuf> {
    let single = |rest: &str| !rest.is_empty() && rest != "." && rest != ".." && !rest.contains('/');
    match name {
        CA | CA_KEY | STORE => Some(Path::new("server").join(name)),
        _ if [BLOBS, TRUSTED_KEYS].iter().any(|folder| name.strip_prefix(folder).is_some_and(single)) => {
            Some(Path::new("server").join(name))
        }
        _ if name.strip_prefix(OPERATOR).is_some_and(single) => Some(PathBuf::from(name)),
        _ => None,
    }
}

fn read_manifest(entry: &mut impl io::Read, name: &str, file: &Path) -> Result<Manifest, Fault> {
    if name != MANIFEST {
        return Err(damaged("it is no backup of a fleet", file));
    }
    let manifest: Manifest = serde_json::from_reader(io::Read::take(entry, 64 << 10))
        .map_err(|e| damaged(&format!("its {MANIFEST} cannot be read: {e}"), file))?;
    if manifest.schema != SCHEMA {
        let problem = format!("the backup has the form {:?}, this build reads {SCHEMA:?}", manifest.schema);
        return Err(Fault::new(FaultCode::VersionMismatch, problem).at(file.display()).remedy("use the build that made it"));
    }
    Ok(manifest)
}

/// Writes an entry durably; a blob must hash to its name.
fn write(entry: &mut impl io::Read, target: &Path, blob: Option<&str>, file: &Path) -> Result<(), Fault> {
    let failed = |e: io::Error| io_fault(target, &e);
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(target).map_err(failed)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let n = entry.read(&mut buffer).map_err(|e| damaged(&format!("it is cut off: {e}"), file))?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
        io::Write::write_all(&mut out, &buffer[..n]).map_err(failed)?;
    }
    out.sync_all().map_err(failed)?;
    match blob {
        Some(name) if Digest::from_blake3(hasher.finalize()).hex() != name => {
            Err(damaged(&format!("blob {name} does not hash to its name"), file))
        }
        _ => Ok(()),
    }
}

fn names_in(folder: &Path) -> Result<BTreeSet<String>, Fault> {
    let entries = fs::read_dir(folder).map_err(|e| io_fault(folder, &e))?;
    Ok(entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}

fn damaged(problem: &str, at: &Path) -> Fault {
    Fault::new(FaultCode::InvalidArgument, format!("the backup cannot be restored: {problem}; nothing was changed"))
        .at(at.display())
        .remedy("take another backup")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leads_out_of_the_folder() {
        for name in [
            "../x",
            "/etc/passwd",
            "blobs/../ca.pem",
            "blobs/",
            "operator/..",
            "operator/a/b",
            "trusted-keys/..",
            "server/ca.pem",
            "",
        ] {
            assert_eq!(place_of(name), None, "{name}");
        }
        assert_eq!(place_of("blobs/ab"), Some(PathBuf::from("server/blobs/ab")));
        assert_eq!(place_of("trusted-keys/me.pub"), Some(PathBuf::from("server/trusted-keys/me.pub")));
        assert_eq!(place_of("operator/key.pem"), Some(PathBuf::from("operator/key.pem")));
    }
}
