//! Steps the server gave to this node: what is asked, what came of it, and what is still to be told.

mod chain;
mod executor;
mod files;
mod outbox;
mod plug;
mod slots;

pub use executor::{Steps, StepsOptions};
pub use outbox::Outbox;

use ouro_common::id::{AttemptKey, ContainerRef, Digest, Name};
use ouro_common::step::{Evidence, FailureClass};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// A step as it is assigned.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// Which attempt at which step.
    pub key: AttemptKey,
    /// The container, by name.
    pub container: ContainerRef,
    /// The container's identity: this one and no other.
    pub digest: Digest,
    /// The step's parameters.
    pub params: serde_json::Value,
    /// What it reads, in the step's order.
    pub inputs: Vec<StepInput>,
    /// What steps before it in its chain make here; each belongs into `inputs` at its place.
    pub pending: Vec<PendingInput>,
    /// Output port → tag.
    pub outputs: BTreeMap<Name, Name>,
    /// The time it may take from now.
    pub budget: Duration,
    /// Whether its output is the request's answer.
    pub answers: bool,
    /// Whose request it is, in a word; `None` from a server that does not say.
    pub scope: Option<String>,
}

/// An input of an assigned step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepInput {
    /// The port it is bound to.
    pub port: Name,
    /// The tag it comes from.
    pub tag: Name,
    /// Its media type.
    pub media: String,
    /// Its BLAKE3.
    pub digest: Digest,
    /// Its size.
    pub size_bytes: u64,
    /// Its bytes, when they came with the assignment.
    pub inline: Option<Vec<u8>>,
}

/// An input that another step on this node is still making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingInput {
    /// Its place among all inputs of the step.
    pub place: usize,
    /// The port it is bound to.
    pub port: Name,
    /// The tag it comes from.
    pub tag: Name,
    /// Who makes it.
    pub made_by: AttemptKey,
    /// At which of its output ports.
    pub made_port: Name,
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It succeeded.
    Made {
        /// Its outputs.
        outputs: Vec<Output>,
        /// Milliseconds by phase: `fetch`, `plug`, `run`.
        phases_ms: BTreeMap<String, f64>,
    },
    /// It did not.
    Failed {
        /// What kind of failure.
        class: FailureClass,
        /// In words.
        why: String,
        /// What speaks for the work's own guilt.
        evidence: Option<Evidence>,
    },
}

/// An output of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The port.
    pub port: Name,
    /// Its media type.
    pub media: String,
    /// Its BLAKE3.
    pub digest: Digest,
    /// Its size.
    pub size_bytes: u64,
    /// Its bytes in base64 when they ride in the result; else they are in the spool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline: Option<Inline>,
    /// Whether it must be on the server's disk before the result is told, since it answers the request.
    #[serde(default)]
    pub answers: bool,
}

/// Bytes that are base64 in JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inline(pub Vec<u8>);

impl Serialize for Inline {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&data_encoding::BASE64.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Inline {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        data_encoding::BASE64.decode(text.as_bytes()).map(Self).map_err(serde::de::Error::custom)
    }
}
