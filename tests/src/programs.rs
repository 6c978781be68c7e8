//! What is on this machine of an agent that runs programs in containers: to be there while they run, and gone afterwards.

use crate::wait::{SHORT, eventually};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};

/// Everything on this machine that has a node's name in it: mounts, folders of runs, control groups, and processes in them.
pub fn left_of(node: &str) -> Vec<String> {
    let mounts = read(Path::new("/proc/self/mountinfo"));
    let mut left: Vec<String> = mounts.lines().filter(|l| l.contains(&format!("oci-{}/", short(node)))).map(str::to_string).collect();
    left.extend(entries(&runs(node)).map(|path| path.display().to_string()));
    left.extend(groups(node).flat_map(|group| folders(&group)).map(|path| path.display().to_string()));
    left.extend(processes(node).iter().map(|id| format!("process {id}")));
    left
}

/// The living processes in a node's containers.
pub fn processes(node: &str) -> Vec<u32> {
    let group = format!("/ouroboros/{}/", short(node));
    let of = |path: PathBuf| path.file_name()?.to_str()?.parse().ok();
    let is_in = |id: &u32| {
        let folder = Path::new("/proc").join(id.to_string());
        // A dead one that nobody has taken leave of yet is listed, too.
        let state = read(&folder.join("stat")).rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        state.is_some_and(|state| state != 'Z') && read(&folder.join("cgroup")).contains(&group)
    };
    entries(Path::new("/proc")).filter_map(of).filter(is_in).collect()
}

/// Removes what a node's agent left that was killed and is not started again: its containers with all that runs in them, their cgroups
/// and mounts. Its own and nobody else's.
pub(crate) fn sweep(node: &str) {
    for group in groups(node) {
        eventually(&format!("{} to be empty", group.display()), SHORT, || {
            kill_all(&group);
            remove_folders(&group);
            (!group.exists()).then_some(())
        });
        // The folder of all agents goes with the last of them.
        let _ = fs::remove_dir(group.parent().expect("a cgroup lies in a folder"));
    }
    for run in entries(&runs(node)) {
        unmount_below(&run);
        // Not recursively: what could not be unmounted must not be emptied.
        let _ = fs::remove_dir(run);
    }
    let _ = fs::remove_dir(runs(node));
}

/// Detaches everything that is mounted at a folder or in it, the innermost first.
pub(crate) fn unmount_below(folder: &Path) {
    let mounts = read(Path::new("/proc/self/mountinfo"));
    // A blank is written in octal (proc(5)); the folders of tests have none.
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(Path::new);
    let mut inside: Vec<&Path> = places.filter(|place| place.starts_with(folder)).collect();
    inside.sort_unstable_by(|a, b| b.cmp(a));
    for place in inside {
        let _ = unmount(place, UnmountFlags::DETACH);
    }
}

fn kill_all(group: &Path) {
    for inner in folders(group) {
        kill_all(&inner);
    }
    let ids = read(&group.join("cgroup.procs"));
    for id in ids.lines().filter_map(|id| Pid::from_raw(id.parse().ok()?)) {
        let _ = kill_process(id, Signal::KILL);
    }
}

fn remove_folders(group: &Path) {
    for inner in folders(group) {
        remove_folders(&inner);
    }
    let _ = fs::remove_dir(group);
}

/// Where a node's containers are mounted.
fn runs(node: &str) -> PathBuf {
    Path::new("/run/ouroboros").join(format!("oci-{}", short(node)))
}

/// A node's folders in the hierarchies of cgroups that have one.
fn groups(node: &str) -> impl Iterator<Item = PathBuf> + use<> {
    let folder = Path::new("ouroboros").join(short(node));
    let hierarchies = entries(Path::new("/sys/fs/cgroup")).chain([PathBuf::from("/sys/fs/cgroup")]);
    hierarchies.map(move |hierarchy| hierarchy.join(&folder)).filter(|folder| folder.is_dir())
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    entries(folder).filter(|path| path.is_dir()).collect()
}

/// What an agent is called in such names: the end of its node's id.
fn short(node: &str) -> &str {
    &node[node.len() - 12..]
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}
