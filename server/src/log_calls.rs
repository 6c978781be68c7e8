//! Questions to nodes about what steps said. A question has one answer, one small part of a log: whoever reads slowly asks
//! slowly, and nothing piles up here or on a node.

use crate::fleet::{Fleet, NodeCommand};
use ouro_common::id::{AttemptKey, NodeId};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};

/// Questions under way at once; more wait for their turn.
const AT_ONCE: usize = 64;
/// A node that has a session answers within this time, and what it was told to wait.
const PATIENCE: Duration = Duration::from_secs(10);

/// A part of what an attempt said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPiece {
    /// Where it stands in the whole, bytes; later than asked for when the bytes before are gone.
    pub offset: u64,
    /// The bytes.
    pub data: Vec<u8>,
    /// Whether nothing comes after it, now or later.
    pub last: bool,
}

/// A question about a log.
#[derive(Debug, Clone)]
pub struct LogQuestion {
    /// Tells its answer from others.
    pub call: u64,
    /// Whose words.
    pub key: AttemptKey,
    /// From which byte on.
    pub offset: u64,
    /// How long the node may wait for something new.
    pub wait: Duration,
}

/// Why there was no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// The node has no session, or does not keep up.
    #[error("is not connected")]
    Away,
    /// It has one, and said nothing.
    #[error("did not answer")]
    Silent,
}

type Waiting = (NodeId, oneshot::Sender<Option<LogPiece>>);

/// The questions under way.
pub struct LogCalls {
    waiting: Mutex<HashMap<u64, Waiting>>,
    next: AtomicU64,
    turns: Semaphore,
}

impl Default for LogCalls {
    fn default() -> Self {
        Self { waiting: Mutex::default(), next: AtomicU64::new(1), turns: Semaphore::new(AT_ONCE) }
    }
}

impl LogCalls {
    /// Asks a node for what an attempt said from `offset` on; `None` when the node has no such log.
    ///
    /// # Errors
    /// When the node is away or does not answer.
    pub async fn ask(
        &self,
        fleet: &Fleet,
        node: NodeId,
        (key, offset): (&AttemptKey, u64),
        wait: Duration,
    ) -> Result<Option<LogPiece>, Unanswered> {
        let _turn = self.turns.acquire().await;
        let call = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.waiting().insert(call, (node, sender));
        let _entry = Entry { calls: self, call };
        if !fleet.tell(node, NodeCommand::SendLog(LogQuestion { call, key: key.clone(), offset, wait })) {
            return Err(Unanswered::Away);
        }
        match tokio::time::timeout(PATIENCE + wait, answer).await {
            Ok(Ok(piece)) => Ok(piece),
            Ok(Err(_)) | Err(_) if !fleet.is_connected(node) => Err(Unanswered::Away),
            Ok(Err(_)) | Err(_) => Err(Unanswered::Silent),
        }
    }

    /// Takes an answer. Only the node that was asked can give it.
    pub fn answer(&self, node: NodeId, call: u64, piece: Option<LogPiece>) {
        let mut waiting = self.waiting();
        if waiting.get(&call).is_some_and(|(asked, _)| *asked == node)
            && let Some((_, sender)) = waiting.remove(&call)
        {
            let _ = sender.send(piece);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question is forgotten with whoever asked it.
struct Entry<'a> {
    calls: &'a LogCalls,
    call: u64,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.calls.waiting().remove(&self.call);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet;
    use ouro_common::clock::Instant;
    use ouro_common::id::{AgentRunId, Epoch, RequestId};
    use std::sync::Arc;
    use tokio::sync::mpsc;

    fn key() -> AttemptKey {
        let request = RequestId::from_parts(1, [1; 10]);
        AttemptKey { request, plan: 1, step: "s".parse().unwrap(), epoch: Epoch { generation: 1, n: 1 } }
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_node_that_was_asked_answers() {
        let (fleet, calls) = (Arc::new(Fleet::default()), Arc::new(LogCalls::default()));
        let (node, other) = (NodeId::from_parts(1, [1; 10]), NodeId::from_parts(1, [2; 10]));
        assert_eq!(calls.ask(&fleet, node, (&key(), 0), Duration::ZERO).await, Err(Unanswered::Away));
        let (sender, mut commands) = mpsc::channel(4);
        let entry = fleet::Entry { epoch: 1, run: AgentRunId::from_parts(1, [1; 10]), socket: None };
        fleet.open(node, entry, sender, Instant(0));
        let asking = tokio::spawn({
            let (fleet, calls) = (fleet.clone(), calls.clone());
            async move { calls.ask(&fleet, node, (&key(), 5), Duration::ZERO).await }
        });
        let Some(NodeCommand::SendLog(question)) = commands.recv().await else {
            panic!("another command")
        };
        assert_eq!((question.offset, &question.key), (5, &key()));
        calls.answer(other, question.call, None);
        let piece = LogPiece { offset: 5, data: b"words".to_vec(), last: true };
        calls.answer(node, question.call, Some(piece.clone()));
        assert_eq!(asking.await.unwrap(), Ok(Some(piece)));
        // Nobody answers: the clock of the test runs ahead.
        assert_eq!(calls.ask(&fleet, node, (&key(), 0), Duration::ZERO).await, Err(Unanswered::Silent));
        assert!(calls.waiting().is_empty());
    }
}
