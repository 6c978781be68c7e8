//! Which load policy holds for a container here, and by whose word: `agent.toml` for this container, `agent.toml` for the node, the
//! container's own manifest, or the default. The machine is its owner's, so a manifest only fills in what the owner left open.

use ouro_common::container::{LoadHints, LoadPolicy, Manifest};
use ouro_common::document::FIRST_PASS;
use std::collections::BTreeMap;
use std::time::Duration;

/// What this node's configuration says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadPolicies {
    /// For every container, if it says so.
    pub node: Option<LoadPolicy>,
    /// How long an unused container stays, where nothing else is said.
    pub idle_timeout: Duration,
    /// By container: its name, or its name and version.
    pub containers: BTreeMap<String, LoadHints>,
}

impl Default for LoadPolicies {
    fn default() -> Self {
        Self { node: None, idle_timeout: Duration::from_secs(300), containers: BTreeMap::new() }
    }
}

/// What holds for a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InForce {
    /// When it leaves memory.
    pub policy: LoadPolicy,
    /// After so long, where it leaves by waiting.
    pub idle_timeout: Duration,
    /// Who said so.
    pub why: &'static str,
}

impl LoadPolicies {
    /// What holds for a container.
    pub fn of(&self, manifest: &Manifest) -> InForce {
        self.in_force(self.for_this(manifest), manifest.load)
    }

    /// What holds for the model of the first pass, which has no manifest.
    pub fn of_first_pass(&self) -> InForce {
        self.in_force(self.for_first_pass(), LoadHints::default())
    }

    /// The owner's word for just this container: for its version, else for its name.
    fn for_this(&self, manifest: &Manifest) -> LoadHints {
        let reference = manifest.reference();
        let named = self.containers.get(&reference.to_string()).or_else(|| self.containers.get(reference.name.as_str()));
        named.copied().unwrap_or_default()
    }

    fn for_first_pass(&self) -> LoadHints {
        self.containers.get(FIRST_PASS).copied().unwrap_or_default()
    }

    fn in_force(&self, named: LoadHints, own: LoadHints) -> InForce {
        let (policy, why) = match (named.policy, self.node, own.policy) {
            (Some(policy), ..) => (policy, "agent.toml, for this container"),
            (None, Some(policy), _) => (policy, "agent.toml"),
            (None, None, Some(policy)) => (policy, "its manifest"),
            (None, None, None) => (LoadPolicy::Idle, "the default"),
        };
        let seconds = named.idle_timeout_s.or(own.idle_timeout_s.filter(|_| self.node.is_none()));
        InForce { policy, idle_timeout: seconds.map_or(self.idle_timeout, Duration::from_secs), why }
    }

    /// Whether a container is to be loaded before anybody asks: only the owner's word for just this container says so.
    pub fn preloads(&self, manifest: &Manifest) -> bool {
        self.for_this(manifest).policy == Some(LoadPolicy::Persistent)
    }

    /// So for the model of the first pass.
    pub fn preloads_first_pass(&self) -> bool {
        self.for_first_pass().policy == Some(LoadPolicy::Persistent)
    }
}

impl InForce {
    /// Whether it leaves memory after having waited for so long.
    pub fn leaves_after(&self, idle: Duration) -> bool {
        match self.policy {
            LoadPolicy::PerRequest => true,
            LoadPolicy::Persistent => false,
            LoadPolicy::Idle | LoadPolicy::Dummy => idle >= self.idle_timeout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(load: &str) -> Manifest {
        let text = format!(
            "name = \"x\"\nversion = \"1.2.0\"\nsummary = \"s\"\nruntime = \"builtin\"\ninputs = []\n\
             outputs = [{{ port = \"out\", media = \"text/plain\" }}]\n{load}"
        );
        Manifest::from_toml(&text).unwrap()
    }

    #[test]
    fn the_nearest_word_of_the_owner_comes_first_and_the_manifest_fills_in() {
        let (plain, wants) = (manifest(""), manifest("[load]\npolicy = \"persistent\"\nidle_timeout_s = 9\n"));
        let mut node = LoadPolicies::default();
        let said = |node: &LoadPolicies, manifest: &Manifest| {
            let InForce { policy, idle_timeout, why } = node.of(manifest);
            (policy, idle_timeout.as_secs(), why)
        };
        assert_eq!(said(&node, &plain), (LoadPolicy::Idle, 300, "the default"));
        assert_eq!(said(&node, &wants), (LoadPolicy::Persistent, 9, "its manifest"));
        node.node = Some(LoadPolicy::PerRequest);
        assert_eq!(said(&node, &wants), (LoadPolicy::PerRequest, 300, "agent.toml"));
        assert!(!node.preloads(&wants), "a manifest takes nobody's memory unasked");
        node.containers.insert("x".into(), LoadHints { policy: Some(LoadPolicy::Persistent), idle_timeout_s: None });
        assert!(node.preloads(&plain));
        assert!(node.of_first_pass().policy == LoadPolicy::PerRequest && !node.preloads_first_pass());
        node.containers
            .insert(FIRST_PASS.into(), LoadHints { policy: Some(LoadPolicy::Persistent), idle_timeout_s: Some(7) });
        assert!(node.preloads_first_pass());
        assert_eq!((node.of_first_pass().policy, node.of_first_pass().idle_timeout.as_secs()), (LoadPolicy::Persistent, 7));
        let dummy = LoadHints { policy: Some(LoadPolicy::Dummy), idle_timeout_s: Some(5) };
        node.containers.insert("x:1.2.0".into(), dummy);
        assert_eq!(said(&node, &wants), (LoadPolicy::Dummy, 5, "agent.toml, for this container"));
        assert!(!node.preloads(&wants), "its version is nearer than its name");
    }

    #[test]
    fn who_leaves_by_waiting_waits_for_its_time() {
        let of = |policy| InForce { policy, idle_timeout: Duration::from_secs(10), why: "" };
        let (soon, late) = (Duration::from_secs(9), Duration::from_secs(10));
        for policy in [LoadPolicy::Idle, LoadPolicy::Dummy] {
            assert!(!of(policy).leaves_after(soon) && of(policy).leaves_after(late));
        }
        assert!(of(LoadPolicy::PerRequest).leaves_after(Duration::ZERO) && !of(LoadPolicy::Persistent).leaves_after(late));
    }
}
