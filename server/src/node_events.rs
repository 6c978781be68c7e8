//! What nodes say, and what becomes of it: each event is one or two store verbs and a ring at the door.

use crate::fleet::NodeCommand;
use crate::log_calls::LogPiece;
use crate::reconcile::stop_attempts;
use crate::store::{CommitOutcome, Ended, FailOutcome, OutputRecord, StoreError};
use crate::world::World;
use ouro_common::device::{NodeProfile, Readings};
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::{AttemptKey, Digest, NodeId, RequestId};
use ouro_common::mfpi::ActualPhases;
use ouro_common::module::Announcement;
use ouro_common::step::{AckVerdict, Evidence, FailureClass, RequestState, StepVerdict};
use std::collections::BTreeMap;
use std::sync::PoisonError;

/// Something a node said.
#[derive(Debug)]
pub enum NodeEvent {
    /// It lives; its readings, if they changed.
    Heartbeat {
        /// To be acknowledged.
        sequence: u64,
        /// What changed.
        readings: Option<Box<Readings>>,
    },
    /// What it offers.
    Announced(Announcement),
    /// What it is, since that changed.
    Profile(Box<NodeProfile>),
    /// An attempt failed.
    Failed {
        /// Which.
        key: AttemptKey,
        /// How.
        class: FailureClass,
        /// In words.
        why: String,
        /// What speaks for guilt.
        evidence: Option<Evidence>,
    },
    /// An attempt has results.
    Finished {
        /// Which.
        key: AttemptKey,
        /// What it wrote.
        outputs: Vec<OutputRecord>,
        /// Where its time went, ms by phase.
        phases_ms: BTreeMap<String, f64>,
    },
    /// The answer to a ping.
    Pong(u64),
    /// It does not have a blob that it was asked for.
    BlobMissing(Digest),
    /// A part of what an attempt said, to this question; or that there is no such log.
    Log(u64, Option<LogPiece>),
}

/// Carries out what an event means.
///
/// # Errors
/// When the store refuses; the node will say it again in its next session.
pub async fn handle(world: &World, node: NodeId, epoch: u64, event: NodeEvent) -> Result<(), StoreError> {
    match event {
        NodeEvent::Heartbeat { sequence, readings } => {
            let freed = readings.is_some();
            let moved = world.fleet.heard(node, epoch, readings.map(|r| *r), world.store.now());
            world.fleet.tell(node, NodeCommand::HeartbeatAck(sequence));
            if let Some(gate) = &moved {
                let words = gate.why().unwrap_or("it may be given anything again");
                world.store.note_gate(node, gate.level(), words).await?;
            }
            if freed || moved.is_some() {
                world.doorbell.notify_one();
            }
        }
        NodeEvent::Announced(mut announcement) => {
            world.trusted.check(&mut announcement);
            world.store.announce(node, epoch, &announcement).await?;
            let ready = announcement.ready_containers().count();
            tracing::info!(%node, modules = announcement.placements.len(), containers = ready, "announced");
            world.node_changed(node);
            world.doorbell.notify_one();
        }
        NodeEvent::Profile(profile) => {
            world.store.put_profile(node, &profile).await?;
            world.node_changed(node);
            world.doorbell.notify_one();
        }
        NodeEvent::Failed { key, class, why, evidence } => failed(world, node, &key, (class, why, evidence)).await?,
        NodeEvent::Finished { key, outputs, phases_ms } => finished(world, node, &key, outputs, phases_ms).await?,
        NodeEvent::Pong(nonce) => world.fleet.pong(node, nonce),
        NodeEvent::Log(call, piece) => world.log_calls.answer(node, call, piece),
        NodeEvent::BlobMissing(digest) => {
            let fault = Fault::new(FaultCode::NotFound, "the node that made it does not have it any more").at(digest);
            world.relay.refuse(&digest, fault).await;
            world.store.drop_holder(node, Some(digest)).await?;
            world.doorbell.notify_one();
        }
    }
    Ok(())
}

async fn finished(
    world: &World,
    node: NodeId,
    key: &AttemptKey,
    outputs: Vec<OutputRecord>,
    phases_ms: BTreeMap<String, f64>,
) -> Result<(), StoreError> {
    if let Err(why) = check(world, &outputs) {
        return failed(world, node, key, (FailureClass::Error, why, None)).await;
    }
    let outcome = match world.store.commit_result(key, node, outputs, phases_ms.clone()).await {
        // Ports that the plan does not have: the container broke its contract.
        Err(StoreError::NotFound { what, id }) => {
            return failed(world, node, key, (FailureClass::Error, format!("its result has no {what} {id}"), None)).await;
        }
        other => other?,
    };
    let verdict = match outcome {
        CommitOutcome::Committed { .. } => AckVerdict::Committed,
        CommitOutcome::Repeat => AckVerdict::Repeat,
        CommitOutcome::Stale => AckVerdict::Stale,
        CommitOutcome::NotYours => AckVerdict::NotYours,
    };
    world.fleet.tell(node, NodeCommand::Ack(key.clone(), verdict));
    if verdict == AckVerdict::NotYours {
        return Ok(());
    }
    world.fleet.attempt_ended(node, key);
    world.claims.forget(&(key.request, key.plan, key.step.clone()));
    let ended = world.live.end(key, world.store.now());
    if let (AckVerdict::Committed, Some(ended)) = (verdict, ended) {
        let told = ActualPhases::from_ms(&phases_ms);
        let actual = ended.held_s.map_or(told, |held_s| told.as_seen(held_s - ended.terms.net_s));
        let mut lessons = world.lessons.lock().unwrap_or_else(PoisonError::into_inner);
        lessons.learn(node, ended.container, &ended.terms, &actual);
    }
    if let CommitOutcome::Committed { request_done, .. } = outcome {
        world.node_committed(node);
        if request_done {
            stop_rest(world, key.request, RequestState::Done);
        }
        world.watchers.ring(key.request);
    }
    world.doorbell.notify_one();
    Ok(())
}

/// A result must hash to what it says, and what it says is on the server must be there.
fn check(world: &World, outputs: &[OutputRecord]) -> Result<(), String> {
    for output in outputs {
        if let Some(bytes) = &output.inline
            && (Digest::blake3(bytes) != output.digest || bytes.len() as u64 != output.size_bytes)
        {
            return Err(format!("the output {} does not hash to its digest", output.port));
        }
        if output.on_server && !world.blobs.contains(&output.digest) {
            return Err(format!("the output {} is said to be on the server and is not", output.port));
        }
    }
    Ok(())
}

async fn failed(
    world: &World,
    node: NodeId,
    key: &AttemptKey,
    (class, why, evidence): (FailureClass, String, Option<Evidence>),
) -> Result<(), StoreError> {
    let outcome = world.store.fail_attempt(key, node, class, &why, evidence).await?;
    let verdict = match &outcome {
        FailOutcome::NotYours => AckVerdict::NotYours,
        FailOutcome::Stale => AckVerdict::Stale,
        FailOutcome::Judged(_) => AckVerdict::Committed,
    };
    world.fleet.tell(node, NodeCommand::Ack(key.clone(), verdict));
    if verdict == AckVerdict::NotYours {
        return Ok(());
    }
    tracing::info!(%key, %node, class = class.name(), why, ?outcome, "a step failed");
    world.fleet.attempt_ended(node, key);
    world.live.end(key, world.store.now());
    // Its container may be switched off there now.
    world.node_changed(node);
    if matches!(outcome, FailOutcome::Judged(StepVerdict::Failed | StepVerdict::Poisoned)) {
        stop_rest(world, key.request, RequestState::Failed);
    }
    world.watchers.ring(key.request);
    world.doorbell.notify_one();
    Ok(())
}

/// The request has ended: what still runs for it is stopped.
fn stop_rest(world: &World, request: RequestId, state: RequestState) {
    stop_attempts(world, &Ended { request, state, attempts: world.live.of_request(request) });
}
