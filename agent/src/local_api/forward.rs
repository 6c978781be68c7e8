//! Calls that the server answers, passed on over this node's channel.

use crate::uplink::Link;
use ouro_common::error::Fault;
use ouro_common::id::RequestId;
use ouro_proto::convert::{envelope, status_of};
use ouro_proto::wire;
use ouro_proto::wire::requests_client::RequestsClient;
use ouro_proto::wire::submit_part::Body;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// The server's requests service; `SERVER_UNREACHABLE` when there is no session.
pub(super) async fn client(link: &Link) -> Result<RequestsClient<Channel>, Status> {
    let channel = link.requests().await.map_err(|fault| status_of(&fault))?;
    Ok(RequestsClient::new(channel).max_decoding_message_size(16 << 20))
}

/// A plan for a request, which is passed on while it arrives.
pub(super) async fn plan(
    link: &Link,
    checked: ouro_common::envelope::Envelope,
    mut parts: Streaming<wire::SubmitPart>,
) -> Result<wire::Document, Status> {
    let (sender, receiver) = mpsc::channel(4);
    let first = wire::SubmitPart { body: Some(Body::Envelope(envelope::to_wire(&checked))), skip_first_pass: false };
    let passing = tokio::spawn(async move {
        let mut next = Some(first);
        while let Some(part) = next {
            if sender.send(part).await.is_err() {
                return;
            }
            next = parts.message().await.ok().flatten();
        }
    });
    let planned = client(link).await?.plan(ReceiverStream::new(receiver)).await;
    passing.abort();
    Ok(planned?.into_inner())
}

/// What the server knows about a request.
pub(super) async fn trace(link: &Link, id: &str, explained: bool) -> Result<wire::Document, Status> {
    let (mut client, request) = (client(link).await?, wire::RequestRef { request: id.to_string() });
    let document = if explained { client.explain(request).await } else { client.trace(request).await };
    Ok(document?.into_inner())
}

/// What the steps of a request said, as the server gets it from the nodes.
pub(super) async fn logs(link: &Link, message: wire::LogsRequest) -> Result<ReceiverStream<Result<wire::LogEvent, Status>>, Status> {
    let stream = client(link).await?.logs(message).await?.into_inner();
    let (sender, receiver) = mpsc::channel(4);
    tokio::spawn(pass_on(stream, sender));
    Ok(ReceiverStream::new(receiver))
}

/// Passes messages on until there are no more, or nobody takes them.
pub(super) async fn pass_on<T>(mut stream: Streaming<T>, sender: mpsc::Sender<Result<T, Status>>) {
    loop {
        let next = tokio::select! {
            next = stream.message() => next.transpose(),
            () = sender.closed() => return,
        };
        let Some(message) = next else { return };
        if sender.send(message).await.is_err() {
            return;
        }
    }
}

/// Ends a request there.
pub(super) async fn cancel(link: &Link, id: RequestId) -> Result<wire::CancelReply, Status> {
    Ok(client(link).await?.cancel(wire::CancelRequest { request: id.to_string() }).await?.into_inner())
}

/// A fault as a status.
pub(super) fn refuse(fault: Fault) -> Status {
    status_of(&fault)
}
