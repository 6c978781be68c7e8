//! Whose modules the fleet uses: the trusted keys, and the server's own check of what nodes announce.
//!
//! A key is a file `NAME.pub` in the folder `trusted-keys` of the server, as minisign writes it. `ouroctl module trust` puts one there;
//! a person may as well, and it is noticed within a second.

use ouro_common::error::{Fault, FaultCode};
use ouro_common::module::{Announcement, Index, ModuleState, Placement, SignedIndex, TrustPolicy, TrustedKey, Verdict, sha256, verify};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What files with keys end in.
const SUFFIX: &str = ".pub";
/// The largest such file that is read, bytes.
const MAX_BYTES: u64 = 4096;

/// A key with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedKey {
    /// What people call it.
    pub name: String,
    /// The key.
    pub key: TrustedKey,
}

/// The trusted keys, as they lie in their folder.
#[derive(Debug)]
pub struct TrustedKeys {
    folder: PathBuf,
    keys: Mutex<Vec<NamedKey>>,
}

impl TrustedKeys {
    /// The keys in `folder`, which need not be there.
    pub fn open(folder: PathBuf) -> Self {
        let keys = Mutex::new(read(&folder));
        Self { folder, keys }
    }

    /// The keys now, by name.
    pub fn now(&self) -> Vec<NamedKey> {
        self.keys().clone()
    }

    /// As they are sent to nodes.
    pub fn lines(&self) -> Vec<String> {
        self.keys().iter().map(|named| named.key.base64().to_string()).collect()
    }

    /// Looks into the folder again. Whether anything changed.
    pub fn look(&self) -> bool {
        let found = read(&self.folder);
        let mut keys = self.keys();
        let changed = *keys != found;
        *keys = found;
        changed
    }

    /// Trusts a key from now on.
    ///
    /// # Errors
    /// It is no key, the name cannot be a file's, or another key has it; what the file system refused.
    pub fn trust(&self, name: &str, text: &str) -> Result<NamedKey, Fault> {
        let invalid = |field: &str, problem: String| Fault::new(FaultCode::InvalidArgument, problem).at(field);
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
        if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(plain) {
            return Err(invalid("name", "a key's name has 1 to 64 letters, digits, '-', '_', '.' or '@'".into()));
        }
        let key: TrustedKey =
            text.parse().map_err(|e| invalid("key", format!("{e}")).remedy("give the file KEY.pub that `keygen` wrote"))?;
        if let Some(other) = self.keys().iter().find(|known| known.name == name && known.key != key) {
            let problem = format!("another key has that name: {}", other.key.id());
            return Err(Fault::new(FaultCode::AlreadyExists, problem)
                .at(name)
                .remedy("choose another with --name, or distrust that one first"));
        }
        let refused = |e: std::io::Error| crate::init::io_fault(&self.folder, &e);
        fs::create_dir_all(&self.folder).map_err(refused)?;
        let content = format!("untrusted comment: minisign public key {}\n{}\n", key.id(), key.base64());
        fs::write(self.folder.join(format!("{name}{SUFFIX}")), content).map_err(refused)?;
        Ok(NamedKey { name: name.into(), key })
    }

    /// Trusts a key no longer, named by its name or its number.
    ///
    /// # Errors
    /// `NOT_FOUND`; what the file system refused.
    pub fn distrust(&self, wanted: &str) -> Result<NamedKey, Fault> {
        let matches = |named: &&NamedKey| named.name == wanted || named.key.id().to_string().eq_ignore_ascii_case(wanted);
        let found = self.keys().iter().find(matches).cloned();
        let found = found.ok_or_else(|| Fault::new(FaultCode::NotFound, "no trusted key has that name or number").at(wanted))?;
        let file = self.folder.join(format!("{}{SUFFIX}", found.name));
        fs::remove_file(&file).map_err(|e| crate::init::io_fault(&file, &e))?;
        Ok(found)
    }

    /// Checks what a node announces by what is known here: a module it calls ready, and that must be signed, is signed by a key that
    /// this server trusts, and carries the containers that are announced.
    pub fn check(&self, announcement: &mut Announcement) {
        let keys: Vec<TrustedKey> = self.keys().iter().map(|named| named.key.clone()).collect();
        for placement in announcement.placements.iter_mut().filter(|p| p.state.offers()) {
            if let Some(origin) = &mut placement.origin
                && let Some(signed) = &origin.index
            {
                origin.signature = judge(signed, &keys);
            }
            if let Some(problem) = problem(placement, &keys) {
                placement.state = ModuleState::Untrusted;
                placement.why = format!("the server does not take its node's word: {problem}");
            }
        }
    }

    fn keys(&self) -> MutexGuard<'_, Vec<NamedKey>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the signature is worth by the keys known here.
fn judge(signed: &SignedIndex, keys: &[TrustedKey]) -> Verdict {
    match &signed.signature {
        Some(signature) => verify(signed.index.as_bytes(), signature.as_bytes(), keys),
        None => Verdict::Unsigned,
    }
}

/// What speaks against a placement that its node calls ready.
fn problem(placement: &Placement, keys: &[TrustedKey]) -> Option<String> {
    // The owner of a node answers for its folders and its program.
    let owned = placement.slot == "builtin" || placement.slot.starts_with("dir:");
    let Some(origin) = &placement.origin else {
        return (!owned).then(|| "it says nothing about who signed it".into());
    };
    if origin.policy != TrustPolicy::Enforce {
        return None;
    }
    let Some(signed) = &origin.index else {
        return Some("its index was not announced".into());
    };
    if sha256(signed.index.as_bytes()) != placement.module {
        return Some("its index is not what its identity says".into());
    }
    let verdict = judge(signed, keys);
    if !verdict.is_trusted() {
        return Some(verdict.to_string());
    }
    let index = match Index::parse(signed.index.as_bytes()) {
        Ok(index) => index,
        Err(error) => return Some(error.to_string()),
    };
    let listed = |digest| index.manifests.iter().any(|manifest| manifest.digest == digest);
    let foreign = placement.containers.iter().find(|container| !listed(container.digest));
    foreign.map(|container| format!("{} is not in its index", container.manifest.reference()))
}

fn read(folder: &Path) -> Vec<NamedKey> {
    let mut found: Vec<NamedKey> =
        fs::read_dir(folder).into_iter().flatten().flatten().filter_map(|entry| read_key(&entry.path())).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn read_key(path: &Path) -> Option<NamedKey> {
    let name = path.file_name()?.to_str()?.strip_suffix(SUFFIX)?.to_string();
    if fs::metadata(path).ok()?.len() > MAX_BYTES {
        return None;
    }
    let text = fs::read_to_string(path).ok()?;
    let key = text.parse().inspect_err(|error| tracing::debug!(path = %path.display(), %error, "no key")).ok()?;
    Some(NamedKey { name, key })
}

#[cfg(test)]
mod tests;
