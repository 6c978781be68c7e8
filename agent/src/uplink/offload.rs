//! Requests on their way to the server, over this node's own channel: submitted once, however often they are sent.

use super::{Link, call_fault};
use bytes::Bytes;
use ouro_common::envelope::Envelope;
use ouro_common::error::Fault;
use ouro_proto::convert::envelope;
use ouro_proto::wire;
use ouro_proto::wire::requests_client::RequestsClient;
use ouro_proto::wire::submit_part::Body;
use std::path::PathBuf;
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Bytes a message carries.
const PART_BYTES: usize = 64 * 1024;

impl Link {
    /// Hands a request to the server, with its inputs from `files` in the envelope's order. When this returns, it is
    /// durable there.
    ///
    /// # Errors
    /// `SERVER_UNREACHABLE` when the server is away; else what it refused.
    pub async fn submit(&self, request: &Envelope, files: Vec<PathBuf>) -> Result<(), Fault> {
        let mut client = RequestsClient::new(self.requests().await?);
        let first = wire::SubmitPart { body: Some(Body::Envelope(envelope::to_wire(request))), skip_first_pass: false };
        let (sender, parts) = mpsc::channel(4);
        let reading = tokio::spawn(async move {
            if sender.send(first).await.is_ok() {
                for file in files {
                    // A file that cannot be read shortens the stream, and the server refuses the request for that.
                    if send_file(file, &sender).await.is_none() {
                        return;
                    }
                }
            }
        });
        let submitted = client.submit(ReceiverStream::new(parts)).await;
        reading.abort();
        submitted.map(|_| ()).map_err(|status| call_fault(&status))
    }
}

async fn send_file(path: PathBuf, sender: &mpsc::Sender<wire::SubmitPart>) -> Option<()> {
    let mut file = tokio::fs::File::open(path).await.ok()?;
    loop {
        let mut data = vec![0; PART_BYTES];
        let read = file.read(&mut data).await.ok()?;
        if read == 0 {
            return Some(());
        }
        data.truncate(read);
        let part = wire::SubmitPart { body: Some(Body::Data(Bytes::from(data).into())), skip_first_pass: false };
        sender.send(part).await.ok()?;
    }
}
