//! Join tokens and what they made: one use gives one key one identity, however often the bearer asks.

use super::columns::{Count, Json, Text, json, text};
use super::db::Db;
use super::journal::{self, About};
use super::steps::moment;
use super::verb_error::{Outcome, VerbError};
use crate::store::{Credential, EnrolledAs, NewToken, Redeemed, TokenRecord, TokenRefusal};
use ouro_common::clock::Instant;
use ouro_common::id::{Digest, NodeId};
use ouro_common::module::Announcement;
use ouro_common::step::AdminState;
use rusqlite::params;
use std::collections::BTreeMap;

/// Records a token.
pub(super) fn create_token(db: &Db<'_>, token: &NewToken) -> Outcome<()> {
    db.run(
        "INSERT INTO tokens (id, secret_hash, role, labels, uses_left, expires, require_approval) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            token.id,
            text(&token.secret_hash),
            text(&token.role),
            json(&token.labels)?,
            token.uses,
            moment(db.now.after(token.lifetime)),
            token.require_approval
        ],
    )?;
    Ok(())
}

/// All tokens, newest first.
pub(super) fn tokens(db: &Db<'_>) -> Outcome<Vec<TokenRecord>> {
    db.all("SELECT id, role, labels, uses_left, expires, revoked FROM tokens ORDER BY seq DESC", [], |row| {
        Ok(TokenRecord {
            id: row.get(0)?,
            role: row.get::<_, Text<_>>(1)?.0,
            labels: row.get::<_, Json<_>>(2)?.0,
            uses_left: row.get(3)?,
            expires: Instant(row.get::<_, Count>(4)?.0),
            revoked: row.get(5)?,
        })
    })
}

/// Makes a token worthless.
pub(super) fn revoke_token(db: &Db<'_>, id: &str) -> Outcome<()> {
    match db.run("UPDATE tokens SET revoked = 1 WHERE id = ?1", [id])? {
        0 => Err(VerbError::not_found("token", id)),
        _ => Ok(()),
    }
}

struct TokenRow {
    secret_hash: Digest,
    role: EnrolledAs,
    labels: BTreeMap<String, String>,
    uses_left: u32,
    expires: Instant,
    revoked: bool,
    require_approval: bool,
}

/// What a key got before.
struct Enrolled {
    token: String,
    redeemed: Redeemed,
}

/// Uses a token for a key; every refusal leaves everything as it was.
pub(super) fn redeem(db: &Db<'_>, id: &str, secret_hash: Digest, credential: &Credential) -> Outcome<Result<Redeemed, TokenRefusal>> {
    let token = load_token(db, id)?.filter(|token| same_in_constant_time(&token.secret_hash, &secret_hash));
    let Some(token) = token else {
        return Ok(Err(TokenRefusal::Unknown));
    };
    if token.revoked {
        return Ok(Err(TokenRefusal::Revoked));
    }
    let before = enrolled(db, credential.spki)?;
    if let Some(before) = before.as_ref().filter(|before| before.token == id) {
        return Ok(Ok(before.redeemed.clone()));
    }
    if db.now >= token.expires {
        return Ok(Err(TokenRefusal::Expired));
    }
    if token.uses_left == 0 {
        return Ok(Err(TokenRefusal::UsedUp));
    }
    db.run("UPDATE tokens SET uses_left = uses_left - 1 WHERE id = ?1", [id])?;
    // The same key with another token keeps its identity, unless the token makes something else or the node was removed.
    let removed = "SELECT 1 FROM nodes WHERE id = ?1 AND admin = 'removed'";
    if let Some(before) = before
        && before.redeemed.role == token.role
        && !db.exists(removed, [text(&before.redeemed.id)])?
    {
        db.run("UPDATE credentials SET token = ?2 WHERE spki = ?1", params![text(&credential.spki), id])?;
        return Ok(Ok(before.redeemed));
    }
    let name = unique_name(db, &credential.name)?;
    db.run(
        "INSERT OR REPLACE INTO credentials (spki, token, role, id, name) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![text(&credential.spki), id, text(&token.role), text(&credential.fresh_id), name],
    )?;
    if token.role == EnrolledAs::Node {
        create_node(db, &token, credential, &name)?;
    }
    Ok(Ok(Redeemed { role: token.role, id: credential.fresh_id, name, certificate_pem: None }))
}

fn load_token(db: &Db<'_>, id: &str) -> Outcome<Option<TokenRow>> {
    db.one(
        "SELECT secret_hash, role, labels, uses_left, expires, revoked, require_approval FROM tokens WHERE id = ?1",
        [id],
        |row| {
            Ok(TokenRow {
                secret_hash: row.get::<_, Text<_>>(0)?.0,
                role: row.get::<_, Text<_>>(1)?.0,
                labels: row.get::<_, Json<_>>(2)?.0,
                uses_left: row.get(3)?,
                expires: Instant(row.get::<_, Count>(4)?.0),
                revoked: row.get(5)?,
                require_approval: row.get(6)?,
            })
        },
    )
}

fn enrolled(db: &Db<'_>, spki: Digest) -> Outcome<Option<Enrolled>> {
    db.one("SELECT token, role, id, name, certificate_pem FROM credentials WHERE spki = ?1", [text(&spki)], |row| {
        Ok(Enrolled {
            token: row.get(0)?,
            redeemed: Redeemed {
                role: row.get::<_, Text<_>>(1)?.0,
                id: row.get::<_, Text<_>>(2)?.0,
                name: row.get(3)?,
                certificate_pem: row.get(4)?,
            },
        })
    })
}

/// The time it takes says nothing about where two hashes differ.
fn same_in_constant_time(a: &Digest, b: &Digest) -> bool {
    let difference = a.bytes.iter().zip(&b.bytes).fold(0_u8, |sum, (x, y)| std::hint::black_box(sum | (x ^ y)));
    difference == 0 && a.algorithm == b.algorithm
}

/// `host`, or else `host-2`, `host-3` …; a removed node's name is free again.
fn unique_name(db: &Db<'_>, wanted: &str) -> Outcome<String> {
    let taken = |name: &str| {
        db.exists(
            "SELECT 1 FROM nodes WHERE name = ?1 AND admin <> 'removed' \
             UNION ALL SELECT 1 FROM credentials WHERE name = ?1 AND role <> 'node'",
            [name],
        )
    };
    let wanted = if wanted.trim().is_empty() { "unnamed" } else { wanted.trim() };
    let mut name = wanted.to_string();
    let mut number = 1;
    while taken(&name)? {
        number += 1;
        name = format!("{wanted}-{number}");
    }
    Ok(name)
}

fn create_node(db: &Db<'_>, token: &TokenRow, credential: &Credential, name: &str) -> Outcome<()> {
    let admin = if token.require_approval || credential.require_approval { AdminState::Pending } else { AdminState::Active };
    let nothing = Announcement::default();
    journal::note(db, "joined", About::Node(credential.fresh_id), &format!("as {name}, {admin}"))?;
    db.run(
        "INSERT INTO nodes (id, name, admin, labels, spki, announcement, announcement_digest) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            text(&credential.fresh_id),
            name,
            text(&admin),
            json(&token.labels)?,
            text(&credential.spki),
            json(&nothing)?,
            text(&nothing.digest())
        ],
    )?;
    Ok(())
}

/// Keeps the certificate that was issued for a key.
pub(super) fn keep_certificate(db: &Db<'_>, spki: Digest, chain_pem: &str) -> Outcome<()> {
    match db.run("UPDATE credentials SET certificate_pem = ?2 WHERE spki = ?1", params![text(&spki), chain_pem])? {
        0 => Err(VerbError::not_found("enrolled key", spki)),
        _ => Ok(()),
    }
}

/// Replaces a node's key; its certificate is yet to be issued. A repeat changes nothing.
pub(super) fn renew_cert(db: &Db<'_>, node: NodeId, spki: Digest) -> Outcome<()> {
    let (node_text, spki) = (text(&node), text(&spki));
    if db.exists("SELECT 1 FROM nodes WHERE id = ?1 AND spki = ?2", [&node_text, &spki])? {
        return Ok(());
    }
    if db.run("UPDATE nodes SET spki = ?2 WHERE id = ?1 AND admin <> 'removed'", [&node_text, &spki])? == 0 {
        return Err(VerbError::not_found("node", node));
    }
    db.run("UPDATE credentials SET spki = ?2, certificate_pem = NULL WHERE id = ?1", [&node_text, &spki])?;
    Ok(())
}
