//! The nodes that are connected now: their sessions, readings and round trips. Soft state, rebuilt after a restart.
//!
//! Commands to nodes are data; the API turns them into messages. Nothing here is truth: the store's rows are.

use crate::log_calls::LogQuestion;
use crate::store::LiveAttempt;
use ouro_common::clock::Instant;
use ouro_common::device::Readings;
use ouro_common::id::{AgentRunId, AttemptKey, Digest, NodeId};
use ouro_common::mfpi::LinkFactors;
use ouro_common::mfpi::threshold::{self, Gate, GateState};
use ouro_common::step::AckVerdict;
use ouro_proto::channel::{PeerSocket, TcpFigures};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Without a heartbeat for so long a node gets nothing new.
pub const SUSPECT_AFTER: Duration = Duration::from_secs(15);
/// Without a heartbeat for so long its session is closed.
pub const SILENT_AFTER: Duration = Duration::from_secs(20);
/// What is assumed of a link's rate until transfers have measured it: 100 Mbit/s, as the reference node.
const UNMEASURED_BYTES_PER_S: f64 = 12.5e6;

/// Something to tell a node.
#[derive(Debug, Clone)]
pub enum NodeCommand {
    /// Run this.
    Assign(Box<LiveAttempt>),
    /// Stop that.
    Cancel(AttemptKey, String),
    /// This became of a result.
    Ack(AttemptKey, AckVerdict),
    /// Send a blob from the spool.
    SendBlob(Digest),
    /// These blobs are needed no longer.
    Forget(Vec<Digest>),
    /// Send a part of what an attempt said.
    SendLog(LogQuestion),
    /// Use modules that these keys have signed, and no others.
    TrustedKeys(Vec<String>),
    /// A heartbeat came.
    HeartbeatAck(u64),
    /// Answer at once.
    Ping(u64),
    /// End the session.
    Close(String),
}

/// What a session is known by.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Fences the stream.
    pub epoch: u64,
    /// The agent's process.
    pub run: AgentRunId,
    /// Its connection, where the kernel measures it.
    pub socket: Option<PeerSocket>,
}

/// A node's open session.
struct Session {
    epoch: u64,
    run: AgentRunId,
    /// Who waits for the answer to a ping of their own.
    probes: BTreeMap<u64, oneshot::Sender<()>>,
    commands: mpsc::Sender<NodeCommand>,
    readings: Readings,
    gate: GateState,
    last_seen: Instant,
    round_trip: Option<RoundTrip>,
    socket: Option<PeerSocket>,
    /// What the kernel said last; its rate is the last one that the network set.
    measured: Option<TcpFigures>,
    /// The rates of the last transfers, to the node and from it.
    carried: Carried,
    ping: Option<(u64, std::time::Instant)>,
    told: BTreeSet<AttemptKey>,
}

/// Smoothed round trip, as RFC 6298 has it: α = 1/8, β = 1/4.
#[derive(Debug, Clone, Copy, PartialEq)]
struct RoundTrip {
    srtt_s: f64,
    rttvar_s: f64,
}

impl RoundTrip {
    fn after(previous: Option<Self>, sample_s: f64) -> Self {
        match previous {
            None => Self { srtt_s: sample_s, rttvar_s: sample_s / 2.0 },
            Some(p) => Self {
                rttvar_s: 0.75 * p.rttvar_s + 0.25 * (p.srtt_s - sample_s).abs(),
                srtt_s: 0.875 * p.srtt_s + 0.125 * sample_s,
            },
        }
    }
}

/// Figures that differ by less than this share are the same: they would only make every decision read every node anew.
const SAME: f64 = 0.1;

fn differ(a: &TcpFigures, b: &TcpFigures) -> bool {
    let apart = |a: f64, b: f64| (a - b).abs() > SAME * a.max(b);
    let rate = match (a.delivered_bytes_per_s, b.delivered_bytes_per_s) {
        (Some(a), Some(b)) => apart(a, b),
        (a, b) => a.is_some() != b.is_some(),
    };
    rate || apart(a.srtt.as_secs_f64(), b.srtt.as_secs_f64()) || apart(a.rttvar.as_secs_f64(), b.rttvar.as_secs_f64())
}

/// What transfers of blobs have shown of a link, bytes per second.
#[derive(Debug, Clone, Copy, Default)]
struct Carried {
    down_bytes_per_s: Option<f64>,
    up_bytes_per_s: Option<f64>,
}

/// A smoothed rate; whether it has become another one.
fn smooth(rate: &mut Option<f64>, sample: f64) -> bool {
    let next = rate.map_or(sample, |before| 0.75 * before + 0.25 * sample);
    let moved = rate.is_none_or(|before| (before - next).abs() > SAME * before.max(next));
    *rate = Some(next);
    moved
}

/// The link as the kernel measured it, or as pings did; its rates as transfers have shown them.
fn link(session: &Session) -> Option<LinkFactors> {
    let kernel = session.measured.map(|m| RoundTrip { srtt_s: m.srtt.as_secs_f64(), rttvar_s: m.rttvar.as_secs_f64() });
    let RoundTrip { srtt_s, rttvar_s } = whole_way(kernel, session.round_trip)?;
    let rates = [session.measured.and_then(|m| m.delivered_bytes_per_s), session.carried.down_bytes_per_s];
    let down = rates.into_iter().flatten().min_by(f64::total_cmp);
    Some(LinkFactors {
        srtt_s,
        rttvar_s,
        down_bytes_per_s: down.unwrap_or(UNMEASURED_BYTES_PER_S),
        up_bytes_per_s: session.carried.up_bytes_per_s.unwrap_or(UNMEASURED_BYTES_PER_S),
    })
}

/// Pings that take so much longer than the kernel's round trip, and twice as long, are no busy processor's doing, seconds.
const BETWEEN_S: f64 = 0.005;

/// The kernel measures to where the connection ends: where a relay or a tunnel ends it, only pings know the way to the node.
fn whole_way(kernel: Option<RoundTrip>, pings: Option<RoundTrip>) -> Option<RoundTrip> {
    let (Some(k), Some(p)) = (kernel, pings) else {
        return kernel.or(pings);
    };
    // Less than this pings hardly ever take.
    let surely_s = p.srtt_s - 2.0 * p.rttvar_s;
    Some(if surely_s > 2.0 * k.srtt_s + BETWEEN_S { p } else { k })
}

/// What others see of a session.
#[derive(Debug, Clone)]
pub struct SessionView {
    /// Fences assignments.
    pub epoch: u64,
    /// Last readings.
    pub readings: Readings,
    /// What battery and heat allow.
    pub gate: GateState,
    /// The last sign of life, on the store's clock.
    pub last_seen: Instant,
    /// The link, once it was measured.
    pub link: Option<LinkFactors>,
    /// The rate to the node, if the network ever set it, bytes per second.
    pub delivered_bytes_per_s: Option<f64>,
}

/// All open sessions.
#[derive(Default)]
pub struct Fleet {
    sessions: Mutex<BTreeMap<NodeId, Session>>,
    /// Nodes of which something has changed that decisions read.
    touched: Mutex<BTreeSet<NodeId>>,
}

impl Fleet {
    /// Enters a session; an older one of the same node is told to close.
    pub fn open(&self, node: NodeId, entry: Entry, commands: mpsc::Sender<NodeCommand>, now: Instant) {
        let session = Session {
            epoch: entry.epoch,
            run: entry.run,
            probes: BTreeMap::new(),
            commands,
            readings: Readings::default(),
            gate: GateState::default(),
            last_seen: now,
            round_trip: None,
            socket: entry.socket,
            measured: None,
            carried: Carried::default(),
            ping: None,
            told: BTreeSet::new(),
        };
        self.touch(node);
        if let Some(old) = self.table().insert(node, session) {
            let _ = old.commands.try_send(NodeCommand::Close("the node opened another session".into()));
        }
    }

    /// Ends and removes a session, if it is still that one: the end of an older stream never touches a newer session. Whether it was.
    pub fn close(&self, node: NodeId, epoch: u64, why: &str) -> bool {
        let mut table = self.table();
        if table.get(&node).is_none_or(|s| s.epoch != epoch) {
            return false;
        }
        if let Some(session) = table.remove(&node) {
            self.touch(node);
            let _ = session.commands.try_send(NodeCommand::Close(why.to_string()));
        }
        true
    }

    /// Notes a sign of life, and readings if they came with it; the gate, if the node may be given more or less than before.
    pub fn heard(&self, node: NodeId, epoch: u64, readings: Option<Readings>, now: Instant) -> Option<Gate> {
        let mut table = self.table();
        let session = table.get_mut(&node).filter(|s| s.epoch == epoch)?;
        let silent = now.since(session.last_seen) >= SUSPECT_AFTER;
        let changed = readings.is_some() || silent;
        session.last_seen = now;
        if let Some(readings) = readings {
            session.readings = readings;
        }
        let next = threshold::next(&session.gate, &session.readings, now);
        let (moved, reworded) = (next.gate.level() != session.gate.gate.level(), next.gate != session.gate.gate);
        session.gate = next;
        if changed || reworded {
            self.touch(node);
        }
        moved.then(|| session.gate.gate.clone())
    }

    /// Tells a node something. False when it has no session or does not keep up: the row in the store will be swept.
    pub fn tell(&self, node: NodeId, command: NodeCommand) -> bool {
        let mut table = self.table();
        let Some(session) = table.get_mut(&node) else { return false };
        let assigned = match &command {
            NodeCommand::Assign(attempt) => Some(attempt.key.clone()),
            _ => None,
        };
        let sent = session.commands.try_send(command).is_ok();
        if sent && let Some(key) = assigned {
            session.told.insert(key);
        }
        sent
    }

    /// Marks an attempt as known to the node: it said so itself when it connected.
    pub fn knows(&self, node: NodeId, key: AttemptKey) {
        if let Some(session) = self.table().get_mut(&node) {
            session.told.insert(key);
        }
    }

    /// Whether the node's session has been told of an attempt.
    pub fn was_told(&self, node: NodeId, key: &AttemptKey) -> bool {
        self.table().get(&node).is_some_and(|s| s.told.contains(key))
    }

    /// Forgets that a node was told of an attempt that has ended.
    pub fn attempt_ended(&self, node: NodeId, key: &AttemptKey) {
        if let Some(session) = self.table().get_mut(&node) {
            session.told.remove(key);
        }
    }

    /// Asks the kernel what it has measured on every connection.
    pub fn measure_all(&self) {
        for (node, session) in self.table().iter_mut() {
            let Some(fresh) = session.socket.and_then(|s| s.figures()) else {
                continue;
            };
            let before = session.measured;
            let delivered_bytes_per_s = fresh.delivered_bytes_per_s.or(before.and_then(|b| b.delivered_bytes_per_s));
            let figures = TcpFigures { delivered_bytes_per_s, ..fresh };
            if before.is_none_or(|before| differ(&before, &figures)) {
                session.measured = Some(figures);
                self.touch(*node);
            }
        }
    }

    /// A blob came from a node at this rate. `held_up`: somebody slower took it, so that the line could do at least that.
    pub fn came_up(&self, node: NodeId, bytes_per_s: f64, held_up: bool) {
        self.carried(node, |carried| match carried.up_bytes_per_s {
            Some(known) if held_up && bytes_per_s <= known => false,
            _ => smooth(&mut carried.up_bytes_per_s, bytes_per_s),
        });
    }

    /// A blob went to a node at this rate. `held_up`: it came from somebody slower, so that the line could do at least that.
    pub fn went_down(&self, node: NodeId, bytes_per_s: f64, held_up: bool) {
        self.carried(node, |carried| match carried.down_bytes_per_s {
            Some(known) if held_up && bytes_per_s <= known => false,
            _ => smooth(&mut carried.down_bytes_per_s, bytes_per_s),
        });
    }

    fn carried(&self, node: NodeId, change: impl FnOnce(&mut Carried) -> bool) {
        let moved = self.table().get_mut(&node).is_some_and(|session| change(&mut session.carried));
        if moved {
            self.touch(node);
        }
    }

    /// Pings every node that has no ping under way; `fresh` gives the nonces.
    pub fn ping_all(&self, mut fresh: impl FnMut() -> u64) {
        for session in self.table().values_mut().filter(|s| s.ping.is_none()) {
            let nonce = fresh();
            if session.commands.try_send(NodeCommand::Ping(nonce)).is_ok() {
                session.ping = Some((nonce, std::time::Instant::now()));
            }
        }
    }

    /// Pings a node's session if another process than `run` has it: its epoch, and the answer when it comes.
    pub fn probe(&self, node: NodeId, run: AgentRunId, nonce: u64) -> Option<(u64, oneshot::Receiver<()>)> {
        let mut table = self.table();
        let session = table.get_mut(&node).filter(|s| s.run != run)?;
        let (answered, answer) = oneshot::channel();
        session.commands.try_send(NodeCommand::Ping(nonce)).ok()?;
        session.probes.retain(|_, waiting| !waiting.is_closed());
        session.probes.insert(nonce, answered);
        Some((session.epoch, answer))
    }

    /// Takes a pong. Only the ping that is under way counts, so a late one measures nothing.
    pub fn pong(&self, node: NodeId, nonce: u64) {
        let mut table = self.table();
        let Some(session) = table.get_mut(&node) else { return };
        if let Some(waiting) = session.probes.remove(&nonce) {
            let _ = waiting.send(());
        }
        if let Some((_, sent)) = session.ping.take_if(|(n, _)| *n == nonce) {
            self.touch(node);
            session.round_trip = Some(RoundTrip::after(session.round_trip, sent.elapsed().as_secs_f64()));
        }
    }

    /// Sessions without a sign of life for `limit`, with their epochs.
    pub fn silent(&self, now: Instant, limit: Duration) -> Vec<(NodeId, u64)> {
        self.table().iter().filter(|(_, s)| now.since(s.last_seen) >= limit).map(|(n, s)| (*n, s.epoch)).collect()
    }

    /// One session.
    pub fn session(&self, node: NodeId) -> Option<SessionView> {
        self.table().get(&node).map(|s| SessionView {
            epoch: s.epoch,
            readings: s.readings.clone(),
            gate: s.gate.clone(),
            last_seen: s.last_seen,
            link: link(s),
            delivered_bytes_per_s: s.measured.and_then(|m| m.delivered_bytes_per_s),
        })
    }

    /// Every node that has a session.
    pub fn connected(&self) -> Vec<NodeId> {
        self.table().keys().copied().collect()
    }

    /// Whether a node has a session.
    pub fn is_connected(&self, node: NodeId) -> bool {
        self.table().contains_key(&node)
    }

    /// Something has changed that decisions read of a node.
    pub fn touch(&self, node: NodeId) {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).insert(node);
    }

    /// The nodes that were touched since this was asked last.
    pub fn take_touched(&self) -> BTreeSet<NodeId> {
        std::mem::take(&mut *self.touched.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<NodeId, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_late_pong_and_a_stale_session_change_nothing() {
        let fleet = Fleet::default();
        let node = NodeId::from_parts(1, [1; 10]);
        let (sender, mut commands) = mpsc::channel(4);
        let run = AgentRunId::from_parts(1, [1; 10]);
        fleet.open(node, Entry { epoch: 7, run, socket: None }, sender, Instant(0));
        fleet.ping_all(|| 42);
        assert!(matches!(commands.recv().await, Some(NodeCommand::Ping(42))));
        fleet.pong(node, 41);
        assert!(fleet.session(node).unwrap().link.is_none());
        fleet.pong(node, 42);
        assert!(fleet.session(node).unwrap().link.is_some());
        fleet.close(node, 6, "old");
        assert!(fleet.is_connected(node), "an older stream's end does not close a newer session");
        assert_eq!(fleet.silent(Instant(20_000), SILENT_AFTER), vec![(node, 7)]);
        fleet.heard(node, 6, None, Instant(20_000));
        assert_eq!(fleet.silent(Instant(20_000), SILENT_AFTER).len(), 1);
    }

    #[tokio::test]
    async fn transfers_show_what_a_line_carries() {
        let fleet = Fleet::default();
        let node = NodeId::from_parts(1, [1; 10]);
        let (sender, _commands) = mpsc::channel(4);
        let run = AgentRunId::from_parts(1, [1; 10]);
        fleet.open(node, Entry { epoch: 7, run, socket: None }, sender, Instant(0));
        fleet.ping_all(|| 42);
        fleet.pong(node, 42);
        let up = || fleet.session(node).unwrap().link.unwrap().up_bytes_per_s;
        assert_eq!(up(), UNMEASURED_BYTES_PER_S);
        fleet.came_up(node, 1e6, false);
        assert_eq!(up(), 1e6);
        fleet.came_up(node, 1e3, true);
        assert_eq!(up(), 1e6, "whoever took it was slow");
        fleet.came_up(node, 2e6, true);
        assert_eq!(up(), 1.25e6);
        fleet.went_down(node, 4e6, false);
        assert_eq!(fleet.session(node).unwrap().link.unwrap().down_bytes_per_s, 4e6);
    }

    #[tokio::test]
    async fn only_the_process_that_has_the_session_can_answer_for_it() {
        let fleet = Fleet::default();
        let node = NodeId::from_parts(1, [1; 10]);
        let run = |n| AgentRunId::from_parts(1, [n; 10]);
        let (sender, mut commands) = mpsc::channel(4);
        fleet.open(node, Entry { epoch: 7, run: run(1), socket: None }, sender, Instant(0));
        assert!(fleet.probe(node, run(1), 3).is_none(), "the same process dials again");
        let (epoch, mut answer) = fleet.probe(node, run(2), 4).unwrap();
        assert!(epoch == 7 && matches!(commands.recv().await, Some(NodeCommand::Ping(4))));
        fleet.pong(node, 3);
        assert!(answer.try_recv().is_err());
        fleet.pong(node, 4);
        assert_eq!(answer.await, Ok(()));
        assert!(fleet.session(node).unwrap().link.is_none(), "it measures nothing");
    }

    #[test]
    fn pings_know_the_way_behind_a_relay() {
        let trip = |srtt_s, rttvar_s| Some(RoundTrip { srtt_s, rttvar_s });
        let relayed = (trip(0.0001, 0.0), trip(0.1, 0.01));
        assert_eq!(whole_way(relayed.0, relayed.1), relayed.1);
        assert_eq!(whole_way(trip(0.0001, 0.0), trip(0.02, 0.01)), trip(0.0001, 0.0), "a busy processor");
        assert_eq!(whole_way(trip(0.1, 0.0), trip(0.14, 0.001)), trip(0.1, 0.0));
        assert_eq!((whole_way(None, relayed.1), whole_way(relayed.0, None)), (relayed.1, relayed.0));
    }

    #[test]
    fn round_trips_are_smoothed_as_rfc_6298_has_it() {
        let first = RoundTrip::after(None, 0.100);
        assert_eq!((first.srtt_s, first.rttvar_s), (0.100, 0.050));
        let second = RoundTrip::after(Some(first), 0.200);
        assert!((second.srtt_s - 0.1125).abs() < 1e-12);
        assert!((second.rttvar_s - 0.0625).abs() < 1e-12);
    }
}
