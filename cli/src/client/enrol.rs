//! Logging in: a key made here and never sent, a token that pins the CA, a certificate that says who we are.

use super::connect_fault;
use ouro_common::error::{Fault, FaultCode};
use ouro_proto::channel::{ClientTls, connect};
use ouro_proto::convert::fault_of;
use ouro_proto::identity::{IdentityError, IdentityFiles, JoinToken};
use ouro_proto::wire::EnrollRequest;
use ouro_proto::wire::enrollment_client::EnrollmentClient;
use std::path::Path;

/// What a login made.
pub(crate) struct Enrolled {
    /// `operator` or `client`.
    pub(crate) role: String,
    /// The name the fleet knows this person by.
    pub(crate) name: String,
}

/// Spends a use of `token` for a certificate, and keeps it in `folder` with the server's address.
///
/// # Errors
/// When an identity is there already, the server refuses, or the token is one for machines.
pub(crate) async fn enrol(address: &str, token: &str, name: &str, folder: &Path) -> Result<Enrolled, Fault> {
    let token: JoinToken = token
        .parse()
        .map_err(|e: ouro_proto::identity::TokenError| Fault::new(FaultCode::InvalidArgument, e.to_string()).at("token"))?;
    let files = IdentityFiles::new(folder);
    if files.exists() {
        return Err(Fault::new(FaultCode::AlreadyExists, "there is an identity already; nothing was changed")
            .at(folder.display())
            .remedy("move that folder away to log in anew, or set OUROBOROS_HOME to another folder"));
    }
    let tls = ClientTls::pinned(token.ca_sha256).map_err(|e| connect_fault(&e))?;
    let channel = connect(address, &tls).await.map_err(|e| connect_fault(&e))?;
    let request = files.key_or_new().and_then(|key| key.signing_request(name)).map_err(|e| identity_fault(&e))?;
    let message = EnrollRequest {
        token_id: token.id.clone(),
        token_secret: token.secret.to_vec(),
        csr_der: request,
        name: name.to_string(),
    };
    let reply = EnrollmentClient::new(channel).enroll(message).await.map_err(|s| fault_of(&s))?.into_inner();
    if reply.role == "node" {
        return Err(Fault::new(FaultCode::TokenRefused, "the token is one for machines, not for people; one use of it is spent")
            .at("token")
            .remedy("make one with `ouroctl token create --role client`, or join this machine with `ouro-agent join`"));
    }
    // The address goes first: with the chain the login counts as done.
    let authority = last_certificate(&reply.chain_pem)?;
    files.write("address", &format!("{address}\n")).map_err(|e| identity_fault(&e))?;
    files.save(&reply.chain_pem, authority).map_err(|e| identity_fault(&e))?;
    Ok(Enrolled { role: reply.role, name: reply.name })
}

/// The CA is the last certificate of the chain; the pinned handshake has shown that it is the one the token names.
fn last_certificate(chain_pem: &str) -> Result<&str, Fault> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    match chain_pem.rfind(BEGIN) {
        Some(start) if start > 0 => Ok(&chain_pem[start..]),
        _ => Err(Fault::new(FaultCode::Internal, "the server's reply holds no certificate chain")),
    }
}

fn identity_fault(error: &IdentityError) -> Fault {
    match error {
        IdentityError::Io { path, source } if source.kind() == std::io::ErrorKind::StorageFull => {
            Fault::new(FaultCode::DiskFull, "the disk is full")
                .at(path.display())
                .remedy("free some space and log in again with the same token")
        }
        other => Fault::new(FaultCode::Internal, other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_is_the_last_of_at_least_two() {
        let one = "-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n";
        let two = "-----BEGIN CERTIFICATE-----\nB\n-----END CERTIFICATE-----\n";
        assert_eq!(last_certificate(&format!("{one}{two}")).unwrap(), two);
        assert!(last_certificate(one).is_err(), "a leaf alone is no chain");
        assert!(last_certificate("").is_err());
    }
}
