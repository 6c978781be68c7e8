//! A step and the module it runs from: its files checked, its container loaded while another step still computes, and its end when
//! the module is pulled out.

use super::Steps;
use crate::logs::LogWriter;
use crate::modules::{Hold, Installed};
use crate::workers::RunFailure;
use ouro_common::container::Runtime;
use ouro_common::id::Digest;
use ouro_common::step::FailureClass;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a device has to show that it is still there, when something went wrong with what runs from it.
const ANSWER: Duration = Duration::from_millis(700);

/// How often it is looked whether the containers that are to be loaded still are.
const LOOKS_AGAIN: Duration = Duration::from_secs(10);

/// When a container was ready to take the step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plugged {
    /// When its loading began.
    from: Instant,
    /// When it was loaded.
    until: Instant,
    /// Whether it had to be loaded.
    loaded: bool,
}

impl Plugged {
    /// What the loading added to the step's time, and what of it overlapped the wait for a slot, which ended at `slot`.
    pub(super) fn split(&self, slot: Instant) -> (Duration, Duration) {
        let whole = if self.loaded { self.until.saturating_duration_since(self.from) } else { Duration::ZERO };
        let after = self.until.saturating_duration_since(slot.max(self.from));
        (after, whole.saturating_sub(after))
    }
}

impl Steps {
    /// Makes a container ready before the step has its slot: the next step's loading overlaps what runs now.
    pub(super) async fn plug(&self, installed: &Installed, log: &LogWriter) -> Result<Plugged, RunFailure> {
        let from = Instant::now();
        let modules = &self.0.options.modules;
        modules.check(installed).await.map_err(|why| RunFailure::new(FailureClass::LoadFailed, why))?;
        let mut loaded = false;
        if installed.container.manifest.runtime != Runtime::Oci {
            let disk = |e| RunFailure::new(FailureClass::Rejected, format!("this node's disk refuses the step: {e}"));
            let _intent = modules.intent_to_load(installed).map_err(disk)?;
            loaded = self.0.options.pool.plug(installed, log).await?;
        }
        Ok(Plugged { from, until: Instant::now(), loaded })
    }

    /// Loads a container because a person wants it loaded, without a step.
    ///
    /// # Errors
    /// Why it cannot be.
    pub async fn load(&self, installed: &Installed) -> Result<(), RunFailure> {
        self.plug(installed, &LogWriter::nowhere()).await.map(drop)
    }

    /// Loads the containers that are to be in memory before anybody asks, and again those that died, as long as there are modules.
    pub async fn keep_loaded(self) {
        let policies = self.0.options.pool.policies();
        let mut changes = self.0.options.modules.changes();
        let mut refused: BTreeSet<Digest> = BTreeSet::new();
        while !policies.containers.is_empty() {
            let seen = changes.borrow_and_update().clone();
            let wanted = seen.installed.values().filter(|i| i.container.manifest.runtime != Runtime::Oci);
            let wanted: Vec<&Installed> = wanted.filter(|i| policies.preloads(&i.container.manifest)).collect();
            let calm = !self.0.options.pool.is_strained();
            for installed in wanted.into_iter().filter(|_| calm) {
                let digest = installed.container.digest;
                if let (Err(failure), true) = (self.load(installed).await, refused.insert(digest)) {
                    tracing::warn!(container = %installed.container.manifest.reference(), why = failure.why, "a container cannot be kept loaded");
                }
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(LOOKS_AGAIN) => {}
            }
        }
    }

    /// Work that runs from a module ends with it, and what a vanishing device does to a worker is not the worker's fault.
    pub(super) async fn while_plugged<T>(
        &self,
        hold: Option<Arc<Hold>>,
        work: impl Future<Output = Result<T, RunFailure>>,
    ) -> Result<T, RunFailure> {
        let Some(hold) = hold else { return work.await };
        let removed = || RunFailure::new(FailureClass::ModuleRemoved, hold.why_gone());
        let ended = tokio::select! {
            biased;
            () = hold.gone() => return Err(removed()),
            ended = work => ended,
        };
        match ended {
            // A bus error, a read error, bytes that are not what they were: ask the device before anybody is blamed.
            Err(failure) if matches!(failure.class, FailureClass::Crashed | FailureClass::Error | FailureClass::LoadFailed) => {
                if answers(&hold).await {
                    return Err(failure);
                }
                tracing::warn!(slot = hold.seat().slot, problem = failure.why, "a step failed and its module does not answer");
                self.0.options.modules.give_up(&hold);
                Err(removed())
            }
            other => other,
        }
    }
}

async fn answers(hold: &Arc<Hold>) -> bool {
    let asked = hold.clone();
    let answer = tokio::task::spawn_blocking(move || asked.still_answers());
    matches!(tokio::time::timeout(ANSWER, answer).await, Ok(Ok(true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_overlaps_the_wait_for_a_slot_is_not_counted_as_the_step_s_time() {
        let from = Instant::now();
        let ms = Duration::from_millis;
        let plugged = |loaded| Plugged { from, until: from + ms(100), loaded };
        assert_eq!(plugged(true).split(from), (ms(100), ms(0)), "the slot was free");
        assert_eq!(plugged(true).split(from + ms(70)), (ms(30), ms(70)));
        assert_eq!(plugged(true).split(from + ms(500)), (ms(0), ms(100)), "it was ready long before");
        assert_eq!(plugged(false).split(from + ms(500)), (ms(0), ms(0)), "it was loaded already");
    }
}
