//! What is on this machine of an agent that runs programs in containers: to be there while they run, and gone afterwards.

use std::fs;
use std::path::{Path, PathBuf};

/// Everything on this machine that has a node's name in it: mounts, folders of runs, control groups, and processes in them.
pub fn left_of(node: &str) -> Vec<String> {
    let agent = short(node);
    let mounts = read(Path::new("/proc/self/mountinfo"));
    let mut left: Vec<String> = mounts.lines().filter(|l| l.contains(&format!("oci-{agent}/"))).map(str::to_string).collect();
    left.extend(entries(&Path::new("/run/ouroboros").join(format!("oci-{agent}"))).map(|path| path.display().to_string()));
    for hierarchy in entries(Path::new("/sys/fs/cgroup")).chain([PathBuf::from("/sys/fs/cgroup")]) {
        let groups = entries(&hierarchy.join("ouroboros").join(agent)).filter(|path| path.is_dir());
        left.extend(groups.map(|path| path.display().to_string()));
    }
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
