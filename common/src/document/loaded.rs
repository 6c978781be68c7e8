//! What an agent has in memory.

use crate::container::{LoadPolicy, Runtime};
use crate::id::ContainerRef;
use serde::{Deserialize, Serialize};

/// By this name people, `ouroctl` and `agent.toml` speak of the model of the first pass.
pub const FIRST_PASS: &str = "first-pass";

/// The document `ouroboros.loaded/1`: an agent's answer about its own workers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadedDocument {
    /// Always [`LoadedDocument::SCHEMA`].
    pub schema: String,
    /// After so many seconds without work a container leaves memory, unless it is pinned.
    pub idle_timeout_s: u64,
    /// Bytes that all of them together may take.
    #[serde(default)]
    pub memory_limit_bytes: u64,
    /// The containers in memory, a row for each worker, the model of the first pass among them, and those in none that are pinned or
    /// left something in a file.
    pub workers: Vec<LoadedView>,
}

impl LoadedDocument {
    /// The schema's name and version.
    pub const SCHEMA: &str = "ouroboros.loaded/1";
}

/// The requests that a language model computes together, and the keys and values it keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchState {
    /// Requests that are computed.
    pub running: u32,
    /// Requests that wait for room.
    pub waiting: u32,
    /// The most that are computed together.
    pub most: u32,
    /// The most that were, since the model was loaded.
    pub most_running: u32,
    /// Bytes of keys and values that are set aside for those that are computed.
    pub cache_bytes: u64,
    /// The most that there may be, kept beginnings included.
    pub cache_limit_bytes: u64,
    /// Beginnings of prompts that are kept for the same askers.
    pub prefixes: u32,
    /// Their bytes.
    pub prefix_bytes: u64,
    /// Tokens of all prompts since the model was loaded.
    pub prompt_tokens: u64,
    /// Those of them that were kept and not computed again.
    pub reused_tokens: u64,
}

/// A container in memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadedView {
    /// Which; `None` for the model of the first pass, which is no container.
    pub container: Option<ContainerRef>,
    /// The file or folder of the first pass's model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_pass: Option<String>,
    /// What runs it.
    pub runtime: Runtime,
    /// Its worker's process; `None` for a pinned container that is not loaded.
    pub process: Option<u32>,
    /// Resident memory of that process in bytes, mapped files included.
    pub memory_bytes: Option<u64>,
    /// Whether a step runs in it.
    pub busy: bool,
    /// For how many seconds it has waited for work.
    pub idle_s: Option<f64>,
    /// Whether it stays however long it waits.
    pub pinned: bool,
    /// When it leaves memory, unless it is pinned.
    #[serde(default)]
    pub policy: LoadPolicy,
    /// After so many seconds without work, where it leaves by waiting.
    #[serde(default)]
    pub idle_timeout_s: u64,
    /// By whose word.
    #[serde(default)]
    pub policy_why: String,
    /// What a language model computes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchState>,
    /// Bytes that it left in a file when it left memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked_bytes: Option<u64>,
}

impl LoadedView {
    /// What people call it, and `ouroctl model load` understands.
    pub fn name(&self) -> String {
        self.container.as_ref().map_or_else(|| FIRST_PASS.into(), ToString::to_string)
    }

    /// Whether this is the container of a name, of whatever version, or the first pass by its own.
    pub fn is(&self, name: &str) -> bool {
        self.container.as_ref().map_or(name == FIRST_PASS, |container| container.name.as_str() == name)
    }
}
