//! The requests service on the socket. What the journal knows is answered here, the rest by the server.

use super::forward::{self, refuse};
use super::receive::{receive_envelope, receive_request};
use super::watch::follow;
use crate::clock::unix_ms;
use crate::requests::{Accepted, Heard, Progress, Record, Requests, row, trace_document};
use ouro_common::document::{RequestRow, RequestsDocument, TraceDocument};
use ouro_common::envelope::Principal;
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::{NodeId, RequestId};
use ouro_proto::convert::{document, read_document};
use ouro_proto::wire;
use ouro_proto::wire::requests_server::Requests as Api;
use std::collections::BTreeMap;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Response, Status, Streaming};

/// Rows in a list when no number is asked for.
const ROWS: usize = 20;
/// The most rows in a list.
const MAX_ROWS: usize = 10_000;

/// The service.
pub(super) struct LocalRequests {
    node: NodeId,
    own_uid: u32,
    requests: Requests,
}

/// A local user, as the kernel says.
#[derive(Debug, Clone, Copy)]
struct Caller {
    uid: u32,
    sees_all: bool,
}

impl Caller {
    fn may_see(self, uid: u32) -> bool {
        self.sees_all || self.uid == uid
    }
}

impl LocalRequests {
    pub(super) fn new(node: NodeId, requests: Requests) -> Self {
        Self { node, own_uid: rustix::process::getuid().as_raw(), requests }
    }

    fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let peer = request.extensions().get::<UdsConnectInfo>().and_then(|info| info.peer_cred);
        let unknown = || Fault::new(FaultCode::Unauthenticated, "the kernel does not say who calls");
        let uid = peer.ok_or_else(|| refuse(unknown()))?.uid();
        Ok(Caller { uid, sees_all: uid == 0 || uid == self.own_uid })
    }

    fn principal(&self, caller: Caller) -> Principal {
        Principal::Node { node: self.node, uid: caller.uid }
    }

    /// The request of the journal that a reference means.
    fn local(&self, caller: Caller, reference: &str) -> Result<Option<Record>, Status> {
        let journal = self.requests.journal();
        let id = journal.resolve(reference, |uid| caller.may_see(uid)).map_err(refuse)?;
        id.map(|id| journal.read(id).map_err(refuse)).transpose()
    }

    /// References that are none of this journal are the server's business, for those who see everything on this node.
    fn only_if_all(caller: Caller, reference: &str) -> Result<(), Status> {
        if caller.sees_all { Ok(()) } else { Err(refuse(crate::requests::unknown(reference))) }
    }

    async fn traced(&self, request: Request<wire::RequestRef>, explained: bool) -> Result<Response<wire::Document>, Status> {
        let caller = self.caller(&request)?;
        let reference = request.into_inner().request;
        let Some(record) = self.local(caller, &reference)? else {
            Self::only_if_all(caller, &reference)?;
            return Ok(Response::new(forward::trace(self.requests.link(), &reference, explained).await?));
        };
        if record.progress == Progress::Offloaded {
            let id = record.envelope.id.to_string();
            match forward::trace(self.requests.link(), &id, explained).await {
                Ok(document) => {
                    if let Ok(trace) = read_document::<TraceDocument>(Some(&document), "ouroboros.trace/1") {
                        self.requests.hear(record.envelope.id, |_| Heard::of_trace(&trace));
                    }
                    return Ok(Response::new(document));
                }
                Err(status) if explained => return Err(status),
                // What is known here is better than nothing.
                Err(status) => tracing::debug!(%status, "the server's trace could not be had"),
            }
        }
        Ok(Response::new(document("ouroboros.trace/1", &trace_document(&record, unix_ms()))))
    }

    /// What the server lists for this node and this user; nothing where it cannot be asked.
    async fn there(&self, caller: Caller, limit: usize) -> Vec<RequestRow> {
        let Ok(mut client) = forward::client(self.requests.link()).await else {
            return vec![];
        };
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let listed = client.list(wire::ListRequest { limit }).await;
        let list: Option<RequestsDocument> = listed.ok().and_then(|l| read_document(Some(&l.into_inner()), "ouroboros.requests/1").ok());
        let own = self.principal(caller).to_string();
        let rows = list.map(|l| l.requests).unwrap_or_default();
        rows.into_iter().filter(|r| caller.sees_all || r.principal == own).collect()
    }
}

/// A request that did not leave this node has no steps.
fn no_steps(record: &Record) -> Fault {
    let problem = match record.progress {
        Progress::Ended => "it was answered on this machine, without the fleet: there are no steps that said something",
        _ => "it has not left this machine: there are no steps yet that say something",
    };
    Fault::new(FaultCode::NotFound, problem)
        .at(record.envelope.id)
        .remedy("`ouroctl trace REQUEST` shows what happened to it")
}

#[tonic::async_trait]
impl Api for LocalRequests {
    type WatchStream = ReceiverStream<Result<wire::WatchEvent, Status>>;
    type LogsStream = ReceiverStream<Result<wire::LogEvent, Status>>;

    async fn submit(&self, request: Request<Streaming<wire::SubmitPart>>) -> Result<Response<wire::SubmitReply>, Status> {
        let caller = self.caller(&request)?;
        let mut parts = request.into_inner();
        let (envelope, skip) = receive_envelope(&mut parts, self.principal(caller)).await.map_err(refuse)?;
        let accepted = receive_request(self.requests.journal(), &mut parts, envelope, skip).await.map_err(refuse)?;
        let (id, repeat) = match accepted {
            Accepted::New(id) => (id, false),
            Accepted::Same(id) => (id, true),
        };
        if !repeat {
            self.requests.start(id);
        }
        Ok(Response::new(wire::SubmitReply { request_id: id.to_string(), repeat }))
    }

    async fn plan(&self, request: Request<Streaming<wire::SubmitPart>>) -> Result<Response<wire::Document>, Status> {
        let caller = self.caller(&request)?;
        let mut parts = request.into_inner();
        let (envelope, _) = receive_envelope(&mut parts, self.principal(caller)).await.map_err(refuse)?;
        Ok(Response::new(forward::plan(self.requests.link(), envelope, parts).await?))
    }

    async fn watch(&self, request: Request<wire::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let caller = self.caller(&request)?;
        let message = request.into_inner();
        let (sender, receiver) = mpsc::channel(64);
        if let Some(record) = self.local(caller, &message.request)? {
            tokio::spawn(follow(self.requests.clone(), record.envelope.id, message.after, sender));
            return Ok(Response::new(ReceiverStream::new(receiver)));
        }
        Self::only_if_all(caller, &message.request)?;
        let stream = forward::client(self.requests.link()).await?.watch(message).await?.into_inner();
        tokio::spawn(forward::pass_on(stream, sender));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn cancel(&self, request: Request<wire::CancelRequest>) -> Result<Response<wire::CancelReply>, Status> {
        let caller = self.caller(&request)?;
        let reference = request.into_inner().request;
        let record = self.local(caller, &reference)?.ok_or_else(|| refuse(crate::requests::unknown(&reference)))?;
        let id: RequestId = record.envelope.id;
        if record.progress == Progress::Offloaded {
            return Ok(Response::new(forward::cancel(self.requests.link(), id).await?));
        }
        if let Some(live) = self.requests.live(id) {
            let mut state = live.watch();
            live.cancel();
            drop(live);
            let _ = state.wait_for(|s| s.stage != crate::requests::Stage::Here).await;
        }
        let record = self.requests.journal().read(id).map_err(refuse)?;
        Ok(Response::new(wire::CancelReply { request_id: id.to_string(), state: record.state().to_string() }))
    }

    async fn trace(&self, request: Request<wire::RequestRef>) -> Result<Response<wire::Document>, Status> {
        self.traced(request, false).await
    }

    async fn explain(&self, request: Request<wire::RequestRef>) -> Result<Response<wire::Document>, Status> {
        self.traced(request, true).await
    }

    async fn logs(&self, request: Request<wire::LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        let caller = self.caller(&request)?;
        let mut message = request.into_inner();
        match self.local(caller, &message.request)? {
            Some(record) if record.progress == Progress::Offloaded => message.request = record.envelope.id.to_string(),
            Some(record) => return Err(refuse(no_steps(&record))),
            None => Self::only_if_all(caller, &message.request)?,
        }
        Ok(Response::new(forward::logs(self.requests.link(), message).await?))
    }

    async fn list(&self, request: Request<wire::ListRequest>) -> Result<Response<wire::Document>, Status> {
        let caller = self.caller(&request)?;
        let limit = match usize::try_from(request.into_inner().limit).unwrap_or(MAX_ROWS) {
            0 => ROWS,
            n => n.min(MAX_ROWS),
        };
        let now = unix_ms();
        let journal = self.requests.journal();
        let ids = journal.ids(|uid| caller.may_see(uid)).into_iter().take(limit);
        let mut rows: BTreeMap<RequestId, RequestRow> =
            ids.filter_map(|id| journal.read(id).ok()).map(|r| (r.envelope.id, row(&r, now))).collect();
        // About a request that was offloaded the server knows more.
        for known in self.there(caller, limit).await {
            if rows.get(&known.id).is_some_and(|here| here.state != known.state) {
                self.requests.hear(known.id, |_| Heard::of(&known));
            }
            rows.insert(known.id, known);
        }
        let requests = rows.into_values().rev().take(limit).collect();
        let list = RequestsDocument { schema: "ouroboros.requests/1".into(), requests };
        Ok(Response::new(document("ouroboros.requests/1", &list)))
    }

    async fn nodes(&self, _: Request<wire::NodesRequest>) -> Result<Response<wire::Document>, Status> {
        forward::client(self.requests.link()).await?.nodes(wire::NodesRequest {}).await
    }

    async fn modules(&self, _: Request<wire::ModulesRequest>) -> Result<Response<wire::Document>, Status> {
        forward::client(self.requests.link()).await?.modules(wire::ModulesRequest {}).await
    }
}
