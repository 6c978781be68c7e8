//! When a container is in memory: a word of its manifest, or of the node that runs it.

use serde::{Deserialize, Serialize};

/// When a container leaves memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadPolicy {
    /// As soon as nobody asks for anything.
    PerRequest,
    /// Not by waiting.
    Persistent,
    /// When it has waited for its time.
    #[default]
    Idle,
    /// When it has waited for its time; what it keeps of earlier requests goes to a file, and comes back when it does.
    Dummy,
}

impl LoadPolicy {
    /// Its name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::PerRequest => "per_request",
            Self::Persistent => "persistent",
            Self::Idle => "idle",
            Self::Dummy => "dummy",
        }
    }
}

/// What a manifest or a configuration says of one container. What is left out is decided elsewhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadHints {
    /// When it leaves memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<LoadPolicy>,
    /// After so many seconds of waiting, where it leaves by waiting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout_s: Option<u64>,
}

impl LoadHints {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
