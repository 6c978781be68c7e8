//! Chains: steps of one plan that follow each other on this node. A later one waits for the outcome of the one before it
//! and takes its inputs from there, without a word to the server in between.

use super::{Assignment, Outcome, PendingInput, StepInput};
use crate::workers::RunFailure;
use ouro_common::id::AttemptKey;
use ouro_common::step::FailureClass;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// The outcome of a step that others wait for, as soon as there is one.
pub(super) type Awaited = watch::Receiver<Option<Arc<Outcome>>>;

/// Who waits for which step.
#[derive(Debug, Default)]
pub(super) struct Board(Mutex<HashMap<AttemptKey, watch::Sender<Option<Arc<Outcome>>>>>);

impl Board {
    /// Waits for a step; `known` is its outcome if it has ended already.
    pub(super) fn wait_for(&self, key: &AttemptKey, known: Option<Arc<Outcome>>) -> Awaited {
        let mut table = self.table();
        table.retain(|_, sender| sender.receiver_count() > 0);
        table.entry(key.clone()).or_insert_with(|| watch::channel(known).0).subscribe()
    }

    /// A step has ended: those who wait for it go on.
    pub(super) fn tell(&self, key: &AttemptKey, outcome: &Arc<Outcome>) {
        if let Some(sender) = self.table().get(key) {
            sender.send_replace(Some(outcome.clone()));
        }
    }

    /// A step will have no outcome: those who wait for it give up.
    pub(super) fn forget(&self, key: &AttemptKey) {
        self.table().remove(key);
    }

    fn table(&self) -> MutexGuard<'_, HashMap<AttemptKey, watch::Sender<Option<Arc<Outcome>>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The assignment with every input that steps before it make, once they have.
pub(super) async fn complete(mut step: Assignment, awaited: &mut HashMap<AttemptKey, Awaited>) -> Result<Assignment, RunFailure> {
    let mut pending = std::mem::take(&mut step.pending);
    pending.sort_by_key(|input| input.place);
    for input in pending {
        let outcome = match awaited.get_mut(&input.made_by) {
            Some(waiting) => waiting.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone()),
            None => None,
        };
        let made = outcome.as_deref().and_then(|outcome| made(outcome, &input));
        let made = made.ok_or_else(|| {
            let why = format!("the step before it in its chain, {}, left no {} here", input.made_by.step, input.tag);
            RunFailure::new(FailureClass::Rejected, why)
        })?;
        step.inputs.insert(input.place.min(step.inputs.len()), made);
    }
    Ok(step)
}

fn made(outcome: &Outcome, input: &PendingInput) -> Option<StepInput> {
    let Outcome::Made { outputs, .. } = outcome else { return None };
    let output = outputs.iter().find(|output| output.port == input.made_port)?;
    Some(StepInput {
        port: input.port.clone(),
        tag: input.tag.clone(),
        media: output.media.clone(),
        digest: output.digest,
        size_bytes: output.size_bytes,
        inline: output.inline.as_ref().map(|inline| inline.0.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps::{Inline, Output};
    use ouro_common::id::{Digest, Epoch, RequestId};
    use std::collections::BTreeMap;
    use std::time::Duration;

    fn key(step: &str) -> AttemptKey {
        AttemptKey {
            request: RequestId::from_parts(1, [1; 10]),
            plan: 1,
            step: step.parse().unwrap(),
            epoch: Epoch { generation: 1, n: 1 },
        }
    }

    fn second() -> Assignment {
        let input = |tag: &str, bytes: &[u8]| StepInput {
            port: "in".parse().unwrap(),
            tag: tag.parse().unwrap(),
            media: "text/plain".into(),
            digest: Digest::blake3(bytes),
            size_bytes: bytes.len() as u64,
            inline: Some(bytes.to_vec()),
        };
        let pending = PendingInput {
            place: 1,
            port: "in".parse().unwrap(),
            tag: "a".parse().unwrap(),
            made_by: key("s1"),
            made_port: "out".parse().unwrap(),
        };
        Assignment {
            key: key("s2"),
            container: "x:1.0.0".parse().unwrap(),
            digest: Digest::sha256([1; 32]),
            params: serde_json::json!({}),
            inputs: vec![input("first", b"1"), input("third", b"3")],
            pending: vec![pending],
            outputs: BTreeMap::new(),
            budget: Duration::from_secs(1),
            answers: false,
            scope: None,
        }
    }

    fn outcome() -> Arc<Outcome> {
        let output = Output {
            port: "out".parse().unwrap(),
            media: "text/plain".into(),
            digest: Digest::blake3(b"2"),
            size_bytes: 1,
            inline: Some(Inline(b"2".to_vec())),
            answers: false,
        };
        Arc::new(Outcome::Made { outputs: vec![output], phases_ms: BTreeMap::new() })
    }

    #[tokio::test]
    async fn inputs_come_in_their_place_when_the_step_before_has_ended() {
        let board = Board::default();
        let mut awaited = HashMap::from([(key("s1"), board.wait_for(&key("s1"), None))]);
        let waiting = tokio::spawn(async move { complete(second(), &mut awaited).await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        board.tell(&key("s1"), &outcome());
        let step = waiting.await.unwrap().unwrap();
        assert_eq!(step.inputs.iter().map(|i| i.tag.as_str()).collect::<Vec<_>>(), ["first", "a", "third"]);
        let mut late = HashMap::from([(key("s1"), board.wait_for(&key("s1"), Some(outcome())))]);
        assert!(complete(second(), &mut late).await.is_ok(), "it had ended before anybody waited");
    }

    #[tokio::test]
    async fn without_the_step_before_it_says_so() {
        let board = Board::default();
        let mut awaited = HashMap::from([(key("s1"), board.wait_for(&key("s1"), None))]);
        board.forget(&key("s1"));
        assert_eq!(complete(second(), &mut awaited).await.unwrap_err().class, FailureClass::Rejected);
        let failed = Outcome::Failed { class: FailureClass::Error, why: "no".into(), evidence: None };
        let mut awaited = HashMap::from([(key("s1"), board.wait_for(&key("s1"), Some(Arc::new(failed))))]);
        let failure = complete(second(), &mut awaited).await.unwrap_err();
        assert!(failure.why.contains("s1") && failure.class == FailureClass::Rejected, "{}", failure.why);
        assert!(complete(second(), &mut HashMap::new()).await.is_err(), "nobody knows the step before it");
    }
}
