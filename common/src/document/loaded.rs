//! What an agent has in memory.

use crate::container::Runtime;
use crate::id::ContainerRef;
use serde::{Deserialize, Serialize};

/// The document `ouroboros.loaded/1`: an agent's answer about its own workers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadedDocument {
    /// Always [`LoadedDocument::SCHEMA`].
    pub schema: String,
    /// After so many seconds without work a container leaves memory, unless it is pinned.
    pub idle_timeout_s: u64,
    /// The containers in memory, a row for each worker, and pinned ones that are in none.
    pub workers: Vec<LoadedView>,
}

impl LoadedDocument {
    /// The schema's name and version.
    pub const SCHEMA: &str = "ouroboros.loaded/1";
}

/// A container in memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadedView {
    /// Which.
    pub container: ContainerRef,
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
}
