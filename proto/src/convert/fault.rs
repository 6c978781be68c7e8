//! Faults travel as gRPC statuses: a code of gRPC for machines that know nothing else, the whole fault as its detail.

use crate::wire;
use bytes::Bytes;
use ouro_common::error::{Fault, FaultCode};
use prost::Message as _;
use tonic::{Code, Status};

/// The status that carries a fault.
pub fn status_of(fault: &Fault) -> Status {
    let code = match fault.code {
        FaultCode::Internal => Code::Internal,
        FaultCode::InvalidArgument | FaultCode::DigestMismatch | FaultCode::ModelInvalid => Code::InvalidArgument,
        FaultCode::NotFound => Code::NotFound,
        FaultCode::PermissionDenied | FaultCode::TokenRefused | FaultCode::Cloned => Code::PermissionDenied,
        FaultCode::Unauthenticated | FaultCode::CertificateExpired => Code::Unauthenticated,
        FaultCode::TooLarge | FaultCode::DiskFull => Code::ResourceExhausted,
        FaultCode::Conflict | FaultCode::AlreadyExists => Code::AlreadyExists,
        FaultCode::ServerUnreachable => Code::Unavailable,
        FaultCode::DeadlineExceeded => Code::DeadlineExceeded,
        FaultCode::Cancelled => Code::Cancelled,
        FaultCode::CannotPlace
        | FaultCode::WorkFailed
        | FaultCode::PartMissing
        | FaultCode::HomeInUse
        | FaultCode::VersionMismatch
        | FaultCode::PlanRefused => Code::FailedPrecondition,
    };
    let detail = wire::Fault {
        code: fault.code.code().to_string(),
        problem: fault.problem.clone(),
        at: fault.at.clone(),
        remedy: fault.remedy.clone(),
    };
    Status::with_details(code, fault.problem.clone(), Bytes::from(detail.encode_to_vec()))
}

/// The fault behind a status; statuses that did not come from Ouroboros get the nearest code.
pub fn fault_of(status: &Status) -> Fault {
    if let Ok(detail) = wire::Fault::decode(status.details())
        && let Some(code) = FaultCode::parse(&detail.code)
    {
        return Fault::new(code, detail.problem).at(detail.at).remedy(detail.remedy);
    }
    // A status with a cause was made on this side, when the connection broke; what a peer says has none.
    let broken = std::error::Error::source(status).is_some();
    let code = match status.code() {
        _ if broken => FaultCode::ServerUnreachable,
        Code::InvalidArgument => FaultCode::InvalidArgument,
        Code::NotFound => FaultCode::NotFound,
        Code::PermissionDenied => FaultCode::PermissionDenied,
        Code::Unauthenticated => FaultCode::Unauthenticated,
        Code::ResourceExhausted | Code::OutOfRange => FaultCode::TooLarge,
        Code::Unavailable => FaultCode::ServerUnreachable,
        Code::DeadlineExceeded => FaultCode::DeadlineExceeded,
        Code::Cancelled => FaultCode::Cancelled,
        _ => FaultCode::Internal,
    };
    let mut problem = status.message().to_string();
    let mut source = std::error::Error::source(status);
    while let Some(cause) = source {
        problem = format!("{problem}: {cause}");
        source = cause.source();
    }
    Fault::new(code, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_survives_the_wire() {
        for code in FaultCode::ALL {
            let fault = Fault::new(*code, "what was wrong").at("field").remedy("do this");
            assert_eq!(fault_of(&status_of(&fault)), fault);
        }
        assert_eq!(fault_of(&Status::unavailable("gone")).code, FaultCode::ServerUnreachable);
    }

    #[test]
    fn a_connection_that_broke_is_a_server_that_is_away_whatever_the_library_calls_it() {
        let broken = Status::from_error(Box::new(std::io::Error::other("connection closed")));
        assert_eq!(fault_of(&broken).code, FaultCode::ServerUnreachable);
        assert_eq!(fault_of(&Status::cancelled("by the caller")).code, FaultCode::Cancelled);
    }
}
