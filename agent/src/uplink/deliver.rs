//! What goes up beside the conversation: answers are put on the server's disk before their result is told, and blobs
//! somebody waits for are sent from the spool. Each runs on its own, so that the session keeps listening.

use super::{Link, translate};
use crate::spool::Spool;
use crate::steps::{Outcome, Output};
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::{AttemptKey, Digest};
use ouro_common::step::FailureClass;
use ouro_proto::convert::digest_to_wire;
use ouro_proto::wire;
use ouro_proto::wire::node_message::Body;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

/// The time before an answer is put once more.
const AGAIN: Duration = Duration::from_secs(1);

/// Sends an outcome, its answers first.
pub(super) fn send(key: AttemptKey, outcome: Arc<Outcome>, link: Link, spool: Spool, out: &UnboundedSender<wire::NodeMessage>) {
    let answers = match outcome.as_ref() {
        Outcome::Made { outputs, .. } => outputs.iter().filter(|o| o.answers).cloned().collect(),
        Outcome::Failed { .. } => vec![],
    };
    let say = {
        let out = out.clone();
        move |body| drop(out.send(wire::NodeMessage { body: Some(body) }))
    };
    if answers.is_empty() {
        say(translate::outcome(&key, &outcome));
        return;
    }
    let gone = out.clone();
    tokio::spawn(async move {
        for answer in &answers {
            let put = tokio::select! {
                put = put_answer(answer, &link, &spool) => put,
                // The session is over; the next one delivers.
                () = gone.closed() => return,
            };
            if let Err(fault) = put {
                let why = format!("the answer could not be put on the server's disk: {fault}");
                say(translate::outcome(&key, &Outcome::Failed { class: FailureClass::Rejected, why, evidence: None }));
                return;
            }
        }
        say(translate::outcome(&key, &outcome));
    });
}

/// Puts an answer, again and again while only the line is at fault.
async fn put_answer(answer: &Output, link: &Link, spool: &Spool) -> Result<(), Fault> {
    loop {
        let Some(file) = spool.find(&answer.digest) else {
            return Err(Fault::new(FaultCode::NotFound, "it is not in the spool any more").at(answer.digest));
        };
        match link.put(&answer.digest, &file, &answer.media, "answer").await {
            Ok(()) => return Ok(()),
            Err(fault) if fault.code == FaultCode::ServerUnreachable => tokio::time::sleep(AGAIN).await,
            Err(fault) => return Err(fault),
        }
    }
}

/// Sends a blob from the spool to whoever waits for it on the server, or says that it is not here.
pub(super) fn relay(digest: Digest, link: Link, spool: &Spool, out: &UnboundedSender<wire::NodeMessage>) {
    let missing = || wire::NodeMessage { body: Some(Body::BlobMissing(wire::BlobMissing { digest: Some(digest_to_wire(&digest)) })) };
    let Some(file) = spool.find(&digest) else {
        let _ = out.send(missing());
        return;
    };
    let (out, missing) = (out.clone(), missing());
    tokio::spawn(async move {
        match link.put(&digest, &file, "application/octet-stream", "relay").await {
            Ok(()) => {}
            Err(fault) if fault.code == FaultCode::NotFound => drop(out.send(missing)),
            Err(fault) => tracing::warn!(%digest, %fault, "a blob could not be relayed"),
        }
    });
}
