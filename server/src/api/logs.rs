//! What a request's steps said, fetched part by part from the nodes that ran or run them. Nothing of it is kept here.

use crate::log_calls::Unanswered;
use crate::store::{PlacedAttempt, StoreError};
use crate::world::World;
use ouro_common::document::TraceDocument;
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::{Name, RequestId};
use ouro_common::step::StepState;
use ouro_proto::convert::status_of;
use ouro_proto::wire::LogEvent;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Without a ring, a follower looks again for new attempts after so long; a node waits so long for something new.
const PERIOD: Duration = Duration::from_secs(1);
/// Parts on their way to one reader.
const QUEUE: usize = 4;

type Parts = mpsc::Sender<Result<LogEvent, Status>>;

/// Whose words are wanted.
pub(super) struct Wanted {
    /// The request.
    pub(super) id: RequestId,
    /// One step only.
    pub(super) step: Option<Name>,
    /// Also what they say from now on, to their ends.
    pub(super) follow: bool,
}

/// The stream that was asked for.
pub(super) fn stream(world: Arc<World>, wanted: Wanted) -> ReceiverStream<Result<LogEvent, Status>> {
    let (parts, stream) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let fault = tokio::select! {
            sent = send(&world, &wanted, &parts) => sent.err(),
            // The readings end with it.
            () = parts.closed() => None,
        };
        if let Some(fault) = fault {
            let _ = parts.send(Err(status_of(&fault))).await;
        }
    });
    ReceiverStream::new(stream)
}

async fn send(world: &Arc<World>, wanted: &Wanted, parts: &Parts) -> Result<(), Fault> {
    let reader = Reader { world: world.clone(), follow: wanted.follow, parts: parts.clone(), seen: Arc::default() };
    let mut ring = world.watchers.subscribe(wanted.id);
    let (mut begun, mut reading) = (HashSet::new(), JoinSet::new());
    loop {
        ring.borrow_and_update();
        // Asked before the attempts are read, so that none of an ended request is missed.
        let ended = ended(world, wanted).await?;
        for (attempt, n) in attempts(world, wanted).await.map_err(|e| crate::init::store_fault(&e))? {
            if !begun.insert(attempt.key.clone()) {
                continue;
            }
            if wanted.follow {
                let reader = reader.clone();
                reading.spawn(async move { reader.read(&attempt, n).await });
            } else {
                reader.read(&attempt, n).await;
            }
        }
        if ended || !wanted.follow {
            break;
        }
        tokio::select! {
            changed = ring.changed() => if changed.is_err() { tokio::time::sleep(PERIOD).await },
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
    while reading.join_next().await.is_some() {}
    reader.seen().verdict()
}

/// Whether everything that was asked for has ended.
async fn ended(world: &World, wanted: &Wanted) -> Result<bool, Fault> {
    let record = world.store.view(wanted.id).await.map_err(|e| crate::init::store_fault(&e))?;
    let record = record.ok_or_else(|| Fault::new(FaultCode::NotFound, format!("the request {} is gone", wanted.id)))?;
    let ended = record.state.is_terminal();
    let Some(step) = &wanted.step else { return Ok(ended) };
    let shown = record.trace.steps.iter().find(|s| s.id == *step);
    match shown.map(|s| s.state) {
        Some(state) => Ok(ended || matches!(state, StepState::Done | StepState::Failed | StepState::Poisoned | StepState::Cancelled)),
        None if ended || !wanted.follow || record.trace.planner.is_some() => Err(no_such_step(&record.trace, step)),
        // The plan is still to be written.
        None => Ok(false),
    }
}

fn no_such_step(trace: &TraceDocument, step: &Name) -> Fault {
    let steps: Vec<_> = trace.steps.iter().map(|s| s.id.as_str()).collect();
    let fault = Fault::new(FaultCode::NotFound, format!("the request has no step {step}"));
    match steps.is_empty() {
        true => fault.at(trace.request.id).remedy("it has no steps yet; -f waits for them"),
        false => fault.at(trace.request.id).remedy(format!("its steps: {}", steps.join(", "))),
    }
}

/// The attempts whose words are wanted, with their numbers within their steps, oldest first.
async fn attempts(world: &World, wanted: &Wanted) -> Result<Vec<(PlacedAttempt, u32)>, StoreError> {
    let all = world.store.attempts(wanted.id).await?;
    let mut count: HashMap<(u32, Name), u32> = HashMap::new();
    let numbered = all.into_iter().map(|attempt| {
        let n = count.entry((attempt.key.plan, attempt.key.step.clone())).or_default();
        *n += 1;
        (attempt, *n)
    });
    let numbered: Vec<_> = numbered.collect();
    Ok(numbered.into_iter().filter(|(a, _)| wanted.step.as_ref().is_none_or(|step| a.key.step == *step)).collect())
}

/// What came of the reading.
#[derive(Default)]
struct Seen {
    /// Whether there was a log.
    found: bool,
    /// Why the last one that was not to be had was not.
    missing: Option<Fault>,
}

impl Seen {
    fn verdict(&mut self) -> Result<(), Fault> {
        match (self.found, self.missing.take()) {
            (true, _) => Ok(()),
            (false, Some(fault)) => Err(fault),
            (false, None) => {
                let fault = Fault::new(FaultCode::NotFound, "nothing of it was given to a node");
                Err(fault.remedy("`ouroctl explain REQUEST` says why; -f waits for it"))
            }
        }
    }
}

#[derive(Clone)]
struct Reader {
    world: Arc<World>,
    follow: bool,
    parts: Parts,
    seen: Arc<Mutex<Seen>>,
}

impl Reader {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what one attempt said, to its end or, if nobody follows, to what there is now.
    async fn read(&self, attempt: &PlacedAttempt, n: u32) {
        let fault = match self.parts_of(attempt, n).await {
            Ok(true) => return,
            // Most steps say nothing; that is no error.
            Ok(false) if !attempt.live => {
                self.seen().found = true;
                return self.note(attempt, n, nothing_kept(attempt)).await;
            }
            Ok(false) => nothing_yet(attempt),
            Err(unanswered) => {
                let fault = unreachable(attempt, unanswered);
                // The same stands in the fault if it stays the only word.
                if self.seen().found {
                    self.note(attempt, n, fault.problem.clone()).await;
                }
                fault
            }
        };
        self.seen().missing = Some(fault);
    }

    async fn note(&self, attempt: &PlacedAttempt, n: u32, note: String) {
        // Who asked may have gone; then nobody misses it.
        let _ = self.parts.send(Ok(LogEvent { note, ..event(attempt, n) })).await;
    }

    /// Whether there was a log.
    async fn parts_of(&self, attempt: &PlacedAttempt, n: u32) -> Result<bool, Unanswered> {
        let wait = if self.follow { PERIOD } else { Duration::ZERO };
        let (mut offset, mut found) = (0, false);
        loop {
            // Asked first: an attempt that has ended by now has said everything by the time its node is asked.
            let live = self.follow && self.is_live(attempt).await;
            let question = (&attempt.key, offset);
            let Some(piece) = self.world.log_calls.ask(&self.world.fleet, attempt.node, question, wait).await? else {
                if live && !found {
                    tokio::time::sleep(PERIOD).await;
                    continue;
                }
                return Ok(found);
            };
            found = true;
            self.seen().found = true;
            let quiet = piece.data.is_empty();
            offset = piece.offset + piece.data.len() as u64;
            let event = LogEvent { offset: piece.offset, data: piece.data, ..event(attempt, n) };
            if !quiet && self.parts.send(Ok(event)).await.is_err() {
                return Ok(true);
            }
            if piece.last || (quiet && !self.follow) {
                return Ok(true);
            }
        }
    }

    async fn is_live(&self, attempt: &PlacedAttempt) -> bool {
        let attempts = self.world.store.attempts(attempt.key.request).await;
        attempts.is_ok_and(|all| all.iter().any(|a| a.key == attempt.key && a.live))
    }
}

fn event(attempt: &PlacedAttempt, n: u32) -> LogEvent {
    LogEvent {
        step: attempt.key.step.to_string(),
        attempt: n,
        node: attempt.node_name.clone(),
        ..LogEvent::default()
    }
}

fn nothing_yet(attempt: &PlacedAttempt) -> Fault {
    let problem = format!("{} has said nothing on {} yet", attempt.key.step, attempt.node_name);
    Fault::new(FaultCode::NotFound, problem).remedy("-f waits for it")
}

fn nothing_kept(attempt: &PlacedAttempt) -> String {
    format!(
        "nothing that it said is kept on {}: it said nothing, or that is more than a day ago, or its agent was killed",
        attempt.node_name
    )
}

fn unreachable(attempt: &PlacedAttempt, why: Unanswered) -> Fault {
    let problem = format!("{}, which ran {}, {why}; what it said is kept there", attempt.node_name, attempt.key.step);
    let remedy = match why {
        Unanswered::Away => "read it when `ouroctl nodes` shows the node online again, within a day",
        Unanswered::Silent => "try again; an agent that is older than the server cannot answer: update it",
    };
    Fault::new(FaultCode::NotFound, problem).remedy(remedy)
}
