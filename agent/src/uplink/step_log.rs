//! What a step said, for somebody who reads it through the server: one small part for each question, so that a reader who is
//! slow, or gone, leaves nothing waiting here and no heartbeat waits behind a long log.

use crate::logs::{LogBook, LogPart};
use ouro_proto::convert::attempt_from_wire;
use ouro_proto::wire;
use ouro_proto::wire::node_message::Body;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

/// The longest time a question may wait for something new, whatever it says.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// Answers a question about a log.
pub(super) fn send(asked: wire::SendLog, logs: LogBook, out: UnboundedSender<wire::NodeMessage>) {
    tokio::spawn(async move {
        let part = match attempt_from_wire(asked.attempt.as_ref()) {
            Ok(key) => {
                let wait = Duration::from_millis(asked.wait_ms.into()).min(MAX_WAIT);
                tokio::select! {
                    part = logs.read(&key, asked.offset, wait) => part,
                    () = out.closed() => return,
                }
            }
            Err(fault) => {
                tracing::warn!(%fault, "the server asked for a log without naming it");
                None
            }
        };
        let found = part.is_some();
        let LogPart { offset, data, last } = part.unwrap_or_default();
        let answer = wire::LogPart { call: asked.call, found, offset, data, last };
        let _ = out.send(wire::NodeMessage { body: Some(Body::LogPart(answer)) });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::Stream;
    use ouro_common::id::{AttemptKey, Epoch, RequestId};
    use ouro_proto::convert::attempt_to_wire;
    use tokio::sync::mpsc::unbounded_channel;

    #[tokio::test]
    async fn each_question_gets_one_part() {
        let folder = tempfile::tempdir().unwrap();
        let book = LogBook::open(folder.path().into()).unwrap();
        let request = RequestId::from_parts(1, [1; 10]);
        let key = AttemptKey { request, plan: 1, step: "s".parse().unwrap(), epoch: Epoch { generation: 1, n: 1 } };
        let running = book.begin(&key);
        running.writer.write(Stream::Out, &[b'x'; 20_000]);
        let (out, mut said) = unbounded_channel();
        let mut ask = async |call, offset, attempt: Option<&AttemptKey>| {
            let asked = wire::SendLog { call, attempt: attempt.map(attempt_to_wire), offset, wait_ms: 0 };
            send(asked, book.clone(), out.clone());
            match said.recv().await.unwrap().body {
                Some(Body::LogPart(part)) => part,
                other => panic!("{other:?}"),
            }
        };
        let first = ask(7, 0, Some(&key)).await;
        assert_eq!((first.call, first.found, first.data.len(), first.last), (7, true, 16 * 1024, false));
        let second = ask(8, 16 * 1024, Some(&key)).await;
        assert_eq!((second.call, second.offset, second.data.len()), (8, 16 * 1024, 20_000 - 16 * 1024));
        let other = AttemptKey { plan: 2, ..key.clone() };
        assert!(!ask(9, 0, Some(&other)).await.found);
        assert!(!ask(10, 0, None).await.found, "a question that names nothing is answered too");
    }
}
