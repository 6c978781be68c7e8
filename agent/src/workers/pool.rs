//! The pool: a worker for each loaded container, kept while it is used, given up when idle, killed when its step is.
//!
//! A container's worker runs one job at a time. When it is busy and another job comes, a second one is started, except
//! for language models: theirs does several jobs together ([`talk`]).

mod first_pass;
mod keep;
mod room;
mod talk;

pub(crate) use first_pass::{FirstPassLoad, Lent, Unready, first_pass_key};
pub use keep::Kept;
pub use room::Parked;

use super::load_policy::{InForce, LoadPolicies};
use super::process::{Death, Process, WorkerOptions};
use super::protocol::{Order, Word};
use super::resident::Resident;
use crate::logs::LogWriter;
use crate::modules::{Installed, Modules, Source};
use crate::runtimes::{BatchLimits, Job, Load};
use ouro_common::container::{Container, LoadPolicy, Runtime};
use ouro_common::device::LoadedContainer;
use ouro_common::id::Digest;
use ouro_common::step::{Evidence, FailureClass};
use room::{Known, Needs, Wants};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use talk::Table;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What a pool needs to know.
#[derive(Debug, Clone)]
pub struct PoolOptions {
    /// How workers are started.
    pub workers: WorkerOptions,
    /// When containers leave memory.
    pub policies: LoadPolicies,
    /// Bytes that all containers in memory may take together.
    pub memory_bytes: u64,
    /// Where a language model leaves what it keeps, when it leaves memory.
    pub sessions: Option<PathBuf>,
    /// The ONNX Runtime library the configuration names.
    pub onnxruntime: Option<PathBuf>,
    /// What the jobs of a language model may take together.
    pub batch: BatchLimits,
}

/// A job that came to no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFailure {
    /// What kind of failure.
    pub class: FailureClass,
    /// In words.
    pub why: String,
    /// What speaks for the work's own guilt.
    pub evidence: Option<Evidence>,
}

impl RunFailure {
    /// A failure without evidence.
    pub fn new(class: FailureClass, why: impl Into<String>) -> Self {
        Self { class, why: why.into(), evidence: None }
    }
}

impl From<Death> for RunFailure {
    fn from(death: Death) -> Self {
        Self { class: FailureClass::Crashed, why: death.why, evidence: death.evidence }
    }
}

/// How long a job's phases took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunTimes {
    /// Until the container was loaded; zero when it was.
    pub plug: Duration,
    /// The job itself.
    pub run: Duration,
    /// Until the container was gone again; zero when it stays for the next job.
    pub unplug: Duration,
}

struct Idle {
    process: Process,
    source: Source,
    since: Instant,
}

#[derive(Default)]
struct State {
    idle: HashMap<Digest, Vec<Idle>>,
    busy: HashMap<Digest, Vec<u32>>,
    residents: HashMap<Digest, Arc<Resident>>,
    /// Language models that end when their jobs have.
    parting: Vec<(Digest, Weak<Resident>)>,
    tables: HashMap<Digest, Table>,
    known: HashMap<Digest, Known>,
    parked: HashMap<Digest, Parked>,
    /// Bytes that containers are about to take.
    coming: Vec<(Digest, u64)>,
    /// Containers that take up nothing new.
    yielding: Vec<Digest>,
    needs: Needs,
    /// These stay however long they wait.
    pinned: HashSet<Digest>,
    /// These end when they are done.
    leaving: HashSet<Digest>,
}

impl State {
    /// A worker that was killed while it waited has nothing loaded any more.
    fn forget_dead(&mut self) {
        self.idle.values_mut().for_each(|list| list.retain_mut(|idle| !idle.process.has_ended()));
        self.idle.retain(|_, list| !list.is_empty());
    }

    /// Whether what has done its job leaves memory at once.
    fn goes_with_its_job(&self, digest: &Digest) -> bool {
        let known = self.known.get(digest);
        known.is_some_and(|known| known.in_force.policy == LoadPolicy::PerRequest) && !self.pinned.contains(digest)
    }
}

/// The workers. Clones share them.
#[derive(Clone)]
pub struct Pool {
    options: Arc<PoolOptions>,
    state: Arc<Mutex<State>>,
}

impl Pool {
    /// A pool without workers. They are started when they are needed.
    pub fn new(options: PoolOptions) -> Self {
        Self { options: Arc::new(options), state: Arc::default() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a job of a container, loading it first where that is needed. `chunks` gets text as it is made.
    ///
    /// # Errors
    /// What the container said, or what its worker died of; `DRAINED` when `cancel` came first.
    pub async fn run(
        &self,
        installed: &Installed,
        job: Job,
        chunks: Option<mpsc::Sender<String>>,
        log: &LogWriter,
        cancel: &CancellationToken,
    ) -> Result<RunTimes, RunFailure> {
        let stopped = || RunFailure::new(FailureClass::Drained, "the step was cancelled");
        let work = async {
            match is_language(&installed.container) {
                true => self.run_together(installed, &job, chunks.as_ref(), log).await,
                false => self.run_undisturbed(installed, &job, chunks.as_ref(), log).await,
            }
        };
        tokio::select! {
            biased;
            // Dropping the other branch drops the worker, and that kills its group; a language model's is told to give the job up.
            () = cancel.cancelled() => Err(stopped()),
            result = work => result,
        }
    }

    async fn run_undisturbed(
        &self,
        installed: &Installed,
        job: &Job,
        chunks: Option<&mpsc::Sender<String>>,
        log: &LogWriter,
    ) -> Result<RunTimes, RunFailure> {
        let start = Instant::now();
        let mut busy = self.loaded(installed, log).await?;
        let plug = start.elapsed();
        match busy.carry_out(&Order::Run(Box::new(job.clone())), chunks).await {
            Ok(_) => busy.give_back(),
            // The container said no; its worker is as good as before.
            Err(failure) if failure.class != FailureClass::Crashed => {
                busy.give_back();
                return Err(failure);
            }
            Err(failure) => return Err(failure),
        }
        Ok(RunTimes { plug, run: start.elapsed().saturating_sub(plug), unplug: Duration::ZERO })
    }

    async fn loaded(&self, installed: &Installed, log: &LogWriter) -> Result<Busy, RunFailure> {
        let (digest, source) = (installed.container.digest, &installed.source);
        if let Some(idle) = self.take_idle(&digest, source) {
            idle.process.log_to(Some(log.clone()));
            return Ok(Busy::new(self.clone(), digest, source.clone(), idle.process));
        }
        self.started(installed, self.load(installed), log).await
    }

    /// A new worker with the container loaded.
    async fn started(&self, installed: &Installed, load: Load, log: &LogWriter) -> Result<Busy, RunFailure> {
        let start = Start {
            wants: Wants::of(installed),
            source: installed.source.clone(),
            in_force: self.options.policies.of(&installed.container.manifest),
            workers: &self.options.workers,
            order: Order::Load(Box::new(load)),
        };
        self.start(start, Some(log), None).await.map_err(RunFailure::from)
    }

    /// A new worker with something loaded, when there is room for it.
    async fn start(&self, start: Start<'_>, log: Option<&LogWriter>, patience: Option<Duration>) -> Result<Busy, Unready> {
        let Start { wants, source, in_force, workers, order } = start;
        let coming = self.room_for(&wants, patience).await?;
        let known = Known { bytes: coming.bytes(), loading: Duration::ZERO, in_force };
        let began = Instant::now();
        let process =
            Process::start(workers).map_err(|e| RunFailure::new(FailureClass::LoadFailed, format!("a worker cannot be started: {e}")))?;
        process.log_to(log.cloned());
        let mut busy = Busy::new(self.clone(), wants.digest, source, process);
        busy.carry_out(&order, None).await?;
        self.state().known.insert(wants.digest, Known { loading: began.elapsed(), ..known });
        Ok(busy)
    }

    /// What a container is loaded from.
    fn load(&self, installed: &Installed) -> Load {
        Load {
            manifest: installed.container.manifest.clone(),
            model: installed.source.model().map(Path::to_path_buf),
            onnxruntime: self.options.onnxruntime.clone(),
            threads: self.options.workers.threads,
            batch: self.options.batch,
            sessions: None,
        }
    }

    /// A worker that has the container loaded, from the same place: one whose module was pulled out has it from nowhere.
    fn take_idle(&self, digest: &Digest, source: &Source) -> Option<Idle> {
        let mut state = self.state();
        state.forget_dead();
        let list = state.idle.get_mut(digest)?;
        let at = list.iter().rposition(|idle| idle.source == *source)?;
        Some(list.remove(at))
    }

    /// Loads a container into a worker that then waits, unless one waits already, or the only one it may have is at work. Whether
    /// it was loaded.
    ///
    /// # Errors
    /// What the container said, or what its worker died of.
    pub async fn plug(&self, installed: &Installed, log: &LogWriter) -> Result<bool, RunFailure> {
        if is_language(&installed.container) {
            return self.resident(installed, log).await.map(|(_, loaded)| loaded);
        }
        let list_has = |list: &Vec<Idle>| list.iter().any(|idle| idle.source == installed.source);
        let there = self.state().idle.get(&installed.container.digest).is_some_and(list_has);
        if !there {
            self.loaded(installed, log).await?.wait();
        }
        Ok(!there)
    }

    /// The containers in memory, one entry a worker, with the process ids that say how much memory they take. The model of the first
    /// pass is none.
    pub fn loaded_now(&self, memory_of: impl Fn(u32) -> Option<u64>) -> Vec<LoadedContainer> {
        let of = |kept: Kept| LoadedContainer { digest: kept.digest, memory_bytes: memory_of(kept.process), busy: kept.idle.is_none() };
        self.kept().into_iter().filter(|kept| kept.digest != first_pass_key()).map(of).collect()
    }

    /// The process ids of all workers.
    pub fn ids(&self) -> Vec<u32> {
        self.kept().into_iter().map(|kept| kept.process).collect()
    }

    /// Gives up the workers that have been idle for too long, and those of containers that are no longer where they were loaded from.
    pub fn tidy(&self, still_there: impl Fn(&Digest, &Source) -> bool) {
        let mut state = self.state();
        let State { idle, pinned, residents, known, parked, .. } = &mut *state;
        let timeout = self.options.policies.idle_timeout;
        let still_there = |digest: &Digest, source: &Source| *digest == first_pass_key() || still_there(digest, source);
        let waited_enough = |digest: &Digest, idle: Duration| {
            let leaves = known.get(digest).map_or(idle >= timeout, |known| known.in_force.leaves_after(idle));
            leaves && !pinned.contains(digest)
        };
        idle.retain(|digest, list| {
            list.retain(|idle| still_there(digest, &idle.source) && !waited_enough(digest, idle.since.elapsed()));
            !list.is_empty()
        });
        parked.retain(|digest, parked| still_there(digest, &parked.source));
        let mut ended = vec![];
        residents.retain(|digest, resident| {
            let waits = resident.idle().is_some_and(|idle| waited_enough(digest, idle));
            let stays = !waits && !resident.is_dead() && still_there(digest, resident.source());
            if !stays {
                ended.push((*digest, resident.clone()));
            }
            stays
        });
        for (digest, resident) in ended {
            self.end(&mut state, digest, resident);
        }
        state.parting.retain(|(_, resident)| resident.strong_count() > 0);
    }

    /// Gives up workers at once when what they were loaded from goes: one that has a module's files open keeps its device from going.
    pub async fn follow(self, modules: Modules) {
        let mut changes = modules.changes();
        while changes.changed().await.is_ok() {
            let known = changes.borrow_and_update().clone();
            self.tidy(|digest, source| known.runs(digest, source));
        }
    }

    /// Ends all idle workers.
    pub fn clear(&self) {
        let mut state = self.state();
        state.idle.clear();
        state.residents.clear();
    }
}

/// Whether a container's jobs are done together, in one worker.
fn is_language(container: &Container) -> bool {
    container.manifest.runtime == Runtime::Gguf
}

/// What a new worker is started for.
struct Start<'a> {
    wants: Wants,
    source: Source,
    in_force: InForce,
    workers: &'a WorkerOptions,
    order: Order,
}

/// A worker that carries out an order. Dropped, it is killed; given back, it waits for the next.
struct Busy {
    pool: Pool,
    digest: Digest,
    source: Source,
    id: u32,
    process: Option<Process>,
}

impl Busy {
    fn new(pool: Pool, digest: Digest, source: Source, process: Process) -> Self {
        let id = process.id().unwrap_or(0);
        pool.state().busy.entry(digest).or_default().push(id);
        Self { pool, digest, source, id, process: Some(process) }
    }

    /// Gives an order and passes its text on; the worker's last word about it.
    async fn carry_out(&mut self, order: &Order, chunks: Option<&mpsc::Sender<String>>) -> Result<Word, RunFailure> {
        let Some(process) = self.process.as_mut() else {
            return Err(RunFailure::new(FailureClass::Crashed, "the worker is gone"));
        };
        let told = process.tell(order).await;
        while told.is_ok() {
            match process.next().await {
                Ok(Some(word @ (Word::Ready | Word::Done | Word::Attempted { .. } | Word::Answered { .. }))) => return Ok(word),
                Ok(Some(Word::Failed { class, why })) => return Err(RunFailure::new(class, why)),
                Ok(Some(Word::Chunk { text })) => {
                    if let Some(chunks) = chunks {
                        let _ = chunks.send(text).await;
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        match self.process.take() {
            Some(process) => Err(process.autopsy().await.into()),
            None => Err(RunFailure::new(FailureClass::Crashed, "the worker is gone")),
        }
    }

    /// The worker, which is nobody's then.
    fn take(mut self) -> Option<Process> {
        let process = self.process.take()?;
        process.log_to(None);
        Some(process)
    }

    /// It has done its job: some containers go with it.
    fn give_back(self) {
        let goes = self.pool.state().goes_with_its_job(&self.digest);
        // Dropping it ends the worker.
        if !goes {
            self.wait();
        }
    }

    /// It is ready for the next job.
    fn wait(mut self) {
        if let Some(process) = self.process.take() {
            process.log_to(None);
            let mut state = self.pool.state();
            if state.leaving.contains(&self.digest) {
                drop(state);
                return;
            }
            let idle = Idle { process, source: self.source.clone(), since: Instant::now() };
            state.idle.entry(self.digest).or_default().push(idle);
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.pool.state();
        if let Some(list) = state.busy.get_mut(&self.digest) {
            list.retain(|id| *id != self.id);
            if list.is_empty() {
                state.busy.remove(&self.digest);
                state.leaving.remove(&self.digest);
            }
        }
    }
}
