//! Whose modules are used: the keys the fleet trusts, as the server last said, and what follows from a signature.
//!
//! The keys are kept on the disk, so that a node that starts while the server is away trusts what it trusted before.

use crate::durable::{self, Keep};
use ouro_common::module::{TrustPolicy, TrustedKey, Verdict};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// The trusted keys. Clones share them.
#[derive(Debug, Clone)]
pub struct TrustedKeys {
    file: Arc<PathBuf>,
    keys: Arc<watch::Sender<Vec<TrustedKey>>>,
}

impl TrustedKeys {
    /// The keys as the server last said.
    pub fn open(file: PathBuf) -> Self {
        let lines = std::fs::read(&file).ok().and_then(|bytes| serde_json::from_slice::<Vec<TrustedKey>>(&bytes).ok());
        Self { file: Arc::new(file), keys: Arc::new(watch::Sender::new(lines.unwrap_or_default())) }
    }

    /// The keys now.
    pub fn now(&self) -> Vec<TrustedKey> {
        self.keys.borrow().clone()
    }

    /// A receiver that tells of changes.
    pub fn changes(&self) -> watch::Receiver<Vec<TrustedKey>> {
        self.keys.subscribe()
    }

    /// Replaces them by what the server says. Keys that cannot be read are left out, with a warning.
    pub fn replace(&self, lines: &[String]) {
        let read = |line: &String| line.parse::<TrustedKey>().inspect_err(|e| tracing::warn!(%e, "a trusted key of the server")).ok();
        let keys: Vec<TrustedKey> = lines.iter().filter_map(read).collect();
        let changed = self.keys.send_if_modified(|known| {
            let changed = *known != keys;
            known.clone_from(&keys);
            changed
        });
        if changed {
            tracing::info!(keys = keys.len(), "the keys this fleet trusts have changed");
            let json = serde_json::to_vec(&keys).unwrap_or_default();
            if let Err(error) = durable::write(&self.file, &json, Keep::ThroughPowerLoss) {
                tracing::warn!(%error, "the trusted keys cannot be kept; after a restart they come from the server again");
            }
        }
    }
}

/// What a policy makes of a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// It is used, and there is nothing to say.
    Fine,
    /// It is used, and this is said.
    Warned(String),
    /// It is not used, for this reason.
    Refused(String),
}

/// Whether a module with this signature is used.
pub fn judge(policy: TrustPolicy, verdict: &Verdict) -> Trust {
    let problem = match verdict {
        Verdict::Trusted { .. } => return Trust::Fine,
        Verdict::Unsigned => "it is not signed; sign it with `ouroctl module sign`".to_string(),
        Verdict::Untrusted { key } => {
            format!("it is signed by the key {key}, which this fleet does not trust; `ouroctl module trust KEY.pub` changes that")
        }
        Verdict::Bad { problem } => format!("its signature is wrong: {problem}; somebody changed it, or it was damaged"),
    };
    match policy {
        TrustPolicy::Enforce => Trust::Refused(problem),
        TrustPolicy::Warn => Trust::Warned(problem),
        TrustPolicy::Off => Trust::Fine,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";

    #[test]
    fn the_policy_decides_what_an_unknown_signature_is_worth() {
        let unsigned = Verdict::Unsigned;
        assert!(matches!(judge(TrustPolicy::Enforce, &unsigned), Trust::Refused(why) if why.contains("module sign")));
        assert!(matches!(judge(TrustPolicy::Warn, &unsigned), Trust::Warned(_)));
        assert_eq!(judge(TrustPolicy::Off, &unsigned), Trust::Fine);
    }

    #[test]
    fn the_server_s_keys_outlive_the_agent() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("trusted-keys.json");
        let keys = TrustedKeys::open(file.clone());
        let mut changes = keys.changes();
        keys.replace(&[KEY.into(), "nonsense".into()]);
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        keys.replace(&[KEY.into()]);
        assert!(!changes.has_changed().unwrap(), "the same keys are no change");
        assert_eq!(TrustedKeys::open(file).now(), [KEY.parse::<TrustedKey>().unwrap()]);
    }
}
