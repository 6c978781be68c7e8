//! The fleet's certificate authority: made by `ouro-server init`, it signs what the rules say and never what a CSR asks.

use super::{KeyPair, Role};
use ouro_common::id::Digest;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, PublicKeyData as _, SanType, SerialNumber,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

/// The DNS name in the server's certificate. Clients check this name whatever address they dial.
pub const SERVER_NAME: &str = "server.ouroboros.internal";
const DAY_S: i64 = 86_400;
/// Certificates begin a day early, for clocks that are behind.
const BACKDATE_S: i64 = DAY_S;
/// How long a node's or a person's certificate lasts.
const LEAF_S: i64 = 90 * DAY_S;
/// How long the server's own certificate lasts; it is made anew at every start.
const SERVER_S: i64 = 90 * DAY_S;
/// How long the CA lasts.
const CA_S: i64 = 20 * 365 * DAY_S;

/// A certificate could not be issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The request is not one.
    #[error("the certificate signing request is malformed or its signature is wrong")]
    BadRequest,
    /// The time is outside what X.509 can say.
    #[error("the server's clock reads {0} s since 1970, which no certificate can carry; set the clock")]
    BadTime(i64),
    /// The library refused.
    #[error("the certificate could not be made: {0}")]
    Library(#[from] rcgen::Error),
    /// The CA's files are damaged.
    #[error("the CA's certificate cannot be read; restore it from a backup")]
    BadAuthority,
}

/// The CA: its certificate and its key.
pub struct Authority {
    key: KeyPair,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
}

impl Authority {
    /// A new CA, valid from `now_unix_s` for twenty years.
    pub fn create(now_unix_s: i64) -> Result<Self, IssueError> {
        let key = KeyPair(rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?);
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Ouroboros fleet CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = validity(now_unix_s, CA_S)?;
        let certificate = params.self_signed(&key.0)?;
        Ok(Self { key, certificate_pem: certificate.pem(), certificate: certificate.der().clone() })
    }

    /// The CA from its files.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, IssueError> {
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(|_| IssueError::BadAuthority)?;
        let key = KeyPair(rcgen::KeyPair::from_pem(key_pem)?);
        Ok(Self { key, certificate, certificate_pem: certificate_pem.to_string() })
    }

    /// The CA's certificate in PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The CA's private key in PEM.
    pub fn key_pem(&self) -> String {
        self.key.to_pem()
    }

    /// The CA's certificate in DER.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// What join tokens pin.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(&self.certificate).into()
    }

    /// Signs a certificate for the key of a signing request. Nothing else of the request is used.
    ///
    /// Returns the chain in PEM: the leaf, then the CA.
    pub fn issue(&self, request_der: &[u8], role: &Role, now_unix_s: i64) -> Result<String, IssueError> {
        let mut request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(request_der.to_vec()))
            .map_err(|_| IssueError::BadRequest)?;
        request.params = self.leaf(role, &request.public_key.subject_public_key_info(), now_unix_s, LEAF_S)?;
        let issuer = Issuer::from_ca_cert_der(&self.certificate, &self.key.0)?;
        let leaf = request.signed_by(&issuer)?;
        Ok(format!("{}{}", leaf.pem(), self.certificate_pem))
    }

    /// Signs a certificate for the server's own key. Returns the chain in PEM.
    pub fn issue_server(&self, key: &KeyPair, now_unix_s: i64) -> Result<String, IssueError> {
        let params = self.leaf(&Role::Server, &key.spki_der(), now_unix_s, SERVER_S)?;
        let issuer = Issuer::from_ca_cert_der(&self.certificate, &self.key.0)?;
        Ok(format!("{}{}", params.signed_by(&key.0, &issuer)?.pem(), self.certificate_pem))
    }

    /// The BLAKE3 of the public key in a signing request: what a token's use is tied to.
    pub fn request_spki(request_der: &[u8]) -> Result<Digest, IssueError> {
        let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(request_der.to_vec()))
            .map_err(|_| IssueError::BadRequest)?;
        Ok(Digest::blake3(&request.public_key.subject_public_key_info()))
    }

    fn leaf(&self, role: &Role, spki: &[u8], now_unix_s: i64, lifetime_s: i64) -> Result<CertificateParams, IssueError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, role.uri());
        let uri = SanType::URI(role.uri().try_into()?);
        params.subject_alt_names = vec![uri];
        params.extended_key_usages = match role {
            Role::Server => {
                params.subject_alt_names.push(SanType::DnsName(SERVER_NAME.try_into()?));
                vec![ExtendedKeyUsagePurpose::ServerAuth]
            }
            _ => vec![ExtendedKeyUsagePurpose::ClientAuth],
        };
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        (params.not_before, params.not_after) = validity(now_unix_s, lifetime_s)?;
        // 16 bytes of a hash over key and time: unique, positive, and the same for a retry in the same second.
        let mut serial = blake3::Hasher::new().update(spki).update(&now_unix_s.to_le_bytes()).finalize().as_bytes()[..16].to_vec();
        serial[0] = (serial[0] & 0x7f) | 0x01;
        params.serial_number = Some(SerialNumber::from(serial));
        Ok(params)
    }
}

fn validity(now_unix_s: i64, lifetime_s: i64) -> Result<(OffsetDateTime, OffsetDateTime), IssueError> {
    let at = |s: i64| OffsetDateTime::from_unix_timestamp(s).map_err(|_| IssueError::BadTime(now_unix_s));
    let end = now_unix_s.checked_add(lifetime_s).ok_or(IssueError::BadTime(now_unix_s))?;
    Ok((at(now_unix_s.saturating_sub(BACKDATE_S).max(0))?, at(end)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Peer;
    use ouro_common::id::NodeId;

    const NOW: i64 = 1_790_000_000;

    #[test]
    fn the_role_comes_from_the_server_whatever_the_request_says() {
        let ca = Authority::create(NOW).unwrap();
        let key = KeyPair::generate().unwrap();
        let request = key.signing_request("ouroboros://operator/me-please").unwrap();
        let node = Role::Node(NodeId::from_parts(1, [3; 10]));
        let chain = ca.issue(&request, &node, NOW).unwrap();
        let leaf = CertificateDer::from_pem_slice(chain.as_bytes()).unwrap();
        let peer = Peer::from_der(&leaf).unwrap();
        assert_eq!(peer.role, node);
        assert_eq!(peer.spki, Authority::request_spki(&request).unwrap());
        assert_eq!(peer.not_after_unix_s, NOW + LEAF_S);
    }

    #[test]
    fn a_ca_reads_back_from_its_files() {
        let ca = Authority::create(NOW).unwrap();
        let again = Authority::from_pem(ca.certificate_pem(), &ca.key_pem()).unwrap();
        assert_eq!(again.sha256(), ca.sha256());
        assert!(Authority::from_pem("garbage", &ca.key_pem()).is_err());
        assert!(matches!(ca.issue(b"garbage", &Role::Server, NOW), Err(IssueError::BadRequest)));
    }
}
