//! Channels: TLS 1.3 and nothing older, both ends with certificates of the fleet's CA.
//!
//! The server accepts a peer without a certificate, and one whose certificate has expired, on the TLS level, because
//! enrolment and renewal need them; every method but those two refuses such a peer.

pub use accept::{Incoming, ServerTls};
pub use accepted::{Accepted, ConnectInfo, PeerSocket, TcpFigures};
pub use connect::{ClientTls, ConnectError, connect};
pub use verify::RENEWAL_WINDOW_S;

mod accept;
mod accepted;
mod connect;
mod verify;

use rustls::crypto::CryptoProvider;
use std::sync::Arc;

/// What may be on its way of one call before its receiver takes it: at a round trip of 100 ms, 670 Mbit/s.
pub const STREAM_WINDOW_BYTES: u32 = 8 << 20;
/// And of all calls on a connection.
pub const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// The cryptography both ends use.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// HTTP/2, the only protocol spoken inside.
const ALPN_H2: &[u8] = b"h2";
