//! Which installed runtime can run containers on this machine: found out by running the smallest one, fully enclosed.
//!
//! Being installed is not enough: crun 1.8 fails with hybrid cgroups where runc works, a machine may give no user namespaces,
//! a kernel may not count swap. What was tried last and worked is what every container then gets. A runtime that hangs costs
//! its own share of the time, and the next is tried.

use super::bundle;
use super::cache::Cache;
use super::cgroup::Cgroups;
use super::command::Cli;
use super::exit_program::exit_program;
use super::roster::Roster;
use super::run::{Machine, Oci, OciOptions};
use ouro_common::device::RuntimeAvailability;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The longest that one runtime is tried: what takes longer hangs.
const EACH: Duration = Duration::from_secs(30);

/// Where runtimes are looked for beside the `PATH`: services often have a short one.
const FOLDERS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// What this machine can enclose a container with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Confinement {
    /// Whether root inside is nobody outside.
    pub(super) user_namespace: bool,
    /// Whether swap can be limited.
    pub(super) swap: bool,
}

/// What is tried, the best first.
const LADDER: [Confinement; 4] = [
    Confinement { user_namespace: true, swap: true },
    Confinement { user_namespace: true, swap: false },
    Confinement { user_namespace: false, swap: true },
    Confinement { user_namespace: false, swap: false },
];

/// A runtime that works.
pub type Found = Oci;

/// What came of looking.
pub struct Finding {
    /// The runtime, if one works.
    pub runtime: Option<Found>,
    /// What the server is told.
    pub says: RuntimeAvailability,
}

fn says(available: bool, detail: String) -> RuntimeAvailability {
    RuntimeAvailability { runtime: "oci".into(), available, detail, pending: false }
}

/// Removes what an earlier run of this agent left, then looks for a runtime that works. Takes as long as the runtimes do, at most
/// half a minute for each.
pub async fn find(options: OciOptions) -> Finding {
    let no = |why: String| Finding { runtime: None, says: says(false, why) };
    if options.runtimes.is_empty() {
        return no("switched off: `oci.runtimes` in agent.toml is empty".into());
    }
    if !rustix::process::geteuid().is_root() {
        return no("needs an agent that runs as root, to limit and enclose containers".into());
    }
    let cgroups = Cgroups::read();
    let swept = options.clone();
    // What it finds is a runtime's, which may hang.
    let swept = tokio::task::spawn_blocking(move || {
        // Where an agent that was not this service had them.
        cgroups.sweep(&swept.agent);
        let cgroups = cgroups.delegated();
        super::run::sweep(&swept, &cgroups);
        cgroups
    });
    let Ok(cgroups) = swept.await else {
        return no("what an earlier run left could not be removed; the agent's log says why".into());
    };
    let roster = Roster::new(cgroups.clone(), &options.agent, &options.runs);
    let trial = Trial { options: &options, cgroups: &cgroups, roster: &roster };
    let mut problems = vec![];
    for name in &options.runtimes {
        let Some(program) = locate(name) else {
            problems.push(format!("{name} is not installed"));
            continue;
        };
        let tried = tokio::time::timeout(EACH, trial.first_that_works(program)).await;
        match tried.unwrap_or_else(|_| Err(format!("{name} hangs: it was given {} s", EACH.as_secs()))) {
            Ok((runtime, confinement, version)) => {
                let namespace = if confinement.user_namespace { "user namespace" } else { "as nobody, without a user namespace" };
                let detail = format!("{version} ({}), {namespace}", cgroups.kind());
                return Finding { runtime: Some(runtime), says: says(true, detail) };
            }
            Err(problem) => problems.push(problem),
        }
    }
    no(format!("{}; install crun or runc", problems.join("; ")))
}

/// What runtimes are tried with.
struct Trial<'a> {
    options: &'a OciOptions,
    cgroups: &'a Cgroups,
    roster: &'a Roster,
}

impl Trial<'_> {
    async fn first_that_works(&self, program: PathBuf) -> Result<(Oci, Confinement, String), String> {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let cli = Cli { state: self.options.home.join("state").join(&name), program };
        let version = cli.version().await.map_err(|e| e.to_string())?;
        let mut first = None;
        for confinement in LADDER {
            let made = self.machine(&cli, confinement).map_err(|e| format!("{name}: {e}"))?;
            let runtime = Oci::new(Arc::new(made));
            let folder = self.options.home.join(format!("trial-{name}"));
            let tried = match put_program(&folder, bundle::shift(&confinement)) {
                Ok(()) => runtime.try_out(&folder).await.map_err(|e| e.why),
                Err(error) => Err(format!("{}: {error}", folder.display())),
            };
            let _ = std::fs::remove_dir_all(&folder);
            match tried {
                Ok(()) => return Ok((runtime, confinement, version.replacen(" version ", " ", 1))),
                Err(problem) => {
                    tracing::debug!(name, ?confinement, problem, "an OCI runtime was tried");
                    first.get_or_insert(problem);
                }
            }
        }
        Err(first.unwrap_or_else(|| format!("{name} cannot be tried")))
    }

    fn machine(&self, cli: &Cli, confinement: Confinement) -> std::io::Result<Machine> {
        std::fs::create_dir_all(&cli.state)?;
        let options = self.options.clone();
        let cache = Cache::open(options.home.join("rootfs"), options.cache_max_bytes, bundle::shift(&confinement))?;
        Ok(Machine {
            options,
            cgroups: self.cgroups.clone(),
            cli: cli.clone(),
            confinement,
            cache,
            roster: self.roster.clone(),
        })
    }
}

/// A root filesystem with one program that ends at once.
fn put_program(folder: &Path, owner: u32) -> std::io::Result<()> {
    let program = exit_program().ok_or_else(|| std::io::Error::other("no program to try with is known for this processor"))?;
    std::fs::create_dir_all(folder)?;
    for name in super::inside::MOUNT_POINTS {
        let path = folder.join(name);
        std::fs::create_dir_all(&path)?;
        std::os::unix::fs::chown(&path, Some(owner), Some(owner))?;
    }
    std::os::unix::fs::chown(folder, Some(owner), Some(owner))?;
    let path = folder.join("exit");
    std::fs::write(&path, program)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
}

/// A program by its path, or by its name on the `PATH` and in the usual folders.
pub(super) fn locate(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|p| p.is_file());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(FOLDERS.iter().map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|p| p.is_file())
}
