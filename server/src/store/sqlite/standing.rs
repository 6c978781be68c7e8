//! What is held against nodes: steps that died there and finished elsewhere, containers that keep failing, and losses.

use super::columns::{Count, Json, Text, count, json, text};
use super::db::Db;
use super::journal::{self, About};
use super::steps::{StepRow, moment};
use super::verb_error::Outcome;
use ouro_common::clock::Instant;
use ouro_common::id::{Digest, NodeId};
use ouro_common::step::{AdminState, EVIDENCE_LIFETIME, Evidence, FailureClass, MASS_LOSS_WINDOW, PairState, is_mass_loss, quarantines};
use rusqlite::params;
use std::time::Duration;

/// A step failed on a node by its own doing: the pair of node and container may be switched off for a while.
pub(super) fn pair_failed(db: &Db<'_>, row: &StepRow, node: NodeId, class: FailureClass) -> Outcome<()> {
    if !class.counts_against_step() {
        return Ok(());
    }
    let (id, container) = (text(&node), text(&row.step.digest));
    let before: Option<PairState> = db.one("SELECT state FROM pairs WHERE node = ?1 AND container = ?2", [&id, &container], |r| {
        Ok(r.get::<_, Json<_>>(0)?.0)
    })?;
    let before = before.unwrap_or_default();
    let next = before.after_failure(&format!("{}/{}/{}", row.request, row.plan, row.step.id), db.now);
    if next == before {
        return Ok(());
    }
    db.run(
        "INSERT OR REPLACE INTO pairs (node, container, state) VALUES (?1, ?2, ?3)",
        params![id, container, json(&next)?],
    )?;
    if let Some(until) = next.off_until.filter(|_| next.off_until != before.off_until) {
        let words = format!(
            "{} is switched off there for {} s: it failed {} times in a row",
            row.step.container,
            until.since(db.now).as_secs(),
            next.streak
        );
        journal::note(db, "switched_off", About::Node(node), &words)?;
    }
    Ok(())
}

/// A step was committed by `node`: its container works there, and who killed the step before is the suspect now.
pub(super) fn committed(db: &Db<'_>, row: &StepRow, node: NodeId) -> Outcome<()> {
    db.run("DELETE FROM pairs WHERE node = ?1 AND container = ?2", [text(&node), text(&row.step.digest)])?;
    if row.epochs < 2 {
        return Ok(());
    }
    let suspects = db.all(
        "SELECT DISTINCT node FROM attempts WHERE request = ?1 AND plan = ?2 AND step = ?3 AND evidence IS NOT NULL AND node <> ?4",
        params![text(&row.request), row.plan, text(&row.step.id), text(&node)],
        |r| Ok(r.get::<_, Text<NodeId>>(0)?.0),
    )?;
    suspects.into_iter().try_for_each(|suspect| weigh(db, suspect))
}

/// Quarantines a node if too many steps died there that finished elsewhere.
fn weigh(db: &Db<'_>, node: NodeId) -> Outcome<()> {
    let since = db.now.0.saturating_sub(millis(EVIDENCE_LIFETIME));
    let steps: Option<i64> = db.one(
        "SELECT count(*) FROM (SELECT DISTINCT a.request, a.plan, a.step FROM attempts a JOIN nodes n ON n.id = a.node \
         WHERE a.node = ?1 AND a.evidence IS NOT NULL AND a.ended >= ?2 AND a.ended >= n.forgiven AND EXISTS (SELECT 1 FROM attempts c WHERE c.request = a.request AND c.plan = a.plan AND c.step = a.step \
         AND c.state = 'committed' AND c.node <> a.node))",
        params![text(&node), count(since)],
        |r| r.get(0),
    )?;
    let steps = usize::try_from(steps.unwrap_or(0)).unwrap_or(0);
    let active = db.exists("SELECT 1 FROM nodes WHERE id = ?1 AND admin IN ('active', 'draining')", [text(&node)])?;
    if active && quarantines(steps) {
        db.run("UPDATE nodes SET admin = ?2 WHERE id = ?1", [text(&node), text(&AdminState::Quarantined)])?;
        let words = format!("{steps} steps died there within a day and finished on other nodes; `ouroctl node approve` lets it work again");
        journal::note(db, "quarantined", About::Node(node), &words)?;
    }
    Ok(())
}

/// An approved node begins anew: what was held against it before counts no longer.
pub(super) fn forgive(db: &Db<'_>, node: NodeId) -> Outcome<()> {
    let node = text(&node);
    db.run("DELETE FROM pairs WHERE node = ?1", [&node])?;
    db.run("UPDATE nodes SET forgiven = ?2 WHERE id = ?1", params![node, moment(db.now) + 1])?;
    Ok(())
}

/// Until when each container is switched off on each node; those whose time is over are left out.
pub(super) fn switched_off(db: &Db<'_>) -> Outcome<Vec<(NodeId, Digest, Instant)>> {
    let rows = db.all("SELECT node, container, state FROM pairs", [], |r| {
        Ok((r.get::<_, Text<NodeId>>(0)?.0, r.get::<_, Text<Digest>>(1)?.0, r.get::<_, Json<PairState>>(2)?.0))
    })?;
    let off = rows.into_iter().filter(|(_, _, pair)| pair.is_off(db.now));
    Ok(off.filter_map(|(node, container, pair)| Some((node, container, pair.off_until?))).collect())
}

/// A node was lost without a word. If it was one of many, the new boots that they report are no evidence.
pub(super) fn lost(db: &Db<'_>, node: NodeId) -> Outcome<()> {
    db.run("DELETE FROM losses WHERE at < ?1", [count(db.now.0.saturating_sub(millis(EVIDENCE_LIFETIME)))])?;
    db.run("INSERT OR IGNORE INTO losses (node, at) VALUES (?1, ?2)", params![text(&node), moment(db.now)])?;
    let from = db.now.0.saturating_sub(millis(MASS_LOSS_WINDOW));
    if !mass_loss_within(db, from, db.now.0)? {
        return Ok(());
    }
    // Whoever rebooted first has perhaps told of it already.
    db.run(
        "UPDATE attempts SET evidence = NULL WHERE evidence = ?1 AND node IN (SELECT node FROM losses WHERE at >= ?2)",
        params![json(&Evidence::Rebooted)?, count(from)],
    )?;
    Ok(())
}

/// Whether the node's latest loss was one of many at once.
pub(super) fn lost_among_many(db: &Db<'_>, node: NodeId) -> Outcome<bool> {
    let latest = db
        .one("SELECT max(at) FROM losses WHERE node = ?1", [text(&node)], |r| r.get::<_, Option<Count>>(0))?
        .flatten();
    let Some(latest) = latest.map(|at| at.0) else { return Ok(false) };
    let window = millis(MASS_LOSS_WINDOW);
    // Some 30 s that hold this loss hold many: those that begin with one of the losses before it.
    let begins = db.all(
        "SELECT DISTINCT at FROM losses WHERE at >= ?1 AND at <= ?2",
        params![count(latest.saturating_sub(window)), count(latest)],
        |r| Ok(r.get::<_, Count>(0)?.0),
    )?;
    for begin in begins {
        if mass_loss_within(db, begin, begin.saturating_add(window))? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn mass_loss_within(db: &Db<'_>, from: u64, to: u64) -> Outcome<bool> {
    let counted = |sql: &str, params: &[&dyn rusqlite::ToSql]| {
        let n: Option<i64> = db.one(sql, params, |r| r.get(0))?;
        Ok::<_, super::verb_error::VerbError>(usize::try_from(n.unwrap_or(0)).unwrap_or(0))
    };
    let lost = counted("SELECT count(DISTINCT node) FROM losses WHERE at >= ?1 AND at <= ?2", &[&count(from), &count(to)])?;
    let fleet = counted("SELECT count(*) FROM nodes WHERE admin <> 'removed'", &[])?;
    Ok(is_mass_loss(lost, fleet))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
