//! The session: hello, welcome, then what both sides have to say until the line breaks; and then again.
//!
//! Nothing that matters lives in a session. What must be told is in the outbox, and each session looks at the whole of it.

use super::backoff::Backoff;
use super::link::{Connection, Link};
use super::rtt::RoundTrip;
use super::{deliver, enrol, step_log, translate};
use crate::clock;
use crate::modules::{Modules, TrustedKeys};
use crate::sensing::readings;
use crate::spool::Spool;
use crate::steps::Steps;
use crate::workers::RunFailure;
use ouro_common::device::{NodeProfile, Readings};
use ouro_common::envelope::PROTOCOL_VERSION;
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::{AgentRunId, AttemptKey, BootId, Digest};
use ouro_common::step::FailureClass;
use ouro_proto::channel::{ClientTls, ConnectError, connect};
use ouro_proto::compat::OLDEST_VERSION;
use ouro_proto::convert::{attempt_from_wire, attempt_to_wire, digest_from_wire, digest_to_wire, document, fault_of};
use ouro_proto::identity::IdentityFiles;
use ouro_proto::wire;
use ouro_proto::wire::fleet_client::FleetClient;
use ouro_proto::wire::node_message::Body;
use ouro_proto::wire::server_message::Body as Said;
use rand::{Rng as _, SeedableRng as _};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

/// The mean time between heartbeats; each is up to a tenth earlier or later.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// A change that matters is told at once, but not more often than this.
const URGENT_EVERY: Duration = Duration::from_millis(500);
/// Without an answer for so long the line counts as broken.
const SILENCE: Duration = Duration::from_secs(15);
/// The time the server has for its welcome.
const WELCOME: Duration = Duration::from_secs(10);
/// The time a drained node waits for its last results to be acknowledged.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What the uplink needs.
pub struct UplinkOptions {
    /// Host and port of the server.
    pub server: String,
    /// This node's identity.
    pub identity: IdentityFiles,
    /// The kernel's boot.
    pub boot: BootId,
    /// This process.
    pub run: AgentRunId,
    /// What the node is; sent with each hello, and when it has become another.
    pub profile: watch::Receiver<Arc<NodeProfile>>,
    /// How it is doing.
    pub readings: watch::Receiver<Arc<Readings>>,
    /// What containers it has.
    pub modules: Modules,
    /// Whose modules are used.
    pub keys: TrustedKeys,
    /// What it runs.
    pub steps: Steps,
    /// What it keeps.
    pub spool: Spool,
    /// Where the session puts its connections for the others.
    pub line: Line,
    /// The seed of the jitter.
    pub seed: u64,
}

/// The end of a [`Link`] that the session holds.
pub struct Line {
    current: watch::Sender<Option<Arc<Connection>>>,
    bell: Arc<Notify>,
}

impl Line {
    /// A line, and the link the others hold.
    pub fn new() -> (Self, Link) {
        let (current, bell, link) = Link::new();
        (Self { current, bell }, link)
    }
}

/// How the session stands, for `ouro-agent status`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Status {
    /// Whether there is a session.
    pub connected: bool,
    /// When that last changed, ms since the Unix epoch.
    pub since_unix_ms: u64,
    /// The name the server knows this node by.
    pub node_name: Option<String>,
    /// What the operators decided about it: `active`, `draining` …
    pub admin: Option<String>,
    /// The session's number.
    pub session_epoch: Option<u64>,
    /// Why there is no session.
    pub problem: Option<String>,
    /// The smoothed round trip, ms.
    pub rtt_ms: Option<f64>,
}

/// The uplink: a session whenever there can be one.
pub struct Uplink {
    options: UplinkOptions,
    status: watch::Sender<Status>,
    rtt: RoundTrip,
    backoff: Backoff,
    /// The server said that this node's certificate has expired.
    expired: bool,
    random: rand::rngs::StdRng,
}

/// How a session ended.
enum End {
    /// This node goes.
    Drained,
    /// The server does not want this node, and asking again will not change that.
    Refused(Fault),
    /// The line broke, or never was.
    Lost(String),
}

/// A session that has been welcomed.
struct Session {
    inbound: Streaming<wire::ServerMessage>,
    out: mpsc::UnboundedSender<wire::NodeMessage>,
    /// Attempts whose outcome this session has sent.
    sent: HashSet<AttemptKey>,
    announced: Option<Digest>,
    told: Option<Readings>,
    sequence: u64,
    /// When the last heartbeat left.
    beat_at: Option<tokio::time::Instant>,
}

impl Uplink {
    /// An uplink that has not dialled yet, and how it stands.
    pub fn new(options: UplinkOptions) -> (Self, watch::Receiver<Status>) {
        let (status, watching) = watch::channel(Status { since_unix_ms: clock::unix_ms(), ..Status::default() });
        let random = rand::rngs::StdRng::seed_from_u64(options.seed);
        (
            Self {
                options,
                status,
                rtt: RoundTrip::new(HEARTBEAT, Instant::now()),
                backoff: Backoff::default(),
                expired: false,
                random,
            },
            watching,
        )
    }

    /// Holds sessions until `drain`.
    ///
    /// # Errors
    /// When the server refuses this node for good: it was removed, its identity is in use elsewhere, or the versions differ.
    pub async fn run(mut self, drain: CancellationToken) -> Result<(), Fault> {
        loop {
            let end = self.session(&drain).await;
            self.options.line.current.send_replace(None);
            self.rtt.session_lost();
            let problem = match end {
                End::Drained => return Ok(()),
                End::Refused(fault) => {
                    self.stand(false, Some(fault.to_string()));
                    return Err(fault);
                }
                End::Lost(problem) => problem,
            };
            if self.status.borrow().problem.as_ref() != Some(&problem) {
                tracing::warn!(server = self.options.server, problem, "no session");
            }
            self.stand(false, Some(problem));
            let wait = self.backoff.next(!self.options.steps.holding().is_empty(), &mut self.random);
            tokio::select! {
                () = drain.cancelled() => return Ok(()),
                () = tokio::time::sleep(wait) => {}
                () = self.options.line.bell.notified() => {}
            }
        }
    }

    fn stand(&self, connected: bool, problem: Option<String>) {
        self.status.send_if_modified(|status| {
            let changed = status.connected != connected || status.problem != problem;
            if status.connected != connected {
                status.since_unix_ms = clock::unix_ms();
            }
            status.connected = connected;
            status.problem = problem;
            changed
        });
    }

    async fn session(&mut self, drain: &CancellationToken) -> End {
        let opened = tokio::select! {
            () = drain.cancelled() => return End::Drained,
            opened = self.open() => opened,
        };
        let mut session = match opened {
            Ok(session) => session,
            Err(end) => return end,
        };
        self.backoff.reset();
        let end = self.talk(&mut session, drain).await;
        if matches!(end, End::Drained) {
            self.last_words(&mut session).await;
        }
        end
    }

    /// Dials, says hello, and waits for the welcome.
    async fn open(&mut self) -> Result<Session, End> {
        let lost = |e: ConnectError| End::Lost(e.to_string());
        let now_unix_s = i64::try_from(clock::unix_ms() / 1000).unwrap_or(i64::MAX);
        if std::mem::take(&mut self.expired) {
            enrol::renew_expired(&self.options.server, &self.options.identity).await;
        } else {
            enrol::renew_if_due(&self.options.server, &self.options.identity, now_unix_s).await;
        }
        let tls = ClientTls::with_identity(&self.options.identity).map_err(lost)?;
        let channel = connect(&self.options.server, &tls).await.map_err(lost)?;
        let (out, outbound) = mpsc::unbounded_channel();
        let _ = out.send(wire::NodeMessage { body: Some(Body::Hello(self.hello())) });
        let mut client = FleetClient::new(channel.clone());
        let welcomed = tokio::time::timeout(WELCOME, async {
            let mut inbound = client.session(UnboundedReceiverStream::new(outbound)).await?.into_inner();
            let first = inbound.message().await?;
            Ok::<_, tonic::Status>((inbound, first.and_then(|m| m.body)))
        });
        let (inbound, first) = match welcomed.await {
            Ok(Ok(opened)) => opened,
            Ok(Err(status)) => {
                let fault = fault_of(&status);
                // The clock here may be wrong; the server's word counts.
                self.expired = fault.code == FaultCode::CertificateExpired;
                return Err(refusal(fault));
            }
            Err(_) => return Err(End::Lost(format!("the server did not answer the hello within {} s", WELCOME.as_secs()))),
        };
        let welcome = match first {
            Some(Said::Welcome(welcome)) => welcome,
            Some(Said::Refused(fault)) => return Err(refusal(translate::fault(&fault))),
            _ => return Err(End::Lost("the server ended the session before its welcome".into())),
        };
        self.options.keys.replace(&welcome.trusted_keys);
        tracing::info!(server = self.options.server, node = welcome.node_name, epoch = welcome.session_epoch, "session");
        self.status.send_replace(Status {
            connected: true,
            since_unix_ms: clock::unix_ms(),
            node_name: Some(welcome.node_name),
            admin: Some(welcome.admin),
            session_epoch: Some(welcome.session_epoch),
            problem: None,
            rtt_ms: self.rtt.estimate().map(|e| e.ema_ms),
        });
        let connection = Connection::new(channel, self.options.server.clone(), tls);
        self.options.line.current.send_replace(Some(Arc::new(connection)));
        Ok(Session { inbound, out, sent: HashSet::new(), announced: None, told: None, sequence: 0, beat_at: None })
    }

    fn hello(&self) -> wire::Hello {
        wire::Hello {
            version_min: OLDEST_VERSION,
            version_max: PROTOCOL_VERSION,
            boot_id: self.options.boot.to_string(),
            agent_run: self.options.run.to_string(),
            profile: Some(document("ouroboros.profile/1", self.options.profile.borrow().as_ref())),
            holding: self.options.steps.holding().iter().map(attempt_to_wire).collect(),
            spooled: self.options.spool.digests().iter().map(digest_to_wire).collect(),
        }
    }

    async fn talk(&mut self, session: &mut Session, drain: &CancellationToken) -> End {
        let mut changes = self.options.modules.changes();
        changes.mark_changed();
        let bell = self.options.steps.outbox().bell();
        let mut readings = self.options.readings.clone();
        let mut profile = self.options.profile.clone();
        let mut beat = Box::pin(tokio::time::sleep(Duration::ZERO));
        self.deliver(session);
        loop {
            tokio::select! {
                () = drain.cancelled() => return End::Drained,
                message = session.inbound.message() => match message {
                    Ok(Some(message)) => {
                        if let Some(end) = self.heard(session, message) {
                            return end;
                        }
                    }
                    Ok(None) => return End::Lost("the server ended the session".into()),
                    Err(status) => return refusal(fault_of(&status)),
                },
                () = &mut beat => {
                    if self.rtt.unanswered(Instant::now()).is_some_and(|silent| silent > SILENCE) {
                        return End::Lost(format!("the server has not answered a heartbeat for {} s", SILENCE.as_secs()));
                    }
                    self.heartbeat(session);
                    let jitter = self.random.random_range(0.9..=1.1);
                    // The second one comes soon: it brings the round trip that the first one measured.
                    let period = if session.sequence == 1 { HEARTBEAT / 10 } else { HEARTBEAT };
                    beat.set(tokio::time::sleep(period.mul_f64(jitter)));
                }
                Ok(()) = readings.changed() => {
                    if let Some(at) = session.urgent_at(&readings.borrow_and_update()) {
                        let sooner = beat.deadline().min(at);
                        beat.as_mut().reset(sooner);
                    }
                }
                Ok(()) = profile.changed() => {
                    let profile = document("ouroboros.profile/1", profile.borrow_and_update().as_ref());
                    session.say(Body::Profile(profile));
                }
                Ok(()) = changes.changed() => {
                    let announcement = changes.borrow_and_update().announcement.clone();
                    session.announce(&announcement);
                }
                () = bell.notified() => self.deliver(session),
            }
        }
    }

    fn heartbeat(&mut self, session: &mut Session) {
        let mut readings = Readings::clone(&self.options.readings.borrow());
        let rtt = self.rtt.estimate();
        readings.rtt_ema_ms = rtt.map(|e| e.ema_ms);
        readings.rtt_var_ms = rtt.map(|e| e.var_ms);
        session.sequence += 1;
        let differs = |told: &Readings| readings::changed(told, &readings) || readings::is_urgent(told, &readings);
        let changed = session.told.as_ref().is_none_or(differs);
        let readings_document = changed.then(|| document("ouroboros.readings/1", &readings));
        self.rtt.sent(session.sequence, Instant::now());
        session.say(Body::Heartbeat(wire::Heartbeat { sequence: session.sequence, readings: readings_document }));
        // Only now: the server must not give back to this node what it gives up here.
        self.options.steps.hold(readings.draining.as_deref());
        session.beat_at = Some(tokio::time::Instant::now());
        if changed {
            session.told = Some(readings);
        }
    }

    /// Sends every outcome this session has not sent yet.
    fn deliver(&self, session: &mut Session) {
        for (key, outcome) in self.options.steps.outbox().untold(&session.sent) {
            session.sent.insert(key.clone());
            let (link, spool) = (self.options.steps.link(), self.options.spool.clone());
            deliver::send(key, outcome, link, spool, &session.out);
        }
    }

    /// Acts on a message; `Some` when it ends the session.
    fn heard(&mut self, session: &mut Session, message: wire::ServerMessage) -> Option<End> {
        let steps = &self.options.steps;
        match message.body? {
            Said::Ping(ping) => session.say(Body::Pong(wire::Pong { nonce: ping.nonce })),
            Said::HeartbeatAck(ack) => {
                if self.rtt.acknowledged(ack.sequence, Instant::now()) {
                    let rtt_ms = self.rtt.estimate().map(|e| e.ema_ms);
                    self.status.send_modify(|status| status.rtt_ms = rtt_ms);
                }
            }
            Said::Assign(assign) => with_key(assign.attempt.clone().as_ref(), |key| {
                // Assigned again although it ended here: the server has not got the result.
                session.sent.remove(&key);
                match translate::assignment(key.clone(), assign) {
                    Ok(step) => steps.assign(step),
                    Err(fault) => steps.refuse(&key, RunFailure::new(FailureClass::Rejected, fault.to_string())),
                }
                self.deliver(session);
            }),
            Said::Cancel(cancel) => with_key(cancel.attempt.as_ref(), |key| {
                tracing::info!(attempt = %key, why = cancel.why, "cancelled");
                steps.cancel(&key);
            }),
            Said::Ack(ack) => with_key(ack.attempt.as_ref(), |key| {
                steps.outbox().acknowledge(&key);
                session.sent.remove(&key);
            }),
            Said::SendBlob(wanted) => match digest_from_wire(wanted.digest.as_ref(), "digest") {
                Ok(digest) => deliver::relay(digest, steps.link(), &self.options.spool, &session.out),
                Err(fault) => tracing::warn!(%fault, "the server asked for a blob without naming it"),
            },
            Said::SendLog(asked) => step_log::send(asked, steps.logs().clone(), session.out.clone()),
            Said::Forget(forget) => {
                let digests: Vec<_> = forget.digests.iter().filter_map(|d| digest_from_wire(Some(d), "digests").ok()).collect();
                self.options.spool.forget(&digests);
            }
            Said::Refused(fault) => return Some(refusal(translate::fault(&fault))),
            Said::TrustedKeys(trusted) => self.options.keys.replace(&trusted.keys),
            Said::Welcome(_) => {}
        }
        None
    }

    /// The node goes: what it still has to tell is told, and a moment is left for the answers.
    async fn last_words(&mut self, session: &mut Session) {
        self.deliver(session);
        let outbox = self.options.steps.outbox().clone();
        let told = async {
            while !outbox.keys().is_empty() {
                match session.inbound.message().await {
                    Ok(Some(wire::ServerMessage { body: Some(Said::Ack(ack)) })) => {
                        with_key(ack.attempt.as_ref(), |key| outbox.acknowledge(&key));
                    }
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return,
                }
            }
        };
        let _ = tokio::time::timeout(LAST_WORDS, told).await;
    }
}

impl Session {
    fn say(&self, body: Body) {
        // When the line is gone, the reading half ends the session.
        let _ = self.out.send(wire::NodeMessage { body: Some(body) });
    }

    /// When these readings are to be told, if that is sooner than with the next heartbeat.
    fn urgent_at(&self, readings: &Readings) -> Option<tokio::time::Instant> {
        let told = self.told.as_ref()?;
        let at = self.beat_at?;
        readings::is_urgent(told, readings).then(|| at + URGENT_EVERY)
    }

    fn announce(&mut self, announcement: &ouro_common::module::Announcement) {
        let digest = announcement.digest();
        if self.announced.replace(digest) != Some(digest) {
            self.say(Body::Announcement(document("ouroboros.announcement/1", announcement)));
        }
    }
}

fn with_key(key: Option<&wire::AttemptKey>, act: impl FnOnce(AttemptKey)) {
    match attempt_from_wire(key) {
        Ok(key) => act(key),
        Err(fault) => tracing::warn!(%fault, "a message about an attempt that cannot be read"),
    }
}

/// Whether asking again can help.
fn refusal(fault: Fault) -> End {
    match fault.code {
        FaultCode::PermissionDenied | FaultCode::Cloned | FaultCode::VersionMismatch => End::Refused(fault),
        _ => End::Lost(fault.to_string()),
    }
}
