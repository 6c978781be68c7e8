//! The part of cgroup version 2 that systemd has handed to this service (`Delegate=` in its unit): there, and nowhere else, may
//! it make cgroups that systemd leaves alone (systemd, "Control Group APIs and Delegation").
//!
//! A cgroup whose children have limits may hold no process itself (kernel documentation, `cgroup-v2`, "No Internal Process
//! Constraint"). So everything that is in the service's own moves into a leaf first.

use std::fs;
use std::io;
use std::path::Path;

/// Where the agent and its workers go.
const LEAF: &str = "agent";
/// What containers are limited with.
const CONTROLLERS: &str = "+cpu +memory +pids";
/// Processes that begin meanwhile are moved in the next round.
const ROUNDS: usize = 10;

/// This process's cgroup of version 2, from the text of `/proc/self/cgroup` (cgroups(7)).
pub(super) fn own(text: &str) -> Option<&str> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    (path != "/" && path.starts_with('/') && !path.contains("..")).then_some(path)
}

/// Whether systemd says that a cgroup's insides are the service's business. Only somebody who may do more than that anyway can set
/// these marks.
pub(super) fn is_delegated(folder: &Path) -> bool {
    let marked = |name: &str| {
        let mut value = [0; 1];
        matches!(rustix::fs::getxattr(folder, name, &mut value[..]), Ok(1)) && value == *b"1"
    };
    marked("trusted.delegate") || marked("user.delegate")
}

/// Moves everything in the cgroup `folder` into a leaf, and lets its children have limits.
///
/// # Errors
/// What the kernel refused; then its children can have none.
pub(super) fn make_room(folder: &Path) -> io::Result<()> {
    let leaf = folder.join(LEAF);
    match fs::create_dir(&leaf) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    for _ in 0..ROUNDS {
        let text = fs::read_to_string(folder.join("cgroup.procs"))?;
        if text.trim().is_empty() {
            break;
        }
        for process in text.lines() {
            match fs::write(leaf.join("cgroup.procs"), process) {
                // It has ended meanwhile.
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {}
                other => other?,
            }
        }
    }
    fs::write(folder.join("cgroup.subtree_control"), CONTROLLERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_cgroup_of_version_two_that_is_not_the_top_is_one_s_own() {
        assert_eq!(own("0::/system.slice/ouro-agent.service\n"), Some("/system.slice/ouro-agent.service"));
        assert_eq!(own("4:memory:/a\n0::/b\n"), Some("/b"));
        for none in ["0::/\n", "4:memory:/a\n", "0::/../other\n", ""] {
            assert_eq!(own(none), None, "{none:?}");
        }
    }

    #[test]
    fn processes_move_into_the_leaf_before_the_children_get_limits() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_delegated(folder.path()), "nobody has said so");
        // Not a cgroup: whoever is written about stays listed, and after ten rounds the kernel would be asked, and refuse.
        fs::write(folder.path().join("cgroup.procs"), "17\n18\n").unwrap();
        make_room(folder.path()).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("agent/cgroup.procs")).unwrap(), "18");
        assert_eq!(fs::read_to_string(folder.path().join("cgroup.subtree_control")).unwrap(), "+cpu +memory +pids");
        make_room(folder.path()).unwrap();
        fs::remove_file(folder.path().join("cgroup.procs")).unwrap();
        assert!(make_room(folder.path()).is_err(), "it cannot be seen who is in it");
    }
}
