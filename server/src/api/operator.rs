//! What operators do to the fleet.

use super::{fault_status, store_status};
use crate::init::{TokenSpec, create_token};
use crate::store::EnrolledAs;
use crate::world::World;
use ouro_common::error::{Fault, FaultCode};
use ouro_proto::convert::document;
use ouro_proto::wire::operator_server::Operator;
use ouro_proto::wire::{CreateTokenReply, CreateTokenRequest, Document, ListTokensRequest, RevokeTokenReply, RevokeTokenRequest};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Request, Response, Status};

/// A token lives 90 days at most.
const MAX_LIFETIME_S: u64 = 90 * 24 * 3600;

/// The service.
pub(super) struct OperatorService(pub(super) Arc<World>);

#[tonic::async_trait]
impl Operator for OperatorService {
    async fn create_token(&self, request: Request<CreateTokenRequest>) -> Result<Response<CreateTokenReply>, Status> {
        let message = request.into_inner();
        let invalid = |field: &str, problem: &str| fault_status(Fault::new(FaultCode::InvalidArgument, problem).at(field));
        let role = match message.role.as_str() {
            "" | "node" => EnrolledAs::Node,
            "operator" => EnrolledAs::Operator,
            "client" => EnrolledAs::Client,
            _ => return Err(invalid("role", "it is node, operator or client")),
        };
        if !(1..=100_000).contains(&message.uses) {
            return Err(invalid("uses", "it goes from 1 to 100000"));
        }
        if !(1..=MAX_LIFETIME_S).contains(&message.lifetime_s) {
            return Err(invalid("lifetime", "it goes from 1 s to 90 days"));
        }
        let spec = TokenSpec {
            role,
            uses: message.uses,
            lifetime: Duration::from_secs(message.lifetime_s),
            labels: message.labels.into_iter().collect(),
            require_approval: message.require_approval,
        };
        let token = create_token(self.0.store.as_ref(), &self.0.authority, spec).await.map_err(fault_status)?;
        Ok(Response::new(CreateTokenReply { token: token.to_string() }))
    }

    async fn list_tokens(&self, _: Request<ListTokensRequest>) -> Result<Response<Document>, Status> {
        let now = self.0.store.now();
        let tokens = self.0.store.tokens().await.map_err(store_status)?;
        let rows: Vec<_> = tokens
            .into_iter()
            .map(|t| {
                let role = match t.role {
                    EnrolledAs::Node => "node",
                    EnrolledAs::Operator => "operator",
                    EnrolledAs::Client => "client",
                };
                let left_s = t.expires.since(now).as_secs();
                json!({"id": t.id, "role": role, "uses_left": t.uses_left, "expires_in_s": left_s, "revoked": t.revoked, "labels": t.labels})
            })
            .collect();
        const SCHEMA: &str = "ouroboros.tokens/1";
        Ok(Response::new(document(SCHEMA, &json!({"schema": SCHEMA, "tokens": rows}))))
    }

    async fn revoke_token(&self, request: Request<RevokeTokenRequest>) -> Result<Response<RevokeTokenReply>, Status> {
        self.0.store.revoke_token(&request.into_inner().id).await.map_err(store_status)?;
        Ok(Response::new(RevokeTokenReply {}))
    }
}
