//! The nodes that are connected now: their sessions, readings and round trips. Soft state, rebuilt after a restart.
//!
//! Commands to nodes are data; the API turns them into messages. Nothing here is truth: the store's rows are.

use line::Line;

mod line;

use crate::log_calls::LogQuestion;
use crate::store::LiveAttempt;
use ouro_common::clock::Instant;
use ouro_common::device::Readings;
use ouro_common::id::{AgentRunId, AttemptKey, Digest, NodeId};
use ouro_common::mfpi::LinkFactors;
use ouro_common::mfpi::threshold::{self, Gate, GateState};
use ouro_common::step::AckVerdict;
use ouro_proto::channel::PeerSocket;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Without a heartbeat for so long a node gets nothing new.
pub const SUSPECT_AFTER: Duration = Duration::from_secs(15);
/// Without a heartbeat for so long its session is closed.
pub const SILENT_AFTER: Duration = Duration::from_secs(20);

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
    socket: Option<PeerSocket>,
    line: Line,
    ping: Option<(u64, std::time::Instant)>,
    told: BTreeSet<AttemptKey>,
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
            socket: entry.socket,
            line: Line::default(),
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
            if session.line.measured(fresh) {
                self.touch(*node);
            }
        }
    }

    /// A blob came from a node at this rate, bytes per second. `held_up`: somebody slower took it.
    pub fn came_up(&self, node: NodeId, bytes_per_s: f64, held_up: bool) {
        self.carried(node, |line| line.came_up(bytes_per_s, held_up));
    }

    /// A blob went to a node, at the rate at which it was handed over and the one that the kernel saw, bytes per second, where they tell
    /// something. `held_up`: it came from somebody slower.
    pub fn went_down(&self, node: NodeId, counted: Option<f64>, kernel: Option<f64>, held_up: bool) {
        self.carried(node, |line| line.went_down((counted, kernel), held_up));
    }

    fn carried(&self, node: NodeId, change: impl FnOnce(&mut Line) -> bool) {
        let moved = self.table().get_mut(&node).is_some_and(|session| change(&mut session.line));
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
            session.line.pinged(sent.elapsed());
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
            link: s.line.factors(),
            delivered_bytes_per_s: s.line.delivered_bytes_per_s(),
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
}
