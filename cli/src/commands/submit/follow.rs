//! Waiting for a request's end: over lost connections, until it ends, the time is over, or the user has enough.

use super::Context;
use super::answer::{Parts, Screen};
use super::progress::Progress;
use crate::client::{Client, Event};
use crate::exit::Failure;
use crate::output::{Format, text};
use futures::{Stream, StreamExt as _};
use ouro_common::document::ResultDocument;
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::RequestId;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

/// After the deadline the peer gets so long to say how it ended.
const GRACE: Duration = Duration::from_secs(10);
/// After Ctrl-C the peer gets so long to confirm.
const CANCEL_GRACE: Duration = Duration::from_secs(3);
/// The pauses between attempts to reconnect double from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// A request that has ended.
pub(super) struct Ended {
    /// How.
    pub(super) result: ResultDocument,
    /// The whole answer.
    pub(super) answer: Option<Vec<u8>>,
    /// What of it is on the screen already.
    pub(super) shown: Vec<u8>,
}

/// Why one connection's events ended.
enum Stop {
    Finished(Box<ResultDocument>),
    Broken(Fault),
    Interrupted,
    TimeOver,
}

/// Ctrl-C, kept from the moment this is made: one that comes while nobody waits for it is not lost.
pub(super) struct Interrupt(Signal);

impl Interrupt {
    /// From now on Ctrl-C no longer ends the process.
    pub(super) fn listen() -> Result<Self, Fault> {
        let failed = |e| Fault::new(FaultCode::Internal, format!("Ctrl-C cannot be handled: {e}"));
        signal(SignalKind::interrupt()).map(Self).map_err(failed)
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending().await
        }
    }
}

struct Following<'a, 'c> {
    context: &'a mut Context<'c>,
    progress: Progress,
    parts: Parts,
    /// Output is shown as it is made only where it can be called back: on a terminal, to a person.
    live: bool,
    deadline: Instant,
    cancelled: bool,
    away_told: bool,
}

/// Follows a request to its end.
///
/// # Errors
/// When the deadline passes without a word, or the request cannot be found any more.
pub(super) async fn follow(
    client: &mut Client,
    id: RequestId,
    budget: Duration,
    interrupt: &mut Interrupt,
    context: &mut Context<'_>,
) -> Result<Ended, Failure> {
    let progress = Progress::start(context);
    let live = context.console.out_is_terminal() && context.format == Format::Table;
    let deadline = Instant::now() + budget + GRACE;
    let mut following = Following { context, progress, parts: Parts::default(), live, deadline, cancelled: false, away_told: false };
    following.run(client, id, interrupt).await
}

impl Following<'_, '_> {
    async fn run(&mut self, client: &mut Client, id: RequestId, interrupt: &mut Interrupt) -> Result<Ended, Failure> {
        let mut pause = FIRST_PAUSE;
        let mut asked_again = false;
        loop {
            let deadline = self.deadline;
            let stop = tokio::select! {
                stop = self.session(client, id) => stop?,
                () = interrupt.next() => Stop::Interrupted,
                () = tokio::time::sleep_until(deadline) => Stop::TimeOver,
            };
            match stop {
                Stop::Finished(result) => match self.parts.whole(&result) {
                    Ok(answer) => return Ok(self.end(*result, answer)),
                    Err(fault) if asked_again => return Err(fault.into()),
                    Err(_) => {
                        asked_again = true;
                        self.parts.forget_committed();
                    }
                },
                Stop::Interrupted => self.cancel(client, id).await?,
                Stop::TimeOver => return Err(self.time_over(id).into()),
                Stop::Broken(fault) if fault.code != FaultCode::ServerUnreachable => return Err(fault.into()),
                Stop::Broken(_) => {
                    // A connection that told something was a good one: the pauses begin anew.
                    pause = if self.progress.heard_something() { FIRST_PAUSE } else { (pause * 2).min(LAST_PAUSE) };
                    self.tell_away(client, id);
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = interrupt.next() => return Err(left(id).into()),
                    }
                    // If nobody is there yet, the next session says so.
                    let _ = client.reopen().await;
                }
            }
        }
    }

    /// One connection's events until it ends. What came in is kept even if this is dropped half-way.
    async fn session(&mut self, client: &Client, id: RequestId) -> Result<Stop, Failure> {
        self.progress.reconnected();
        match client.watch(id, self.parts.committed_bytes()).await {
            Ok(events) => self.listen(events).await,
            Err(fault) => Ok(Stop::Broken(fault)),
        }
    }

    async fn listen(&mut self, mut events: impl Stream<Item = Result<Event, Fault>> + Unpin) -> Result<Stop, Failure> {
        while let Some(next) = events.next().await {
            match next {
                Ok(Event::Progress { kind, text }) => self.progress.event(kind, text, self.context),
                Ok(Event::Chunk { offset, data, committed: true, .. }) => self.parts.take_committed(offset, &data),
                Ok(Event::Chunk { offset, data, restart, .. }) => {
                    let screen = self.parts.take_live(offset, &data, restart);
                    self.draw(screen)?;
                }
                Ok(Event::Finished(result)) => return Ok(Stop::Finished(result)),
                Err(fault) => return Ok(Stop::Broken(fault)),
            }
        }
        Ok(Stop::Broken(Fault::new(FaultCode::ServerUnreachable, "the connection ended before the request did")))
    }

    fn end(&mut self, result: ResultDocument, answer: Option<Vec<u8>>) -> Ended {
        self.progress.clear();
        let shown = if self.live { self.parts.live().to_vec() } else { Vec::new() };
        Ended { result, answer, shown }
    }

    /// Says once that nobody is there.
    fn tell_away(&mut self, client: &Client, id: RequestId) {
        if !std::mem::replace(&mut self.away_told, true) {
            let who = client.route().name();
            let line = format!("the {who} is away; request {id} goes on, waiting for the {who} to come back");
            self.progress.note(&line, self.context);
        }
    }

    fn draw(&mut self, screen: Screen) -> Result<(), Failure> {
        if !self.live {
            return Ok(());
        }
        let bytes = match screen {
            Screen::Keep => return Ok(()),
            Screen::Append(bytes) => bytes,
            Screen::Restart(bytes) => {
                self.context.console.print("\n")?;
                self.progress.note("the step started over elsewhere; what stands above is void", self.context);
                bytes
            }
        };
        self.progress.clear();
        self.context.console.print(&text::for_terminal(&String::from_utf8_lossy(&bytes)))
    }

    /// The first Ctrl-C ends the request and waits for its last word; a second one does not wait.
    async fn cancel(&mut self, client: &Client, id: RequestId) -> Result<(), Failure> {
        let gone = || Fault::new(FaultCode::Cancelled, "cancelled").at(id);
        if self.cancelled {
            return Err(gone().into());
        }
        self.cancelled = true;
        self.deadline = self.deadline.min(Instant::now() + CANCEL_GRACE);
        let reference = id.to_string();
        match tokio::time::timeout(CANCEL_GRACE, client.cancel(&reference)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(fault)) => Err(gone().remedy(format!("the request may still run, it could not be told: {}", fault.problem)).into()),
            Err(_) => Err(gone().remedy("the request may still run: try `ouroctl cancel` again").into()),
        }
    }

    fn time_over(&self, id: RequestId) -> Fault {
        if self.cancelled {
            return Fault::new(FaultCode::Cancelled, "cancelled").at(id);
        }
        Fault::new(FaultCode::DeadlineExceeded, "the time given to the request has passed, and nobody said how it ended")
            .at(id)
            .remedy(format!("see `ouroctl trace {id}` when the server is back, or give it more time with --deadline"))
    }
}

/// Ctrl-C while nobody is there to be told.
fn left(id: RequestId) -> Fault {
    Fault::new(FaultCode::Cancelled, "no longer waiting; the request itself goes on, since nobody could be told")
        .at(id)
        .remedy("cancel it with `ouroctl cancel last` when the server is back")
}
