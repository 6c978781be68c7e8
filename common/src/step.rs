//! Steps, attempts and blame: the states, and the rules for moving between them.

pub use deed::NodeDeed;
pub use failure::{BlameRow, Evidence, FailureClass, MAX_ATTEMPTS, MAX_FAILED_NODES, POISON_NODES, StepVerdict, after_failure};
pub use standing::{EVIDENCE_LIFETIME, MASS_LOSS_WINDOW, PairState, is_mass_loss, quarantines};
pub use states::{AckVerdict, AdminState, AttemptState, LossReason, RequestState, StepState};

mod deed;
mod failure;
mod standing;
mod states;
