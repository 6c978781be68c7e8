//! What runs taught of containers on nodes, so that a restarted server need not learn it again.

use super::columns::{Text, text};
use super::db::Db;
use super::verb_error::Outcome;
use crate::store::LessonRecord;
use ouro_common::mfpi::Residuals;
use rusqlite::params;

/// Keeps lessons about nodes that are there.
pub(super) fn keep(db: &Db<'_>, lessons: &[LessonRecord]) -> Outcome<()> {
    for LessonRecord { node, container, residuals } in lessons {
        let figures = [residuals.plug, residuals.pre, residuals.dec];
        // SQLite has no NaN; what is no number teaches nothing.
        if figures.iter().any(|figure| !figure.is_finite()) {
            continue;
        }
        db.run(
            "INSERT OR REPLACE INTO lessons (node, container, plug, pre, dec) \
             SELECT id, ?2, ?3, ?4, ?5 FROM nodes WHERE id = ?1 AND admin <> 'removed'",
            params![text(node), text(container), residuals.plug, residuals.pre, residuals.dec],
        )?;
    }
    Ok(())
}

/// All of them.
pub(super) fn all(db: &Db<'_>) -> Outcome<Vec<LessonRecord>> {
    db.all("SELECT node, container, plug, pre, dec FROM lessons ORDER BY node, container", [], |row| {
        Ok(LessonRecord {
            node: row.get::<_, Text<_>>(0)?.0,
            container: row.get::<_, Text<_>>(1)?.0,
            residuals: Residuals { plug: row.get(2)?, pre: row.get(3)?, dec: row.get(4)? },
        })
    })
}
