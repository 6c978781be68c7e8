//! A node's control stream: what comes up is turned into store verbs, what goes down are the fleet's commands.

use super::riding::with_small_inputs;
use super::{Caller, fault_status, store_status};
use crate::fleet::{Entry, NodeCommand};
use crate::log_calls::LogPiece;
use crate::node_events::{self, NodeEvent};
use crate::store::{Arrival, LiveAttempt, OpenedSession, OutputRecord, SessionEnd, StoreError};
use crate::world::World;
use futures::stream::{FuturesUnordered, StreamExt as _, TryStreamExt as _};
use ouro_common::device::{NodeProfile, Readings};
use ouro_common::envelope::Principal;
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::{AgentRunId, AttemptKey, NodeId};
use ouro_common::module::Announcement;
use ouro_common::step::{FailureClass, LossReason};
use ouro_proto::channel::{ConnectInfo, PeerSocket};
use ouro_proto::convert::{attempt_from_wire, attempt_to_wire, digest_from_wire, digest_to_wire, read_document, status_of};
use ouro_proto::identity::Role;
use ouro_proto::wire;
use ouro_proto::wire::fleet_server::Fleet;
use ouro_proto::wire::{
    Assign, CancelAttempt, Forget, Hello, NodeMessage, Output, Ping, ResultAck, SendBlob, SendLog, ServerMessage, StepInput, Welcome,
    node_message, server_message::Body,
};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Messages on their way to a node; a node that does not keep up is told again by the sweep.
const QUEUE: usize = 1024;

/// The process that has a node's session answers a ping within this time, or another process may have it.
const PROBE: Duration = Duration::from_secs(3);

/// Results of one node that are committed at the same time.
const RESULTS: usize = 64;

/// The service.
pub(super) struct FleetService(pub(super) Arc<World>);

type Down = mpsc::Sender<Result<ServerMessage, Status>>;

#[tonic::async_trait]
impl Fleet for FleetService {
    type SessionStream = ReceiverStream<Result<ServerMessage, Status>>;

    async fn session(&self, request: Request<Streaming<NodeMessage>>) -> Result<Response<Self::SessionStream>, Status> {
        let node = match request.extensions().get::<Caller>().map(|c| c.0.role.clone()) {
            Some(Role::Node(id)) => id,
            _ => return Err(Status::permission_denied("only nodes have sessions")),
        };
        let socket = request.extensions().get::<ConnectInfo>().map(|info| info.socket);
        let mut up = request.into_inner();
        let hello = match up.message().await?.and_then(|m| m.body) {
            Some(node_message::Body::Hello(hello)) => hello,
            _ => return Err(fault_status(Fault::new(FaultCode::InvalidArgument, "a session begins with hello"))),
        };
        let (down, stream) = mpsc::channel(QUEUE);
        let (commands, queue) = mpsc::channel(QUEUE);
        let epoch = open(&self.0, (node, socket), &hello, &down, commands).await?;
        tokio::spawn(send_down(self.0.clone(), queue, down));
        tokio::spawn(receive_up(self.0.clone(), node, epoch, up));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// Opens the session in the store and in the fleet; answers with the welcome.
async fn open(
    world: &World,
    (node, socket): (NodeId, Option<PeerSocket>),
    hello: &Hello,
    down: &Down,
    commands: mpsc::Sender<NodeCommand>,
) -> Result<u64, Status> {
    let invalid = |field: &'static str| {
        move |e: ouro_common::id::IdError| fault_status(Fault::new(FaultCode::InvalidArgument, e.to_string()).at(field))
    };
    let version = ouro_proto::compat::agree(hello.version_min, hello.version_max).ok_or_else(|| {
        let problem = format!("the agent speaks protocol versions {} to {}, this server does not", hello.version_min, hello.version_max);
        fault_status(Fault::new(FaultCode::VersionMismatch, problem).remedy("update the older of the two"))
    })?;
    let run = hello.agent_run.parse().map_err(invalid("agent_run"))?;
    let boot = hello.boot_id.parse().map_err(invalid("boot_id"))?;
    let profile: NodeProfile = read_document(hello.profile.as_ref(), "ouroboros.profile/1").map_err(fault_status)?;
    let holding: Result<Vec<AttemptKey>, Fault> = hello.holding.iter().map(|k| attempt_from_wire(Some(k))).collect();
    let holding = holding.map_err(fault_status)?;
    let old_session_answers = old_session_answers(world, node, run).await;
    let arrival = Arrival { instance: world.instance, run, boot, old_session_answers };
    let opened = world.store.open_session(node, arrival).await.map_err(store_status)?;
    let (epoch, name, admin, live, previous) = match opened {
        OpenedSession::Open { session_epoch, name, admin, live, previous } => (session_epoch, name, admin, live, previous),
        OpenedSession::Removed => {
            let fault = Fault::new(FaultCode::PermissionDenied, "this node was removed from the fleet");
            return Err(fault_status(fault.remedy("join again with a new token after deleting its identity")));
        }
        OpenedSession::Cloned => {
            let fault = Fault::new(FaultCode::Cloned, "a process with the same identity is connected and answers: this one has a copy");
            return Err(fault_status(
                fault.remedy("keep one of the two; delete the identity of the other and join it with a new token"),
            ));
        }
        OpenedSession::Unknown => return Err(fault_status(Fault::new(FaultCode::NotFound, "this node is not of this fleet"))),
    };
    world.store.put_profile(node, &profile).await.map_err(store_status)?;
    let welcome = Welcome {
        version,
        session_epoch: epoch,
        node_name: name.clone(),
        admin: admin.to_string(),
        trusted_keys: world.trusted.lines(),
    };
    let _ = down.send(Ok(ServerMessage { body: Some(Body::Welcome(welcome)) })).await;
    world.fleet.open(node, Entry { epoch, run, socket }, commands, world.store.now());
    world.absences.returned(node, world.store.now());
    world.fleet.ping_all(rand::random);
    world.node_changed(node);
    let restarted = previous.is_some_and(|(previous_run, _)| previous_run != run);
    settle(world, node, live, &holding, restarted).await.map_err(store_status)?;
    tracing::info!(%node, name, epoch, "a node is connected");
    world.doorbell.notify_one();
    Ok(epoch)
}

/// The epoch of the session that another process of the same node has and answers a ping through.
async fn old_session_answers(world: &World, node: NodeId, run: AgentRunId) -> Option<u64> {
    let (epoch, pong) = world.fleet.probe(node, run, rand::random())?;
    // A process that ended takes its connection with it; only one that hangs is waited for.
    tokio::time::timeout(PROBE, pong).await.ok()?.ok().map(|()| epoch)
}

/// Compares what the store says the node has with what the node says: the rest is told again, or taken back after a restart.
async fn settle(world: &World, node: NodeId, live: Vec<LiveAttempt>, holding: &[AttemptKey], restarted: bool) -> Result<(), StoreError> {
    let held: BTreeSet<&AttemptKey> = holding.iter().collect();
    for key in holding {
        world.fleet.knows(node, key.clone());
        // What the node holds but the store has not is stale: its result will be answered so, its run is stopped.
        if !live.iter().any(|a| &a.key == key) {
            world.fleet.tell(node, NodeCommand::Cancel(key.clone(), "another attempt has taken its place".into()));
        }
    }
    if restarted {
        for key in world.store.release_attempts(node, LossReason::AgentRestarted, holding).await? {
            world.live.end(&key, world.store.now());
            world.watchers.ring(key.request);
        }
        return Ok(());
    }
    for attempt in live.into_iter().filter(|a| !held.contains(&a.key)) {
        world.fleet.tell(node, NodeCommand::Assign(Box::new(attempt)));
    }
    Ok(())
}

async fn send_down(world: Arc<World>, mut queue: mpsc::Receiver<NodeCommand>, down: Down) {
    while let Some(command) = queue.recv().await {
        let command = match command {
            NodeCommand::Assign(attempt) => NodeCommand::Assign(Box::new(with_small_inputs(&world, *attempt).await)),
            other => other,
        };
        let close = matches!(command, NodeCommand::Close(_));
        let message = match command_to_wire(command) {
            Ok(body) => Ok(ServerMessage { body: Some(body) }),
            Err(fault) => Err(status_of(&fault)),
        };
        if down.send(message).await.is_err() || close {
            return;
        }
    }
}

fn command_to_wire(command: NodeCommand) -> Result<Body, Fault> {
    Ok(match command {
        NodeCommand::Assign(attempt) => Body::Assign(assign_to_wire(*attempt)),
        NodeCommand::Cancel(key, why) => Body::Cancel(CancelAttempt { attempt: Some(attempt_to_wire(&key)), why }),
        NodeCommand::Ack(key, verdict) => Body::Ack(ResultAck { attempt: Some(attempt_to_wire(&key)), verdict: verdict.to_string() }),
        NodeCommand::SendBlob(digest) => Body::SendBlob(SendBlob { digest: Some(digest_to_wire(&digest)) }),
        NodeCommand::Forget(digests) => Body::Forget(Forget { digests: digests.iter().map(digest_to_wire).collect() }),
        NodeCommand::SendLog(question) => Body::SendLog(SendLog {
            call: question.call,
            attempt: Some(attempt_to_wire(&question.key)),
            offset: question.offset,
            wait_ms: u32::try_from(question.wait.as_millis()).unwrap_or(u32::MAX),
        }),
        NodeCommand::Ping(nonce) => Body::Ping(Ping { nonce }),
        NodeCommand::HeartbeatAck(sequence) => Body::HeartbeatAck(wire::HeartbeatAck { sequence }),
        NodeCommand::TrustedKeys(keys) => Body::TrustedKeys(wire::TrustedKeys { keys }),
        NodeCommand::Close(why) => return Err(Fault::new(FaultCode::ServerUnreachable, why)),
    })
}

fn assign_to_wire(attempt: LiveAttempt) -> Assign {
    let known = attempt.inputs.into_iter().map(|(port, tag)| StepInput {
        port: port.to_string(),
        tag: tag.tag.to_string(),
        media: tag.media,
        digest: Some(digest_to_wire(&tag.digest)),
        size_bytes: tag.size_bytes,
        inline: tag.inline,
        ..StepInput::default()
    });
    let mut inputs: Vec<StepInput> = known.collect();
    for input in attempt.pending {
        let pending = StepInput {
            port: input.port.to_string(),
            tag: input.tag.to_string(),
            made_by: Some(attempt_to_wire(&input.made_by)),
            made_port: input.made_port.to_string(),
            ..StepInput::default()
        };
        inputs.insert(input.place.min(inputs.len()), pending);
    }
    Assign {
        attempt: Some(attempt_to_wire(&attempt.key)),
        container: attempt.step.container.to_string(),
        container_digest: Some(digest_to_wire(&attempt.step.digest)),
        params_json: attempt.step.params.to_string().into_bytes(),
        inputs,
        outputs: attempt.step.outputs.iter().map(|(port, tag)| (port.to_string(), tag.to_string())).collect(),
        budget_ms: attempt.remaining_ms,
        answers: attempt.answers,
        scope: scope_of(&attempt.principal),
    }
}

/// A word for whoever asked, the same for all of his requests: it tells nodes what may be reused for whom, and names nobody.
fn scope_of(principal: &Principal) -> String {
    let key = blake3::derive_key("ouroboros 2026 reuse among requests of one principal", principal.to_string().as_bytes());
    blake3::Hash::from_bytes(key).to_hex().to_string()
}

/// Takes what a node says until its session ends. Results are committed side by side, so that they share the disk's flush;
/// whatever else changes the store comes after all that was said before it.
async fn receive_up(world: Arc<World>, node: NodeId, epoch: u64, mut up: Streaming<NodeMessage>) {
    let mut results = FuturesUnordered::new();
    // The node keeps its results until they are acknowledged; a new session delivers them again.
    let refused = |error: StoreError| SessionEnd::Lost(format!("the store refused: {error}"));
    let end = loop {
        let message = tokio::select! {
            Some(taken) = results.next() => match taken {
                Ok(()) => continue,
                Err(error) => break refused(error),
            },
            message = up.message(), if results.len() < RESULTS => message,
        };
        let event = match message {
            Ok(Some(NodeMessage { body: Some(body) })) => match event_from_wire(body) {
                Ok(event) => event,
                Err(fault) => break SessionEnd::Lost(format!("a malformed message: {fault}")),
            },
            Ok(Some(_)) => continue,
            Ok(None) => break SessionEnd::Left,
            Err(status) => break SessionEnd::Lost(format!("the connection broke: {}", status.message())),
        };
        let is_result = matches!(event, NodeEvent::Finished { .. });
        let is_sign_of_life = matches!(event, NodeEvent::Heartbeat { .. } | NodeEvent::Pong(_) | NodeEvent::Log(..));
        let handled = node_events::handle(&world, node, epoch, event);
        if is_result {
            results.push(handled);
            continue;
        }
        let before = if is_sign_of_life { Ok(()) } else { results.by_ref().try_collect().await };
        if let Err(error) = before {
            break refused(error);
        }
        if let Err(error) = handled.await {
            break refused(error);
        }
    };
    // What the store has begun to take is taken to its end, that nobody waits for it in vain.
    while results.next().await.is_some() {}
    drop(results);
    tracing::info!(%node, epoch, why = end.words(), "a session ended");
    if world.fleet.close(node, epoch, end.words()) {
        world.absences.left(node, world.store.now());
    }
    if let Err(error) = world.store.close_session(node, epoch, end).await {
        tracing::warn!(%node, %error, "the end of a session could not be recorded");
    }
    world.node_changed(node);
    world.doorbell.notify_one();
}

fn event_from_wire(body: node_message::Body) -> Result<NodeEvent, Fault> {
    use node_message::Body as Up;
    Ok(match body {
        Up::Hello(_) => return Err(Fault::new(FaultCode::InvalidArgument, "hello comes once")),
        Up::Heartbeat(beat) => {
            let readings: Option<Readings> = match &beat.readings {
                None => None,
                some => Some(read_document(some.as_ref(), "ouroboros.readings/1")?),
            };
            NodeEvent::Heartbeat { sequence: beat.sequence, readings: readings.map(Box::new) }
        }
        Up::Announcement(document) => {
            let announcement: Announcement = read_document(Some(&document), "ouroboros.announcement/1")?;
            NodeEvent::Announced(announcement)
        }
        Up::Profile(document) => NodeEvent::Profile(Box::new(read_document(Some(&document), "ouroboros.profile/1")?)),
        Up::StepFailed(failed) => {
            let class = usize::try_from(failed.failure_class)
                .ok()
                .and_then(|n| n.checked_sub(1))
                .and_then(|i| FailureClass::ALL.get(i));
            let evidence = match &failed.evidence {
                None => None,
                some => Some(read_document(some.as_ref(), "ouroboros.evidence/1")?),
            };
            let class = *class.ok_or_else(|| Fault::new(FaultCode::InvalidArgument, "unknown failure class").at("failure_class"))?;
            NodeEvent::Failed { key: attempt_from_wire(failed.attempt.as_ref())?, class, why: failed.why, evidence }
        }
        Up::StepResult(result) => {
            let outputs: Result<Vec<_>, Fault> = result.outputs.into_iter().map(output_from_wire).collect();
            let phases_ms = result.phases_ms.into_iter().filter(|(_, ms)| ms.is_finite()).collect();
            NodeEvent::Finished { key: attempt_from_wire(result.attempt.as_ref())?, outputs: outputs?, phases_ms }
        }
        Up::LogPart(part) => {
            let piece = LogPiece { offset: part.offset, data: part.data, last: part.last };
            NodeEvent::Log(part.call, part.found.then_some(piece))
        }
        Up::Pong(pong) => NodeEvent::Pong(pong.nonce),
        Up::BlobMissing(missing) => NodeEvent::BlobMissing(digest_from_wire(missing.digest.as_ref(), "digest")?),
    })
}

fn output_from_wire(output: Output) -> Result<OutputRecord, Fault> {
    Ok(OutputRecord {
        port: output.port.parse().map_err(|e| Fault::new(FaultCode::InvalidArgument, format!("{e}")).at("output.port"))?,
        media: output.media,
        digest: digest_from_wire(output.digest.as_ref(), "output.digest")?,
        size_bytes: output.size_bytes,
        inline: output.inline,
        on_server: output.on_server,
    })
}
