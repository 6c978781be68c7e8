//! Enrolment and renewal: a token or an older certificate for a new certificate.

use super::{Caller, fault_status, store_status};
use crate::store::{Credential, EnrolledAs, TokenRefusal};
use crate::ticker::unix_seconds;
use crate::world::World;
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::{Digest, Name, NodeId};
use ouro_proto::identity::{Authority, Role};
use ouro_proto::wire::enrollment_server::Enrollment;
use ouro_proto::wire::{EnrollReply, EnrollRequest, RenewRequest};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service.
pub(super) struct EnrollmentService(pub(super) Arc<World>);

#[tonic::async_trait]
impl Enrollment for EnrollmentService {
    async fn enroll(&self, request: Request<EnrollRequest>) -> Result<Response<EnrollReply>, Status> {
        let world = &self.0;
        let message = request.into_inner();
        let spki = Authority::request_spki(&message.csr_der).map_err(bad_request)?;
        let credential = Credential {
            spki,
            name: Name::from_text(&message.name, "node").to_string(),
            fresh_id: NodeId::from_parts(world.ticker.wall().0, rand::random()),
            require_approval: world.require_approval,
        };
        let hash = Digest::blake3(&message.token_secret);
        let redeemed = world.store.redeem_token(&message.token_id, hash, credential).await.map_err(store_status)?;
        let redeemed = redeemed.map_err(|refusal| fault_status(refusal_fault(refusal)))?;
        let (role, role_name, id) = match redeemed.role {
            EnrolledAs::Node => (Role::Node(redeemed.id), "node", redeemed.id.to_string()),
            EnrolledAs::Operator => (Role::Operator(redeemed.name.clone()), "operator", redeemed.name.clone()),
            EnrolledAs::Client => (Role::Client(redeemed.name.clone()), "client", redeemed.name.clone()),
        };
        let chain_pem = match redeemed.certificate_pem {
            Some(chain) => chain,
            None => {
                let chain = world.authority.issue(&message.csr_der, &role, unix_seconds(world.ticker.as_ref())).map_err(bad_request)?;
                world.store.keep_certificate(spki, &chain).await.map_err(store_status)?;
                chain
            }
        };
        world.nodes_changed();
        tracing::info!(role = role_name, id, name = redeemed.name, "enrolled");
        Ok(Response::new(EnrollReply { chain_pem, role: role_name.into(), id, name: redeemed.name }))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<EnrollReply>, Status> {
        let world = &self.0;
        let caller = request.extensions().get::<Caller>().cloned().ok_or_else(|| Status::unauthenticated("no caller"))?;
        let csr = request.into_inner().csr_der;
        let spki = Authority::request_spki(&csr).map_err(bad_request)?;
        let (role_name, id) = match &caller.0.role {
            Role::Node(id) => {
                world.store.renew_cert(*id, spki).await.map_err(store_status)?;
                ("node", id.to_string())
            }
            Role::Operator(name) => ("operator", name.clone()),
            Role::Client(name) => ("client", name.clone()),
            Role::Server => return Err(fault_status(Fault::new(FaultCode::PermissionDenied, "the server renews itself"))),
        };
        let chain_pem = world.authority.issue(&csr, &caller.0.role, unix_seconds(world.ticker.as_ref())).map_err(bad_request)?;
        Ok(Response::new(EnrollReply { chain_pem, role: role_name.into(), id: id.clone(), name: id }))
    }
}

fn bad_request(error: impl std::fmt::Display) -> Status {
    fault_status(Fault::new(FaultCode::InvalidArgument, error.to_string()).at("csr_der"))
}

fn refusal_fault(refusal: TokenRefusal) -> Fault {
    let problem = match refusal {
        TokenRefusal::Unknown => "the join token is not of this fleet, or its secret is wrong",
        TokenRefusal::Expired => "the join token has expired",
        TokenRefusal::UsedUp => "the join token is used up",
        TokenRefusal::Revoked => "the join token was revoked",
    };
    Fault::new(FaultCode::TokenRefused, problem).remedy("ask an operator for a new one: `ouroctl token create`")
}
