//! What becomes of a request asked here: the first pass answers it, or the server gets it, or the user is told why not.
//!
//! Every move is journaled before the next, and a new agent takes up what an old one left: it asks the model again, or
//! hands the same request to the server under the same key, which accepts it once.

use super::journal::Journal;
use super::live::{Live, LiveTable, Stage};
use super::record::{Ended, Heard, Progress, Record};
use crate::clock::unix_ms;
use crate::first_pass::{Attempted, FirstPass};
use crate::uplink::Link;
use ouro_common::device::Readings;
use ouro_common::envelope::{Envelope, FirstPassReport, OffloadFlag};
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::RequestId;
use ouro_common::step::RequestState;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A server that is away so long is away; before, it may just be coming back.
const GRACE: Duration = Duration::from_secs(2);
/// A request that cannot be answered here waits so long for a server.
const PATIENCE: Duration = Duration::from_secs(20);
/// The time between two attempts to hand a request over.
const AGAIN: Duration = Duration::from_millis(500);
/// How often the journal is looked at.
const PERIOD: Duration = Duration::from_secs(10);

/// What the requests need.
pub struct RequestsOptions {
    /// Where they are kept.
    pub journal: Journal,
    /// The local model.
    pub first_pass: FirstPass,
    /// The way to the server.
    pub link: Link,
    /// How the machine is doing.
    pub readings: watch::Receiver<Arc<Readings>>,
}

struct Inner {
    options: RequestsOptions,
    live: LiveTable,
    draining: CancellationToken,
    tasks: TaskTracker,
}

/// The requests of this machine. Clones share them.
#[derive(Clone)]
pub struct Requests(Arc<Inner>);

impl Requests {
    /// The requests of a journal; none runs yet.
    pub fn new(options: RequestsOptions) -> Self {
        let (live, draining, tasks) = (LiveTable::default(), CancellationToken::new(), TaskTracker::new());
        Self(Arc::new(Inner { options, live, draining, tasks }))
    }

    /// The journal.
    pub fn journal(&self) -> &Journal {
        &self.0.options.journal
    }
    /// The way to the server.
    pub fn link(&self) -> &Link {
        &self.0.options.link
    }
    /// A request that is under way here.
    pub fn live(&self, id: RequestId) -> Option<Live> {
        self.0.live.find(id)
    }

    /// Keeps how a request ended in the fleet. Nothing is written where it has not ended, or where that is known.
    pub fn hear(&self, id: RequestId, heard: impl FnOnce(&Record) -> Heard) {
        let Ok(mut record) = self.journal().read(id) else { return };
        if record.progress != Progress::Offloaded || record.heard.is_some() {
            return;
        }
        record.heard = Some(heard(&record)).filter(|heard| heard.state.is_terminal());
        if record.heard.is_some()
            && let Err(fault) = self.journal().update(&record)
        {
            tracing::warn!(%id, %fault, "how a request ended in the fleet could not be kept");
        }
    }

    /// Takes up what an earlier run left, and tidies up until `drain`.
    pub async fn run(self, drain: CancellationToken) {
        for id in self.journal().unfinished() {
            self.start(id);
        }
        let (first_pass, draining) = (self.0.options.first_pass.clone(), self.0.draining.clone());
        self.0.tasks.spawn(async move { draining.run_until_cancelled(first_pass.keep_loaded()).await });
        loop {
            tokio::select! {
                () = drain.cancelled() => break,
                () = tokio::time::sleep(PERIOD) => self.journal().prune(unix_ms()),
            }
        }
        self.0.draining.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// Begins to work on an accepted request.
    pub fn start(&self, id: RequestId) {
        let live = self.0.live.begin(id, &self.0.draining);
        let requests = self.clone();
        self.0.tasks.spawn(async move {
            match requests.journal().read(id) {
                Ok(record) => requests.carry_out(record, &live).await,
                Err(fault) => tracing::error!(%id, %fault, "a request cannot be read from the journal"),
            }
            requests.0.live.end(id);
        });
    }

    async fn carry_out(&self, mut record: Record, live: &Live) {
        if record.progress == Progress::Accepted
            && let Some(ended) = self.first_pass(&mut record, live).await
        {
            return self.end(record, ended, live);
        }
        // Going down is no end: the next run takes the request up where the journal says.
        if self.0.draining.is_cancelled() {
            return;
        }
        if let Some(ended) = self.offload(&mut record, live).await {
            self.end(record, ended, live);
        }
    }

    /// Asks the model; `Some` when the request ends with that.
    async fn first_pass(&self, record: &mut Record, live: &Live) -> Option<Ended> {
        let first_pass = &self.0.options.first_pass;
        let readings = self.0.options.readings.borrow().clone();
        let refused = first_pass.refuses(&record.envelope, record.skip_first_pass, &readings);
        let started = Instant::now();
        let report = match refused {
            Some((flag, why)) => FirstPassReport { flags: vec![flag], why, ..FirstPassReport::default() },
            None => {
                live.change(|state| state.note = "the first pass".into());
                let envelope = record.envelope.clone();
                let asked = shown(live, |chunks| first_pass.attempt(&envelope, chunks, live.cancelled())).await;
                match asked {
                    Ok(Attempted { report, text }) if report.answered => {
                        record.note(unix_ms(), "first_pass", format!("answered here: {}", report.why));
                        record.first_pass = Some(report);
                        return Some(done(text, false, None));
                    }
                    Ok(attempted) => attempted.report,
                    Err(_) if live.cancelled().is_cancelled() => return self.cancelled(),
                    Err(failure) => {
                        live.change(|state| {
                            state.restarts += u32::from(!state.text.is_empty());
                            state.text.clear();
                        });
                        tracing::warn!(why = failure.why, "the first pass failed");
                        let why = format!("the first pass failed: {}", failure.why);
                        FirstPassReport { flags: vec![OffloadFlag::ModelMissing], why, ..FirstPassReport::default() }
                    }
                }
            }
        };
        let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        record.note(unix_ms(), "offload", report.why.clone());
        record.first_pass = Some(FirstPassReport { elapsed_ms: report.elapsed_ms.max(elapsed_ms), ..report });
        record.progress = Progress::Offloading;
        self.keep(record);
        None
    }

    /// Hands the request to the server; `Some` when it ends here all the same.
    async fn offload(&self, record: &mut Record, live: &Live) -> Option<Ended> {
        let start = Instant::now();
        live.change(|state| state.note = "offloading".into());
        loop {
            let now = unix_ms();
            let remaining_ms = record.remaining_ms(now);
            if remaining_ms == 0 {
                let fault = Fault::new(FaultCode::DeadlineExceeded, "its time ended before a server took it");
                return Some(Ended { state: RequestState::Expired, ..failed(fault) });
            }
            let handed = tokio::select! {
                () = live.cancelled().cancelled() => return self.cancelled(),
                handed = self.hand_over(record, remaining_ms) => handed,
            };
            match handed {
                Ok(()) => {
                    record.progress = Progress::Offloaded;
                    record.note(unix_ms(), "offloaded", "the server has it");
                    self.keep(record);
                    self.journal().drop_inputs(record);
                    live.change(|state| state.stage = Stage::There);
                    return None;
                }
                Err(fault) if fault.code != FaultCode::ServerUnreachable => return Some(failed(fault)),
                Err(fault) => {
                    self.link().hurry();
                    if start.elapsed() >= GRACE && record.first_pass.as_ref().is_some_and(|r| r.partial.is_some()) {
                        return self.unsure_answer(record, fault, live).await;
                    }
                    if start.elapsed() >= PATIENCE {
                        let fault = Fault::new(FaultCode::ServerUnreachable, "the server could not be reached, and nobody here can answer");
                        return Some(failed(fault.remedy("see `ouro-agent status`; try again when the server is back")));
                    }
                }
            }
            tokio::select! {
                () = live.cancelled().cancelled() => return self.cancelled(),
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }

    async fn hand_over(&self, record: &Record, remaining_ms: u64) -> Result<(), Fault> {
        let envelope = Envelope {
            offload: record.flags(),
            first_pass: record.first_pass.clone(),
            budget_ms: remaining_ms,
            ..record.envelope.clone()
        };
        let id = record.envelope.id;
        let files: Vec<PathBuf> = (0..envelope.inputs.len()).map(|n| self.journal().input_file(id, n)).collect();
        self.link().submit(&envelope, files).await
    }

    /// The server is away: the local answer is handed over for what it is.
    async fn unsure_answer(&self, record: &mut Record, fault: Fault, live: &Live) -> Option<Ended> {
        live.change(|state| state.note = "the server is away: the local answer".into());
        let first_pass = &self.0.options.first_pass;
        let prompt = record.envelope.prompt.clone();
        let answered = shown(live, |chunks| first_pass.answer(&prompt, chunks, live.cancelled())).await;
        match answered {
            Ok(text) => {
                record.note(unix_ms(), "first_pass", "the server is away; the local answer is handed over, of low confidence");
                let fault = Fault::new(FaultCode::ServerUnreachable, "the server cannot be reached; this is the local model's answer");
                Some(done(text, true, Some(fault.remedy("ask again when the server is back"))))
            }
            Err(_) if live.cancelled().is_cancelled() => self.cancelled(),
            Err(_) => Some(failed(fault)),
        }
    }

    /// Cancelled by a person; `None` when the agent goes down, for then it is not over.
    fn cancelled(&self) -> Option<Ended> {
        let fault = Fault::new(FaultCode::Cancelled, "the request was cancelled");
        let ended = Ended { state: RequestState::Cancelled, ..failed(fault) };
        (!self.0.draining.is_cancelled()).then_some(ended)
    }

    fn end(&self, mut record: Record, mut ended: Ended, live: &Live) {
        let now = unix_ms();
        ended.elapsed_ms = now.saturating_sub(record.submitted_unix_ms);
        record.note(now, ended.state.as_str(), ended.fault.as_ref().map_or_else(|| "answered".into(), |f| f.problem.clone()));
        record.progress = Progress::Ended;
        record.ended = Some(ended);
        self.keep(&record);
        self.journal().drop_inputs(&record);
        live.change(|state| state.stage = Stage::Ended);
    }

    fn keep(&self, record: &Record) {
        if let Err(fault) = self.journal().update(record) {
            tracing::error!(id = %record.envelope.id, %fault, "the journal could not be written");
        }
    }
}

/// Lets watchers see text as it is made.
async fn shown<F: Future>(live: &Live, ask: impl FnOnce(mpsc::Sender<String>) -> F) -> F::Output {
    let (sender, mut chunks) = mpsc::channel::<String>(64);
    let asked = ask(sender);
    let showing = async {
        while let Some(text) = chunks.recv().await {
            live.change(|state| state.text.push_str(&text));
        }
    };
    tokio::join!(asked, showing).0
}

fn done(text: String, low_confidence: bool, fault: Option<Fault>) -> Ended {
    Ended { state: RequestState::Done, text: Some(text), low_confidence, fault, elapsed_ms: 0 }
}

fn failed(fault: Fault) -> Ended {
    Ended { state: RequestState::Failed, text: None, low_confidence: false, fault: Some(fault), elapsed_ms: 0 }
}
