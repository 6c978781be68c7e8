//! The two departures from standard certificate verification, each as narrow as it can be.
//!
//! [`RenewableClients`] lets an expired client certificate through the handshake for 90 days, so that a device that
//! comes back from a drawer can renew it. [`PinnedAuthority`] trusts exactly the CA whose SHA-256 a join token names.

use super::provider;
use crate::identity::Peer;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use std::time::Duration;

/// How long after its expiry a certificate may still be used to renew itself, seconds: 90 days.
pub const RENEWAL_WINDOW_S: i64 = 90 * 86_400;

/// Standard verification, but an expired certificate passes the handshake within the renewal window.
#[derive(Debug)]
pub(super) struct RenewableClients(pub(super) Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for RenewableClients {
    fn client_auth_mandatory(&self) -> bool {
        false
    }
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }
    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let result = self.0.verify_client_cert(leaf, rest, now);
        let expired = matches!(result, Err(Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. })));
        let end_s = match Peer::from_der(leaf) {
            Ok(peer) if expired => peer.not_after_unix_s,
            _ => return result,
        };
        let now_s = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if now_s - end_s > RENEWAL_WINDOW_S {
            return result;
        }
        // Everything else about it must have been right on its last day.
        let last_day = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(end_s - 1).unwrap_or(0)));
        self.0.verify_client_cert(leaf, rest, last_day)
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Trusts the one CA with this SHA-256, which the server must send in its chain.
#[derive(Debug)]
pub(super) struct PinnedAuthority {
    pub(super) ca_sha256: [u8; 32],
}

impl ServerCertVerifier for PinnedAuthority {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let pinned = rest.iter().find(|c| <[u8; 32]>::from(Sha256::digest(c)) == self.ca_sha256);
        let pinned = pinned.ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let mut roots = RootCertStore::empty();
        roots.add(pinned.clone().into_owned())?;
        let standard = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|e| Error::General(e.to_string()))?;
        standard.verify_server_cert(leaf, rest, name, ocsp, now)
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
