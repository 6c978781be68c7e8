//! The agent's own socket: the same service the server offers, with the first pass before it, for users of this machine.
//!
//! Who calls is read from the socket's peer credentials, never from a message. Root and the agent's own user see every
//! request of this machine, others their own.

mod forward;
mod loaded;
mod receive;
mod release;
mod service;
mod socket;
mod status;
mod watch;

pub use socket::{ApiOptions, LocalApi};
pub use status::{AgentStatus, StatusSource, ask_status};
