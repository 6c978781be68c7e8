//! Accepting: after this verb an acknowledged request survives whatever happens to the process.

use super::columns::{Text, count, counted, json, text};
use super::db::Db;
use super::journal::{self, About};
use super::steps::moment;
use super::tags::GIVEN;
use super::verb_error::Outcome;
use crate::store::AcceptOutcome;
use ouro_common::envelope::{Envelope, INLINE_TAG_BYTES, Input, PROMPT_TAG, Principal, Privacy};
use ouro_common::id::{Digest, Name, RequestId};
use rusqlite::params;
use std::time::Duration;

/// How long an idempotency key stands for its request.
const KEY_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Makes a request durable, unless it is already.
pub(super) fn accept(db: &Db<'_>, envelope: &Envelope) -> Outcome<AcceptOutcome> {
    let (request, principal) = (text(&envelope.id), envelope.principal.to_string());
    let content = envelope.content_digest();
    db.run(
        "UPDATE requests SET idempotency_key = NULL WHERE principal = ?1 AND idempotency_key = ?2 AND accepted + ?3 <= ?4",
        params![principal, envelope.idempotency_key, count(KEY_LIFETIME.as_millis() as u64), moment(db.now)],
    )?;
    let before = db.one(
        "SELECT id, principal = ?1 AND content = ?4 FROM requests WHERE (principal = ?1 AND idempotency_key = ?2) OR id = ?3 \
         ORDER BY id = ?3 DESC LIMIT 1",
        params![principal, envelope.idempotency_key, request, text(&content)],
        |row| Ok((row.get::<_, Text<RequestId>>(0)?.0, row.get::<_, bool>(1)?)),
    )?;
    match before {
        Some((id, true)) => return Ok(AcceptOutcome::Same(id)),
        Some((id, false)) => return Ok(AcceptOutcome::Conflict(id)),
        None => {}
    }
    insert(db, envelope, &principal, content)?;
    let prompt = Input {
        tag: Name::from_text(PROMPT_TAG, PROMPT_TAG),
        media: "text/plain".into(),
        digest: Digest::blake3(envelope.prompt.as_bytes()),
        size_bytes: envelope.prompt.len() as u64,
        file_name: None,
    };
    let short = Some(envelope.prompt.as_bytes()).filter(|prompt| prompt.len() <= INLINE_TAG_BYTES);
    give(db, &request, &prompt, short)?;
    for input in &envelope.inputs {
        give(db, &request, input, None)?;
    }
    let words = format!("from {principal}, {}, {} s to go", counted(envelope.inputs.len(), "input"), envelope.budget_ms.div_ceil(1000));
    db.event(envelope.id, "accepted", None, &words)?;
    journal::note(db, "accepted", About::Request(envelope.id), &words)?;
    Ok(AcceptOutcome::Accepted)
}

fn insert(db: &Db<'_>, envelope: &Envelope, principal: &str, content: Digest) -> Outcome<()> {
    let from_node = match &envelope.principal {
        Principal::Node { node, .. } => Some(text(node)),
        Principal::Operator(_) | Principal::Client(_) => None,
    };
    db.run(
        "INSERT INTO requests (id, principal, from_node, idempotency_key, content, private, envelope, state, priority, accepted, \
         accepted_wall, deadline) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'accepted', ?8, ?9, ?10, ?11)",
        params![
            text(&envelope.id),
            principal,
            from_node,
            envelope.idempotency_key,
            text(&content),
            envelope.privacy == Privacy::Private,
            json(envelope)?,
            envelope.priority,
            moment(db.now),
            count(db.wall.0),
            moment(db.now.after(Duration::from_millis(envelope.budget_ms)))
        ],
    )?;
    Ok(())
}

/// Records a tag that comes with the request. What is not inline is on the server's disk already.
fn give(db: &Db<'_>, request: &str, input: &Input, inline: Option<&[u8]>) -> Outcome<()> {
    let digest = text(&input.digest);
    db.run(
        "INSERT INTO tags (request, plan, tag, media, digest, size_bytes, inline, on_server) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![request, GIVEN, text(&input.tag), input.media, digest, count(input.size_bytes), inline, inline.is_none()],
    )?;
    Ok(())
}
