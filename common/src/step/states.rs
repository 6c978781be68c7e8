//! The states of requests, steps, attempts and nodes. Terminal is final; "waiting" is derived, never stored.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! define_states {
    ($($(#[$doc:meta])* $enum:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $enum { $($(#[$vdoc])* #[serde(rename = $text)] $variant,)* }

        impl $enum {
            /// Every state.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];
            /// As it is stored and printed.
            pub fn as_str(self) -> &'static str { match self { $(Self::$variant => $text,)* } }
            /// The state that is printed as `text`.
            pub fn parse(text: &str) -> Option<Self> { Self::ALL.iter().copied().find(|s| s.as_str() == text) }
        }
        impl fmt::Display for $enum {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.pad(self.as_str()) }
        }
    )*};
}

define_states! {
    /// Where a request is.
    RequestState {
        /// Durable, not yet interpreted.
        Accepted = "accepted",
        /// The interpreter is asked.
        Planning = "planning",
        /// It has a plan, and steps that are not done.
        Running = "running",
        /// The answer is there.
        Done = "done",
        /// It ended without an answer, with a reason.
        Failed = "failed",
        /// Somebody ended it.
        Cancelled = "cancelled",
        /// Its deadline passed.
        Expired = "expired",
    }
    /// Where a step is.
    StepState {
        /// It waits for the results of other steps.
        Blocked = "blocked",
        /// It can be placed.
        Ready = "ready",
        /// A node has it.
        Assigned = "assigned",
        /// Its results are committed.
        Done = "done",
        /// It cannot succeed.
        Failed = "failed",
        /// It killed two nodes' workers and is kept away from the others.
        Poisoned = "poisoned",
        /// Its request ended without it.
        Cancelled = "cancelled",
    }
    /// Where one attempt at a step is.
    AttemptState {
        /// A node has it.
        Assigned = "assigned",
        /// Its results were taken.
        Committed = "committed",
        /// It ended with a failure of some class.
        Failed = "failed",
        /// Its node was lost.
        Lost = "lost",
        /// It was taken back.
        Released = "released",
        /// Its request ended.
        Cancelled = "cancelled",
    }
    /// What the operators decided about a node.
    AdminState {
        /// It waits for approval.
        Pending = "pending",
        /// It takes part.
        Active = "active",
        /// It finishes what it has and gets nothing new.
        Draining = "draining",
        /// Evidence speaks against it.
        Quarantined = "quarantined",
        /// It left for good.
        Removed = "removed",
    }
    /// What the server says to a result.
    AckVerdict {
        /// It was taken.
        Committed = "committed",
        /// It had been taken before.
        Repeat = "repeat",
        /// Another attempt has taken its place.
        Stale = "stale",
        /// The attempt belongs to another node.
        NotYours = "not_yours",
    }
    /// Why an attempt went back without blame.
    LossReason {
        /// The node did not come back in time.
        NodeLost = "node_lost",
        /// The node came back as a new process.
        AgentRestarted = "agent_restarted",
        /// The node said it cannot take it.
        Rejected = "rejected",
        /// The node is being emptied.
        Drained = "drained",
        /// The module with the container was pulled out.
        ModuleRemoved = "module_removed",
    }
}

impl RequestState {
    /// Whether nothing can change it any more.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled | Self::Expired)
    }
}

impl StepState {
    /// Whether a move from `self` to `next` is allowed (state.md's diagram).
    pub fn can_become(self, next: Self) -> bool {
        use StepState::{Assigned, Blocked, Cancelled, Done, Failed, Poisoned, Ready};
        matches!(
            (self, next),
            (Blocked, Ready | Assigned)
                | (Ready, Assigned | Done | Failed | Poisoned)
                // An input was lost with its holders and is made again, or the step before it in its chain came to nothing.
                | (Ready | Assigned, Blocked)
                | (Assigned, Done | Failed | Poisoned | Ready)
                | (Done | Poisoned, Ready)
                | (Blocked | Ready | Assigned, Cancelled)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_read_back() {
        for state in StepState::ALL {
            assert_eq!(StepState::parse(state.as_str()), Some(*state));
        }
        assert_eq!(RequestState::parse("waiting"), None);
    }

    #[test]
    fn ends_are_final() {
        for end in [StepState::Failed, StepState::Cancelled] {
            for next in StepState::ALL {
                assert!(!end.can_become(*next), "{end} → {next}");
            }
        }
        assert!(StepState::Done.can_become(StepState::Ready), "a lost tag that is still needed");
        assert!(!StepState::Blocked.can_become(StepState::Done));
    }
}
