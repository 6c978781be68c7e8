//! Ready steps that this process has leased and not given away yet, so that a pass reads only what is new.
//!
//! What is kept here may be out of date: the store's verbs look at the row itself before they change anything. So that nothing
//! stays out of date for long, a step is forgotten when half of its lease is over, and then read again.

use crate::scheduler::snapshot::StepState;
use crate::store::ReadyStep;
use ouro_common::clock::Instant;
use ouro_common::id::{Name, RequestId};
use std::cmp::Reverse;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A step's place in the fleet's work.
pub(crate) type StepKey = (RequestId, u32, Name);

/// A step that waits for a node.
#[derive(Clone)]
pub(super) struct Claim {
    /// As the store gave it.
    pub(super) step: Arc<ReadyStep>,
    /// As the scheduler sees it.
    pub(super) state: StepState,
    /// When it was read.
    pub(super) read: Instant,
}

impl Claim {
    fn is(&self, (request, plan, step): &StepKey) -> bool {
        self.step.request == *request && self.step.plan == *plan && self.step.step.id == *step
    }
}

/// The steps that wait, in the order in which they are placed.
#[derive(Default)]
pub struct Claims(Mutex<Vec<Claim>>);

impl Claims {
    /// Forgets what was read longer than `age` ago; the number of those that are left.
    pub(super) fn keep_younger(&self, now: Instant, age: Duration) -> usize {
        let mut table = self.table();
        table.retain(|claim| now.since(claim.read) < age);
        table.len()
    }

    /// Adds what was taken from the store.
    pub(super) fn add(&self, fresh: Vec<Claim>) {
        let mut table = self.table();
        for claim in fresh {
            let key = (claim.step.request, claim.step.plan, claim.step.step.id.clone());
            table.retain(|known| !known.is(&key));
            table.push(claim);
        }
        // The steps of one request come in their order and keep it.
        table.sort_by_key(|claim| (Reverse(claim.step.priority), claim.step.age));
    }

    /// All of them as they are to be placed now. `afresh`: also those that found no room the last time are looked at in full.
    pub(super) fn all(&self, now: Instant, afresh: bool) -> Vec<Claim> {
        let mut claims = self.table().clone();
        for claim in &mut claims {
            claim.state.remaining_s -= now.since(claim.read).as_secs_f64();
            claim.state.waited &= !afresh;
        }
        claims
    }

    /// They were looked at, and wait.
    pub(super) fn mark_waiting(&self) {
        self.table().iter_mut().for_each(|claim| claim.state.waited = true);
    }

    /// A step was given away, or is not ready any more.
    pub(crate) fn forget(&self, key: &StepKey) {
        self.table().retain(|claim| !claim.is(key));
    }

    /// Nothing of a request is to be placed any more.
    pub(crate) fn forget_request(&self, request: RequestId) {
        self.table().retain(|claim| claim.step.request != request);
    }

    fn table(&self) -> MutexGuard<'_, Vec<Claim>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::fleet;
    use ouro_common::envelope::Principal;

    fn claim(n: u8, priority: u8, age: u64, read: u64) -> Claim {
        let state = fleet::step(n);
        let step = serde_json::json!({
            "id": state.step, "container": "noop:1.0.0", "digest": state.container, "in": {}, "out": {}
        });
        let step = ReadyStep {
            request: state.request,
            plan: state.plan,
            step: serde_json::from_value(step).unwrap(),
            expected_epoch: 0,
            inputs: vec![],
            failed_on: vec![],
            too_large_for: vec![],
            alone: false,
            priority,
            age,
            principal: Principal::Operator("ada".into()),
            private: false,
            remaining_ms: 600_000,
            answers: true,
            followers: vec![],
        };
        Claim { step: Arc::new(step), state, read: Instant(read) }
    }

    fn ages(claims: &Claims) -> Vec<u64> {
        claims.all(Instant(0), false).iter().map(|c| c.step.age).collect()
    }

    #[test]
    fn what_is_read_later_still_takes_its_place_in_the_order() {
        let claims = Claims::default();
        claims.add(vec![claim(1, 5, 10, 0), claim(2, 5, 30, 0)]);
        claims.add(vec![claim(3, 9, 40, 0), claim(4, 5, 20, 0)]);
        assert_eq!(ages(&claims), [40, 10, 20, 30]);
        claims.add(vec![claim(4, 5, 20, 0)]);
        assert_eq!(ages(&claims).len(), 4, "read again, it is there once");
    }

    #[test]
    fn what_is_old_given_away_or_over_is_forgotten() {
        let claims = Claims::default();
        claims.add(vec![claim(1, 5, 1, 0), claim(2, 5, 2, 1000), claim(3, 5, 3, 1000)]);
        assert_eq!(claims.keep_younger(Instant(2500), Duration::from_millis(2500)), 2);
        let key = |n| (fleet::step(n).request, fleet::step(n).plan, fleet::step(n).step);
        claims.forget(&key(2));
        assert_eq!(ages(&claims), [3]);
        claims.forget_request(fleet::step(3).request);
        assert!(ages(&claims).is_empty());
    }

    #[test]
    fn time_runs_for_what_waits() {
        let claims = Claims::default();
        claims.add(vec![claim(1, 5, 1, 1000)]);
        claims.mark_waiting();
        let now = claims.all(Instant(3000), false).remove(0).state;
        assert!(now.waited && now.remaining_s == fleet::step(1).remaining_s - 2.0, "{now:?}");
        assert!(!claims.all(Instant(3000), true).remove(0).state.waited, "looked at afresh");
    }
}
