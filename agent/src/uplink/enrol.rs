//! Enrolment and renewal: a join token, or the certificate about to expire, for a certificate of this machine's key.

use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::NodeId;
use ouro_proto::channel::{ClientTls, ConnectError, connect};
use ouro_proto::convert::fault_of;
use ouro_proto::identity::{IdentityFiles, JoinToken, KeyPair, Peer};
use ouro_proto::wire;
use ouro_proto::wire::enrollment_client::EnrollmentClient;
use std::time::Duration;

/// The server's answer is waited for so long.
const PATIENCE: Duration = Duration::from_secs(20);
/// A certificate that ends within this time is renewed: a third of its 90 days.
const RENEW_BEFORE_S: i64 = 30 * 86_400;

/// What the server made of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// The certificate chain in PEM, the leaf first.
    pub chain_pem: String,
    /// The id it gave.
    pub node: NodeId,
    /// The name the fleet knows this machine by.
    pub name: String,
}

/// Spends a use of the token.
///
/// # Errors
/// When the server cannot be reached, is not the one the token is for, or refuses the token.
pub async fn enrol(server: &str, token: &JoinToken, key: &KeyPair, name: &str) -> Result<Enrolled, Fault> {
    let tls = ClientTls::pinned(token.ca_sha256).map_err(|e| connect_fault(&e, server))?;
    let channel = connect(server, &tls).await.map_err(|e| connect_fault(&e, server))?;
    let csr_der = key.signing_request(name).map_err(|e| Fault::new(FaultCode::Internal, e.to_string()))?;
    let request = wire::EnrollRequest { token_id: token.id.clone(), token_secret: token.secret.to_vec(), csr_der, name: name.to_string() };
    let mut client = EnrollmentClient::new(channel);
    let reply = tokio::time::timeout(PATIENCE, client.enroll(request)).await;
    let late = |_| Fault::new(FaultCode::ServerUnreachable, "the server did not answer within 20 s").at(server);
    let reply = reply.map_err(late)?.map_err(|status| fault_of(&status))?.into_inner();
    if reply.role != "node" {
        let fault = Fault::new(FaultCode::TokenRefused, format!("this token makes a {}, not a node", reply.role));
        return Err(fault.remedy("ask an operator for a node's token: `ouroctl token create --role node`"));
    }
    let node = reply
        .id
        .parse()
        .map_err(|e| Fault::new(FaultCode::Internal, format!("the server gave no usable node id: {e}")))?;
    Ok(Enrolled { chain_pem: reply.chain_pem, node, name: reply.name })
}

/// Renews the certificate when it ends soon, for the same key. That it cannot be done now is no error as long as the old
/// one holds; the next session tries again.
pub(super) async fn renew_if_due(server: &str, identity: &IdentityFiles, now_unix_s: i64) {
    let leaf = identity.chain().ok().and_then(|chain| chain.into_iter().next());
    let Some(peer) = leaf.and_then(|leaf| Peer::from_der(&leaf).ok()) else {
        return;
    };
    if peer.not_after_unix_s - now_unix_s > RENEW_BEFORE_S {
        return;
    }
    match renew(server, identity).await {
        Ok(()) => tracing::info!("the certificate was renewed"),
        Err(fault) => tracing::warn!(%fault, "the certificate could not be renewed"),
    }
}

/// Renews the certificate whatever the clock of this machine says, because the server says that it has expired.
pub(super) async fn renew_expired(server: &str, identity: &IdentityFiles) {
    match renew(server, identity).await {
        Ok(()) => tracing::info!("the expired certificate was renewed"),
        Err(fault) => tracing::warn!(%fault, "the expired certificate could not be renewed"),
    }
}

async fn renew(server: &str, identity: &IdentityFiles) -> Result<(), Fault> {
    let internal = |e: ouro_proto::identity::IdentityError| Fault::new(FaultCode::Internal, e.to_string());
    let tls = ClientTls::with_identity(identity).map_err(|e| connect_fault(&e, server))?;
    let channel = connect(server, &tls).await.map_err(|e| connect_fault(&e, server))?;
    let csr_der = identity.key_or_new().and_then(|key| key.signing_request("renewal")).map_err(internal)?;
    let reply = EnrollmentClient::new(channel).renew(wire::RenewRequest { csr_der }).await;
    let reply = reply.map_err(|status| fault_of(&status))?.into_inner();
    identity.write("chain.pem", &reply.chain_pem).map_err(internal)
}

/// What a person is told when the two ends do not come together.
fn connect_fault(error: &ConnectError, server: &str) -> Fault {
    match error {
        ConnectError::Unreachable { problem, .. } => {
            Fault::new(FaultCode::ServerUnreachable, format!("the server cannot be reached: {problem}"))
                .at(server)
                .remedy("check the address and the port, that `ouro-server run` runs there, and that no firewall stands between")
        }
        ConnectError::Untrusted { problem, .. } => {
            let fault = Fault::new(FaultCode::Unauthenticated, format!("the server is not the one that is trusted here: {problem}"));
            fault.at(server).remedy("check the address; a token works only with the server that made it")
        }
        ConnectError::Identity(_) | ConnectError::Tls(_) => Fault::new(FaultCode::Internal, error.to_string()),
    }
}
