//! One run of a container: bundle, create, start, wait, judge, collect, and away with everything.
//!
//! However a run ends, also when the future that waits for it is dropped, its first process is killed at once and with it,
//! since it is the first of its process namespace, every other one. The rest is removed right behind.

use super::bundle::{self, Bundle};
use super::cache::{Cache, RootFs};
use super::cdi::{self, Edits};
use super::cgroup::{Cgroups, Counts};
use super::collect::collect;
use super::command::{Cli, Pipes};
use super::enclosure::{self, Enclosure};
use super::find::{self, Confinement};
use super::inside::STEP_FILE;
use super::roster::Roster;
use super::verdict::{self, End, Seen};
use crate::logs::{LogWriter, Stream};
use crate::modules::LayerFile;
use crate::runtimes::Job;
use crate::sensing::host_root::HostRoot;
use crate::workers::{RunFailure, RunTimes};
use ouro_common::container::{Container, Manifest, OciProcess};
use ouro_common::envelope::MAX_REQUEST_BYTES;
use ouro_common::step::{Evidence, FailureClass};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid};
use serde_json::json;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Counts the runs of this process, those of runtimes that were only tried included: what one of them leaves is still being
/// removed when the next begins.
static RUNS: AtomicU64 = AtomicU64::new(0);

/// The most bytes in `/out`, where the manifest names more: it is memory.
const MOST_OUT_BYTES: u64 = 1 << 30;

/// What is needed to run containers.
#[derive(Debug, Clone)]
pub struct OciOptions {
    /// Runtimes by name or path, the first that works is taken.
    pub runtimes: Vec<String>,
    /// A folder of this agent on the disk.
    pub home: PathBuf,
    /// A folder of this agent in memory, gone after a reboot; runs are mounted in it.
    pub runs: PathBuf,
    /// What names this agent's containers among those of others.
    pub agent: String,
    /// Bytes of unpacked root filesystems that are kept.
    pub cache_max_bytes: u64,
    /// Processors a run may use.
    pub cpus: u32,
    /// Where device specifications are looked for.
    pub root: HostRoot,
}

/// A machine that can run containers, and how.
pub(super) struct Machine {
    pub(super) options: OciOptions,
    pub(super) cgroups: Cgroups,
    pub(super) cli: Cli,
    pub(super) confinement: Confinement,
    pub(super) cache: Cache,
    pub(super) roster: Roster,
}

/// The runtime. Clones share it.
#[derive(Clone)]
pub struct Oci {
    machine: Arc<Machine>,
    tasks: TaskTracker,
}

/// A step's container to be run.
pub struct OciOrder<'a> {
    /// The container.
    pub container: &'a Container,
    /// Its layers, the lowest first.
    pub layers: &'a [LayerFile],
    /// The step.
    pub job: &'a Job,
    /// Where what it says goes.
    pub log: LogWriter,
}

/// Removes what a run of this agent that was killed left: containers, cgroups and mounts.
pub(super) fn sweep(options: &OciOptions, cgroups: &Cgroups) {
    let states = fs::read_dir(options.home.join("state")).into_iter().flatten().flatten();
    for state in states {
        let name = state.file_name().to_string_lossy().into_owned();
        let cli = Cli { program: find::locate(&name).unwrap_or_else(|| name.into()), state: state.path() };
        let mut answers = true;
        for left in cli.remembered() {
            tracing::info!(container = left, "a container of an earlier run is removed");
            // One that hangs is not waited for again: its containers are killed by their cgroups.
            answers = answers && cli.delete(&left);
            // Where the runtime is gone too, its memory of the container must not come back with it.
            let _ = fs::remove_dir_all(cli.state.join(&left));
        }
    }
    cgroups.sweep(&options.agent);
    enclosure::sweep(&options.runs);
}

fn load_failed(why: impl Into<String>) -> RunFailure {
    RunFailure::new(FailureClass::LoadFailed, why)
}

fn rejected(what: &str) -> impl FnOnce(io::Error) -> RunFailure {
    move |e| RunFailure::new(FailureClass::Rejected, format!("this node cannot take the step: {what}: {e}"))
}

impl Oci {
    pub(super) fn new(machine: Arc<Machine>) -> Self {
        // Containers outlive the command that made them; then they are this process's children, and it sees how they end.
        if let Err(error) = rustix::process::set_child_subreaper(Pid::from_raw(1)) {
            tracing::warn!(%error, "how containers end cannot be seen");
        }
        Self { machine, tasks: TaskTracker::new() }
    }

    /// Runs a container; its outputs are in `out` of the job's folder when this returns.
    ///
    /// # Errors
    /// How it failed; `DRAINED` when `cancel` came first.
    pub async fn run(&self, order: OciOrder<'_>, cancel: &CancellationToken) -> Result<RunTimes, RunFailure> {
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(RunFailure::new(FailureClass::Drained, "the step was cancelled")),
            result = self.run_undisturbed(order) => result,
        }
    }

    async fn run_undisturbed(&self, order: OciOrder<'_>) -> Result<RunTimes, RunFailure> {
        let start = Instant::now();
        let manifest = &order.container.manifest;
        let process = manifest.oci.as_ref().ok_or_else(|| load_failed("its manifest has no [oci]"))?;
        let edits = cdi::edits(&self.machine.options.root, &manifest.needs.accelerators).map_err(load_failed)?;
        let rootfs = self.rootfs(order.layers, process.rootfs_bytes).await?;
        let out_bytes = manifest.outputs.iter().map(|p| p.max_bytes.unwrap_or(MAX_REQUEST_BYTES)).fold(0, u64::saturating_add);
        let out_bytes = out_bytes.min(MOST_OUT_BYTES);
        let input = order.job.folder.join("given");
        give(manifest, order.job, &input).map_err(rejected("its inputs"))?;
        let plan = Plan { process, memory_bytes: manifest.needs.memory_bytes, out_bytes, input: &input, edits: &edits };
        let mut boxed = self.enclose(&rootfs.path, &plan)?;
        let pipes = boxed.create().await?;
        let plug = start.elapsed();
        let limit = process.time_s.map_or(Duration::MAX, Duration::from_secs);
        let ended = tokio::time::timeout(limit, boxed.live(pipes, &order.log)).await;
        let end = ended.map_err(|_| RunFailure {
            class: FailureClass::Timeout,
            why: format!("the container ran longer than the {} s its manifest allows", limit.as_secs()),
            evidence: Some(Evidence::Limit { what: "time".into() }),
        })??;
        let counts = boxed.counts();
        verdict::judge(&Seen {
            end,
            counts,
            memory_bytes: manifest.needs.memory_bytes,
            pids: process.pids,
            out_full: boxed.enclosure.is_full(),
            stderr: &order.log.stderr_tail(),
        })?;
        let largest = |port: &str| manifest.outputs.iter().find(|p| p.port.as_str() == port).and_then(|p| p.max_bytes);
        let limit = |port: &str| largest(port).unwrap_or(MAX_REQUEST_BYTES);
        collect(manifest, limit, &boxed.enclosure.output(), &order.job.folder.join("out"))?;
        let ran = start.elapsed();
        boxed.close().await;
        Ok(RunTimes { plug, run: ran.saturating_sub(plug), unplug: start.elapsed().saturating_sub(ran) })
    }

    async fn rootfs(&self, layers: &[LayerFile], allowed_bytes: u64) -> Result<RootFs, RunFailure> {
        let (machine, layers) = (self.machine.clone(), layers.to_vec());
        let unpacked = tokio::task::spawn_blocking(move || machine.cache.get(&layers, allowed_bytes)).await;
        unpacked.map_err(|e| load_failed(format!("unpacking failed: {e}")))?.map_err(|e| load_failed(e.to_string()))
    }

    /// Runs a root filesystem's `/exit`, as the trial whether containers can be run.
    pub(super) async fn try_out(&self, rootfs: &Path) -> Result<(), RunFailure> {
        let process = OciProcess {
            args: vec!["/exit".into()],
            env: std::collections::BTreeMap::new(),
            cwd: "/".into(),
            pids: 8,
            tmp_bytes: 1 << 20,
            rootfs_bytes: 1 << 20,
            time_s: None,
        };
        let input = rootfs.join("in");
        let plan = Plan {
            process: &process,
            memory_bytes: 64 << 20,
            out_bytes: 1 << 20,
            input: &input,
            edits: &Edits::default(),
        };
        let mut boxed = self.enclose(rootfs, &plan)?;
        let pipes = boxed.create().await?;
        let end = boxed.live(pipes, &LogWriter::nowhere()).await?;
        boxed.close().await;
        if end == End::Code(0) {
            Ok(())
        } else {
            Err(load_failed(format!("the smallest container ended with {end:?}")))
        }
    }

    fn enclose(&self, rootfs: &Path, plan: &Plan<'_>) -> Result<Boxed, RunFailure> {
        let machine = &self.machine;
        let name = format!("ouro-{}-{}-{}", machine.options.agent, std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed));
        let owner = bundle::owner(&machine.confinement);
        machine.roster.enter(&name);
        let made = Enclosure::make(&machine.options.runs, &name, plan.out_bytes, owner);
        let enclosure = made.inspect_err(|_| machine.roster.leave(&name)).map_err(rejected("its folder"))?;
        let boxed = Boxed { machine: machine.clone(), name, enclosure, first: None, tasks: self.tasks.clone(), closed: false };
        let inside = &boxed.enclosure;
        inside.bind(rootfs, &inside.rootfs()).map_err(rejected("its root filesystem"))?;
        inside.bind(plan.input, &inside.input()).map_err(rejected("its inputs"))?;
        let bundle = Bundle {
            process: plan.process,
            confinement: &machine.confinement,
            rootfs: &inside.rootfs(),
            input: &inside.input(),
            output: &inside.output(),
            cgroup: &machine.cgroups.path(&machine.options.agent, &boxed.name),
            memory_bytes: plan.memory_bytes,
            file_bytes: plan.out_bytes.max(plan.process.tmp_bytes),
            cpus: machine.options.cpus,
            edits: plan.edits,
        };
        let config = bundle.config().map_err(|e| load_failed(format!("its configuration cannot be written: {e}")))?;
        let json = serde_json::to_vec(&config).map_err(|e| load_failed(format!("its configuration cannot be written: {e}")))?;
        fs::write(inside.folder().join("config.json"), json).map_err(rejected("its folder"))?;
        Ok(boxed)
    }

    /// The processor time that all containers have used so far.
    pub fn cpu_time(&self) -> Duration {
        self.machine.roster.cpu_time()
    }

    /// Waits until everything that ended runs left is removed.
    pub async fn tidy(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// What is run, and in which bounds.
struct Plan<'a> {
    process: &'a OciProcess,
    memory_bytes: u64,
    out_bytes: u64,
    input: &'a Path,
    edits: &'a Edits,
}

/// Lays out `/in`: a file a port, or a folder where a port takes any number; and what the step is, as JSON.
fn give(manifest: &Manifest, job: &Job, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut inputs = vec![];
    for (n, input) in job.inputs.iter().enumerate() {
        let many = manifest.input(&input.port).is_some_and(|p| p.many);
        let name = if many { format!("{}/{n}", input.port) } else { input.port.to_string() };
        let path = folder.join(&name);
        if many {
            fs::create_dir_all(folder.join(input.port.as_str()))?;
        }
        // A second name costs nothing, and the container can only read.
        fs::hard_link(&input.file, &path).or_else(|_| fs::copy(&input.file, &path).map(|_| ()))?;
        open_to_all(&path, 0o644)?;
        inputs.push(json!({"port": input.port, "tag": input.tag, "media": input.media, "file": format!("/in/{name}")}));
    }
    let step = folder.join(STEP_FILE);
    fs::write(&step, json!({"params": job.params, "inputs": inputs}).to_string())?;
    open_to_all(&step, 0o644)?;
    open_to_all(folder, 0o755)
}

/// The container's user is nobody's here; the folder above keeps everybody else out.
fn open_to_all(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// A container and all that belongs to it on this machine. Dropped, it is killed and removed.
struct Boxed {
    machine: Arc<Machine>,
    name: String,
    enclosure: Enclosure,
    first: Option<(Pid, Arc<OwnedFd>)>,
    tasks: TaskTracker,
    closed: bool,
}

impl Boxed {
    async fn create(&mut self) -> Result<Pipes, RunFailure> {
        let pid_file = self.enclosure.folder().join("pid");
        let created = self.machine.cli.create(&self.name, self.enclosure.folder(), &pid_file).await;
        let pipes = created.map_err(|e| load_failed(e.to_string()))?;
        let pid = fs::read_to_string(&pid_file).ok().and_then(|t| t.trim().parse().ok()).and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| load_failed("the OCI runtime gave no process id"))?;
        // It waits to be started: the number cannot be somebody else's yet.
        let handle = pidfd_open(pid, PidfdFlags::NONBLOCK).map_err(|e| load_failed(format!("the container cannot be watched: {e}")))?;
        self.first = Some((pid, Arc::new(handle)));
        Ok(pipes)
    }

    /// Starts it, passes on what it says, and waits for its end.
    async fn live(&mut self, pipes: Pipes, log: &LogWriter) -> Result<End, RunFailure> {
        let Some((_, handle)) = self.first.clone() else {
            return Err(load_failed("the container was not created"));
        };
        let (out, err) = (log.clone(), log.clone());
        let mut reading = JoinSet::new();
        reading.spawn(async move { out.follow(Stream::Out, pipes.stdout).await });
        reading.spawn(async move { err.follow(Stream::Err, pipes.stderr).await });
        self.machine.cli.start(&self.name).await.map_err(|e| load_failed(e.to_string()))?;
        // SAFETY: the descriptor stays open as long as `handle`, which outlives the registration by being declared before it.
        let watched = unsafe { AsyncFd::register_with_interest(handle.as_fd(), Interest::READABLE) };
        let watched = watched.map_err(|e| load_failed(format!("the container cannot be watched: {e}")))?;
        let _ = watched.readable().await;
        let end = reap(&handle);
        // All its processes are dead; what is in the pipes is the last.
        let _ = tokio::time::timeout(Duration::from_secs(1), reading.join_all()).await;
        Ok(end)
    }

    fn counts(&self) -> Counts {
        self.machine.cgroups.counts(&self.machine.options.agent, &self.name)
    }

    /// Removes everything, and returns when it is removed.
    async fn close(mut self) {
        self.closed = true;
        let ending = self.ending();
        let _ = tokio::task::spawn_blocking(ending).await;
    }

    /// What ends and removes it.
    fn ending(&self) -> impl FnOnce() + Send + 'static {
        let (machine, name, enclosure, first) = (self.machine.clone(), self.name.clone(), self.enclosure.clone(), self.first.clone());
        move || {
            machine.roster.count_last(&name);
            machine.cli.delete(&name);
            if let Some((_, handle)) = first {
                let _ = reap(&handle);
            }
            machine.cgroups.end(&machine.options.agent, &name);
            enclosure.remove();
            machine.roster.leave(&name);
        }
    }
}

impl Drop for Boxed {
    fn drop(&mut self) {
        if self.closed {
            return;
        }
        if let Some((_, handle)) = &self.first {
            let _ = pidfd_send_signal(handle, Signal::KILL);
        }
        self.tasks.spawn_blocking(self.ending());
    }
}

/// How the first process ended; it is no zombie afterwards.
fn reap(handle: &OwnedFd) -> End {
    match waitid(WaitId::PidFd(handle.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
        Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => End::Code(code),
            (None, Some(signal)) => End::Signal(signal),
            (None, None) => End::Unknown,
        },
        _ => End::Unknown,
    }
}
