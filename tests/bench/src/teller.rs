//! A node that is the benchmark itself, and shows how long messages are on their way: it beats far more often than an agent, and what it
//! says of its step says when it was said.

use anyhow::Context as _;
use ouro_common::device::NodeProfile;
use ouro_common::envelope::PROTOCOL_VERSION;
use ouro_common::id::{AgentRunId, BootId};
use ouro_common::module::Announcement;
use ouro_proto::channel::{ClientTls, connect};
use ouro_proto::identity::IdentityFiles;
use ouro_proto::wire::chunks_client::ChunksClient;
use ouro_proto::wire::fleet_client::FleetClient;
use ouro_proto::wire::node_message::Body;
use ouro_proto::wire::{Assign, Chunk, Document, Heartbeat, Hello, NodeMessage, Pong, server_message};
use ouro_tests::{Fleet, Node, NodeOptions, Relay};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// How often it beats.
const BEAT: Duration = Duration::from_millis(50);
/// How often it says something: as often as an agent does.
const SPACING: Duration = Duration::from_millis(50);

/// Times since it was asked last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Times(Arc<Mutex<Vec<Duration>>>);

impl Times {
    pub(crate) fn add(&self, time: Duration) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(time);
    }

    pub(crate) fn take(&self) -> Vec<Duration> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Who it is, and where it keeps its figures.
pub(crate) struct Teller {
    address: String,
    tls: ClientTls,
    profile: Document,
    announcement: Document,
    boot: BootId,
    /// What its clock counts from: chunks carry the nanoseconds since then.
    begin: Instant,
    /// From a heartbeat to its answer.
    pub(crate) beats: Times,
}

impl Teller {
    /// Joins the fleet as `name` through `relay`, with the hardware of the node `like` and nothing but builtin containers.
    pub(crate) fn join(fleet: &Fleet, relay: &Relay, (name, like): (&str, &str), begin: Instant) -> anyhow::Result<Self> {
        // The folder of a node that never starts: only its identity is used.
        let node = Node::prepare(&fleet.path(name), &NodeOptions::new(name, &[]));
        node.join(&relay.address(), &fleet.server.join_token());
        let tls = ClientTls::with_identity(&IdentityFiles::new(node.home().join("agent/identity")))?;
        let claims = fleet.claims_of(like);
        let mut announcement: Announcement = serde_json::from_str(&claims.announcement)?;
        announcement.placements.retain(|placement| placement.slot == "builtin");
        let profile: NodeProfile = serde_json::from_str(&claims.profile)?;
        let document = |schema: &str, json| Document { schema: schema.into(), json };
        Ok(Self {
            address: relay.address(),
            tls,
            profile: document("ouroboros.profile/1", serde_json::to_vec(&profile)?),
            announcement: document("ouroboros.announcement/1", serde_json::to_vec(&announcement)?),
            boot: BootId::from_parts(1, [7; 10]),
            begin,
            beats: Times::default(),
        })
    }

    /// One session, to its end.
    pub(crate) async fn live(self) -> anyhow::Result<()> {
        let channel = connect(&self.address, &self.tls).await?;
        let hello = Hello {
            version_min: PROTOCOL_VERSION,
            version_max: PROTOCOL_VERSION,
            boot_id: self.boot.to_string(),
            agent_run: AgentRunId::from_parts(1, [7; 10]).to_string(),
            profile: Some(self.profile.clone()),
            holding: vec![],
            spooled: vec![],
        };
        let (sender, messages) = mpsc::channel(64);
        let say = async |body| sender.send(NodeMessage { body: Some(body) }).await.context("the session has ended");
        say(Body::Hello(hello)).await?;
        say(Body::Announcement(self.announcement.clone())).await?;
        let opened = FleetClient::new(channel.clone()).session(ReceiverStream::new(messages)).await?;
        let mut answers = opened.into_inner();
        let mut beat = tokio::time::interval(BEAT);
        let mut sent: Vec<Instant> = vec![];
        loop {
            tokio::select! {
                _ = beat.tick() => {
                    sent.push(Instant::now());
                    say(Body::Heartbeat(Heartbeat { sequence: sent.len() as u64, readings: None })).await?;
                }
                answer = answers.message() => match answer?.context("the session has ended")?.body {
                    Some(server_message::Body::HeartbeatAck(ack)) => {
                        let asked = usize::try_from(ack.sequence)?.checked_sub(1).and_then(|n| sent.get(n));
                        self.beats.add(asked.context("an answer to a heartbeat that was not sent")?.elapsed());
                    }
                    Some(server_message::Body::Ping(ping)) => say(Body::Pong(Pong { nonce: ping.nonce })).await?,
                    Some(server_message::Body::Assign(step)) => {
                        // On the connection of the session, as agents do.
                        tokio::spawn(talk(ChunksClient::new(channel.clone()), step, self.begin));
                    }
                    _ => {}
                },
            }
        }
    }
}

/// Says what time it is, again and again.
async fn talk(mut client: ChunksClient<tonic::transport::Channel>, step: Assign, begin: Instant) {
    let (sender, chunks) = mpsc::channel(16);
    tokio::spawn(async move {
        let mut offset = 0;
        loop {
            let data = stamp(begin).to_vec();
            let length = data.len() as u64;
            if sender.send(Chunk { attempt: step.attempt.clone(), offset, data }).await.is_err() {
                return;
            }
            offset += length;
            tokio::time::sleep(SPACING).await;
        }
    });
    // It ends with the session.
    let _ = client.push(ReceiverStream::new(chunks)).await;
}

/// Nanoseconds since `begin`.
fn stamp(begin: Instant) -> [u8; 8] {
    u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX).to_le_bytes()
}

/// How long ago what was said was said.
pub(crate) fn ages(data: &[u8], begin: Instant) -> Vec<Duration> {
    let now = begin.elapsed();
    let said = data.chunks_exact(8).filter_map(|stamp| Some(u64::from_le_bytes(stamp.try_into().ok()?)));
    said.map(|nanos| now.saturating_sub(Duration::from_nanos(nanos))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_tells_its_age() {
        let begin = Instant::now();
        let said = [stamp(begin), stamp(begin)].concat();
        std::thread::sleep(Duration::from_millis(3));
        let ages = ages(&said, begin);
        assert_eq!(ages.len(), 2);
        assert!(ages[0] >= ages[1] && ages[1] >= Duration::from_millis(3), "{ages:?}");
    }
}
