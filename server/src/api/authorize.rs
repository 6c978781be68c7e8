//! Who may call what: one table, looked up before any service sees a call. A method that is not in it is denied.

use crate::store::Ticker;
use crate::ticker::unix_seconds;
use ouro_common::error::{Fault, FaultCode};
use ouro_proto::channel::ConnectInfo;
use ouro_proto::convert::status_of;
use ouro_proto::identity::{Peer, Role};
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::codegen::http;
use tower::{Layer, Service};

/// A caller whose certificate was verified and whose role allows the method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller(pub Peer);

const NODE: u8 = 1;
const OPERATOR: u8 = 2;
const CLIENT: u8 = 4;
const EVERYBODY: u8 = NODE | OPERATOR | CLIENT;

/// Methods that need no certificate at all.
const OPEN: &[&str] = &["/ouroboros.poison.v1.Enrollment/Enroll"];
/// Methods that an expired certificate may call.
const FOR_EXPIRED: &[&str] = &["/ouroboros.poison.v1.Enrollment/Renew"];
/// All other methods, with the roles that may call them.
const ALLOWED: &[(&str, u8)] = &[
    ("/ouroboros.poison.v1.Enrollment/Renew", EVERYBODY),
    ("/ouroboros.poison.v1.Fleet/Session", NODE),
    ("/ouroboros.poison.v1.Chunks/Push", NODE),
    ("/ouroboros.poison.v1.Blobs/Put", NODE),
    ("/ouroboros.poison.v1.Blobs/Get", NODE),
    ("/ouroboros.poison.v1.Requests/Submit", EVERYBODY),
    ("/ouroboros.poison.v1.Requests/Plan", EVERYBODY),
    ("/ouroboros.poison.v1.Requests/Watch", EVERYBODY),
    ("/ouroboros.poison.v1.Requests/Cancel", EVERYBODY),
    ("/ouroboros.poison.v1.Requests/Trace", EVERYBODY),
    ("/ouroboros.poison.v1.Requests/Explain", EVERYBODY),
    ("/ouroboros.poison.v1.Requests/List", EVERYBODY),
    ("/ouroboros.poison.v1.Requests/Nodes", EVERYBODY),
    ("/ouroboros.poison.v1.Requests/Modules", EVERYBODY),
    ("/ouroboros.poison.v1.Operator/CreateToken", OPERATOR),
    ("/ouroboros.poison.v1.Operator/ListTokens", OPERATOR),
    ("/ouroboros.poison.v1.Operator/RevokeToken", OPERATOR),
    ("/ouroboros.poison.v1.Operator/ChangeNode", OPERATOR),
    ("/ouroboros.poison.v1.Operator/ListPoison", OPERATOR),
    ("/ouroboros.poison.v1.Operator/ReleasePoison", OPERATOR),
    ("/ouroboros.poison.v1.Operator/Events", OPERATOR),
    ("/ouroboros.poison.v1.Operator/TrustKey", OPERATOR),
    ("/ouroboros.poison.v1.Operator/ListTrustedKeys", OPERATOR),
    ("/ouroboros.poison.v1.Operator/DistrustKey", OPERATOR),
    ("/ouroboros.poison.v1.Operator/Replay", OPERATOR),
];

/// Decides about a call.
///
/// # Errors
/// `UNAUTHENTICATED` without a certificate, `CERTIFICATE_EXPIRED`, or `PERMISSION_DENIED`.
fn decide(method: &str, peer: Option<Peer>, now_unix_s: i64) -> Result<Option<Caller>, Fault> {
    if OPEN.contains(&method) {
        return Ok(None);
    }
    let Some(peer) = peer else {
        return Err(Fault::new(FaultCode::Unauthenticated, "this call needs a certificate of the fleet")
            .at(method)
            .remedy("join with `ouro-agent join` or `ouroctl login`"));
    };
    if peer.not_after_unix_s < now_unix_s && !FOR_EXPIRED.contains(&method) {
        return Err(Fault::new(FaultCode::CertificateExpired, "the certificate has expired; it may only renew itself").at(method));
    }
    let bit = match peer.role {
        Role::Node(_) => NODE,
        Role::Operator(_) => OPERATOR,
        Role::Client(_) => CLIENT,
        Role::Server => 0,
    };
    let allowed = ALLOWED.iter().find(|(m, _)| *m == method).map_or(0, |(_, roles)| *roles);
    if allowed & bit == 0 {
        return Err(Fault::new(FaultCode::PermissionDenied, format!("{} may not call this", peer.role.uri())).at(method));
    }
    Ok(Some(Caller(peer)))
}

/// Puts the table before a service.
#[derive(Clone)]
pub struct AuthorizeLayer {
    /// For the expiry of certificates.
    pub ticker: Arc<dyn Ticker>,
}

impl<S> Layer<S> for AuthorizeLayer {
    type Service = Authorize<S>;
    fn layer(&self, inner: S) -> Self::Service {
        Authorize { inner, ticker: self.ticker.clone() }
    }
}

/// A service behind the table.
#[derive(Clone)]
pub struct Authorize<S> {
    inner: S,
    ticker: Arc<dyn Ticker>,
}

impl<S, B> Service<http::Request<B>> for Authorize<S>
where
    S: Service<http::Request<B>, Response = http::Response<tonic::body::Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        let certificates = request.extensions().get::<ConnectInfo>().and_then(|info| info.tls.peer_certs());
        let leaf = certificates.as_ref().and_then(|c| c.first());
        let peer = match leaf.map(|der| Peer::from_der(der)).transpose() {
            Ok(peer) => peer,
            Err(error) => return refuse(&Fault::new(FaultCode::Unauthenticated, error.to_string())),
        };
        match decide(request.uri().path(), peer, unix_seconds(self.ticker.as_ref())) {
            Ok(Some(caller)) => drop(request.extensions_mut().insert(caller)),
            Ok(None) => {}
            Err(fault) => return refuse(&fault),
        }
        Box::pin(self.inner.call(request))
    }
}

fn refuse<E: Send + 'static>(
    fault: &Fault,
) -> std::pin::Pin<Box<dyn Future<Output = Result<http::Response<tonic::body::Body>, E>> + Send>> {
    tracing::info!(code = fault.code.code(), method = fault.at, problem = fault.problem, "a call was refused");
    let response = status_of(fault).into_http();
    Box::pin(async move { Ok(response) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ouro_common::id::{Digest, NodeId};

    fn peer(role: Role) -> Option<Peer> {
        Some(Peer { role, spki: Digest::blake3(b"k"), not_after_unix_s: 1_000 })
    }

    #[test]
    fn every_method_of_the_protocol_is_in_the_table_or_open_and_closed_to_strangers() {
        let all = ouro_proto::methods();
        assert!(all.len() >= 17, "the descriptor lists the methods");
        for method in &all {
            if method.starts_with("/ouroboros.poison.v1.Agent/") {
                let operator = peer(Role::Operator("admin".into()));
                assert_eq!(decide(method, operator, 0).unwrap_err().code, FaultCode::PermissionDenied, "only an agent's socket serves it");
                continue;
            }
            let listed = ALLOWED.iter().any(|(m, _)| m == method);
            assert!(listed || OPEN.contains(&method.as_str()), "{method} is missing in the table");
            if !OPEN.contains(&method.as_str()) {
                assert_eq!(decide(method, None, 0).unwrap_err().code, FaultCode::Unauthenticated, "{method}");
                assert_eq!(decide(method, peer(Role::Server), 0).unwrap_err().code, FaultCode::PermissionDenied, "{method}");
            }
        }
        assert_eq!(ALLOWED.iter().filter(|(m, _)| !all.contains(&(*m).to_string())).count(), 0, "no stale rows");
    }

    #[test]
    fn roles_and_expiry_decide() {
        let node = || peer(Role::Node(NodeId::from_parts(1, [1; 10])));
        let client = || peer(Role::Client("ada".into()));
        assert!(decide("/ouroboros.poison.v1.Fleet/Session", node(), 0).is_ok());
        assert_eq!(decide("/ouroboros.poison.v1.Fleet/Session", client(), 0).unwrap_err().code, FaultCode::PermissionDenied);
        assert_eq!(
            decide("/ouroboros.poison.v1.Operator/CreateToken", client(), 0).unwrap_err().code,
            FaultCode::PermissionDenied
        );
        assert_eq!(decide("/ouroboros.poison.v1.Fleet/Session", node(), 2_000).unwrap_err().code, FaultCode::CertificateExpired);
        assert!(decide("/ouroboros.poison.v1.Enrollment/Renew", node(), 2_000).is_ok());
        assert_eq!(decide("/unknown/Method", node(), 0).unwrap_err().code, FaultCode::PermissionDenied);
    }
}
