//! Containers that are programs: a shell script over busybox, and what is on this machine of an agent that runs some.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

const BUSYBOX: &str = "/bin/busybox";
const RUNTIMES: [&str; 4] = ["/usr/sbin/runc", "/usr/bin/runc", "/usr/bin/crun", "/usr/bin/youki"];
/// What the scripts of tests call.
const TOOLS: [&str; 9] = ["sh", "cat", "sleep", "yes", "wget", "seq", "head", "dd", "printf"];

/// Whether programs can be run here.
///
/// # Errors
/// What is missing.
pub fn can_run() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("containers are run by root".into());
    }
    if !Path::new(BUSYBOX).is_file() {
        return Err("there is no static busybox; install busybox-static".into());
    }
    if !RUNTIMES.iter().any(|path| Path::new(path).exists()) {
        return Err("there is no OCI runtime; install crun or runc".into());
    }
    Ok(())
}

/// A container with one input `text` and one output `out`, run by a shell; `oci` are more lines of its `[oci]`.
#[derive(Debug, Clone, Copy)]
pub struct Program<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it does.
    pub script: &'a str,
    /// More lines of `[oci]`.
    pub oci: &'a str,
}

impl Program<'_> {
    /// Puts it into a module folder, whole or not at all.
    ///
    /// # Panics
    /// When it cannot be written or packed.
    pub fn put(&self, modules: &Path) {
        let scratch = modules.with_extension("scratch").join(self.name);
        let (root, folder) = (scratch.join("root"), scratch.join("container"));
        fs::create_dir_all(root.join("bin")).expect("the folder can be made");
        fs::create_dir_all(&folder).expect("the folder can be made");
        fs::copy(BUSYBOX, root.join("bin/busybox")).expect("busybox can be copied");
        for tool in TOOLS {
            symlink("busybox", root.join("bin").join(tool)).expect("links can be made");
        }
        let packed = Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(folder.join("rootfs.tar")).arg("bin").status();
        assert!(packed.expect("tar can be run").success());
        fs::write(folder.join("container.toml"), self.manifest()).expect("the manifest can be written");
        fs::rename(&folder, modules.join(self.name)).expect("it can be put into its place");
    }

    fn manifest(&self) -> String {
        format!(
            "name = \"{}\"\nversion = \"1.0.0\"\nsummary = \"A script\"\nruntime = \"oci\"\n\
             inputs = [{{ port = \"text\", media = \"text/plain\" }}]\n\
             outputs = [{{ port = \"out\", media = \"text/plain\", max_bytes = 1000000 }}]\n\
             [needs]\nmemory_bytes = 67108864\n[oci]\nargs = [\"/bin/sh\", \"-c\", {}]\n{}\n",
            self.name,
            serde_json::to_string(self.script).expect("a string is JSON"),
            self.oci
        )
    }
}

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
