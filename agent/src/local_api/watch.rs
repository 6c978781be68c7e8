//! Following a request: the first pass's text while it is made here, then what the server says once it is there.

use super::forward::client;
use crate::clock::unix_ms;
use crate::requests::{Heard, Live, LiveState, Progress, Requests, Stage, result_document};
use crate::uplink::call_fault;
use ouro_common::document::ResultDocument;
use ouro_common::error::FaultCode;
use ouro_common::id::RequestId;
use ouro_proto::convert::{document, read_document, status_of};
use ouro_proto::wire;
use ouro_proto::wire::watch_event::Body;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::Status;

/// Where watchers get their events.
pub(super) type Events = mpsc::Sender<Result<wire::WatchEvent, Status>>;

/// The server is away while it works on the request: asked again after so long.
const AGAIN: Duration = Duration::from_secs(1);

/// Follows a request to its end, or to the end of the watcher's interest.
pub(super) async fn follow(requests: Requests, id: RequestId, after: u64, events: Events) {
    // `None`: nobody listens any more.
    let _ = follow_on(&requests, id, after, &events).await;
}

async fn follow_on(requests: &Requests, id: RequestId, after: u64, events: &Events) -> Option<()> {
    if let Some(live) = requests.live(id) {
        here(live, after, events).await?;
    }
    let record = match requests.journal().read(id) {
        Ok(record) => record,
        Err(fault) => return events.send(Err(status_of(&fault))).await.ok(),
    };
    match record.progress {
        Progress::Offloaded => there(requests, id, after, events).await,
        Progress::Ended => {
            let result = result_document(&record, unix_ms());
            let finished = wire::Finished { result: Some(document("ouroboros.result/1", &result)) };
            say(events, Body::Finished(finished)).await
        }
        // The agent is going down; the watcher comes back to the next one.
        Progress::Accepted | Progress::Offloading => events
            .send(Err(Status::unavailable("the agent is stopping; watch the request again when it is back")))
            .await
            .ok(),
    }
}

async fn say(events: &Events, body: Body) -> Option<()> {
    events.send(Ok(wire::WatchEvent { body: Some(body) })).await.ok()
}

/// Shows what happens here until it is over here.
async fn here(live: Live, after: u64, events: &Events) -> Option<()> {
    let mut state = live.watch();
    drop(live);
    let (mut offset, mut restarts, mut note) = (usize::try_from(after).unwrap_or(usize::MAX), 0, String::new());
    loop {
        let seen: LiveState = state.borrow_and_update().clone();
        if seen.note != note {
            note.clone_from(&seen.note);
            let progress = wire::Progress { kind: "note".into(), text: note.clone(), state: "accepted".into() };
            say(events, Body::Progress(progress)).await?;
        }
        let restart = seen.restarts != restarts;
        if restart {
            (offset, restarts) = (0, seen.restarts);
        }
        if restart || seen.text.len() > offset {
            let from = offset.min(seen.text.len());
            let data = seen.text.as_bytes()[from..].to_vec();
            offset = seen.text.len();
            say(events, Body::Chunk(wire::AnswerChunk { offset: from as u64, data, restart, committed: false })).await?;
        }
        if seen.stage != Stage::Here {
            return Some(());
        }
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return Some(()) },
            () = events.closed() => return None,
        }
    }
}

/// The end that an event tells of, as far as it can be read.
fn end_told(event: &wire::WatchEvent) -> Option<Option<ResultDocument>> {
    match &event.body {
        Some(Body::Finished(finished)) => Some(read_document(finished.result.as_ref(), "ouroboros.result/1").ok()),
        _ => None,
    }
}

/// Keeps how the request ended, for when the server is away.
fn hear(requests: &Requests, id: RequestId, result: Option<&ResultDocument>) {
    let Some(result) = result else { return };
    requests.hear(id, |record| match &result.trace {
        Some(trace) => Heard::of_trace(trace),
        None => Heard {
            state: result.state,
            elapsed_ms: unix_ms().saturating_sub(record.submitted_unix_ms),
            steps_done: 0,
            steps_total: 0,
        },
    });
}

/// Passes on what the server says; when it is away, says so and asks again.
async fn there(requests: &Requests, id: RequestId, after: u64, events: &Events) -> Option<()> {
    let (mut after, mut told) = (after, false);
    loop {
        if let Ok(mut client) = client(requests.link()).await {
            let watching = client.watch(wire::WatchRequest { request: id.to_string(), after }).await;
            match watching {
                Ok(stream) => {
                    told = false;
                    let mut stream = stream.into_inner();
                    while let Ok(Some(event)) = stream.message().await {
                        if let Some(Body::Chunk(chunk)) = &event.body {
                            after = chunk.offset + chunk.data.len() as u64;
                        }
                        let over = end_told(&event);
                        if let Some(result) = &over {
                            hear(requests, id, result.as_ref());
                        }
                        events.send(Ok(event)).await.ok()?;
                        if over.is_some() {
                            // Heard to its end: one that is dropped before is reset, and a connection bears a thousand resets in all.
                            let _ = tokio::time::timeout(AGAIN, stream.message()).await;
                            return Some(());
                        }
                    }
                }
                Err(status) if call_fault(&status).code != FaultCode::ServerUnreachable => {
                    return events.send(Err(status)).await.ok();
                }
                Err(_) => {}
            }
        }
        if !told {
            told = true;
            let text = "the server is away; it goes on with the request when it is back".into();
            say(events, Body::Progress(wire::Progress { kind: "note".into(), text, state: "running".into() })).await?;
        }
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => {}
            () = events.closed() => return None,
        }
    }
}
