//! The dialling end: agents and `ouroctl` connect to the server, check its name and CA, and show their own certificate.

use super::verify::{AnyDay, PinnedAuthority};
use super::{ALPN_H2, CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES, provider};
use crate::identity::{IdentityError, IdentityFiles, SERVER_NAME};
use hyper_util::rt::TokioIo;
use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

/// Time to reach the server and finish the handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The server could not be reached, or is not the one that was meant.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answers there.
    #[error("the server {address} cannot be reached: {problem}")]
    Unreachable {
        /// Host and port.
        address: String,
        /// In the system's words.
        problem: String,
    },
    /// The server's certificate is not of the fleet's CA, or ours was refused.
    #[error("the server {address} and this machine do not trust each other: {problem}")]
    Untrusted {
        /// Host and port.
        address: String,
        /// In the TLS library's words.
        problem: String,
    },
    /// Our own identity cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The configuration cannot be used.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// The dialling end's TLS configuration.
#[derive(Clone)]
pub struct ClientTls(Arc<ClientConfig>);

impl ClientTls {
    /// With an identity: the usual, mutual way.
    pub fn with_identity(files: &IdentityFiles) -> Result<Self, ConnectError> {
        let mut roots = RootCertStore::empty();
        roots.add(files.authority()?)?;
        let standard = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|e| ConnectError::Tls(rustls::Error::General(e.to_string())))?;
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyDay(standard)))
            .with_client_auth_cert(files.chain()?, files.private_key()?)?;
        Ok(Self::finish(config))
    }

    /// With nothing but a join token's fingerprint of the CA: for enrolment.
    pub fn pinned(ca_sha256: [u8; 32]) -> Result<Self, ConnectError> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(PinnedAuthority { ca_sha256 }))
            .with_no_client_auth();
        Ok(Self::finish(config))
    }

    fn finish(mut config: ClientConfig) -> Self {
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        Self(Arc::new(config))
    }
}

/// Connects to `address` (host:port). The channel does not reconnect by itself in a way that hides a loss: its user sees it.
///
/// # Errors
/// When nobody answers within 5 s, or the two ends do not trust each other.
pub async fn connect(address: &str, tls: &ClientTls) -> Result<Channel, ConnectError> {
    let stream = dial(address, tls).await?;
    // The handshake is done here, so that its failure has a name; the channel takes the stream once.
    let mut first = Some(stream);
    let (address_again, tls) = (address.to_string(), tls.clone());
    let connector = tower::service_fn(move |_| {
        let ready = first.take();
        let (address, tls) = (address_again.clone(), tls.clone());
        async move {
            let stream = match ready {
                Some(stream) => stream,
                None => dial(&address, &tls).await.map_err(std::io::Error::other)?,
            };
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    Endpoint::from_static("http://server.ouroboros.internal")
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .connect_with_connector(connector)
        .await
        .map_err(|e| ConnectError::Unreachable { address: address.to_string(), problem: e.to_string() })
}

async fn dial(address: &str, tls: &ClientTls) -> Result<tokio_rustls::client::TlsStream<TcpStream>, ConnectError> {
    let unreachable = |problem: String| ConnectError::Unreachable { address: address.to_string(), problem };
    let attempt = async {
        let stream = TcpStream::connect(address).await.map_err(|e| unreachable(e.to_string()))?;
        let _ = stream.set_nodelay(true);
        let name = ServerName::try_from(SERVER_NAME).map_err(|e| unreachable(e.to_string()))?;
        TlsConnector::from(tls.0.clone())
            .connect(name, stream)
            .await
            .map_err(|e| ConnectError::Untrusted { address: address.to_string(), problem: e.to_string() })
    };
    tokio::time::timeout(CONNECT_TIMEOUT, attempt).await.map_err(|_| unreachable("no answer within 5 s".into()))?
}
