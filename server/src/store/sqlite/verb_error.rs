//! What goes wrong inside a verb, and what the caller is told: which file, and whether the disk is full.
//!
//! SQLite says `SQLITE_FULL` when a write finds no room. A flush or the growth of the shared memory file can fail for
//! the same reason under another code; the file system is asked then.

use crate::store::StoreError;
use rusqlite::ErrorCode;
use std::path::{Path, PathBuf};

/// The result of a piece of a verb.
pub(super) type Outcome<T> = Result<T, VerbError>;

/// A verb could not go on; its savepoint is rolled back.
#[derive(Debug)]
pub(super) enum VerbError {
    /// SQLite refused.
    Sql(rusqlite::Error),
    /// The verb itself did.
    Refused(StoreError),
    /// The database was made by a newer build.
    NewerSchema {
        /// Its schema's version.
        found: usize,
        /// The newest this build knows.
        known: usize,
    },
}

impl VerbError {
    /// There is no such thing.
    pub(super) fn not_found(what: &'static str, id: impl ToString) -> Self {
        Self::Refused(StoreError::NotFound { what, id: id.to_string() })
    }

    /// What is stored contradicts the rules.
    pub(super) fn corrupt(place: &'static str, problem: String) -> Self {
        Self::Refused(StoreError::Corrupt { place, problem })
    }
}

impl From<rusqlite::Error> for VerbError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

/// The database's file, which every error names.
#[derive(Debug, Clone)]
pub(super) struct Site {
    path: PathBuf,
}

impl Site {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_path_buf() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What the caller is told.
    pub(super) fn tell(&self, error: VerbError) -> StoreError {
        match error {
            VerbError::Refused(error) => error,
            VerbError::Sql(error) => self.tell_sql(&error),
            VerbError::NewerSchema { found, known } => self
                .database(format!("its schema is version {found}, this build knows {known}; run the build that made it, or a newer one")),
        }
    }

    /// What the caller is told about SQLite's error.
    pub(super) fn tell_sql(&self, error: &rusqlite::Error) -> StoreError {
        match error {
            rusqlite::Error::FromSqlConversionFailure(_, _, problem) => {
                StoreError::Corrupt { place: "a column", problem: problem.to_string() }
            }
            rusqlite::Error::SqliteFailure(failure, _)
                if failure.code == ErrorCode::DiskFull || (failure.code == ErrorCode::SystemIoFailure && self.no_room()) =>
            {
                StoreError::DiskFull { path: self.path.display().to_string() }
            }
            rusqlite::Error::SqliteFailure(failure, _) if matches!(failure.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::Corrupt { place: "the database file", problem: format!("{}: {error}", self.path.display()) }
            }
            _ => self.database(error.to_string()),
        }
    }

    /// The database refused, in these words.
    pub(super) fn database(&self, problem: String) -> StoreError {
        StoreError::Database { path: self.path.display().to_string(), problem }
    }

    /// Whether less than a mebibyte is left where the database is.
    fn no_room(&self) -> bool {
        let folder = self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        rustix::fs::statvfs(folder).is_ok_and(|fs| fs.f_bavail.saturating_mul(fs.f_frsize) < 1024 * 1024)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_apart_from_a_broken_one() {
        let site = Site::new(Path::new("/nowhere/fleet.db"));
        let failure = |code| rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
        let full = site.tell_sql(&failure(rusqlite::ffi::SQLITE_FULL));
        assert!(matches!(&full, StoreError::DiskFull { path } if path == "/nowhere/fleet.db"), "{full}");
        assert!(matches!(site.tell_sql(&failure(rusqlite::ffi::SQLITE_IOERR_WRITE)), StoreError::Database { .. }));
        assert!(matches!(site.tell_sql(&failure(rusqlite::ffi::SQLITE_CORRUPT)), StoreError::Corrupt { .. }));
    }
}
