//! What operators do to the fleet.

use super::{Caller, events, fault_status, store_status};
use crate::fleet::NodeCommand;
use crate::init::{TokenSpec, create_token};
use crate::reconcile::tell_trusted;
use crate::store::{EnrolledAs, NodeChange, NodeChanged};
use crate::world::World;
use ouro_common::document::{PoisonDocument, PoisonEntry, ReplayDocument, TrustedKeyView, TrustedKeysDocument};
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::NodeId;
use ouro_common::step::{AdminState, NodeDeed};
use ouro_proto::convert::document;
use ouro_proto::identity::Role;
use ouro_proto::wire;
use ouro_proto::wire::operator_server::Operator;
use ouro_proto::wire::{
    ChangeNodeReply, ChangeNodeRequest, CreateTokenReply, CreateTokenRequest, Document, EventsRequest, ListPoisonRequest,
    ListTokensRequest, ReleasePoisonRequest, ReplayRequest, RevokeTokenReply, RevokeTokenRequest,
};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio_stream::wrappers::ReceiverStream;
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

    async fn change_node(&self, request: Request<ChangeNodeRequest>) -> Result<Response<ChangeNodeReply>, Status> {
        let by = name_of(&request);
        let message = request.into_inner();
        let invalid = |field: &str, problem: String| fault_status(Fault::new(FaultCode::InvalidArgument, problem).at(field));
        let node: NodeId = message.node.parse().map_err(|e: ouro_common::id::IdError| invalid("node", e.to_string()))?;
        let labels = NodeChange::Labels { set: message.set_labels.into_iter().collect(), unset: message.unset_labels };
        let deed = match message.deed.as_str() {
            "" => None,
            text => Some(NodeDeed::parse(text).ok_or_else(|| invalid("deed", format!("{text:?} is not known")))?),
        };
        let change = deed.map_or(labels, NodeChange::Deed);
        match self.0.store.change_node(node, change, &by).await.map_err(store_status)? {
            NodeChanged::Refused(admin) => Err(fault_status(refused(node, deed, admin))),
            NodeChanged::Done { admin, changed, attempts } => {
                for key in attempts {
                    self.0.live.end(&key, self.0.store.now());
                    self.0.fleet.tell(node, NodeCommand::Cancel(key.clone(), "its node was removed from the fleet".into()));
                    self.0.watchers.ring(key.request);
                }
                if let Some(session) = self.0.fleet.session(node).filter(|_| admin == AdminState::Removed) {
                    self.0.fleet.close(node, session.epoch, "the node was removed from the fleet");
                }
                tracing::info!(%node, %admin, changed, by, "an operator changed a node");
                self.0.nodes_changed();
                self.0.doorbell.notify_one();
                Ok(Response::new(ChangeNodeReply { admin: admin.to_string(), changed }))
            }
        }
    }

    async fn list_poison(&self, _: Request<ListPoisonRequest>) -> Result<Response<Document>, Status> {
        Ok(Response::new(poison(self.0.store.poison().await.map_err(store_status)?)))
    }

    async fn release_poison(&self, request: Request<ReleasePoisonRequest>) -> Result<Response<Document>, Status> {
        let by = name_of(&request);
        let released = self.0.store.release_poison(&request.into_inner().id, &by).await.map_err(store_status)?;
        Ok(Response::new(poison(vec![released])))
    }

    async fn trust_key(&self, request: Request<wire::TrustKeyRequest>) -> Result<Response<Document>, Status> {
        let by = name_of(&request);
        let message = request.into_inner();
        let key = self.0.trusted.trust(&message.name, &message.key).map_err(fault_status)?;
        tracing::info!(name = key.name, key = %key.key.id(), by, "modules signed by this key are trusted");
        Ok(Response::new(self.keys_changed()))
    }

    async fn list_trusted_keys(&self, _: Request<wire::ListTrustedKeysRequest>) -> Result<Response<Document>, Status> {
        Ok(Response::new(trusted_keys(&self.0)))
    }

    async fn distrust_key(&self, request: Request<wire::DistrustKeyRequest>) -> Result<Response<Document>, Status> {
        let by = name_of(&request);
        let key = self.0.trusted.distrust(&request.into_inner().key).map_err(fault_status)?;
        tracing::info!(name = key.name, key = %key.key.id(), by, "modules signed by this key are not trusted any more");
        Ok(Response::new(self.keys_changed()))
    }

    async fn replay(&self, request: Request<ReplayRequest>) -> Result<Response<Document>, Status> {
        let message = request.into_inner();
        let invalid = |field: &str, problem: String| fault_status(Fault::new(FaultCode::InvalidArgument, problem).at(field));
        let id = message.request.parse().map_err(|e: ouro_common::id::IdError| invalid("request", e.to_string()))?;
        let step = match message.step.as_str() {
            "" => None,
            name => Some(name.parse().map_err(|e| invalid("step", format!("{e}")))?),
        };
        let gone = || {
            Fault::new(FaultCode::NotFound, "no decision about it is kept any more")
                .at(&message.request)
                .remedy("only the newest decisions since the server's start can be taken again; `ouroctl trace` shows what was decided")
        };
        let replayed = self.0.replays.replay(id, step.as_ref()).ok_or_else(|| fault_status(gone()))?;
        Ok(Response::new(document(ReplayDocument::SCHEMA, &serde_json::to_value(&replayed).unwrap_or_default())))
    }

    type EventsStream = ReceiverStream<Result<Document, Status>>;

    async fn events(&self, request: Request<EventsRequest>) -> Result<Response<Self::EventsStream>, Status> {
        Ok(Response::new(events::stream(self.0.clone(), request.into_inner())))
    }
}

impl OperatorService {
    /// Tells the nodes at once; the sweep would a second later.
    fn keys_changed(&self) -> Document {
        if self.0.trusted.look() {
            tell_trusted(&self.0);
        }
        trusted_keys(&self.0)
    }
}

fn trusted_keys(world: &World) -> Document {
    let keys = world.trusted.now();
    let keys = keys
        .into_iter()
        .map(|named| TrustedKeyView { name: named.name, id: named.key.id(), key: named.key })
        .collect();
    document(TrustedKeysDocument::SCHEMA, &TrustedKeysDocument { schema: TrustedKeysDocument::SCHEMA.into(), keys })
}

/// The operator's name, as the certificate has it.
fn name_of<T>(request: &Request<T>) -> String {
    match request.extensions().get::<Caller>().map(|caller| &caller.0.role) {
        Some(Role::Operator(name)) => name.clone(),
        _ => "an operator".into(),
    }
}

fn refused(node: NodeId, deed: Option<NodeDeed>, admin: AdminState) -> Fault {
    let problem = match deed {
        Some(deed) => format!("a node that is {admin} cannot be told to {deed}"),
        None => format!("a node that is {admin} gets no labels"),
    };
    let remedy = deed.map_or("a removed node joins again with a new token", |deed| deed.instead(admin));
    Fault::new(FaultCode::InvalidArgument, problem).at(node).remedy(remedy)
}

fn poison(entries: Vec<PoisonEntry>) -> Document {
    document(PoisonDocument::SCHEMA, &PoisonDocument { schema: PoisonDocument::SCHEMA.into(), poison: entries })
}
