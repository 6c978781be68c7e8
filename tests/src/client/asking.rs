//! The asynchronous half of the raw client: one channel, cheap to clone, any number of calls at once.

use ouro_common::document::{ModulesDocument, NodesDocument, ResultDocument, TraceDocument};
use ouro_common::envelope::{Envelope, Input, PROTOCOL_VERSION, Principal};
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::{Digest, Name, RequestId};
use ouro_common::plan::{Plan, Step, Tags};
use ouro_proto::channel::{ClientTls, ConnectError, connect};
use ouro_proto::convert::{digest_to_wire, envelope::to_wire, fault_of, read_document};
use ouro_proto::wire::blobs_client::BlobsClient;
use ouro_proto::wire::enrollment_client::EnrollmentClient;
use ouro_proto::wire::fleet_client::FleetClient;
use ouro_proto::wire::operator_client::OperatorClient;
use ouro_proto::wire::requests_client::RequestsClient;
use ouro_proto::wire::{
    CancelRequest, CreateTokenRequest, Document, EnrollReply, EnrollRequest, GetRequest, Hello, ModulesRequest, NodeMessage, NodesRequest,
    RequestRef, SubmitPart, WatchRequest, node_message, server_message, submit_part, watch_event,
};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;

/// The largest part of an upload.
const PART_BYTES: usize = 256 * 1024;
/// A message may be this large: traces and results are documents.
const MESSAGE_BYTES: usize = 64 << 20;

/// A channel to a server.
#[derive(Debug, Clone)]
pub struct Asking(pub(super) Channel);

impl Asking {
    /// Connects.
    ///
    /// # Errors
    /// When the server cannot be reached, or one of the two does not trust the other.
    pub async fn connect(address: &str, tls: &ClientTls) -> Result<Self, ConnectError> {
        Ok(Self(connect(address, tls).await?))
    }

    fn requests(&self) -> RequestsClient<Channel> {
        RequestsClient::new(self.0.clone()).max_decoding_message_size(MESSAGE_BYTES)
    }

    /// Who is in the fleet.
    ///
    /// # Errors
    /// What the server says.
    pub async fn nodes(&self) -> Result<NodesDocument, Fault> {
        let reply = self.requests().nodes(NodesRequest {}).await.map_err(|s| fault_of(&s))?;
        read_document(Some(reply.get_ref()), "ouroboros.nodes/1")
    }

    /// Submits a request with its inputs' bytes.
    ///
    /// # Errors
    /// What the server says.
    pub async fn submit(&self, envelope: &Envelope, inputs: &[&[u8]]) -> Result<RequestId, Fault> {
        let first = SubmitPart { body: Some(submit_part::Body::Envelope(to_wire(envelope))), skip_first_pass: false };
        let pieces = inputs.iter().flat_map(|bytes| bytes.chunks(PART_BYTES));
        let parts = pieces.map(|piece| SubmitPart { body: Some(submit_part::Body::Data(piece.to_vec())), skip_first_pass: false });
        let parts: Vec<SubmitPart> = std::iter::once(first).chain(parts).collect();
        let reply = self.requests().submit(tokio_stream::iter(parts)).await.map_err(|s| fault_of(&s))?;
        let id = &reply.get_ref().request_id;
        id.parse().map_err(|e| Fault::new(FaultCode::Internal, format!("{id}: {e}")))
    }

    /// Waits for the end of a request.
    ///
    /// # Errors
    /// What the server says; also when the stream ends before the request.
    pub async fn finished(&self, id: RequestId) -> Result<ResultDocument, Fault> {
        Ok(self.listen(id).await?.1)
    }

    /// The same, and when the first piece of its answer came, if it came in pieces.
    ///
    /// # Errors
    /// As [`finished`](Self::finished).
    pub async fn listen(&self, id: RequestId) -> Result<(Option<Instant>, ResultDocument), Fault> {
        let watch = WatchRequest { request: id.to_string(), after: 0 };
        let mut events = self.requests().watch(watch).await.map_err(|s| fault_of(&s))?.into_inner();
        let mut first = None;
        while let Some(event) = events.message().await.map_err(|s| fault_of(&s))? {
            match event.body {
                Some(watch_event::Body::Chunk(_)) => drop(first.get_or_insert_with(Instant::now)),
                Some(watch_event::Body::Finished(finished)) => {
                    // Heard to its end: streams that are dropped before count against the connection.
                    events.message().await.map_err(|s| fault_of(&s))?;
                    return Ok((first, read_document(finished.result.as_ref(), "ouroboros.result/1")?));
                }
                _ => {}
            }
        }
        Err(Fault::new(FaultCode::Internal, "the stream ended before the request did").at(id))
    }

    /// A request's trace.
    ///
    /// # Errors
    /// What the server says.
    pub async fn trace(&self, id: RequestId) -> Result<TraceDocument, Fault> {
        let reply = self.requests().trace(RequestRef { request: id.to_string() }).await.map_err(|s| fault_of(&s))?;
        read_document(Some(reply.get_ref()), "ouroboros.trace/1")
    }

    /// Ends a request.
    ///
    /// # Errors
    /// What the server says.
    pub async fn cancel(&self, id: RequestId) -> Result<(), Fault> {
        let cancelled = self.requests().cancel(CancelRequest { request: id.to_string() }).await;
        cancelled.map(drop).map_err(|s| fault_of(&s))
    }

    /// The modules in the fleet.
    ///
    /// # Errors
    /// What the server says.
    pub async fn modules(&self) -> Result<ModulesDocument, Fault> {
        let reply = self.requests().modules(ModulesRequest {}).await.map_err(|s| fault_of(&s))?;
        read_document(Some(reply.get_ref()), "ouroboros.modules/1")
    }

    /// The container of this name, or `name:version`, as some node offers it.
    ///
    /// # Errors
    /// `NOT_FOUND` when nobody does.
    pub async fn container(&self, name: &str) -> Result<ouro_common::document::ContainerView, Fault> {
        let mut containers = self.modules().await?.modules.into_iter().flat_map(|m| m.containers);
        let found = containers.find(|c| c.container.name.as_str() == name || c.container.to_string() == name);
        found.ok_or_else(|| Fault::new(FaultCode::NotFound, format!("nobody offers {name}")))
    }

    /// A join token.
    ///
    /// # Errors
    /// What the server says.
    pub async fn create_token(&self, role: &str, uses: u32, lifetime_s: u64) -> Result<String, Fault> {
        let asked = CreateTokenRequest { role: role.into(), uses, lifetime_s, labels: [].into(), require_approval: false };
        let reply = OperatorClient::new(self.0.clone()).create_token(asked).await.map_err(|s| fault_of(&s))?;
        Ok(reply.into_inner().token)
    }

    /// Enrols with whatever the message says.
    ///
    /// # Errors
    /// What the server says.
    pub async fn enroll(&self, message: EnrollRequest) -> Result<EnrollReply, Fault> {
        let reply = EnrollmentClient::new(self.0.clone()).enroll(message).await.map_err(|s| fault_of(&s))?;
        Ok(reply.into_inner())
    }

    /// Opens a node's session with a profile, says one thing, and waits for the answer that `wanted` picks.
    ///
    /// # Errors
    /// What the server says; also when the session ends without such an answer.
    pub async fn session<T>(
        &self,
        profile_json: &str,
        message: NodeMessage,
        wanted: impl Fn(server_message::Body) -> Option<T>,
    ) -> Result<T, Fault> {
        let profile = Document { schema: "ouroboros.profile/1".into(), json: profile_json.as_bytes().to_vec() };
        let hello = Hello {
            version_min: PROTOCOL_VERSION,
            version_max: PROTOCOL_VERSION,
            boot_id: fresh_id().to_string(),
            agent_run: fresh_id().to_string(),
            profile: Some(profile),
            holding: vec![],
            spooled: vec![],
        };
        let (sender, messages) = tokio::sync::mpsc::channel(4);
        for message in [NodeMessage { body: Some(node_message::Body::Hello(hello)) }, message] {
            let _ = sender.send(message).await;
        }
        let messages = tokio_stream::wrappers::ReceiverStream::new(messages);
        let mut answers = FleetClient::new(self.0.clone()).session(messages).await.map_err(|s| fault_of(&s))?.into_inner();
        while let Some(answer) = answers.message().await.map_err(|s| fault_of(&s))? {
            if let Some(found) = answer.body.and_then(&wanted) {
                return Ok(found);
            }
        }
        Err(Fault::new(FaultCode::Internal, "the session ended without that answer"))
    }

    /// Fetches a blob.
    ///
    /// # Errors
    /// What the server says.
    pub async fn get(&self, digest: Digest) -> Result<Vec<u8>, Fault> {
        let asked = GetRequest { digest: Some(digest_to_wire(&digest)), offset: 0 };
        let mut parts = BlobsClient::new(self.0.clone()).get(asked).await.map_err(|s| fault_of(&s))?.into_inner();
        let mut bytes = Vec::new();
        while let Some(part) = parts.message().await.map_err(|s| fault_of(&s))? {
            bytes.extend(part.data);
        }
        Ok(bytes)
    }

    /// Calls a method with an empty message.
    ///
    /// # Errors
    /// The fault in the status.
    pub async fn call(&self, method: &str) -> Result<(), Fault> {
        let mut grpc = tonic::client::Grpc::new(self.0.clone());
        grpc.ready().await.map_err(|e| Fault::new(FaultCode::ServerUnreachable, e.to_string()))?;
        let codec = tonic_prost::ProstCodec::<(), ()>::default();
        let path = PathAndQuery::try_from(method).map_err(|e| Fault::new(FaultCode::InvalidArgument, e.to_string()))?;
        grpc.unary(tonic::Request::new(()), path, codec).await.map(drop).map_err(|s| fault_of(&s))
    }
}

/// A request with nothing but a prompt and inputs: (tag, media type, bytes).
pub fn request(prompt: &str, inputs: &[(&str, &str, &[u8])]) -> Envelope {
    let input = |(tag, media, bytes): &(&str, &str, &[u8])| Input {
        tag: name(tag),
        media: (*media).into(),
        digest: Digest::blake3(bytes),
        size_bytes: bytes.len() as u64,
        file_name: None,
    };
    let inputs = inputs.iter().map(input).collect();
    Envelope { inputs, ..Envelope::new(fresh_id(), Principal::Operator("admin".into()), prompt) }
}

/// A plan of one step: `container` reads the prompt with these parameters.
pub fn single_step(container: &ouro_common::document::ContainerView, params: serde_json::Value) -> Plan {
    let input = container.inputs.first().expect("the container has an input");
    let output = container.outputs.first().expect("a container has an output");
    let tags = if input.many { Tags::Many(vec![name("prompt")]) } else { Tags::One(name("prompt")) };
    let step = Step {
        id: name("s1"),
        container: container.container.clone(),
        digest: container.digest,
        params,
        inputs: BTreeMap::from([(input.port.clone(), tags)]),
        outputs: BTreeMap::from([(output.port.clone(), name("answer"))]),
    };
    Plan { planner: "test".into(), steps: vec![step], answer: name("answer") }
}

/// A plan of `width` steps of one container beside each other, each of which gives so many bytes as its number says, and one of
/// `join` that reads all their results.
///
/// # Panics
/// When one of the containers takes or gives nothing.
pub fn wide_plan(container: &ouro_common::document::ContainerView, join: &ouro_common::document::ContainerView, width: u32) -> Plan {
    let one = single_step(container, serde_json::json!({}));
    let (first, last) = (&one.steps[0], &single_step(join, serde_json::json!({})).steps[0]);
    let port = last.inputs.keys().next().expect("the container has an input");
    let output = first.outputs.keys().next().expect("a container has an output");
    let part = |n: u32| Step {
        id: name(&format!("part-{n}")),
        params: serde_json::json!({"output_bytes": n + 1}),
        outputs: BTreeMap::from([(output.clone(), name(&format!("made-{n}")))]),
        ..first.clone()
    };
    let made = (0..width).map(|n| name(&format!("made-{n}"))).collect();
    let join = Step { id: name("join"), inputs: BTreeMap::from([(port.clone(), Tags::Many(made))]), ..last.clone() };
    Plan { steps: (0..width).map(part).chain([join]).collect(), ..one }
}

fn name(text: &str) -> Name {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// An id no other request has.
pub(super) fn fresh_id() -> RequestId {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970");
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let seed = [u64::from(std::process::id()), count, u64::from(now.subsec_nanos())].map(u64::to_le_bytes).concat();
    let random = blake3::hash(&seed).as_bytes()[..10].try_into().expect("ten bytes are ten bytes");
    RequestId::from_parts(u64::try_from(now.as_millis()).unwrap_or(0), random)
}
