//! What a person is told when something cannot be done: a stable code, what was wrong, where, and the remedy.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A refusal or failure as it travels between the parts and to the screen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// A stable code, for scripts.
    pub code: FaultCode,
    /// What was wrong, in one sentence.
    pub problem: String,
    /// The field, path or identifier it concerns; empty when the sentence says it all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub at: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

impl Fault {
    /// A fault with its code and sentence.
    pub fn new(code: FaultCode, problem: impl Into<String>) -> Self {
        Self { code, problem: problem.into(), at: String::new(), remedy: String::new() }
    }
    /// Names the field, path or identifier.
    #[must_use]
    pub fn at(mut self, at: impl fmt::Display) -> Self {
        self.at = at.to_string();
        self
    }
    /// Says what to do.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)?;
        if !self.at.is_empty() {
            write!(f, " ({})", self.at)?;
        }
        if !self.remedy.is_empty() {
            write!(f, "\n  remedy: {}", self.remedy)?;
        }
        Ok(())
    }
}
impl std::error::Error for Fault {}

macro_rules! define_fault_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// Stable fault codes; a number once given is never given again.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum FaultCode { $($(#[$doc])* #[serde(rename = $code)] $name,)* }

        impl FaultCode {
            /// Every code, in order.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
            /// The code as it is printed, like `OB0012`.
            pub fn code(self) -> &'static str { match self { $(Self::$name => $code,)* } }
            /// Its name in capitals, like `DISK_FULL`.
            pub fn name(self) -> &'static str { match self { $(Self::$name => $text,)* } }
            /// The code that prints as `text`, if there is one.
            pub fn parse(text: &str) -> Option<Self> { Self::ALL.iter().copied().find(|c| c.code() == text || c.name() == text) }
        }
    };
}

define_fault_codes! {
    /// Something in Ouroboros itself went wrong.
    Internal = "OB0001", "INTERNAL";
    /// The request or a field of it is malformed.
    InvalidArgument = "OB0002", "INVALID_ARGUMENT";
    /// No such request, node, blob …
    NotFound = "OB0003", "NOT_FOUND";
    /// The caller's role may not do this.
    PermissionDenied = "OB0004", "PERMISSION_DENIED";
    /// The caller showed no valid certificate.
    Unauthenticated = "OB0005", "UNAUTHENTICATED";
    /// The join token is unknown, expired, or used up.
    TokenRefused = "OB0006", "TOKEN_REFUSED";
    /// The certificate has expired.
    CertificateExpired = "OB0007", "CERTIFICATE_EXPIRED";
    /// A request or blob is larger than the limit.
    TooLarge = "OB0008", "TOO_LARGE";
    /// Bytes do not hash to the digest they were announced with.
    DigestMismatch = "OB0009", "DIGEST_MISMATCH";
    /// The same idempotency key with another content.
    Conflict = "OB0010", "CONFLICT";
    /// No container or no node can serve the request.
    CannotPlace = "OB0011", "CANNOT_PLACE";
    /// The disk is full, or nearly.
    DiskFull = "OB0012", "DISK_FULL";
    /// The server cannot be reached.
    ServerUnreachable = "OB0013", "SERVER_UNREACHABLE";
    /// The time given to the request has passed.
    DeadlineExceeded = "OB0014", "DEADLINE_EXCEEDED";
    /// The work itself failed.
    WorkFailed = "OB0015", "WORK_FAILED";
    /// A model or container file cannot be used.
    ModelInvalid = "OB0016", "MODEL_INVALID";
    /// A library or program that is needed is not installed.
    PartMissing = "OB0017", "PART_MISSING";
    /// Another process holds the home directory.
    HomeInUse = "OB0018", "HOME_IN_USE";
    /// Something that must not be overwritten is already there.
    AlreadyExists = "OB0019", "ALREADY_EXISTS";
    /// The peer speaks no protocol version that this one speaks.
    VersionMismatch = "OB0020", "VERSION_MISMATCH";
    /// The request was cancelled.
    Cancelled = "OB0021", "CANCELLED";
    /// The planner understood the request but no container can serve it.
    PlanRefused = "OB0022", "PLAN_REFUSED";
    /// The same node identity is in use by another running agent.
    Cloned = "OB0023", "CLONED";
}

impl fmt::Display for FaultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code(), self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_parse_back() {
        for (i, code) in FaultCode::ALL.iter().enumerate() {
            assert_eq!(FaultCode::parse(code.code()), Some(*code));
            assert_eq!(FaultCode::parse(code.name()), Some(*code));
            assert_eq!(code.code(), format!("OB{:04}", i + 1), "codes are given in order, without gaps");
        }
    }

    #[test]
    fn a_fault_prints_where_and_what_to_do() {
        let fault = Fault::new(FaultCode::DiskFull, "the disk is full").at("/var/lib/x").remedy("free 1 GiB");
        assert_eq!(fault.to_string(), "the disk is full (/var/lib/x)\n  remedy: free 1 GiB");
    }
}
