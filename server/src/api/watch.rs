//! Watching a request: its progress in words, output as it is made, and in the end the result.

use crate::result::{LONG_ANSWER_BYTES, result_document};
use crate::store::{ProgressRecord, RequestRecord, TagRecord};
use crate::watch::Live;
use crate::world::World;
use bytes::Bytes;
use ouro_common::document::TraceEvent;
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::{Epoch, RequestId};
use ouro_proto::convert::{document, status_of};
use ouro_proto::wire::{AnswerChunk, Finished, Progress, WatchEvent, watch_event::Body};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Without a ring it looks again after so long.
const PERIOD: Duration = Duration::from_secs(2);
/// An answer's part in one message.
const PART_BYTES: usize = 64 * 1024;

type Events = mpsc::Sender<Result<WatchEvent, Status>>;

/// The stream of a request's events. `after`: bytes of the committed answer that the watcher has already.
pub(super) fn watch_request(world: Arc<World>, id: RequestId, after: u64) -> ReceiverStream<Result<WatchEvent, Status>> {
    let (events, stream) = mpsc::channel(64);
    tokio::spawn(async move {
        if let Err(fault) = follow(&world, id, after, &events).await {
            let _ = events.send(Err(status_of(&fault))).await;
        }
    });
    ReceiverStream::new(stream)
}

async fn follow(world: &World, id: RequestId, after: u64, events: &Events) -> Result<(), Fault> {
    let mut doorbell = world.watchers.subscribe(id);
    let mut shown = Shown::default();
    loop {
        let live = doorbell.borrow_and_update().clone();
        let gone = || Fault::new(FaultCode::NotFound, format!("the request {id} is gone"));
        let progress = world.store.progress(id, shown.events).await.map_err(|e| crate::init::store_fault(&e))?;
        let progress = progress.ok_or_else(gone)?;
        let is_over = progress.state.is_terminal();
        let mut fresh = shown.progress(progress);
        fresh.extend(shown.output(&live));
        for body in fresh {
            if send(events, body).await.is_err() {
                return Ok(());
            }
        }
        if is_over {
            let record = world.store.view(id).await.map_err(|e| crate::init::store_fault(&e))?;
            return finish(world, record.ok_or_else(gone)?, after, events).await;
        }
        tokio::select! {
            changed = doorbell.changed() => if changed.is_err() { tokio::time::sleep(PERIOD).await },
            () = tokio::time::sleep(PERIOD) => {}
            () = events.closed() => return Ok(()),
        }
    }
}

async fn send(events: &Events, body: Body) -> Result<(), ()> {
    events.send(Ok(WatchEvent { body: Some(body) })).await.map_err(drop)
}

/// What a watcher has seen so far.
#[derive(Default)]
struct Shown {
    events: usize,
    epoch: Option<Epoch>,
    bytes: usize,
}

impl Shown {
    fn progress(&mut self, progress: ProgressRecord) -> Vec<Body> {
        self.events += progress.events.len();
        let state = progress.state.to_string();
        let say = |e: TraceEvent| Body::Progress(Progress { kind: e.kind, text: e.text, state: state.clone() });
        progress.events.into_iter().map(say).collect()
    }

    fn output(&mut self, live: &Live) -> Option<Body> {
        let restart = live.epoch != self.epoch && self.bytes > 0;
        if live.epoch != self.epoch {
            self.epoch = live.epoch;
            self.bytes = 0;
        }
        if live.output.len() <= self.bytes && !restart {
            return None;
        }
        let data: Bytes = live.output.slice(self.bytes..);
        let offset = self.bytes as u64;
        self.bytes = live.output.len();
        Some(Body::Chunk(AnswerChunk { offset, data: data.to_vec(), restart, committed: false }))
    }
}

async fn finish(world: &World, record: RequestRecord, after: u64, events: &Events) -> Result<(), Fault> {
    if let Some(answer) = record.answer.as_ref().filter(|a| a.size_bytes > LONG_ANSWER_BYTES) {
        let mut offset = after.min(answer.size_bytes);
        while offset < answer.size_bytes {
            let data = read_answer(world, answer, offset)?;
            if data.is_empty() {
                return Err(Fault::new(FaultCode::Internal, "the answer's bytes on the server's disk are cut off").at(answer.digest));
            }
            let next = offset + data.len() as u64;
            let chunk = AnswerChunk { offset, data, restart: false, committed: true };
            if send(events, Body::Chunk(chunk)).await.is_err() {
                return Ok(());
            }
            offset = next;
        }
    }
    let result = result_document(world, record)?;
    let _ = send(events, Body::Finished(Finished { result: Some(document("ouroboros.result/1", &result)) })).await;
    Ok(())
}

fn read_answer(world: &World, answer: &TagRecord, offset: u64) -> Result<Vec<u8>, Fault> {
    match &answer.inline {
        Some(bytes) => Ok(bytes[usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len())..].to_vec()),
        None => world.blobs.read(&answer.digest, offset, PART_BYTES),
    }
}
