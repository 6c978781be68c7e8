//! A language model's worker: jobs join and leave while others are computed, and each gets its own words.
//!
//! One thread hears orders, another computes; an order waits for a step of the model at most.

use super::protocol::{Order, Word, hear, say};
use crate::runtimes::gguf::{Talker, failure};
use crate::runtimes::{Job, JobError};
use ouro_common::document::BatchState;
use ouro_common::step::FailureClass;
use ouro_engine::language_model::{Batch, BatchHooks, Said};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Jobs that are not wanted any more, known before their orders are carried out.
#[derive(Default)]
struct Left(Mutex<HashSet<u64>>);

impl Left {
    fn table(&self) -> std::sync::MutexGuard<'_, HashSet<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, job: u64) -> bool {
        self.table().contains(&job)
    }
}

/// Carries out orders until there are no more.
pub(super) fn serve(talker: &Talker, orders: impl BufRead + Send, out: &mut dyn Write) -> io::Result<()> {
    let left = Left::default();
    let (sender, receiver) = channel();
    std::thread::scope(|scope| {
        let left = &left;
        let listener = scope.spawn(move || listen(orders, &sender, left));
        let mut talk = Talk {
            talker,
            batch: talker.batch(),
            jobs: HashMap::new(),
            left,
            told: BatchState::default(),
            started: Instant::now(),
        };
        let talked = talk.run(&receiver, out);
        // Whoever does not listen any more must not be waited for: the agent closes its end when it is done.
        drop(receiver);
        talked.and(listener.join().unwrap_or(Ok(())))
    })
}

fn listen(mut orders: impl BufRead, to: &Sender<Order>, left: &Left) -> io::Result<()> {
    while let Some(order) = hear::<Order>(&mut orders)? {
        if let Order::Leave { job } = order {
            left.table().insert(job);
        }
        if to.send(order).is_err() {
            break;
        }
    }
    Ok(())
}

struct Talk<'m> {
    talker: &'m Talker,
    batch: Batch<'m>,
    jobs: HashMap<u64, Box<Job>>,
    left: &'m Left,
    told: BatchState,
    started: Instant,
}

impl Talk<'_> {
    fn run(&mut self, orders: &Receiver<Order>, out: &mut dyn Write) -> io::Result<()> {
        loop {
            let order = if self.batch.is_idle() { orders.recv().map_err(|_| TryRecvError::Disconnected) } else { orders.try_recv() };
            match order {
                Ok(order) => self.take(order, out)?,
                Err(TryRecvError::Disconnected) => return Ok(()),
                Err(TryRecvError::Empty) => self.step(out)?,
            }
            let state = self.batch.state();
            if state != self.told {
                self.told = state;
                say(out, &Word::Batch { state })?;
            }
        }
    }

    fn take(&mut self, order: Order, out: &mut dyn Write) -> io::Result<()> {
        match order {
            Order::Join { job, work } => {
                let joined = self.talker.ask(&work).and_then(|ask| self.batch.join(job, ask).map_err(|e| failure(&e)));
                match joined {
                    Ok(()) => {
                        self.jobs.insert(job, work);
                        Ok(())
                    }
                    Err(error) => say(out, &of(job, error.into())),
                }
            }
            Order::Leave { job } => {
                let was_there = self.jobs.remove(&job).is_some();
                // What it had is let go of with the next step, which may be long in coming.
                let gone = JobError { class: FailureClass::Drained, why: "the job was given up".into() };
                if was_there { say(out, &of(job, gone.into())) } else { Ok(()) }
            }
            Order::Park { file } => {
                let kept = self.batch.save();
                let (prefixes, bytes) = (self.batch.state().prefixes, kept.len() as u64);
                match write_new(&file, &kept) {
                    Ok(()) => say(out, &Word::Parked { prefixes, bytes }),
                    Err(error) => say(out, &Word::from(JobError::error(format!("{}: {error}", file.display())))),
                }
            }
            other => {
                let why = format!("a language model's worker takes jobs and nothing else, not {other:?}");
                say(out, &Word::from(JobError::load(why)))
            }
        }
    }

    fn step(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let Self { talker, batch, jobs, left, started, .. } = self;
        let mut broken = Ok(());
        let hooks = BatchHooks { left: &|job| left.has(job), now: &|| started.elapsed() };
        batch.step(&hooks, &mut |job, said| {
            let word = match said {
                Said::Token(event) => {
                    let wanted = !event.text.is_empty() && jobs.get(&job).is_some_and(|work| work.stream);
                    wanted.then_some(Word::Chunk { text: event.text })
                }
                Said::Ended(made) => jobs.remove(&job).map(|work| match talker.answered(&work, &made) {
                    Ok(()) => Word::Done,
                    Err(error) => error.into(),
                }),
                Said::Failed(why) => jobs.remove(&job).map(|_| JobError::error(why).into()),
            };
            if let (Some(word), true) = (word, broken.is_ok()) {
                broken = say(out, &of(job, word));
            }
        });
        left.table().retain(|job| jobs.contains_key(job));
        broken
    }
}

/// Writes a file that only this user may read: it tells what was asked.
fn write_new(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(file)?;
    file.write_all(bytes)
}

fn of(job: u64, word: Word) -> Word {
    Word::Of { job, is: Box::new(word) }
}
