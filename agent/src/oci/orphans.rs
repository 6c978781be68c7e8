//! Processes that an OCI runtime left behind when it failed: since containers are this process's to wait for, so are these, and
//! nobody else would.

use crate::sensing::host_root::{HostRoot, PROCFS_LIMIT};
use rustix::process::{Pid, WaitOptions, waitpid};
use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The runtimes' commands that somebody here waits for. Of the whole process, since its children are.
static AWAITED: Mutex<Option<HashSet<u32>>> = Mutex::new(None);

/// The kernel keeps so much of a program's name (proc(5)).
const COMM_BYTES: usize = 15;

fn awaited() -> MutexGuard<'static, Option<HashSet<u32>>> {
    AWAITED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A command that somebody waits for, until this is dropped.
pub(super) struct Entry(u32);

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(set) = awaited().as_mut() {
            set.remove(&self.0);
        }
    }
}

/// The processes nobody waits for.
pub(super) struct Orphans;

impl Orphans {
    /// Starts a command of a runtime that will be waited for.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn spawn(command: &mut tokio::process::Command) -> io::Result<(tokio::process::Child, Entry)> {
        // Under the lock: nobody may take it for an orphan before it is known.
        let mut set = awaited();
        let child = command.spawn()?;
        let id = child.id().unwrap_or(0);
        set.get_or_insert_default().insert(id);
        Ok((child, Entry(id)))
    }

    /// As [`Self::spawn`], for those who wait in a thread.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn spawn_blocking(command: &mut std::process::Command) -> io::Result<(std::process::Child, Entry)> {
        let mut set = awaited();
        let child = command.spawn()?;
        let id = child.id();
        set.get_or_insert_default().insert(id);
        Ok((child, Entry(id)))
    }

    /// Takes leave of the dead children of this process that were `program` and that nobody waits for.
    pub(super) fn reap(program: &Path) {
        let set = awaited();
        let root = HostRoot::live();
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let own = std::process::id();
        for id in root.read_names(&root.proc("")).unwrap_or_default().iter().filter_map(|name| name.parse::<u32>().ok()) {
            let stat = root.read_bytes(&root.proc(&format!("{id}/stat")), PROCFS_LIMIT).unwrap_or_default();
            let is_orphan = is_dead_child(&String::from_utf8_lossy(&stat), &name, own);
            let known = set.as_ref().is_some_and(|set| set.contains(&id));
            if is_orphan
                && !known
                && let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw)
            {
                let _ = waitpid(Some(pid), WaitOptions::NOHANG);
            }
        }
    }
}

/// Whether a line of `stat` (proc(5)) is that of a dead child of `parent` with this program's name.
fn is_dead_child(stat: &str, program: &str, parent: u32) -> bool {
    let fields = || {
        let (_, rest) = stat.split_once('(')?;
        // A name may hold brackets.
        let (name, rest) = rest.rsplit_once(')')?;
        let mut rest = rest.split_whitespace();
        Some((name, rest.next()?, rest.next()?.parse::<u32>().ok()?))
    };
    let cut = program
        .char_indices()
        .map(|(at, c)| at + c.len_utf8())
        .take_while(|end| *end <= COMM_BYTES)
        .last()
        .unwrap_or(0);
    fields().is_some_and(|(name, state, ppid)| name == &program[..cut] && state == "Z" && ppid == parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dead_children_of_this_name_are_orphans() {
        assert!(is_dead_child("12 (crun) Z 7 12 12 0", "crun", 7));
        assert!(is_dead_child("12 (a-very-long-nam) Z 7 1", "a-very-long-name", 7));
        assert!(is_dead_child("12 (a ) b) Z 7 1", "a ) b", 7));
        for (stat, what) in [("12 (crun) S 7 1", "alive"), ("12 (crun) Z 8 1", "another's"), ("12 (runc) Z 7 1", "another"), ("", "gone")] {
            assert!(!is_dead_child(stat, "crun", 7), "{what}");
        }
    }
}
