//! Loss is not guilt: which failures count against whom, and when a step is given up.

use crate::id::NodeId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FailureClass {
    /// The worker died by its own doing.
    Crashed,
    /// The container said that it failed.
    Error,
    /// The input is not what the container takes; no other node will do better.
    InvalidInput,
    /// It ran longer than it may.
    Timeout,
    /// The container or its model is not usable on that node.
    LoadFailed,
    /// The module was pulled out.
    ModuleRemoved,
    /// The node is being emptied.
    Drained,
    /// The node could not take it now.
    Rejected,
    /// An input could not be fetched.
    InputMissing,
    /// The node was lost.
    Lost,
    /// It is more than this node's configuration allows at all; a node that allows more may do it.
    DoesNotFit,
}

impl FailureClass {
    /// Every class, in the order of their wire numbers, which begin at 1.
    pub const ALL: [Self; 11] = [
        Self::Crashed,
        Self::Error,
        Self::InvalidInput,
        Self::Timeout,
        Self::LoadFailed,
        Self::ModuleRemoved,
        Self::Drained,
        Self::Rejected,
        Self::InputMissing,
        Self::Lost,
        Self::DoesNotFit,
    ];

    /// Whether it counts toward the three nodes after which a step fails; the others count only toward the ten attempts.
    pub fn counts_against_step(self) -> bool {
        matches!(self, Self::Crashed | Self::Error | Self::Timeout | Self::LoadFailed)
    }

    /// Its name in capitals.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crashed => "CRASHED",
            Self::Error => "ERROR",
            Self::InvalidInput => "INVALID_INPUT",
            Self::Timeout => "TIMEOUT",
            Self::LoadFailed => "LOAD_FAILED",
            Self::ModuleRemoved => "MODULE_REMOVED",
            Self::Drained => "DRAINED",
            Self::Rejected => "REJECTED",
            Self::InputMissing => "INPUT_MISSING",
            Self::Lost => "LOST",
            Self::DoesNotFit => "DOES_NOT_FIT",
        }
    }
}

/// What speaks for the worker's own guilt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Evidence {
    /// It ended by SIGSEGV, SIGBUS, SIGILL or SIGABRT.
    Signal {
        /// The signal's number.
        number: i32,
    },
    /// Its cgroup counted an out-of-memory kill.
    OomKill,
    /// It hit a limit of memory, processes or time.
    Limit {
        /// Which limit.
        what: String,
    },
    /// Its node came back with a new boot id while the node's journal showed the step open.
    Rebooted,
}

impl Evidence {
    /// Whether a death by `signal` is evidence: a SIGKILL alone is not, anybody may have sent it.
    pub fn from_signal(signal: i32) -> Option<Self> {
        matches!(signal, 4 | 6 | 7 | 11).then_some(Self::Signal { number: signal })
    }
}

/// One attempt's end, as the rules count it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlameRow {
    /// Where it ran.
    pub node: NodeId,
    /// How it failed.
    pub class: FailureClass,
    /// What speaks for guilt.
    pub evidence: Option<Evidence>,
}

/// What becomes of a step after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepVerdict {
    /// It may be tried again.
    Ready,
    /// It cannot succeed.
    Failed,
    /// Two nodes hold evidence against it.
    Poisoned,
}

/// Attempts of any kind after which a step fails.
pub const MAX_ATTEMPTS: usize = 10;
/// Nodes on which a step may fail by itself.
pub const MAX_FAILED_NODES: usize = 3;
/// Nodes with evidence that poison a step.
pub const POISON_NODES: usize = 2;

/// The verdict over a step from all its failed attempts so far, the newest last.
pub fn after_failure(history: &[BlameRow]) -> StepVerdict {
    let nodes = |keep: &dyn Fn(&BlameRow) -> bool| history.iter().filter(|r| keep(r)).map(|r| r.node).collect::<BTreeSet<_>>().len();
    if nodes(&|r| r.evidence.is_some()) >= POISON_NODES {
        return StepVerdict::Poisoned;
    }
    let last_is_final = history.last().is_some_and(|r| r.class == FailureClass::InvalidInput);
    if last_is_final || nodes(&|r| r.class.counts_against_step()) >= MAX_FAILED_NODES || history.len() >= MAX_ATTEMPTS {
        return StepVerdict::Failed;
    }
    // A fleet smaller than three nodes must end as well: a fourth failure of its own, wherever, is as telling.
    if history.iter().filter(|r| r.class.counts_against_step()).count() > MAX_FAILED_NODES {
        return StepVerdict::Failed;
    }
    StepVerdict::Ready
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(node: u8, class: FailureClass, evidence: Option<Evidence>) -> BlameRow {
        BlameRow { node: NodeId::from_parts(0, [node; 10]), class, evidence }
    }

    #[test]
    fn loss_is_not_guilt() {
        let lost: Vec<_> = (0..9).map(|n| row(n, FailureClass::Lost, None)).collect();
        assert_eq!(after_failure(&lost), StepVerdict::Ready);
        assert_eq!(Evidence::from_signal(9), None);
        assert!(Evidence::from_signal(11).is_some());
    }

    #[test]
    fn evidence_from_two_nodes_poisons_and_from_one_does_not() {
        let crash = |n| row(n, FailureClass::Crashed, Evidence::from_signal(11));
        assert_eq!(after_failure(&[crash(1), crash(1)]), StepVerdict::Ready);
        assert_eq!(after_failure(&[crash(1), crash(2)]), StepVerdict::Poisoned);
    }

    #[test]
    fn a_step_ends_after_three_nodes_ten_attempts_or_a_bad_input() {
        let error = |n| row(n, FailureClass::Error, None);
        assert_eq!(after_failure(&[error(1), error(2)]), StepVerdict::Ready);
        assert_eq!(after_failure(&[error(1), error(2), error(3)]), StepVerdict::Failed);
        assert_eq!(after_failure(&[row(1, FailureClass::InvalidInput, None)]), StepVerdict::Failed);
        let too_large: Vec<_> = (0..9).map(|n| row(n, FailureClass::DoesNotFit, None)).collect();
        assert_eq!(after_failure(&too_large), StepVerdict::Ready, "somebody may allow more");
        let rejected: Vec<_> = (0..10).map(|_| row(1, FailureClass::Rejected, None)).collect();
        assert_eq!(after_failure(&rejected), StepVerdict::Failed);
    }
}
