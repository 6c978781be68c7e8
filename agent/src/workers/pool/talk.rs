//! Language models in the pool: one worker for each, in which jobs are done together.
//!
//! Whose fault it was when such a worker dies cannot be told from outside. So each of its jobs is done once more, alone: what it said
//! before is the same again, and only what dies alone has evidence against it.

use super::{Pool, RunFailure, RunTimes, is_language};
use crate::logs::LogWriter;
use crate::modules::Installed;
use crate::runtimes::{Job, Load};
use crate::workers::resident::{Heard, Resident};
use ouro_common::id::Digest;
use ouro_common::step::FailureClass;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, Semaphore, mpsc};

/// Where the jobs of a language model sit: so many at once, or one that takes all the seats.
#[derive(Debug, Clone)]
pub(super) struct Table {
    seats: Arc<Semaphore>,
    /// Held by who loads the model.
    loading: Arc<Mutex<()>>,
}

impl Pool {
    fn seats(&self) -> u32 {
        self.options.batch.most.max(1)
    }

    fn table(&self, digest: Digest) -> Table {
        let seats = usize::try_from(self.seats()).unwrap_or(1);
        let new = || Table { seats: Arc::new(Semaphore::new(seats)), loading: Arc::default() };
        self.state().tables.entry(digest).or_insert_with(new).clone()
    }

    /// The worker of a language model, and whether it had to be loaded.
    pub(super) async fn resident(&self, installed: &Installed, log: &LogWriter) -> Result<(Arc<Resident>, bool), RunFailure> {
        debug_assert!(is_language(&installed.container), "other containers do one job after the other");
        let digest = installed.container.digest;
        let table = self.table(digest);
        let _loading = table.loading.lock().await;
        let known = self.state().residents.get(&digest).cloned();
        if let Some(known) = known.filter(|known| known.source() == &installed.source && !known.is_dead()) {
            return Ok((known, false));
        }
        // Held until it is loaded: then the file goes.
        let parked = self.take_parked(installed);
        let load = Load { sessions: parked.as_ref().map(|parked| parked.file.clone()), ..self.load(installed) };
        let busy = self.started(installed, load, log).await?;
        let gone = || RunFailure::new(FailureClass::Crashed, "the worker is gone");
        let resident = Arc::new(Resident::new(busy.take().ok_or_else(gone)?, installed.source.clone()));
        let mut state = self.state();
        if let Some(old) = state.residents.insert(digest, resident.clone()) {
            state.parting.push((digest, Arc::downgrade(&old)));
        }
        Ok((resident, true))
    }

    /// Does a job together with others of the same model.
    pub(super) async fn run_together(
        &self,
        installed: &Installed,
        job: &Job,
        chunks: Option<&mpsc::Sender<String>>,
        log: &LogWriter,
    ) -> Result<RunTimes, RunFailure> {
        let table = self.table(installed.container.digest);
        let closed = |_| RunFailure::new(FailureClass::Drained, "the node is being emptied");
        let mut seat = table.seats.acquire().await.map_err(closed)?;
        let (start, mut plug) = (Instant::now(), Duration::ZERO);
        let mut passed_on = 0;
        let mut alone = false;
        loop {
            self.unless_yielding(&installed.container.digest).await;
            let loading = Instant::now();
            let (resident, loaded) = self.resident(installed, log).await?;
            if loaded {
                plug += loading.elapsed();
            }
            let mut guest = resident.join(job.clone(), log);
            drop(resident);
            let mut said = 0;
            let (death, together) = loop {
                match guest.hear().await {
                    Heard::Chunk(text) => pass_on(chunks, &text, &mut said, &mut passed_on).await,
                    Heard::Done => {
                        drop(guest);
                        self.job_ended(&installed.container.digest);
                        return Ok(RunTimes { plug, run: start.elapsed().saturating_sub(plug), unplug: Duration::ZERO });
                    }
                    Heard::Failed(class, why) => {
                        drop(guest);
                        self.job_ended(&installed.container.digest);
                        return Err(RunFailure::new(class, why));
                    }
                    Heard::Died(death, together) => break (death, together),
                }
            };
            if alone || together < 2 {
                return Err(death.into());
            }
            tracing::warn!(together, why = death.why, "a language model's worker died; each of its jobs is done again, alone");
            drop((seat, guest));
            seat = table.seats.acquire_many(self.seats()).await.map_err(closed)?;
            alone = true;
        }
    }
}

/// Passes on what was not passed on before the job began anew: the same prompt gets the same answer.
async fn pass_on(chunks: Option<&mpsc::Sender<String>>, text: &str, said: &mut usize, passed_on: &mut usize) {
    let new = text.get(passed_on.saturating_sub(*said).min(text.len())..).unwrap_or(text);
    *said += text.len();
    *passed_on = (*passed_on).max(*said);
    if let Some(chunks) = chunks.filter(|_| !new.is_empty()) {
        let _ = chunks.send(new.to_string()).await;
    }
}
