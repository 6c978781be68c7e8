//! The wire of Ouroboros, and nothing that is not the wire: the Poison Protocol's messages, their conversion to the
//! vocabulary, identities (keys, certificates, tokens) and channels over mutual TLS 1.3.

pub mod channel;
pub mod compat;
pub mod convert;
pub mod identity;

/// The generated messages and services of `ouroboros.poison.v1`.
#[expect(
    missing_docs,
    clippy::too_many_lines,
    clippy::all,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    unused_qualifications,
    reason = "generated code; the .proto files carry the documentation"
)]
pub mod wire {
    tonic::include_proto!("ouroboros.poison.v1");
}

/// The paths of all methods of the protocol, `/package.Service/Method`, as the definitions list them.
pub fn methods() -> Vec<String> {
    let list: &[&str] = include!(concat!(env!("OUT_DIR"), "/methods.rs"));
    list.iter().map(ToString::to_string).collect()
}
