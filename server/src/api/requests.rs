//! What people do with requests: submit, plan, watch, cancel, and read.

use super::documents::{modules_document, nodes_document};
use super::logs::{self, Wanted};
use super::receive::{receive_envelope, receive_inputs};
use super::watch::watch_request;
use super::{Caller, fault_status, store_status};
use crate::explain;
use crate::reconcile::stop_attempts;
use crate::store::AcceptOutcome;
use crate::world::World;
use ouro_common::document::{RequestsDocument, TraceDocument};
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::{IdError, Name, RequestId};
use ouro_proto::convert::document;
use ouro_proto::identity::Role;
use ouro_proto::wire::requests_server::Requests;
use ouro_proto::wire::{
    CancelReply, CancelRequest, Document, ListRequest, LogEvent, LogsRequest, ModulesRequest, NodesRequest, RequestRef, SubmitPart,
    SubmitReply, WatchEvent, WatchRequest,
};
use std::sync::Arc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Requests that are searched for a reference.
const SEARCHED: usize = 10_000;

/// The service.
pub(super) struct RequestsService(pub(super) Arc<World>);

fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    request.extensions().get::<Caller>().cloned().ok_or_else(|| Status::unauthenticated("no caller"))
}

/// Whether a caller may see a request: operators see all, others their own.
fn may_see(caller: &Caller, principal: &str) -> bool {
    matches!(caller.0.role, Role::Operator(_)) || owns(caller, principal)
}

/// A caller as traces name it.
fn person(caller: &Caller) -> String {
    match &caller.0.role {
        Role::Operator(name) => format!("operator:{name}"),
        Role::Client(name) => format!("client:{name}"),
        Role::Node(node) => format!("node:{node}"),
        Role::Server => "server".into(),
    }
}

/// Whether a request is the caller's own, or went through its agent.
fn owns(caller: &Caller, principal: &str) -> bool {
    match &caller.0.role {
        Role::Node(node) => principal.starts_with(&format!("node:{node}/")),
        _ => principal == person(caller),
    }
}

impl RequestsService {
    /// The request that `reference` means: an id, a unique end of one, or `last`; among those the caller may see.
    async fn resolve(&self, caller: &Caller, reference: &str) -> Result<RequestId, Status> {
        let reference = reference.trim().to_ascii_lowercase();
        if let Ok(id) = reference.parse::<RequestId>() {
            let record = self.0.store.view(id).await.map_err(store_status)?;
            if record.is_some_and(|r| may_see(caller, &r.trace.request.principal)) {
                return Ok(id);
            }
        }
        let rows = self.0.store.requests(SEARCHED).await.map_err(store_status)?;
        let mut matching = rows.iter().filter(|r| may_see(caller, &r.principal));
        let unknown = || Fault::new(FaultCode::NotFound, format!("there is no request {reference:?}")).remedy("see `ouroctl requests`");
        if reference == "last" {
            let none = Fault::new(FaultCode::NotFound, "there is no request yet").remedy("submit one with `ouroctl submit`");
            return matching.next().map(|r| r.id).ok_or_else(|| fault_status(none));
        }
        if reference.len() < 4 {
            return Err(fault_status(unknown()));
        }
        let mut found = matching.filter(|r| r.id.to_string().replace('-', "").ends_with(&reference.replace('-', "")));
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one.id),
            (None, _) => Err(fault_status(unknown())),
            (Some(_), Some(_)) => {
                let fault = Fault::new(FaultCode::InvalidArgument, format!("{reference:?} fits several requests"));
                Err(fault_status(fault.remedy("give more of the id's end")))
            }
        }
    }

    async fn traced(&self, request: Request<RequestRef>, explained: bool) -> Result<Response<Document>, Status> {
        let caller = caller(&request)?;
        let id = self.resolve(&caller, &request.into_inner().request).await?;
        let record = self.0.store.view(id).await.map_err(store_status)?;
        let mut record = record.ok_or_else(|| fault_status(Fault::new(FaultCode::NotFound, format!("there is no request {id}"))))?;
        if explained || !record.waiting.is_empty() {
            explain::explain(&self.0, &mut record).await.map_err(store_status)?;
        }
        let mut trace: TraceDocument = record.trace;
        if trace.request.prompt.is_none() && owns(&caller, &trace.request.principal) {
            trace.request.prompt = Some(record.envelope.prompt);
        }
        Ok(Response::new(document("ouroboros.trace/1", &trace)))
    }
}

#[tonic::async_trait]
impl Requests for RequestsService {
    type WatchStream = ReceiverStream<Result<WatchEvent, Status>>;
    type LogsStream = ReceiverStream<Result<LogEvent, Status>>;

    async fn submit(&self, request: Request<Streaming<SubmitPart>>) -> Result<Response<SubmitReply>, Status> {
        let caller = caller(&request)?;
        let mut parts = request.into_inner();
        let envelope = receive_envelope(&caller, &mut parts).await?;
        receive_inputs(&self.0.blobs, &envelope, &mut parts).await?;
        match self.0.store.accept_request(&envelope).await.map_err(store_status)? {
            AcceptOutcome::Accepted => {
                self.0.doorbell.notify_one();
                Ok(Response::new(SubmitReply { request_id: envelope.id.to_string(), repeat: false }))
            }
            AcceptOutcome::Same(id) => Ok(Response::new(SubmitReply { request_id: id.to_string(), repeat: true })),
            AcceptOutcome::Conflict(id) => {
                let fault = Fault::new(FaultCode::Conflict, format!("the same key stands for another request, {id}"));
                Err(fault_status(fault.at("idempotency_key").remedy("use a new key for new content")))
            }
        }
    }

    async fn plan(&self, request: Request<Streaming<SubmitPart>>) -> Result<Response<Document>, Status> {
        let caller = caller(&request)?;
        let mut parts = request.into_inner();
        let envelope = receive_envelope(&caller, &mut parts).await?;
        let plan = explain::planned(&self.0, &envelope).await.map_err(fault_status)?;
        Ok(Response::new(document("ouroboros.plan/1", &plan)))
    }

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let caller = caller(&request)?;
        let message = request.into_inner();
        let id = self.resolve(&caller, &message.request).await?;
        Ok(Response::new(watch_request(self.0.clone(), id, message.after)))
    }

    async fn cancel(&self, request: Request<CancelRequest>) -> Result<Response<CancelReply>, Status> {
        let caller = caller(&request)?;
        let id = self.resolve(&caller, &request.into_inner().request).await?;
        let ended = self.0.store.cancel_request(id, &person(&caller)).await.map_err(store_status)?;
        stop_attempts(&self.0, &ended);
        self.0.doorbell.notify_one();
        Ok(Response::new(CancelReply { request_id: id.to_string(), state: ended.state.to_string() }))
    }

    async fn trace(&self, request: Request<RequestRef>) -> Result<Response<Document>, Status> {
        self.traced(request, false).await
    }

    async fn explain(&self, request: Request<RequestRef>) -> Result<Response<Document>, Status> {
        self.traced(request, true).await
    }

    async fn logs(&self, request: Request<LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        let caller = caller(&request)?;
        let message = request.into_inner();
        let id = self.resolve(&caller, &message.request).await?;
        let step = Some(message.step).filter(|s| !s.is_empty()).map(|s| s.parse::<Name>());
        let invalid = |e: IdError| fault_status(Fault::new(FaultCode::InvalidArgument, e.to_string()).at("step"));
        let wanted = Wanted { id, step: step.transpose().map_err(invalid)?, follow: message.follow };
        Ok(Response::new(logs::stream(self.0.clone(), wanted)))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<Document>, Status> {
        let caller = caller(&request)?;
        let limit = match request.into_inner().limit {
            0 => 20,
            n => usize::try_from(n).unwrap_or(20).min(SEARCHED),
        };
        let mut requests = self.0.store.requests(SEARCHED).await.map_err(store_status)?;
        requests.retain(|r| may_see(&caller, &r.principal));
        requests.truncate(limit);
        let list = RequestsDocument { schema: "ouroboros.requests/1".into(), requests };
        Ok(Response::new(document("ouroboros.requests/1", &list)))
    }

    async fn nodes(&self, _: Request<NodesRequest>) -> Result<Response<Document>, Status> {
        let nodes = nodes_document(&self.0).await.map_err(store_status)?;
        Ok(Response::new(document("ouroboros.nodes/1", &nodes)))
    }

    async fn modules(&self, _: Request<ModulesRequest>) -> Result<Response<Document>, Status> {
        let modules = modules_document(&self.0).await.map_err(store_status)?;
        Ok(Response::new(document("ouroboros.modules/1", &modules)))
    }
}
