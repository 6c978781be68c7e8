//! Carries out assigned steps: fetch the inputs, plug the container in a worker, run, collect, and leave word in the outbox.
//!
//! The same attempt assigned twice runs once. A slot is taken only when the inputs are there, so that one step fetches
//! while another computes.

use super::chain::{Awaited, Board, complete};
use super::files::StepFolder;
use super::slots::Slots;
use super::{Assignment, Outbox, Outcome, Output};
use crate::durable::Keep;
use crate::logs::{LogBook, LogWriter};
use crate::modules::{Installed, Modules, Source};
use crate::oci::OciOrder;
use crate::profile::Containers;
use crate::runtimes::Job;
use crate::spool::{Spool, hash_file};
use crate::uplink::Link;
use crate::workers::{Pool, RunFailure, RunTimes};
use ouro_common::container::{Manifest, Runtime};
use ouro_common::error::FaultCode;
use ouro_common::id::{AttemptKey, Digest};
use ouro_common::step::FailureClass;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long to wait before an input is asked for again, when the server was away.
const FETCH_AGAIN: Duration = Duration::from_millis(500);

/// What the executor needs.
pub struct StepsOptions {
    /// Where steps get their folders.
    pub work: PathBuf,
    /// Steps that run at once.
    pub slots: u32,
    /// The workers.
    pub pool: Pool,
    /// What runs containers that are programs, where there is something.
    pub containers: Containers,
    /// What containers say.
    pub logs: LogBook,
    /// The containers.
    pub modules: Modules,
    /// Large results.
    pub spool: Spool,
    /// What is still to be told.
    pub outbox: Outbox,
    /// The way to the server's blobs.
    pub link: Link,
}

pub(super) struct Inner {
    pub(super) options: StepsOptions,
    slots: Slots,
    running: Mutex<HashMap<AttemptKey, CancellationToken>>,
    board: Board,
    draining: CancellationToken,
    /// Why no step may begin, while none may.
    held: watch::Sender<Option<String>>,
    tasks: TaskTracker,
}

/// The steps of this node. Clones share them.
#[derive(Clone)]
pub struct Steps(pub(super) Arc<Inner>);

impl Steps {
    /// An executor without steps.
    pub fn new(options: StepsOptions) -> Self {
        let slots = Slots::new(options.slots);
        let (draining, tasks) = (CancellationToken::new(), TaskTracker::new());
        let held = watch::Sender::new(None);
        let board = Board::default();
        Self(Arc::new(Inner { options, slots, running: Mutex::default(), board, draining, held, tasks }))
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<AttemptKey, CancellationToken>> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is still to be told.
    pub fn outbox(&self) -> &Outbox {
        &self.0.options.outbox
    }

    /// What the steps of this node said.
    pub fn logs(&self) -> &LogBook {
        &self.0.options.logs
    }

    /// The way to the server that the steps use.
    pub fn link(&self) -> Link {
        self.0.options.link.clone()
    }

    /// Takes a step. One that is running or has ended here is not run again.
    pub fn assign(&self, step: Assignment) {
        let cancel = self.0.draining.child_token();
        {
            let mut running = self.running();
            if running.contains_key(&step.key) || self.outbox().outcome(&step.key).is_some() {
                return;
            }
            running.insert(step.key.clone(), cancel.clone());
        }
        let awaited = self.await_chain(&step);
        let steps = self.clone();
        self.0.tasks.spawn(async move { steps.carry_out(step, awaited, cancel).await });
    }

    /// The steps before it in its chain, as far as they are here. They were assigned before it, on the same stream.
    fn await_chain(&self, step: &Assignment) -> HashMap<AttemptKey, Awaited> {
        let mut awaited = HashMap::new();
        for input in &step.pending {
            let known = self.outbox().outcome(&input.made_by);
            if known.is_some() || self.running().contains_key(&input.made_by) {
                awaited.entry(input.made_by.clone()).or_insert_with(|| self.0.board.wait_for(&input.made_by, known));
            }
        }
        awaited
    }

    /// Says no to a step that cannot even be read.
    pub fn refuse(&self, key: &AttemptKey, failure: RunFailure) {
        self.finish(key, failed(failure));
    }

    /// Ends an attempt whose result nobody wants; nothing is told about it.
    pub fn cancel(&self, key: &AttemptKey) {
        match self.running().remove(key) {
            Some(cancel) => cancel.cancel(),
            None => self.outbox().drop_attempt(key),
        }
    }

    /// The attempts that run here or have ended and are not acknowledged.
    pub fn holding(&self) -> Vec<AttemptKey> {
        let mut keys: Vec<_> = self.running().keys().cloned().collect();
        keys.extend(self.outbox().keys());
        keys.sort();
        keys.dedup();
        keys
    }

    /// How many attempts are under way.
    pub fn busy(&self) -> usize {
        self.running().len()
    }

    /// While there is a reason, no step begins: what waits for its turn ends `DRAINED`, what runs goes on to its end.
    pub fn hold(&self, why: Option<&str>) {
        self.0.held.send_if_modified(|held| {
            let changed = held.as_deref() != why;
            if changed {
                *held = why.map(str::to_string);
            }
            changed
        });
    }

    /// Ends when the steps are held.
    async fn held(&self) -> RunFailure {
        let mut held = self.0.held.subscribe();
        let why = held.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
        RunFailure::new(FailureClass::Drained, format!("the node takes nothing new: {}", why.unwrap_or_default()))
    }

    /// Stops everything: running steps end `DRAINED`, and that is in the outbox when this returns.
    pub async fn drain(&self) {
        self.0.draining.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    fn finish(&self, key: &AttemptKey, outcome: Outcome) {
        let outcome = Arc::new(outcome);
        self.0.board.tell(key, &outcome);
        if let Err(error) = self.outbox().end(key, outcome) {
            tracing::error!(%error, attempt = %key, "the result could not be journaled; it is lost if the agent ends now");
        }
    }

    async fn carry_out(&self, step: Assignment, mut awaited: HashMap<AttemptKey, Awaited>, cancel: CancellationToken) {
        tracing::info!(attempt = %step.key, container = %step.container, "step");
        let attempt = async {
            let complete = tokio::select! {
                () = cancel.cancelled() => return Err(RunFailure::new(FailureClass::Drained, "the node is being emptied")),
                complete = complete(step.clone(), &mut awaited) => complete?,
            };
            self.attempt(&complete, &cancel).await
        };
        let attempt = tokio::time::timeout(step.budget, attempt).await;
        let timeout = || {
            let why = format!("the step took longer than the {} ms it was given", step.budget.as_millis());
            Err(RunFailure::new(FailureClass::Timeout, why))
        };
        let outcome = attempt.unwrap_or_else(|_| timeout()).unwrap_or_else(failed);
        // Cancelled attempts have left the table: nobody waits for word of them, unless the node is being emptied.
        let wanted = self.running().contains_key(&step.key);
        if wanted {
            if let Outcome::Failed { class, why, .. } = &outcome {
                tracing::warn!(attempt = %step.key, class = class.name(), why, "the step failed");
            }
            self.finish(&step.key, outcome);
            self.running().remove(&step.key);
        } else {
            self.0.board.forget(&step.key);
            self.outbox().drop_attempt(&step.key);
        }
    }

    async fn attempt(&self, step: &Assignment, cancel: &CancellationToken) -> Result<Outcome, RunFailure> {
        let installed = self.installed(step)?;
        fits(step, &installed.container.manifest)?;
        let start = Instant::now();
        let gone = |why| RunFailure::new(FailureClass::ModuleRemoved, why);
        let sleeps = installed.hold.as_ref().is_some_and(|hold| hold.is_asleep());
        let (installed, _in_use) = tokio::select! {
            () = cancel.cancelled() => return Err(RunFailure::new(FailureClass::Drained, "the node is being emptied")),
            awake = self.0.options.modules.awake(installed) => awake.map_err(gone)?,
        };
        let wake = start.elapsed();
        let mut outcome = self.while_plugged(installed.hold.clone(), self.undisturbed(step, installed, cancel)).await?;
        if let (true, Outcome::Made { phases_ms, .. }) = (sleeps, &mut outcome) {
            // A part of the plugging, as it was predicted; named for itself as well.
            let wake_ms = wake.as_secs_f64() * 1e3;
            *phases_ms.entry("plug".into()).or_default() += wake_ms;
            phases_ms.insert("wake".into(), wake_ms);
        }
        Ok(outcome)
    }

    async fn undisturbed(&self, step: &Assignment, installed: Installed, cancel: &CancellationToken) -> Result<Outcome, RunFailure> {
        let options = &self.0.options;
        // A model could take the machine down: then the entry must be there after the reboot. Our own code does not.
        let keep = if installed.source.is_foreign() { Keep::ThroughPowerLoss } else { Keep::ThroughCrash };
        let disk = |e| RunFailure::new(FailureClass::Rejected, format!("this node's disk refuses the step: {e}"));
        options.outbox.begin(&step.key, keep).map_err(disk)?;
        let folder = StepFolder::make(&options.work, step).map_err(disk)?;
        let start = Instant::now();
        let files = tokio::select! {
            () = cancel.cancelled() => return Err(RunFailure::new(FailureClass::Drained, "the node is being emptied")),
            failure = self.held() => return Err(failure),
            files = self.fetch(step, &folder) => files?,
        };
        let fetch = start.elapsed();
        let log = options.logs.begin(&step.key);
        let slot = async {
            let slot = self.0.slots.take(&installed.container).await;
            (slot, Instant::now())
        };
        let ((_slot, slot_at), plugged) = tokio::select! {
            () = cancel.cancelled() => return Err(RunFailure::new(FailureClass::Drained, "the node is being emptied")),
            failure = self.held() => return Err(failure),
            (slot, plugged) = async { tokio::join!(slot, self.plug(&installed, &log.writer)) } => (slot, plugged?),
        };
        let (plug, ahead) = plugged.split(slot_at);
        let chunks = self.chunks(step, &installed);
        let job = folder.job(step, files, chunks.is_some());
        let times = self.run(&installed, job, chunks, &log.writer, cancel).await?;
        let outputs = self.collect(step, folder, &installed.container.manifest).await?;
        let ms = |d: Duration| d.as_secs_f64() * 1000.0;
        let phases = [("fetch", fetch), ("plug", plug + times.plug), ("run", times.run)];
        // Shown only where it saved something.
        let ahead = (!ahead.is_zero()).then_some(("plug_ahead", ahead));
        let unplug = (!times.unplug.is_zero()).then_some(("unplug", times.unplug));
        let phases_ms: BTreeMap<String, f64> = phases.into_iter().chain(ahead).chain(unplug).map(|(k, v)| (k.to_string(), ms(v))).collect();
        Ok(Outcome::Made { outputs, phases_ms })
    }

    /// Small outputs are there at once; large ones are hashed and fsynced, which must not hold up the other steps.
    async fn collect(&self, step: &Assignment, folder: StepFolder, manifest: &Manifest) -> Result<Vec<Output>, RunFailure> {
        let spool = self.0.options.spool.clone();
        let found = folder.outputs(step, manifest)?;
        if found.all_ride() {
            return found.take(step, manifest, &spool);
        }
        let (step, manifest) = (step.clone(), manifest.clone());
        // The folder must not go before its files have been taken.
        let collected = tokio::task::spawn_blocking(move || (found.take(&step, &manifest, &spool), drop(folder)).0);
        collected
            .await
            .map_err(|e| RunFailure::new(FailureClass::Rejected, format!("collecting the results failed: {e}")))?
    }

    /// Runs the container by what it is, and keeps what it says.
    async fn run(
        &self,
        installed: &Installed,
        job: Job,
        chunks: Option<mpsc::Sender<String>>,
        log: &LogWriter,
        cancel: &CancellationToken,
    ) -> Result<RunTimes, RunFailure> {
        let options = &self.0.options;
        let Source::RootFs(layers) = &installed.source else {
            return options.pool.run(installed, job, chunks, log, cancel).await;
        };
        let Some(oci) = options.containers.borrow().clone() else {
            let why = "this node has no OCI runtime that works; `ouro-agent status` says why";
            return Err(RunFailure::new(FailureClass::LoadFailed, why));
        };
        let order = OciOrder { container: &installed.container, layers, job: &job, log: log.clone() };
        oci.run(order, cancel).await
    }

    fn installed(&self, step: &Assignment) -> Result<Installed, RunFailure> {
        let missing = || format!("{} ({}) is not on this node any more", step.container, step.digest.short());
        self.0
            .options
            .modules
            .find(&step.digest)
            .ok_or_else(|| RunFailure::new(FailureClass::ModuleRemoved, missing()))
    }

    /// The answer of a language model is passed on while it is made.
    fn chunks(&self, step: &Assignment, installed: &Installed) -> Option<mpsc::Sender<String>> {
        if !step.answers || installed.container.manifest.runtime != Runtime::Gguf {
            return None;
        }
        let (sender, receiver) = mpsc::channel(64);
        let (link, key) = (self.0.options.link.clone(), step.key.clone());
        tokio::spawn(async move { link.push_chunks(&key, receiver).await });
        Some(sender)
    }

    async fn fetch(&self, step: &Assignment, folder: &StepFolder) -> Result<Vec<PathBuf>, RunFailure> {
        let mut files = vec![];
        for (n, input) in step.inputs.iter().enumerate() {
            let file = folder.input(n, input);
            match &input.inline {
                Some(bytes) if Digest::blake3(bytes) == input.digest => {
                    std::fs::write(&file, bytes)
                        .map_err(|e| RunFailure::new(FailureClass::Rejected, format!("this node's disk refuses an input: {e}")))?;
                }
                Some(_) => {
                    let why = format!("the input {} does not hash to its digest: it was damaged on its way", input.tag);
                    return Err(RunFailure::new(FailureClass::InputMissing, why));
                }
                None => self.fetch_blob(&input.digest, input.size_bytes, &file).await?,
            }
            files.push(file);
        }
        Ok(files)
    }

    /// From this node's own spool without a detour, else from the server, again and again while it is away.
    async fn fetch_blob(&self, digest: &Digest, size_bytes: u64, file: &Path) -> Result<(), RunFailure> {
        if let Some(own) = self.0.options.spool.find(digest)
            && copy_checked(&own, file, digest).await
        {
            return Ok(());
        }
        loop {
            match self.0.options.link.fetch(digest, size_bytes, file).await {
                Ok(()) => return Ok(()),
                Err(fault) if fault.code == FaultCode::ServerUnreachable => tokio::time::sleep(FETCH_AGAIN).await,
                Err(fault) => return Err(RunFailure::new(FailureClass::InputMissing, format!("an input cannot be fetched: {fault}"))),
            }
        }
    }
}

/// Whether every input is within what its port takes.
fn fits(step: &Assignment, manifest: &Manifest) -> Result<(), RunFailure> {
    for input in &step.inputs {
        let limit = manifest.input(&input.port).and_then(|port| port.max_bytes);
        if let Some(limit) = limit.filter(|limit| input.size_bytes > *limit) {
            let why = format!(
                "the input {} has {} bytes; the port {} of {} takes at most {limit}",
                input.tag, input.size_bytes, input.port, step.container
            );
            return Err(RunFailure::new(FailureClass::InvalidInput, why));
        }
    }
    Ok(())
}

/// A copy whose content is known to be right; a damaged one in the spool counts as none.
async fn copy_checked(from: &Path, to: &Path, digest: &Digest) -> bool {
    let (from, to, digest) = (from.to_path_buf(), to.to_path_buf(), *digest);
    let copied = tokio::task::spawn_blocking(move || {
        // A link costs nothing, and an input is only ever read.
        let there = std::fs::hard_link(&from, &to).is_ok() || std::fs::copy(&from, &to).is_ok();
        let right = there && hash_file(&to).is_ok_and(|(found, _)| found == digest);
        if there && !right {
            let _ = std::fs::remove_file(&to);
        }
        right
    });
    copied.await.unwrap_or(false)
}

fn failed(failure: RunFailure) -> Outcome {
    Outcome::Failed { class: failure.class, why: failure.why, evidence: failure.evidence }
}
