//! The reconciler: woken by a doorbell or once a second, it looks at the whole state and does what is to be done.
//!
//! One code path for the first run, the retry and the crash. What it decides is decided by pure functions.

pub use claims::Claims;
pub use live::LiveAttempts;
pub(crate) use place::stop_attempts;
pub(crate) use plan::interpret;
pub use snapshot::{columns, decide_now, hypothetical_steps, step_state};
pub(crate) use sweep::tell_trusted;

mod claims;
mod companions;
mod live;
mod place;
mod plan;
mod snapshot;
mod sweep;

use crate::store::StoreError;
use crate::world::World;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often it looks without being woken.
const PERIOD: Duration = Duration::from_secs(1);
/// How long it pauses when the store cannot be used, so that a full disk is not hammered.
const TROUBLE_PAUSE: Duration = Duration::from_secs(1);

/// Runs until `drain` turns true.
pub async fn run(world: Arc<World>, mut drain: watch::Receiver<bool>) {
    let mut sweeper = sweep::Sweeper::default();
    let mut period = tokio::time::interval(PERIOD);
    period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let ticked = tokio::select! {
            _ = period.tick() => true,
            () = world.doorbell.notified() => false,
            _ = drain.changed() => break,
        };
        if let Err(error) = pass(&world, &mut sweeper, ticked).await {
            tracing::warn!(%error, "the state could not be reconciled; trying again");
            tokio::time::sleep(TROUBLE_PAUSE).await;
        }
    }
    if let Err(error) = sweep::keep_lessons(&world).await {
        tracing::warn!(%error, "what runs have taught could not be kept; it is learnt again");
    }
}

async fn pass(world: &Arc<World>, sweeper: &mut sweep::Sweeper, ticked: bool) -> Result<(), StoreError> {
    if ticked {
        sweeper.sweep(world).await?;
    }
    // Planning makes steps ready and placing makes room for no more plans: one round of each suffices.
    plan::plan_requests(world).await?;
    place::place_steps(world, ticked).await
}
