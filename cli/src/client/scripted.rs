//! The whole command against a peer on a real socket that loses connections, holds answers back and is cancelled.

use crate::{Console, Exit, run};
use ouro_common::document::ResultDocument;
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::RequestId;
use ouro_common::step::RequestState;
use ouro_proto::convert::{document, status_of};
use ouro_proto::wire::requests_server::{Requests, RequestsServer};
use ouro_proto::wire::{
    AnswerChunk, CancelReply, CancelRequest, Document, Finished, ListRequest, LogEvent, LogsRequest, ModulesRequest, NodesRequest,
    Progress, RequestRef, SubmitPart, SubmitReply, WatchEvent, WatchRequest, submit_part, watch_event::Body,
};
use rustix::process::{Signal, getpid, kill_process};
use std::cell::RefCell;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use tokio::net::UnixListener;
use tokio_stream::Stream;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, Streaming};

/// What one connection of `Watch` tells before it breaks, unless it ends with the result.
type Session = Vec<Body>;

/// A peer that plays a list of sessions.
#[derive(Default)]
struct Scripted {
    sessions: Mutex<Vec<Session>>,
    /// Envelope ids and bytes of `Submit`, references of `Cancel`, offsets of `Watch`, in order.
    heard: Mutex<Vec<String>>,
    /// The first submission breaks off without an acknowledgement.
    break_submit: Mutex<bool>,
    /// Before the first session the process gets SIGINT and the session stays open.
    interrupt: Mutex<bool>,
}

impl Scripted {
    fn hear(&self, what: impl Into<String>) {
        self.heard.lock().unwrap().push(what.into());
    }
}

type Events = Pin<Box<dyn Stream<Item = Result<WatchEvent, Status>> + Send>>;
/// What the peer answers where a test does not ask for it.
fn not_asked<T>() -> Result<Response<T>, Status> {
    Err(status_of(&Fault::new(FaultCode::NotFound, "this peer has none")))
}

#[tonic::async_trait]
impl Requests for Scripted {
    type WatchStream = Events;
    type LogsStream = tokio_stream::Empty<Result<LogEvent, Status>>;

    async fn submit(&self, request: Request<Streaming<SubmitPart>>) -> Result<Response<SubmitReply>, Status> {
        let mut parts = request.into_inner();
        let (mut key, mut bytes) = (String::new(), 0);
        while let Some(part) = parts.message().await? {
            match part.body {
                Some(submit_part::Body::Envelope(envelope)) => key = envelope.idempotency_key,
                Some(submit_part::Body::Data(data)) => bytes += data.len(),
                None => {}
            }
        }
        self.hear(format!("submit {key} {bytes}"));
        if std::mem::take(&mut *self.break_submit.lock().unwrap()) {
            return Err(Status::unavailable("broken"));
        }
        Ok(Response::new(SubmitReply { request_id: id().to_string(), repeat: false }))
    }

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Events>, Status> {
        self.hear(format!("watch {}", request.into_inner().after));
        if std::mem::take(&mut *self.interrupt.lock().unwrap()) {
            kill_process(getpid(), Signal::INT).unwrap();
            return Ok(Response::new(Box::pin(tokio_stream::pending())));
        }
        let session = self.sessions.lock().unwrap().remove(0);
        let whole = matches!(session.last(), Some(Body::Finished(_)));
        let broken = (!whole).then(|| Err(Status::unknown("h2 protocol error")));
        let events = session.into_iter().map(|body| Ok(WatchEvent { body: Some(body) })).chain(broken);
        Ok(Response::new(Box::pin(tokio_stream::iter(events.collect::<Vec<_>>()))))
    }

    async fn cancel(&self, request: Request<CancelRequest>) -> Result<Response<CancelReply>, Status> {
        let request_id = request.into_inner().request;
        self.hear(format!("cancel {request_id}"));
        Ok(Response::new(CancelReply { request_id, state: "cancelled".into() }))
    }

    async fn plan(&self, _: Request<Streaming<SubmitPart>>) -> Result<Response<Document>, Status> {
        Ok(Response::new(document("ouroboros.plan/1", &crate::output::sample::plan())))
    }
    async fn trace(&self, _: Request<RequestRef>) -> Result<Response<Document>, Status> {
        not_asked()
    }
    async fn explain(&self, _: Request<RequestRef>) -> Result<Response<Document>, Status> {
        not_asked()
    }
    async fn logs(&self, _: Request<LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        not_asked()
    }
    async fn list(&self, _: Request<ListRequest>) -> Result<Response<Document>, Status> {
        not_asked()
    }
    async fn nodes(&self, _: Request<NodesRequest>) -> Result<Response<Document>, Status> {
        Ok(Response::new(document("ouroboros.nodes/1", &crate::output::sample::nodes())))
    }
    async fn modules(&self, _: Request<ModulesRequest>) -> Result<Response<Document>, Status> {
        not_asked()
    }
}

fn id() -> RequestId {
    crate::output::sample::request_id()
}

fn progress(text: &str) -> Body {
    Body::Progress(Progress { kind: "step".into(), text: text.into(), state: "running".into() })
}

fn chunk(offset: u64, data: &str, committed: bool) -> Body {
    Body::Chunk(AnswerChunk { offset, data: data.as_bytes().to_vec(), restart: false, committed })
}

fn finished(state: RequestState, text: Option<&str>) -> Body {
    let result = ResultDocument {
        schema: "ouroboros.result/1".into(),
        id: id(),
        state,
        served_by: "fleet".into(),
        low_confidence: false,
        tag: None,
        media: Some("text/plain".into()),
        text: text.map(Into::into),
        base64: None,
        fault: None,
        trace: None,
    };
    Body::Finished(Finished { result: Some(document("ouroboros.result/1", &result)) })
}

#[derive(Clone, Default)]
struct Kept(Rc<RefCell<Vec<u8>>>);
impl Kept {
    fn text(&self) -> String {
        String::from_utf8(self.0.borrow().clone()).unwrap()
    }
}
impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A reader that had enough.
struct Closed;
impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn serve(peer: Arc<Scripted>, home: &Path) {
    std::fs::create_dir_all(home.join("run")).unwrap();
    let listener = UnixListener::bind(home.join("run/agent.sock")).unwrap();
    let service = tonic::transport::Server::builder().add_service(RequestsServer::from_arc(peer));
    tokio::spawn(service.serve_with_incoming(UnixListenerStream::new(listener)));
}

/// A signal reaches every command of the process, so there is one at a time.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Runs a command line against the peer: how it ended, what it wrote on its streams, and what the peer heard.
async fn against(peer: Scripted, line: &[&str]) -> (Exit, String, String, Vec<String>) {
    let _alone = ALONE.lock().await;
    let home = tempfile::tempdir().unwrap();
    let peer = Arc::new(peer);
    serve(peer.clone(), home.path());
    let (out, err) = (Kept::default(), Kept::default());
    let mut console = Console::of_streams(Box::new(out.clone()), Box::new(err.clone()), Box::new(std::io::empty()));
    let root = home.path().to_str().unwrap().to_string();
    let variable = |name: &str| (name == "OUROBOROS_HOME").then(|| root.clone());
    let line = std::iter::once("ouroctl").chain(line.iter().copied()).map(OsString::from).collect();
    let exit = run(line, &variable, &mut console).await;
    let heard = peer.heard.lock().unwrap().clone();
    (exit, out.text(), err.text(), heard)
}

#[tokio::test]
async fn lost_connections_are_taken_up_where_they_broke() {
    let first = vec![progress("s1 on odin"), chunk(0, "The tex", false), chunk(0, "The text", true)];
    let second = vec![
        progress("s1 on odin"),
        progress("s2 on odin"),
        chunk(8, " is German", true),
        finished(RequestState::Done, None),
    ];
    let peer = Scripted { sessions: Mutex::new(vec![first, second]), break_submit: Mutex::new(true), ..Scripted::default() };
    let (exit, out, err, heard) = against(peer, &["submit", "hi", "--key", "k", "-v"]).await;
    assert_eq!((exit, out.as_str()), (Exit::Done, "The text is German\n"));
    assert_eq!(heard, ["submit k 0", "submit k 0", "watch 0", "watch 8"], "the same key, and no byte twice");
    assert_eq!(err.matches("s1 on odin").count(), 1, "{err}");
    assert_eq!(err.matches("is away").count(), 1, "{err}");
}

#[tokio::test]
async fn ctrl_c_cancels_the_request_and_waits_for_its_end() {
    let sessions = Mutex::new(vec![vec![finished(RequestState::Cancelled, None)]]);
    let peer = Scripted { sessions, interrupt: Mutex::new(true), ..Scripted::default() };
    let (exit, out, err, heard) = against(peer, &["submit", "hi"]).await;
    assert_eq!((exit.code(), out.as_str()), (130, ""));
    assert_eq!(heard[2], format!("cancel {}", id()));
    assert!(err.contains("OB0021 CANCELLED"), "{err}");
}

#[tokio::test]
async fn json_is_one_object_and_detach_only_an_id() {
    let sessions = Mutex::new(vec![vec![chunk(0, "live", false), finished(RequestState::Done, Some("German"))]]);
    let peer = Scripted { sessions, ..Scripted::default() };
    let (exit, out, err, _) = against(peer, &["submit", "hi", "--output", "json"]).await;
    let value: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((exit, value["text"].as_str(), err.as_str()), (Exit::Done, Some("German"), ""));

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("big.bin");
    std::fs::write(&file, vec![0xff; 700_000]).unwrap();
    let argument = format!("blob={}", file.display());
    let (exit, out, _, heard) = against(Scripted::default(), &["submit", "hi", "-d", "--key", "k", "-f", &argument]).await;
    assert_eq!((exit, out), (Exit::Done, format!("{}\n", id())));
    assert_eq!(heard, ["submit k 700000"]);
}

#[tokio::test]
async fn a_plan_without_a_terminal_is_shown_and_nothing_runs() {
    let (exit, out, _, heard) = against(Scripted::default(), &["submit", "hi", "--plan", "--output", "json"]).await;
    let read: ouro_common::document::PlanDocument = serde_json::from_str(&out).unwrap();
    assert_eq!((exit, read), (Exit::Done, crate::output::sample::plan()));
    assert!(heard.is_empty(), "{heard:?}");
    let sessions = Mutex::new(vec![vec![finished(RequestState::Done, Some("German"))]]);
    let peer = Scripted { sessions, ..Scripted::default() };
    let (exit, out, err, _) = against(peer, &["submit", "hi", "--plan", "--yes"]).await;
    assert_eq!((exit, out.as_str()), (Exit::Done, "German\n"), "the answer alone is what a pipe reads");
    assert!(err.contains("s3 compose:1.0.0"), "{err}");
}

#[tokio::test]
async fn a_reader_that_leaves_is_no_error() {
    let home = tempfile::tempdir().unwrap();
    serve(Arc::new(Scripted::default()), home.path());
    let err = Kept::default();
    let mut console = Console::of_streams(Box::new(Closed), Box::new(err.clone()), Box::new(std::io::empty()));
    let root = home.path().to_str().unwrap().to_string();
    let line = ["ouroctl", "nodes"].map(OsString::from).to_vec();
    let exit = run(line, &|name| (name == "OUROBOROS_HOME").then(|| root.clone()), &mut console).await;
    assert_eq!((exit, err.text().as_str()), (Exit::Done, ""));
}
