//! Steps, attempts and blame: the states, and the rules for moving between them.

pub use failure::{BlameRow, Evidence, FailureClass, MAX_ATTEMPTS, MAX_FAILED_NODES, POISON_NODES, StepVerdict, after_failure};
pub use states::{AckVerdict, AdminState, AttemptState, LossReason, RequestState, StepState};

mod failure;
mod states;
