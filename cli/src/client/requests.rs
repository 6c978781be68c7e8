//! The service `Requests`: the server's, and the agent's, which tries the local model first.

use super::{Client, MAX_MESSAGE_BYTES};
use futures::{Stream, StreamExt as _};
use ouro_common::document::{ModulesDocument, NodesDocument, PlanDocument, RequestsDocument, ResultDocument, TraceDocument};
use ouro_common::envelope::Envelope;
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::RequestId;
use ouro_common::step::RequestState;
use ouro_proto::convert::{envelope::to_wire, fault_of, read_document};
use ouro_proto::wire::requests_client::RequestsClient;
use ouro_proto::wire::{
    CancelRequest, ListRequest, LogEvent, LogsRequest, ModulesRequest, NodesRequest, RequestRef, SubmitPart, WatchEvent, WatchRequest,
    submit_part, watch_event,
};
use std::sync::Arc;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

/// An input's bytes in one message.
const PART_BYTES: usize = 256 * 1024;

/// A request that is ready to be sent, as often as it takes: the same key makes it one request.
#[derive(Clone)]
pub(crate) struct Submission {
    /// What it says about itself.
    pub(crate) envelope: Envelope,
    /// The inputs' bytes, in the envelope's order.
    pub(crate) payloads: Vec<Arc<Vec<u8>>>,
    /// Whether the local model is left out.
    pub(crate) skip_first_pass: bool,
}

/// A request that was acknowledged.
pub(crate) struct Submitted {
    /// Its id.
    pub(crate) id: RequestId,
    /// Whether it was there already, under the same key.
    pub(crate) repeat: bool,
}

/// A part of what one attempt at a step said.
#[derive(Debug, Clone, Default)]
pub(crate) struct Said {
    /// The step.
    pub(crate) step: String,
    /// Which attempt at it, from 1.
    pub(crate) attempt: u32,
    /// The name of the node.
    pub(crate) node: String,
    /// Where the bytes stand in all that it said.
    pub(crate) offset: u64,
    /// The bytes.
    pub(crate) data: Vec<u8>,
    /// Instead of bytes: why there are none.
    pub(crate) note: String,
}

/// What happens to a request while it is watched.
#[derive(Debug)]
pub(crate) enum Event {
    /// Something happened.
    Progress {
        /// What kind.
        kind: String,
        /// In words.
        text: String,
    },
    /// A part of the answer.
    Chunk {
        /// Where it begins.
        offset: u64,
        /// Its bytes.
        data: Vec<u8>,
        /// Whether what was shown before is void.
        restart: bool,
        /// Whether it is of the committed answer.
        committed: bool,
    },
    /// The end.
    Finished(Box<ResultDocument>),
}

impl Client {
    fn requests(&self) -> RequestsClient<Channel> {
        RequestsClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Sends a request; returns when it is durable.
    pub(crate) async fn submit(&self, submission: &Submission) -> Result<Submitted, Fault> {
        let reply = self.requests().submit(parts(submission)).await.map_err(|s| loss_or_fault(&s))?.into_inner();
        let id = reply
            .request_id
            .parse()
            .map_err(|e| Fault::new(FaultCode::Internal, format!("the reply is malformed: {e}")))?;
        Ok(Submitted { id, repeat: reply.repeat })
    }

    /// What would be done with a request.
    pub(crate) async fn plan(&self, submission: &Submission) -> Result<PlanDocument, Fault> {
        let reply = self.requests().plan(parts(submission)).await.map_err(|s| fault_of(&s))?;
        read_document(Some(&reply.into_inner()), "ouroboros.plan/1")
    }

    /// The events of a request; `after` bytes of its committed answer are not sent again.
    pub(crate) async fn watch(&self, id: RequestId, after: u64) -> Result<impl Stream<Item = Result<Event, Fault>> + Unpin + use<>, Fault> {
        let request = WatchRequest { request: id.to_string(), after };
        let stream = self.requests().watch(request).await.map_err(|s| loss_or_fault(&s))?.into_inner();
        // A kind of event this version does not know is skipped.
        Ok(stream.filter_map(|item| std::future::ready(item.map_err(|s| loss_or_fault(&s)).and_then(event).transpose())))
    }

    /// Ends a request.
    pub(crate) async fn cancel(&self, reference: &str) -> Result<(String, Option<RequestState>), Fault> {
        let request = CancelRequest { request: reference.to_string() };
        let reply = self.requests().cancel(request).await.map_err(|s| fault_of(&s))?.into_inner();
        Ok((reply.request_id, RequestState::parse(&reply.state)))
    }

    /// Everything that was decided about a request.
    pub(crate) async fn trace(&self, reference: &str) -> Result<TraceDocument, Fault> {
        let reply = self.requests().trace(RequestRef { request: reference.to_string() }).await.map_err(|s| fault_of(&s))?;
        read_document(Some(&reply.into_inner()), "ouroboros.trace/1")
    }

    /// The same with the decisions as they would be taken now.
    pub(crate) async fn explain(&self, reference: &str) -> Result<TraceDocument, Fault> {
        let reply = self.requests().explain(RequestRef { request: reference.to_string() }).await.map_err(|s| fault_of(&s))?;
        read_document(Some(&reply.into_inner()), "ouroboros.trace/1")
    }

    /// What the steps of a request said; `step` may be empty.
    pub(crate) async fn logs(&self, request: RequestId, step: &str, follow: bool) -> Result<Logs, Fault> {
        let message = LogsRequest { request: request.to_string(), step: step.to_string(), follow };
        Ok(Logs(self.requests().logs(message).await.map_err(|s| loss_or_fault(&s))?.into_inner()))
    }

    /// The latest requests.
    pub(crate) async fn list(&self, limit: u32) -> Result<RequestsDocument, Fault> {
        let reply = self.requests().list(ListRequest { limit }).await.map_err(|s| fault_of(&s))?;
        read_document(Some(&reply.into_inner()), "ouroboros.requests/1")
    }

    /// The fleet's nodes.
    pub(crate) async fn nodes(&self) -> Result<NodesDocument, Fault> {
        let reply = self.requests().nodes(NodesRequest {}).await.map_err(|s| fault_of(&s))?;
        read_document(Some(&reply.into_inner()), "ouroboros.nodes/1")
    }

    /// The fleet's modules.
    pub(crate) async fn modules(&self) -> Result<ModulesDocument, Fault> {
        let reply = self.requests().modules(ModulesRequest {}).await.map_err(|s| fault_of(&s))?;
        read_document(Some(&reply.into_inner()), "ouroboros.modules/1")
    }
}

/// What steps say, as it comes.
pub(crate) struct Logs(Streaming<LogEvent>);

impl Logs {
    /// The next part; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Said>, Fault> {
        let event = self.0.message().await.map_err(|s| loss_or_fault(&s))?;
        Ok(event.map(|e| Said { step: e.step, attempt: e.attempt, node: e.node, offset: e.offset, data: e.data, note: e.note }))
    }
}

/// The envelope, then the inputs' bytes. No part crosses the border of an input.
fn parts(submission: &Submission) -> impl Stream<Item = SubmitPart> + Send + 'static {
    let body = submit_part::Body::Envelope(to_wire(&submission.envelope));
    let head = SubmitPart { body: Some(body), skip_first_pass: submission.skip_first_pass };
    let payloads = submission.payloads.clone();
    let data = payloads.into_iter().flat_map(|payload| {
        let count = payload.len().div_ceil(PART_BYTES);
        (0..count).map(move |i| {
            let part = payload[i * PART_BYTES..payload.len().min((i + 1) * PART_BYTES)].to_vec();
            SubmitPart { body: Some(submit_part::Body::Data(part)), skip_first_pass: false }
        })
    });
    futures::stream::iter(std::iter::once(head).chain(data))
}

/// The fault behind a status. One without details does not come from Ouroboros but from the connection, which broke.
fn loss_or_fault(status: &Status) -> Fault {
    let fault = fault_of(status);
    let of_connection = matches!(status.code(), Code::Internal | Code::Unknown | Code::Cancelled | Code::Unavailable);
    if status.details().is_empty() && of_connection {
        // What stands behind the first words is of the libraries below.
        let cause = fault.problem.split(": ").next().unwrap_or_default();
        Fault::new(FaultCode::ServerUnreachable, format!("the connection broke off ({cause})"))
            .remedy("run the command again; what was submitted goes on without it")
    } else {
        fault
    }
}

fn event(message: WatchEvent) -> Result<Option<Event>, Fault> {
    Ok(match message.body {
        Some(watch_event::Body::Progress(p)) => Some(Event::Progress { kind: p.kind, text: p.text }),
        Some(watch_event::Body::Chunk(c)) => {
            Some(Event::Chunk { offset: c.offset, data: c.data, restart: c.restart, committed: c.committed })
        }
        Some(watch_event::Body::Finished(f)) => Some(Event::Finished(Box::new(read_document(f.result.as_ref(), "ouroboros.result/1")?))),
        None => None,
    })
}
