//! Who is at the other end: role and identity, read from the certificate the TLS layer has verified.

use ouro_common::id::{Digest, NodeId};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// A role and whom it is given to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// A machine with an agent.
    Node(NodeId),
    /// A person who may change the fleet.
    Operator(String),
    /// A person who may submit requests.
    Client(String),
    /// The server.
    Server,
}

impl Role {
    /// The URI that carries it in a certificate.
    pub fn uri(&self) -> String {
        match self {
            Self::Node(id) => format!("ouroboros://node/{id}"),
            Self::Operator(name) => format!("ouroboros://operator/{name}"),
            Self::Client(name) => format!("ouroboros://client/{name}"),
            Self::Server => "ouroboros://server".into(),
        }
    }

    /// The role that a URI carries.
    pub fn from_uri(uri: &str) -> Option<Self> {
        let rest = uri.strip_prefix("ouroboros://")?;
        let named = |name: &str| (!name.is_empty() && !name.contains('/')).then(|| name.to_string());
        match rest.split_once('/') {
            None => (rest == "server").then_some(Self::Server),
            Some(("node", id)) => id.parse().ok().map(Self::Node),
            Some(("operator", name)) => named(name).map(Self::Operator),
            Some(("client", name)) => named(name).map(Self::Client),
            Some(_) => None,
        }
    }
}

/// A peer's verified certificate, as far as the rules need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// What it may do.
    pub role: Role,
    /// BLAKE3 of its public key.
    pub spki: Digest,
    /// When its certificate expires, seconds since the Unix epoch.
    pub not_after_unix_s: i64,
}

/// A certificate says nothing this fleet understands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the peer's certificate cannot be used: {0}")]
pub struct PeerError(pub &'static str);

impl Peer {
    /// Reads a certificate that the TLS layer has verified against the fleet's CA.
    pub fn from_der(der: &[u8]) -> Result<Self, PeerError> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| PeerError("it is not X.509"))?;
        let names = certificate.subject_alternative_name().map_err(|_| PeerError("its subject alternative names are malformed"))?;
        let mut roles = names.iter().flat_map(|n| &n.value.general_names).filter_map(|name| match name {
            GeneralName::URI(uri) => Role::from_uri(uri),
            _ => None,
        });
        let role = roles.next().ok_or(PeerError("it carries no role"))?;
        if roles.next().is_some() {
            return Err(PeerError("it carries more than one role"));
        }
        Ok(Self {
            role,
            spki: Digest::blake3(certificate.public_key().raw),
            not_after_unix_s: certificate.validity().not_after.timestamp(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_read_back_and_nothing_else_is_a_role() {
        let id = NodeId::from_parts(1, [2; 10]);
        for role in [Role::Node(id), Role::Operator("admin".into()), Role::Client("ada".into()), Role::Server] {
            assert_eq!(Role::from_uri(&role.uri()), Some(role));
        }
        for uri in [
            "ouroboros://node/x",
            "ouroboros://operator/",
            "ouroboros://operator/a/b",
            "https://server",
            "ouroboros://root/x",
        ] {
            assert_eq!(Role::from_uri(uri), None, "{uri}");
        }
    }
}
