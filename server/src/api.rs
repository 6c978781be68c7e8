//! The server's gRPC services. The only place in the server that knows the wire's messages.
//!
//! Every method is denied by default and allowed by role in one layer; behind it, a caller is a verified [`Caller`].

pub use authorize::{AuthorizeLayer, Caller};
pub use serve::serve;

mod authorize;
mod blobs;
mod documents;
mod enrollment;
mod events;
mod logs;
mod operator;
mod receive;
mod requests;
mod riding;
mod serve;
mod session;
mod watch;

use crate::init::store_fault;
use crate::store::StoreError;
use ouro_common::error::Fault;
use ouro_proto::convert::status_of;
use tonic::Status;

/// A store error as the caller gets it.
fn store_status(error: StoreError) -> Status {
    status_of(&store_fault(&error))
}

/// A fault as the caller gets it.
fn fault_status(fault: Fault) -> Status {
    status_of(&fault)
}
