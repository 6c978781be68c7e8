//! A newtype for every identifier, made from one list, so that no two kinds can be mixed up.
//!
//! UUIDv7 identifiers are built from a time and random bytes that the caller supplies; names and
//! digests are parsed, never assumed.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

pub use digest::{Digest, DigestAlgorithm};
pub use name::{ContainerRef, Name};

mod digest;
mod name;

/// An identifier could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {text:?} is not valid: {problem}")]
pub struct IdError {
    /// What was expected, for example "node id".
    pub kind: &'static str,
    /// The text that was given, at most 80 characters of it.
    pub text: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl IdError {
    pub(crate) fn new(kind: &'static str, text: &str, problem: &'static str) -> Self {
        Self { kind, text: text.chars().take(80).collect(), problem }
    }
}

macro_rules! define_uuid_ids {
    ($($(#[$doc:meta])* $name:ident = $kind:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A UUIDv7 from a Unix time in milliseconds and ten random bytes.
            pub fn from_parts(unix_ms: u64, random: [u8; 10]) -> Self {
                Self(uuid::Builder::from_unix_timestamp_millis(unix_ms, &random).into_uuid())
            }
            /// The last eight hexadecimal digits: enough for a person to tell two apart.
            pub fn short(&self) -> String {
                let text = self.0.simple().to_string();
                text[text.len() - 8..].to_string()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { self.0.fmt(f) }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, "{}({})", stringify!($name), self.0) }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(s: &str) -> Result<Self, IdError> {
                Uuid::parse_str(s.trim()).map($name).map_err(|_| IdError::new($kind, s, "expected a UUID"))
            }
        }
    )*};
}

define_uuid_ids! {
    /// A machine that runs the agent; given by the server at `join`, stable across restarts and renewals.
    NodeId = "node id";
    /// A request; UUIDv7, so it sorts by the time of its submission.
    RequestId = "request id";
    /// One run of an agent process.
    AgentRunId = "agent run id";
    /// One boot of a machine's kernel (`/proc/sys/kernel/random/boot_id`).
    BootId = "boot id";
    /// One run of a server process.
    InstanceId = "instance id";
}

/// The fencing number of an attempt at a step: raised only by `assign`, higher wins.
///
/// Restoring a backup raises `generation`, so that no number given before the restore is ever given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Epoch {
    /// The generation of the store.
    pub generation: u32,
    /// The count of assignments of this step within the generation; the first attempt is 1.
    pub n: u32,
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.generation, self.n)
    }
}

impl FromStr for Epoch {
    type Err = IdError;
    fn from_str(s: &str) -> Result<Self, IdError> {
        let bad = || IdError::new("epoch", s, "expected GENERATION.N");
        let (generation, n) = s.split_once('.').ok_or_else(bad)?;
        Ok(Self { generation: generation.parse().map_err(|_| bad())?, n: n.parse().map_err(|_| bad())? })
    }
}

/// One attempt at one step: the key of everything a node does for the server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AttemptKey {
    /// The request the step belongs to.
    pub request: RequestId,
    /// The number of the plan within the request; the rule planner writes plan 1.
    pub plan: u32,
    /// The step within the plan.
    pub step: Name,
    /// Which attempt.
    pub epoch: Epoch,
}

impl fmt::Display for AttemptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}@{}", self.request, self.plan, self.step, self.epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuid_ids_sort_by_their_time() {
        let a = RequestId::from_parts(1_000, [255; 10]);
        let b = RequestId::from_parts(1_001, [0; 10]);
        assert!(a < b);
        assert_eq!(a.to_string().parse::<RequestId>().unwrap(), a);
        assert!("".parse::<RequestId>().is_err());
    }

    #[test]
    fn a_restored_store_gives_higher_epochs() {
        let before = Epoch { generation: 1, n: 900 };
        let after = Epoch { generation: 2, n: 1 };
        assert!(after > before);
        assert_eq!("2.1".parse::<Epoch>().unwrap(), after);
        assert!("2".parse::<Epoch>().is_err());
    }
}
