//! Once a second: silent sessions, lost nodes, deadlines, attempts that a node was not told of, and what can be forgotten.

use super::place::stop_attempts;
use crate::absences::GRACE;
use crate::fleet::{NodeCommand, SILENT_AFTER, SUSPECT_AFTER};
use crate::store::{LessonRecord, SessionEnd, StoreError};
use crate::world::World;
use ouro_common::clock::Instant;
use ouro_common::step::{AdminState, LossReason};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// After this process started, nodes of its predecessor have so long to come back.
const START_GRACE: Duration = Duration::from_secs(90);
/// How often nodes are pinged.
const PING_EVERY: Duration = Duration::from_secs(5);
/// How often old requests are collected.
const COLLECT_EVERY: Duration = Duration::from_secs(60);
/// How long tags are kept after the end of their request.
const KEEP_TAGS: Duration = Duration::from_secs(3600);
/// How long traces are kept.
const KEEP_TRACES: Duration = Duration::from_secs(7 * 24 * 3600);
/// Requests that end or are collected in one pass.
const BATCH: usize = 256;
/// How often it is kept what runs have taught. A process that is killed forgets as much.
const KEEP_LESSONS_EVERY: Duration = Duration::from_secs(30);

/// What the sweep remembers between its rounds.
#[derive(Default)]
pub(super) struct Sweeper {
    started: Option<Instant>,
    pinged: Instant,
    collected: Instant,
    lessons_kept: Instant,
}

impl Sweeper {
    pub(super) async fn sweep(&mut self, world: &Arc<World>) -> Result<(), StoreError> {
        let now = world.store.now();
        let started = *self.started.get_or_insert(now);
        for (node, epoch) in world.fleet.silent(now, SILENT_AFTER) {
            let why = "no heartbeat for 20 s";
            world.fleet.close(node, epoch, why);
            world.store.close_session(node, epoch, SessionEnd::Lost(why.into())).await?;
            world.node_changed(node);
        }
        // What time alone changes: who is silent is suspect, and what was switched off is on again.
        world.fleet.silent(now, SUSPECT_AFTER).into_iter().for_each(|(node, _)| world.fleet.touch(node));
        world.nodes().await?.iter().filter(|n| !n.switched_off.is_empty()).for_each(|n| world.fleet.touch(n.id));
        release_lost(world, now.since(started)).await?;
        for ended in world.store.expire(BATCH).await? {
            stop_attempts(world, &ended);
        }
        tell_untold(world).await?;
        empty_leaving(world, now).await?;
        if world.trusted.look() {
            tell_trusted(world);
        }
        if now.since(self.pinged) >= PING_EVERY {
            self.pinged = now;
            world.fleet.ping_all(rand::random);
            world.fleet.measure_all();
        }
        if now.since(self.collected) >= COLLECT_EVERY {
            self.collected = now;
            collect(world).await?;
        }
        if now.since(self.lessons_kept) >= KEEP_LESSONS_EVERY {
            self.lessons_kept = now;
            keep_lessons(world).await?;
        }
        Ok(())
    }
}

/// Keeps what runs have taught since the last time, if they have.
pub(super) async fn keep_lessons(world: &World) -> Result<(), StoreError> {
    let unkept = world.lessons.lock().unwrap_or_else(PoisonError::into_inner).take_unkept();
    if unkept.is_empty() {
        return Ok(());
    }
    let record = |(node, container, residuals)| LessonRecord { node, container, residuals };
    world.store.keep_lessons(unkept.into_iter().map(record).collect()).await
}

/// The keys have changed: nodes judge their modules anew and announce what follows.
pub(crate) fn tell_trusted(world: &World) {
    let lines = world.trusted.lines();
    tracing::info!(keys = lines.len(), "the trusted keys have changed");
    for node in world.fleet.connected() {
        world.fleet.tell(node, NodeCommand::TrustedKeys(lines.clone()));
    }
}

/// Takes back the steps of nodes that did not come back in time. Loss is not guilt: nothing counts against anybody.
async fn release_lost(world: &World, uptime: Duration) -> Result<(), StoreError> {
    let lost = world.store.lost_nodes(GRACE).await?;
    if lost.is_empty() {
        return Ok(());
    }
    let nodes = world.store.nodes().await?;
    let (connected, now) = (world.fleet.connected().len(), world.store.now());
    for node in lost {
        let session = nodes.iter().find(|n| n.id == node).and_then(|n| n.session.as_ref());
        let of_predecessor = session.is_some_and(|s| s.instance != world.instance);
        let waits = world.absences.stays(node, connected, now);
        if waits || (of_predecessor && uptime < START_GRACE) {
            continue;
        }
        for key in world.store.release_attempts(node, LossReason::NodeLost, &[]).await? {
            tracing::info!(%key, %node, "a step went back: its node was lost");
            world.live.end(&key, world.store.now());
            world.watchers.ring(key.request);
        }
        world.store.drop_holder(node, None).await?;
        world.doorbell.notify_one();
    }
    Ok(())
}

/// Messages are doorbells and can be lost: an attempt in the store that its node's session was not told of is told again.
async fn tell_untold(world: &World) -> Result<(), StoreError> {
    let rows = world.store.live_attempts(None).await?;
    world.live.correct(&rows);
    for attempt in rows {
        if world.fleet.is_connected(attempt.node) && !world.fleet.was_told(attempt.node, &attempt.key) {
            world.fleet.tell(attempt.node, NodeCommand::Assign(Box::new(attempt)));
        }
    }
    Ok(())
}

/// Fetches what nodes that leave hold alone and somebody still needs, and says when nothing is left.
async fn empty_leaving(world: &World, now: Instant) -> Result<(), StoreError> {
    let rows = world.nodes().await?;
    let leaving = |id| rows.iter().any(|row| row.id == id && row.admin == AdminState::Draining);
    world.handovers.keep_only(leaving);
    for row in rows.iter().filter(|row| row.admin == AdminState::Draining && world.fleet.is_connected(row.id)) {
        let next = world.store.held_alone(row.id, 1).await?.pop();
        match next {
            Some((blob, size_bytes)) => {
                if let Err(fault) = world.blobs.admit(size_bytes) {
                    tracing::warn!(node = row.name, %blob, %fault, "what a draining node holds stays there; it is made again if the node goes");
                } else if world.handovers.ask(row.id, blob, now) {
                    tracing::info!(node = row.name, %blob, size_bytes, "a draining node hands over what it alone holds");
                    world.fleet.tell(row.id, NodeCommand::SendBlob(blob));
                }
            }
            None if world.live.is_idle(row.id) && world.handovers.done(row.id) => world.store.note_drained(row.id).await?,
            None => {}
        }
    }
    Ok(())
}

async fn collect(world: &World) -> Result<(), StoreError> {
    let digests = world.store.collect(KEEP_TAGS, KEEP_TRACES, BATCH).await?;
    for digest in &digests {
        world.blobs.remove(digest);
    }
    if !digests.is_empty() {
        for node in world.nodes().await?.iter() {
            world.fleet.tell(node.id, NodeCommand::Forget(digests.clone()));
        }
    }
    let running: std::collections::BTreeSet<_> = world.store.live_attempts(None).await?.into_iter().map(|a| a.key.request).collect();
    world.watchers.forget_idle(|id| !running.contains(id));
    Ok(())
}
