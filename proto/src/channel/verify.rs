//! The three departures from standard certificate verification, each as narrow as it can be.
//!
//! [`AnyDay`] takes a server's certificate on whatever day a machine believes it is, so that one whose clock lost its
//! battery can join and renew; everything else about the certificate must be right.
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
        let peer = match Peer::from_der(leaf) {
            Ok(peer) if expired => peer,
            _ => return result,
        };
        let now_s = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if now_s - peer.not_after_unix_s > RENEWAL_WINDOW_S {
            return result;
        }
        // Everything else about it must have been right on its last day.
        self.0.verify_client_cert(leaf, rest, last_day_of(&peer))
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

/// Standard verification of a server, but whether today is within its days is not asked of this machine's clock.
///
/// The server makes its certificate anew at every start and the CA is pinned: what keeps a stranger out is the signature.
#[derive(Debug)]
pub(super) struct AnyDay(pub(super) Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyDay {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let result = self.0.verify_server_cert(leaf, rest, name, ocsp, now);
        let by_date = matches!(
            result,
            Err(Error::InvalidCertificate(
                CertificateError::Expired
                    | CertificateError::ExpiredContext { .. }
                    | CertificateError::NotValidYet
                    | CertificateError::NotValidYetContext { .. }
            ))
        );
        match Peer::from_der(leaf) {
            Ok(peer) if by_date => self.0.verify_server_cert(leaf, rest, name, ocsp, last_day_of(&peer)),
            _ => result,
        }
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

/// A moment at which the certificate was valid.
fn last_day_of(peer: &Peer) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(peer.not_after_unix_s - 1).unwrap_or(0)))
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
        AnyDay(standard).verify_server_cert(leaf, rest, name, ocsp, now)
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
