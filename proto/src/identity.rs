//! Identities: the fleet's own certificate authority, keys that never leave their machine, and join tokens.
//!
//! Roles come from certificates alone: a URI in the subject alternative name says what the bearer is. Keys are P-256.

pub use authority::{Authority, IssueError, SERVER_NAME};
pub use keys::{IdentityError, IdentityFiles, KeyPair};
pub use peer::{Peer, PeerError, Role};
pub use token::{JoinToken, TokenError};

mod authority;
mod keys;
mod peer;
mod token;
