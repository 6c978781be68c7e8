//! How a command ends: the exit codes that scripts rely on, and the two kinds of failure.

use ouro_common::error::{Fault, FaultCode};
use ouro_common::step::RequestState;

/// The exit codes of `ouroctl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// What was asked for is done.
    Done,
    /// Something else went wrong.
    Error,
    /// The command line or a field of the request is wrong.
    Usage,
    /// No container or no node can serve the request.
    CannotPlace,
    /// The work itself failed.
    WorkFailed,
    /// The time given to the request has passed; the code of `timeout`.
    Deadline,
    /// Cancelled; the code of a shell for Ctrl-C.
    Cancelled,
}

impl Exit {
    /// The number the process ends with.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Error => 1,
            Self::Usage => 2,
            Self::CannotPlace => 3,
            Self::WorkFailed => 4,
            Self::Deadline => 124,
            Self::Cancelled => 130,
        }
    }

    /// The exit code for a command that could not be carried out.
    pub(crate) fn of_fault(fault: &Fault) -> Self {
        match fault.code {
            FaultCode::InvalidArgument => Self::Usage,
            FaultCode::CannotPlace | FaultCode::PlanRefused => Self::CannotPlace,
            FaultCode::WorkFailed => Self::WorkFailed,
            FaultCode::DeadlineExceeded => Self::Deadline,
            FaultCode::Cancelled => Self::Cancelled,
            _ => Self::Error,
        }
    }

    /// The exit code for a request that ended in `state`, with `fault` as the reason where there is one.
    pub(crate) fn of_request(state: RequestState, fault: Option<&Fault>) -> Self {
        match (state, fault.map(|f| f.code)) {
            (RequestState::Done, _) => Self::Done,
            (RequestState::Cancelled, _) => Self::Cancelled,
            (RequestState::Expired, _) | (_, Some(FaultCode::DeadlineExceeded)) => Self::Deadline,
            (_, Some(FaultCode::CannotPlace | FaultCode::PlanRefused)) => Self::CannotPlace,
            // Nothing was at fault with the work: it never began.
            (_, Some(FaultCode::ServerUnreachable | FaultCode::DiskFull)) => Self::Error,
            _ => Self::WorkFailed,
        }
    }
}

/// Why a command did not get to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Something in the user's world; it is told as a sentence with a remedy.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// Standard output cannot be written.
    #[error("standard output cannot be written: {0}")]
    Output(#[from] std::io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_ends_with_the_code_of_its_state_and_reason() {
        let fault = |code| Some(Fault::new(code, "x"));
        let cases = [
            (RequestState::Done, fault(FaultCode::ServerUnreachable), 0),
            (RequestState::Failed, fault(FaultCode::CannotPlace), 3),
            (RequestState::Failed, fault(FaultCode::PlanRefused), 3),
            (RequestState::Failed, fault(FaultCode::InvalidArgument), 4),
            (RequestState::Failed, None, 4),
            (RequestState::Expired, fault(FaultCode::CannotPlace), 124),
            (RequestState::Cancelled, None, 130),
        ];
        for (state, fault, code) in cases {
            assert_eq!(Exit::of_request(state, fault.as_ref()).code(), code, "{state} {fault:?}");
        }
    }
}
