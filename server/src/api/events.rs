//! Events as a stream: first what there is, then, if somebody follows, what happens.

use super::store_status;
use crate::world::World;
use ouro_common::document::EventsDocument;
use ouro_proto::convert::document;
use ouro_proto::wire::{Document, EventsRequest};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Events in one message.
const PART: usize = 500;
/// How often a follower's cursor is looked at again.
const PERIOD: Duration = Duration::from_millis(500);

type Parts = mpsc::Sender<Result<Document, Status>>;

/// The stream that was asked for.
pub(super) fn stream(world: Arc<World>, request: EventsRequest) -> ReceiverStream<Result<Document, Status>> {
    let (parts, stream) = mpsc::channel(4);
    tokio::spawn(async move {
        if let Err(status) = send(&world, request, &parts).await {
            let _ = parts.send(Err(status)).await;
        }
    });
    ReceiverStream::new(stream)
}

async fn send(world: &World, request: EventsRequest, parts: &Parts) -> Result<(), Status> {
    let mut left = usize::try_from(request.limit).unwrap_or(usize::MAX).max(1);
    let mut cursor = request.after;
    loop {
        let events = world.store.changes_since(cursor, left.min(PART)).await.map_err(store_status)?;
        // Whoever follows a fleet in which nothing has happened yet begins with its first event.
        cursor = events.last().map(|event| event.seq).or(cursor).or(Some(0));
        let came = events.len();
        if came > 0 {
            let part = EventsDocument { schema: EventsDocument::SCHEMA.into(), events };
            if parts.send(Ok(document(EventsDocument::SCHEMA, &part))).await.is_err() {
                return Ok(());
            }
        }
        left = if request.follow { PART } else { left - came };
        if !request.follow && (came == 0 || left == 0 || request.after.is_none()) {
            return Ok(());
        }
        if came == 0 {
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                () = parts.closed() => return Ok(()),
            }
        }
    }
}
