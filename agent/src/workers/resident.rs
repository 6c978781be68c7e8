//! A language model's worker from the agent's side: one process that does several jobs together, each with its own ear.
//!
//! A task of its own speaks with the process. It ends when nobody holds the worker any more, and kills it.

use super::process::{Death, Process};
use super::protocol::{Order, Word};
use crate::logs::LogWriter;
use crate::modules::Source;
use crate::runtimes::Job;
use ouro_common::document::BatchState;
use ouro_common::step::FailureClass;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// A worker that does not confirm within this time that it gave a job up computes nothing that anybody could wait for.
const GIVING_UP: Duration = Duration::from_secs(60);

/// Writing what is kept to a file takes at most this.
const PARKING: Duration = Duration::from_secs(60);

/// What a job hears.
#[derive(Debug)]
pub(super) enum Heard {
    /// A piece of its answer.
    Chunk(String),
    /// Its outputs are there.
    Done,
    /// It failed; the worker goes on.
    Failed(FailureClass, String),
    /// The worker died while so many jobs were in it, this one included.
    Died(Death, usize),
}

enum Wish {
    Join(u64, Box<Job>, mpsc::UnboundedSender<Heard>, LogWriter),
    Leave(u64),
    Park(PathBuf, oneshot::Sender<(u32, u64)>),
}

#[derive(Debug)]
struct Status {
    jobs: u64,
    named: u64,
    /// Since when it has had no job.
    idle: Instant,
    batch: BatchState,
    dead: bool,
}

/// A loaded language model. When the last one who holds it lets go, its process ends.
#[derive(Debug)]
pub(super) struct Resident {
    wishes: mpsc::UnboundedSender<Wish>,
    id: u32,
    source: Source,
    status: Arc<Mutex<Status>>,
}

fn locked(status: &Mutex<Status>) -> MutexGuard<'_, Status> {
    status.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Resident {
    /// A worker that has its model loaded, from `source`.
    pub(super) fn new(process: Process, source: Source) -> Self {
        let (wishes, heard) = mpsc::unbounded_channel();
        let status = Status { jobs: 0, named: 0, idle: Instant::now(), batch: BatchState::default(), dead: false };
        let status = Arc::new(Mutex::new(status));
        let id = process.id().unwrap_or(0);
        tokio::spawn(attend(process, heard, status.clone()));
        Self { wishes, id, source, status }
    }

    /// Its process.
    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// Where its model was loaded from.
    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// How long it has had no job; `None` while it has.
    pub(super) fn idle(&self) -> Option<Duration> {
        let status = locked(&self.status);
        (status.jobs == 0).then(|| status.idle.elapsed())
    }

    /// Whether it died.
    pub(super) fn is_dead(&self) -> bool {
        locked(&self.status).dead
    }

    /// What it said last of its jobs.
    pub(super) fn batch(&self) -> BatchState {
        locked(&self.status).batch
    }

    /// Lets it leave what it keeps in a file that is not there; how many beginnings of prompts that were, and bytes.
    pub(super) async fn park(&self, file: PathBuf) -> Option<(u32, u64)> {
        let (answer, parked) = oneshot::channel();
        self.wishes.send(Wish::Park(file, answer)).ok()?;
        tokio::time::timeout(PARKING, parked).await.ok()?.ok()
    }

    /// Gives it a job more.
    pub(super) fn join(self: &Arc<Self>, job: Job, log: &LogWriter) -> Guest {
        let number = {
            let mut status = locked(&self.status);
            status.jobs += 1;
            status.named += 1;
            status.named
        };
        let (sender, words) = mpsc::unbounded_channel();
        // If the task has ended, the words end too.
        let _ = self.wishes.send(Wish::Join(number, Box::new(job), sender, log.clone()));
        Guest { resident: self.clone(), job: number, words, over: false }
    }
}

/// A job in a worker. Dropped before its end, it is given up; the worker's other jobs go on.
pub(super) struct Guest {
    resident: Arc<Resident>,
    job: u64,
    words: mpsc::UnboundedReceiver<Heard>,
    over: bool,
}

impl Guest {
    /// What it hears next.
    pub(super) async fn hear(&mut self) -> Heard {
        let gone = || Heard::Died(Death { why: "the worker is gone".into(), evidence: None }, 1);
        let heard = self.words.recv().await.unwrap_or_else(gone);
        self.over = !matches!(heard, Heard::Chunk(_));
        heard
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut status = locked(&self.resident.status);
        status.jobs = status.jobs.saturating_sub(1);
        status.idle = Instant::now();
        drop(status);
        if !self.over {
            let _ = self.resident.wishes.send(Wish::Leave(self.job));
        }
    }
}

/// The jobs of a worker, as the task that speaks with it knows them.
#[derive(Default)]
struct Jobs {
    ears: HashMap<u64, mpsc::UnboundedSender<Heard>>,
    /// Those that were given up and not confirmed, each with the time when it was.
    leaving: HashMap<u64, tokio::time::Instant>,
    /// Who wants to know when everything is in a file.
    parks: Option<oneshot::Sender<(u32, u64)>>,
}

impl Jobs {
    /// A word about a job.
    fn heard(&mut self, job: u64, word: Word) {
        let (heard, last) = match word {
            Word::Chunk { text } => (Heard::Chunk(text), false),
            Word::Done => (Heard::Done, true),
            Word::Failed { class, why } => (Heard::Failed(class, why), true),
            _ => return,
        };
        if last {
            self.leaving.remove(&job);
        }
        let ear = if last { self.ears.remove(&job) } else { self.ears.get(&job).cloned() };
        if let Some(ear) = ear {
            let _ = ear.send(heard);
        }
    }

    /// When the worker must have confirmed the oldest of those that were given up.
    fn patience(&self) -> Option<tokio::time::Instant> {
        self.leaving.values().min().map(|since| *since + GIVING_UP)
    }
}

/// Speaks with a worker until it dies, or nobody holds it.
async fn attend(mut process: Process, mut wishes: mpsc::UnboundedReceiver<Wish>, status: Arc<Mutex<Status>>) {
    let mut jobs = Jobs::default();
    loop {
        let patience = jobs.patience();
        let hangs = async {
            match patience {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        let alive = tokio::select! {
            wish = wishes.recv() => match wish {
                None => return,
                Some(wish) => fulfil(&mut process, &mut jobs, wish).await.is_ok(),
            },
            word = process.next() => match word {
                Ok(Some(Word::Of { job, is })) => {
                    jobs.heard(job, *is);
                    true
                }
                Ok(Some(Word::Batch { state })) => {
                    locked(&status).batch = state;
                    true
                }
                Ok(Some(Word::Parked { prefixes, bytes })) => {
                    if let Some(answer) = jobs.parks.take() {
                        let _ = answer.send((prefixes, bytes));
                    }
                    true
                }
                Ok(Some(Word::Failed { why, .. })) => {
                    tracing::warn!(why, "a language model's worker could not do what it was told");
                    jobs.parks = None;
                    true
                }
                Ok(Some(_)) => true,
                Ok(None) | Err(_) => false,
            },
            () = hangs => false,
        };
        if !alive {
            break;
        }
    }
    locked(&status).dead = true;
    // What it had said before it died counts.
    while let Ok(Ok(Some(word))) = tokio::time::timeout(Duration::from_millis(100), process.next()).await {
        if let Word::Of { job, is } = word {
            jobs.heard(job, *is);
        }
    }
    let together = jobs.ears.len();
    let death = process.autopsy().await;
    for ear in jobs.ears.into_values() {
        let _ = ear.send(Heard::Died(death.clone(), together));
    }
}

async fn fulfil(process: &mut Process, jobs: &mut Jobs, wish: Wish) -> std::io::Result<()> {
    match wish {
        Wish::Join(job, work, ear, log) => {
            jobs.ears.insert(job, ear);
            // What the worker prints belongs to nobody in particular when several are there.
            process.log_to((jobs.ears.len() == 1).then_some(log));
            process.tell(&Order::Join { job, work }).await
        }
        Wish::Park(file, answer) => {
            jobs.parks = Some(answer);
            process.tell(&Order::Park { file }).await
        }
        Wish::Leave(job) => {
            if jobs.ears.remove(&job).is_some() {
                jobs.leaving.insert(job, tokio::time::Instant::now());
            }
            process.tell(&Order::Leave { job }).await
        }
    }
}
