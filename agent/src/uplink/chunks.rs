//! Output as it is made, for whoever watches: at most 20 messages a second, never stored, and nobody's loss when it fails.

use super::Link;
use ouro_common::id::AttemptKey;
use ouro_proto::convert::attempt_to_wire;
use ouro_proto::wire;
use ouro_proto::wire::chunks_client::ChunksClient;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// The least time between two messages.
const SPACING: Duration = Duration::from_millis(50);

impl Link {
    /// Passes text on until its source ends. What cannot be sent is dropped: the committed result is what counts.
    pub async fn push_chunks(&self, key: &AttemptKey, mut text: mpsc::Receiver<String>) {
        let Ok(channel) = self.control() else {
            while text.recv().await.is_some() {}
            return;
        };
        let (sender, chunks) = mpsc::channel(16);
        let attempt = attempt_to_wire(key);
        let pushing = tokio::spawn(async move { ChunksClient::new(channel).push(ReceiverStream::new(chunks)).await.map(|_| ()) });
        let (mut offset, mut data) = (0, String::new());
        while let Some(more) = text.recv().await {
            data.push_str(&more);
            while let Ok(more) = text.try_recv() {
                data.push_str(&more);
            }
            // The worker is never slowed down by a slow watcher: what finds no room goes with the next message.
            if let Ok(room) = sender.try_reserve() {
                let length = data.len() as u64;
                room.send(wire::Chunk { attempt: Some(attempt.clone()), offset, data: std::mem::take(&mut data).into_bytes() });
                offset += length;
            }
            tokio::time::sleep(SPACING).await;
        }
        drop(sender);
        if let Ok(Err(status)) = pushing.await {
            tracing::debug!(attempt = %key, %status, "chunks were not taken");
        }
    }
}
