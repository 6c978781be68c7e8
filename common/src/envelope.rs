//! The Poison Protocol's envelope: what an offloaded request says about itself.
//!
//! What it is, why it left the machine where it was asked, and in which context it runs. The principal is put in by
//! whoever checked the peer's credentials, never by the message.

use crate::id::{Digest, Name, NodeId, RequestId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The protocol version this build speaks.
pub const PROTOCOL_VERSION: u32 = 1;
/// The largest request with all its inputs, in bytes.
pub const MAX_REQUEST_BYTES: u64 = 64 * 1024 * 1024;
/// The longest prompt, in bytes; longer text belongs into an input.
pub const MAX_PROMPT_BYTES: usize = 1024 * 1024;
/// The most inputs a request may carry besides the prompt.
pub const MAX_INPUTS: usize = 64;
/// The time a request gets when it names no deadline.
pub const DEFAULT_BUDGET_MS: u64 = 600_000;
/// The priority of a request that says nothing of it, of 0 to 9.
pub const DEFAULT_PRIORITY: u8 = 5;
/// The tag that holds the prompt.
pub const PROMPT_TAG: &str = "prompt";
/// Results up to this size, summed over a step's outputs, ride in the result and are stored in the commit.
pub const INLINE_TAG_BYTES: usize = 32 * 1024;

/// Who asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "role", content = "id")]
pub enum Principal {
    /// An operator's certificate, by its name.
    Operator(String),
    /// A client's certificate, by its name.
    Client(String),
    /// A local user of a node, whose credentials the agent checked.
    Node {
        /// The node.
        node: NodeId,
        /// The user id on that node.
        uid: u32,
    },
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator(name) => write!(f, "operator:{name}"),
            Self::Client(name) => write!(f, "client:{name}"),
            Self::Node { node, uid } => write!(f, "node:{node}/uid:{uid}"),
        }
    }
}

/// A principal's name that no principal has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names nobody: it is operator:NAME, client:NAME or node:ID/uid:NUMBER")]
pub struct NotAPrincipal(String);

impl std::str::FromStr for Principal {
    type Err = NotAPrincipal;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let node = |rest: &str| {
            let (node, uid) = rest.split_once("/uid:")?;
            Some(Self::Node { node: node.parse().ok()?, uid: uid.parse().ok()? })
        };
        match text.split_once(':') {
            Some(("operator", name)) => Some(Self::Operator(name.into())),
            Some(("client", name)) => Some(Self::Client(name.into())),
            Some(("node", rest)) => node(rest),
            _ => None,
        }
        .ok_or_else(|| NotAPrincipal(text.into()))
    }
}

/// Which nodes may see a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Privacy {
    /// Any node of the fleet.
    #[default]
    Public,
    /// Only nodes that carry the submitter's owner label.
    Private,
}

/// How the answer is waited for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Somebody waits at a screen.
    #[default]
    Realtime,
    /// Throughput matters, not latency.
    Batch,
    /// Collected later.
    Async,
}

/// Why a request left the machine where it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OffloadFlag {
    /// The model answered, but not surely enough.
    LowConfidence,
    /// The prompt does not fit the model's context.
    ContextTooLong,
    /// The request has inputs or wants outputs the model has no means for.
    CapabilityMissing,
    /// There is no usable model on this machine.
    ModelMissing,
    /// The forecast for the decision exceeds the time there is.
    TooSlow,
    /// The node's configuration sends everything on.
    Policy,
    /// The battery is too low.
    Battery,
    /// The machine is too hot.
    Thermal,
    /// There is too little free memory.
    Memory,
    /// The user asked for it.
    User,
}

impl OffloadFlag {
    /// Every flag, in the order of their wire numbers, which begin at 1.
    pub const ALL: [Self; 10] = [
        Self::LowConfidence,
        Self::ContextTooLong,
        Self::CapabilityMissing,
        Self::ModelMissing,
        Self::TooSlow,
        Self::Policy,
        Self::Battery,
        Self::Thermal,
        Self::Memory,
        Self::User,
    ];
    /// Its name in capitals, like `MODEL_MISSING`.
    pub fn name(self) -> &'static str {
        match self {
            Self::LowConfidence => "LOW_CONFIDENCE",
            Self::ContextTooLong => "CONTEXT_TOO_LONG",
            Self::CapabilityMissing => "CAPABILITY_MISSING",
            Self::ModelMissing => "MODEL_MISSING",
            Self::TooSlow => "TOO_SLOW",
            Self::Policy => "POLICY",
            Self::Battery => "BATTERY",
            Self::Thermal => "THERMAL",
            Self::Memory => "MEMORY",
            Self::User => "USER",
        }
    }
}

/// What the local attempt found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FirstPassReport {
    /// BLAKE3 digest of the model file.
    pub model: Option<Digest>,
    /// The model's own name.
    pub model_name: Option<String>,
    /// Which engine build ran it.
    pub engine: Option<String>,
    /// Tokens in the prompt.
    pub prompt_tokens: u32,
    /// Tokens made before the decision.
    pub tokens: u32,
    /// Mean natural-log probability of those tokens.
    pub mean_logprob: Option<f64>,
    /// Their minimum.
    pub min_logprob: Option<f64>,
    /// Their 10 % quantile.
    pub p10_logprob: Option<f64>,
    /// The mean entropy of the distributions they were chosen from, nats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_entropy: Option<f64>,
    /// What the decision compared.
    pub feature: Option<String>,
    /// The threshold it compared with.
    pub threshold: Option<f64>,
    /// Where the threshold comes from, if from a calibration; or why the one that is there is not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<String>,
    /// `true`: answered here; `false`: offloaded.
    pub answered: bool,
    /// Why it was offloaded; empty when it was answered.
    pub flags: Vec<OffloadFlag>,
    /// The reason in one sentence.
    pub why: String,
    /// Time from the request to the decision, ms.
    pub elapsed_ms: u64,
    /// The text made so far, if it was not shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partial: Option<String>,
}

/// An input that travels with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// The tag it is known by.
    pub tag: Name,
    /// Its media type.
    pub media: String,
    /// Its BLAKE3 digest.
    pub digest: Digest,
    /// Its size.
    pub size_bytes: u64,
    /// The file's name where it came from, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_name: Option<String>,
}

/// Everything about a request but the bytes of its inputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// The protocol version of the sender.
    pub version: u32,
    /// The request's identity.
    pub id: RequestId,
    /// Chosen by the submitter: the same key and content is the same request.
    pub idempotency_key: String,
    /// Who asked, as far as the receiver could check.
    pub principal: Principal,
    /// Which nodes may see it.
    pub privacy: Privacy,
    /// How the answer is waited for.
    pub mode: Mode,
    /// 0 (background) to 9; 5 unless told.
    pub priority: u8,
    /// The time it may still take, ms.
    pub budget_ms: u64,
    /// Why it was offloaded; empty when it was submitted to the server directly.
    pub offload: Vec<OffloadFlag>,
    /// What the local attempt found.
    pub first_pass: Option<FirstPassReport>,
    /// W3C trace context, if the submitter sent one.
    pub traceparent: Option<String>,
    /// The prompt.
    pub prompt: String,
    /// The inputs.
    pub inputs: Vec<Input>,
    /// A plan that the user approved; the server checks it and takes it as it is.
    pub approved_plan: Option<crate::plan::Plan>,
}

impl Envelope {
    /// A request with nothing but a prompt: public, in real time, of middling priority, with the usual time, its id for a key.
    pub fn new(id: RequestId, principal: Principal, prompt: impl Into<String>) -> Self {
        Self {
            version: PROTOCOL_VERSION,
            id,
            idempotency_key: id.to_string(),
            principal,
            privacy: Privacy::Public,
            mode: Mode::Realtime,
            priority: DEFAULT_PRIORITY,
            budget_ms: DEFAULT_BUDGET_MS,
            offload: vec![],
            first_pass: None,
            traceparent: None,
            prompt: prompt.into(),
            inputs: vec![],
            approved_plan: None,
        }
    }

    /// The digest of what was asked: two submissions with one idempotency key must agree in it.
    ///
    /// It covers the prompt, the inputs, and what decides where they may run; not the identity, the time or the route.
    pub fn content_digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        let mut field = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        field(self.prompt.as_bytes());
        field(&[u8::from(self.privacy == Privacy::Private)]);
        for input in &self.inputs {
            field(input.tag.as_str().as_bytes());
            field(input.media.as_bytes());
            field(&input.digest.bytes);
        }
        field(&serde_json::to_vec(&self.approved_plan).unwrap_or_default());
        Digest::from_blake3(hasher.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(prompt: &str) -> Envelope {
        Envelope::new(RequestId::from_parts(1, [1; 10]), Principal::Operator("admin".into()), prompt)
    }

    #[test]
    fn a_principal_is_read_as_it_is_written() {
        let node = NodeId::from_parts(3, [5; 10]);
        let all = [Principal::Operator("a:b".into()), Principal::Client(String::new()), Principal::Node { node, uid: 1000 }];
        for principal in all {
            assert_eq!(principal.to_string().parse(), Ok(principal));
        }
        for nobody in ["", "ada", "root:ada", "node:x/uid:1", &format!("node:{node}"), &format!("node:{node}/uid:-1")] {
            assert!(nobody.parse::<Principal>().unwrap_err().to_string().contains("names nobody"), "{nobody}");
        }
    }

    #[test]
    fn the_content_digest_covers_content_and_nothing_else() {
        let a = envelope("hello");
        let later = Envelope { id: RequestId::from_parts(9, [9; 10]), budget_ms: 5, priority: 9, ..a.clone() };
        assert_eq!(a.content_digest(), later.content_digest());
        assert_ne!(a.content_digest(), envelope("hello!").content_digest());
        let private = Envelope { privacy: Privacy::Private, ..a.clone() };
        assert_ne!(a.content_digest(), private.content_digest());
    }

    #[test]
    fn flag_names_agree_with_their_json() {
        for flag in OffloadFlag::ALL {
            assert_eq!(serde_json::to_string(&flag).unwrap(), format!("{:?}", flag.name()));
        }
    }
}
