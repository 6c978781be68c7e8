//! Between the wire's messages and the vocabulary. What does not convert is refused with the field's name.

pub use fault::{fault_of, status_of};
pub use values::{attempt_from_wire, attempt_to_wire, digest_from_wire, digest_to_wire, document, read_document};

pub mod envelope;
mod fault;
mod values;

use ouro_common::error::{Fault, FaultCode};

/// A message that cannot be converted, as a fault that names the field.
fn invalid(field: &str, problem: impl Into<String>) -> Fault {
    Fault::new(FaultCode::InvalidArgument, problem).at(field)
}
