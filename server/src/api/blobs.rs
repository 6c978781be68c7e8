//! Bytes by digest: inputs down to nodes, answers up to the disk, spooled results through the relay; and chunks.

use super::{Caller, fault_status, store_status};
use crate::blobs::BlobSink;
use crate::fleet::NodeCommand;
use crate::relay::Receivers;
use crate::world::World;
use bytes::Bytes;
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::{Digest, NodeId};
use ouro_proto::channel::{ConnectInfo, STREAM_WINDOW_BYTES};
use ouro_proto::convert::{attempt_from_wire, digest_from_wire, status_of};
use ouro_proto::identity::Role;
use ouro_proto::wire::blobs_server::Blobs;
use ouro_proto::wire::chunks_server::Chunks;
use ouro_proto::wire::{BlobPart, Chunk, GetRequest, PushReply, PutReply};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Bytes in one message.
const PART_BYTES: usize = 256 * 1024;
/// A node that was asked for a blob must begin to send it within this time.
const RELAY_TIMEOUT: Duration = Duration::from_secs(15);
/// A transfer of fewer bytes says nothing of the line's rate.
const TELLING_BYTES: u64 = 512 << 10;
/// So much of a blob may still be on its way when its last part has been handed over: it does not count toward the rate.
const UNDER_WAY_BYTES: u64 = STREAM_WINDOW_BYTES as u64;
/// More than that must have come for the rest to tell something.
const COUNTED_BYTES: u64 = 4 << 20;
/// The largest result a node may send, bytes.
const MAX_RESULT_BYTES: u64 = 4 << 30;

/// The services.
#[derive(Clone)]
pub(super) struct BlobService(pub(super) Arc<World>);

fn node_of<T>(request: &Request<T>) -> Result<NodeId, Status> {
    match request.extensions().get::<Caller>().map(|c| &c.0.role) {
        Some(Role::Node(id)) => Ok(*id),
        _ => Err(Status::permission_denied("only nodes move blobs")),
    }
}

#[tonic::async_trait]
impl Blobs for BlobService {
    async fn put(&self, request: Request<Streaming<BlobPart>>) -> Result<Response<PutReply>, Status> {
        let node = node_of(&request)?;
        let mut parts = request.into_inner();
        let first = parts.message().await?.unwrap_or_default();
        let header = first.header.ok_or_else(|| invalid("header", "the first part carries the header"))?;
        let digest = digest_from_wire(header.digest.as_ref(), "header.digest").map_err(fault_status)?;
        if header.size_bytes > MAX_RESULT_BYTES {
            return Err(fault_status(Fault::new(FaultCode::TooLarge, "a result has at most 4 GiB").at(digest)));
        }
        let (begun, rest) = (Instant::now(), header.size_bytes.saturating_sub(first.data.len() as u64));
        match header.purpose.as_str() {
            "answer" => self.keep_answer(node, digest, header.size_bytes, first.data, parts).await?,
            "relay" if self.0.handovers.expects(node, &digest) => {
                let kept = self.take_over(digest, header.size_bytes, first.data, parts).await;
                self.0.handovers.came(node, &digest);
                kept?;
            }
            "relay" => self.pass_on(digest, header.size_bytes, first.data, parts).await?,
            other => return Err(invalid("header.purpose", &format!("{other:?} is not known; it is answer or relay"))),
        }
        if rest >= TELLING_BYTES {
            self.0.fleet.came_up(node, rest as f64 / begun.elapsed().as_secs_f64().max(1e-6), header.purpose == "relay");
        }
        Ok(Response::new(PutReply { size_bytes: header.size_bytes }))
    }

    type GetStream = ReceiverStream<Result<BlobPart, Status>>;

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<Self::GetStream>, Status> {
        let node = node_of(&request)?;
        let socket = request.extensions().get::<ConnectInfo>().map(|info| info.socket);
        let message = request.into_inner();
        let digest = digest_from_wire(message.digest.as_ref(), "digest").map_err(fault_status)?;
        if !self.0.store.may_get(node, digest).await.map_err(store_status)? {
            let fault = Fault::new(FaultCode::PermissionDenied, "this blob is no input of this node's live attempts").at(digest);
            return Err(fault_status(fault));
        }
        let (sender, stream) = mpsc::channel(8);
        let service = self.clone();
        tokio::spawn(async move {
            let begun = Instant::now();
            match service.send_blob(digest, message.offset, &sender).await {
                Ok(sent) => {
                    let kernel = socket.and_then(|s| s.figures()).and_then(|f| f.delivered_bytes_per_s);
                    service.0.fleet.went_down(node, rate_down(sent.bytes, begun.elapsed()), kernel, sent.relayed);
                }
                Err(fault) => drop(sender.send(Err(status_of(&fault))).await),
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

impl BlobService {
    /// An answer is kept, if the node has an attempt that answers.
    async fn keep_answer(&self, node: NodeId, digest: Digest, size: u64, first: Vec<u8>, parts: Streaming<BlobPart>) -> Result<(), Status> {
        let live = self.0.store.live_attempts(Some(node)).await.map_err(store_status)?;
        if !live.iter().any(|a| a.answers) {
            let fault = Fault::new(FaultCode::PermissionDenied, "this node has no attempt whose result is an answer").at(digest);
            return Err(fault_status(fault));
        }
        self.keep(digest, size, first, parts).await
    }

    /// A blob goes to the disk, durable before the reply.
    async fn keep(&self, digest: Digest, size: u64, first: Vec<u8>, mut parts: Streaming<BlobPart>) -> Result<(), Status> {
        let mut sink = BlobSink::new(self.0.blobs.writer(digest, size).map_err(fault_status)?);
        sink.write(Bytes::from(first)).await.map_err(fault_status)?;
        while let Some(part) = parts.message().await? {
            sink.write(Bytes::from(part.data)).await.map_err(fault_status)?;
        }
        sink.finish().await.map_err(fault_status)
    }

    /// What a node that leaves holds goes to the disk, and to whoever waits for it.
    async fn take_over(&self, digest: Digest, size: u64, first: Vec<u8>, parts: Streaming<BlobPart>) -> Result<(), Status> {
        self.keep(digest, size, first, parts).await?;
        for request in self.0.store.keep_on_server(digest).await.map_err(store_status)? {
            self.0.watchers.ring(request);
        }
        // Whoever asked for it meanwhile is told to ask again, and finds it on the disk.
        let again = Fault::new(FaultCode::ServerUnreachable, "it has come to the server's disk meanwhile; fetch it again").at(digest);
        self.0.relay.refuse(&digest, again).await;
        self.0.doorbell.notify_one();
        Ok(())
    }

    /// A spooled result goes to whoever waits for it, part by part.
    async fn pass_on(&self, digest: Digest, size: u64, first: Vec<u8>, mut parts: Streaming<BlobPart>) -> Result<(), Status> {
        let mut receivers: Receivers = self.0.relay.take(&digest);
        let mut passed = first.len() as u64;
        let mut anybody = first.is_empty() || receivers.send(&Bytes::from(first)).await;
        while anybody {
            let part = match parts.message().await {
                Ok(Some(part)) => part,
                Ok(None) => break,
                Err(status) => {
                    receivers.fail(Fault::new(FaultCode::ServerUnreachable, "the sender was lost").at(digest)).await;
                    return Err(status);
                }
            };
            passed += part.data.len() as u64;
            anybody = receivers.send(&Bytes::from(part.data)).await;
        }
        if anybody && passed != size {
            receivers
                .fail(Fault::new(FaultCode::DigestMismatch, format!("{size} bytes were announced, {passed} came")).at(digest))
                .await;
        }
        Ok(())
    }

    async fn send_blob(&self, digest: Digest, offset: u64, to: &mpsc::Sender<Result<BlobPart, Status>>) -> Result<Sent, Fault> {
        let part = |data: Vec<u8>| Ok(BlobPart { header: None, data });
        if self.0.blobs.contains(&digest) {
            return self.send_kept(digest, offset, to).await;
        }
        let tag = self.0.store.tag_by_digest(digest).await.map_err(|e| crate::init::store_fault(&e))?;
        let tag = tag.ok_or_else(|| Fault::new(FaultCode::NotFound, "no such blob").at(digest))?;
        if let Some(bytes) = tag.inline {
            let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
            let _ = to.send(part(bytes[from..].to_vec())).await;
            return Ok(Sent { bytes: 0, relayed: false });
        }
        self.send_relayed(digest, &tag.holders, offset, to).await
    }

    /// A blob on the server's disk. It is read where the disk's pauses hold up nobody else.
    async fn send_kept(&self, digest: Digest, offset: u64, to: &mpsc::Sender<Result<BlobPart, Status>>) -> Result<Sent, Fault> {
        let mut at = offset;
        loop {
            let blobs = self.0.blobs.clone();
            let read = tokio::task::spawn_blocking(move || blobs.read(&digest, at, PART_BYTES));
            let data = read
                .await
                .map_err(|e| Fault::new(FaultCode::Internal, format!("the blob cannot be read: {e}")).at(digest))??;
            at += data.len() as u64;
            if data.is_empty() || to.send(Ok(BlobPart { header: None, data })).await.is_err() {
                return Ok(Sent { bytes: at - offset, relayed: false });
            }
        }
    }

    async fn send_relayed(
        &self,
        digest: Digest,
        holders: &[NodeId],
        offset: u64,
        to: &mpsc::Sender<Result<BlobPart, Status>>,
    ) -> Result<Sent, Fault> {
        let (mut parts, first) = self.0.relay.wait(digest);
        let gone = || Fault::new(FaultCode::NotFound, "no connected node has this blob").at(digest);
        if first && !holders.iter().any(|node| self.0.fleet.tell(*node, NodeCommand::SendBlob(digest))) {
            return Err(gone());
        }
        let (mut skip, mut sent) = (offset, Sent { bytes: 0, relayed: true });
        let mut next = tokio::time::timeout(RELAY_TIMEOUT, parts.recv()).await.map_err(|_| gone())?;
        while let Some(part) = next {
            let mut data = part?;
            let skipped = data.len().min(usize::try_from(skip).unwrap_or(usize::MAX));
            skip -= skipped as u64;
            let data = data.split_off(skipped);
            sent.bytes += data.len() as u64;
            if !data.is_empty() && to.send(Ok(BlobPart { header: None, data: data.to_vec() })).await.is_err() {
                return Ok(sent);
            }
            next = parts.recv().await;
        }
        Ok(sent)
    }
}

/// What was handed over to a connection.
#[derive(Clone, Copy)]
struct Sent {
    bytes: u64,
    /// It came from another node, perhaps slower than this one takes it.
    relayed: bool,
}

/// The rate at which a node took a blob, bytes per second; `None` for one that says nothing of it.
fn rate_down(bytes: u64, took: Duration) -> Option<f64> {
    (bytes >= UNDER_WAY_BYTES + COUNTED_BYTES).then(|| (bytes - UNDER_WAY_BYTES) as f64 / took.as_secs_f64().max(1e-6))
}

#[tonic::async_trait]
impl Chunks for BlobService {
    async fn push(&self, request: Request<Streaming<Chunk>>) -> Result<Response<PushReply>, Status> {
        let node = node_of(&request)?;
        let mut chunks = request.into_inner();
        while let Some(chunk) = chunks.message().await? {
            let key = attempt_from_wire(chunk.attempt.as_ref()).map_err(fault_status)?;
            // Only the node that has the attempt may speak for it.
            if self.0.live.node_of(&key) == Some(node) {
                self.0.watchers.push(key.request, key.epoch, chunk.offset, &chunk.data);
            }
        }
        Ok(Response::new(PushReply {}))
    }
}

fn invalid(field: &str, problem: &str) -> Status {
    fault_status(Fault::new(FaultCode::InvalidArgument, problem).at(field))
}
