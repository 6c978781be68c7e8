//! A sensor that is read at its own pace, in a blocking thread, and never twice at once.
//!
//! A read that hangs in the kernel cannot be stopped. It keeps the one thread that it has, its sensor is named in the
//! warnings, and it is not asked again before it has answered.

use super::board::Board;
use super::own::Own;
use crate::sensing::host_root::{Current, HostRoot};
use crate::sensing::readings::{Part, Sensor};
use ouro_common::device::{LoadedContainer, Warning};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Sensors take turns, so that they share one thread; a slow one gives up its turn after this.
const TURN: Duration = Duration::from_millis(250);
/// A sensor that has not answered for so long is named in the warnings.
const SILENT_AFTER: Duration = Duration::from_secs(3);
/// What it said last is not true any more after this.
const UNKNOWN_AFTER: Duration = Duration::from_secs(60);

/// What a read gives: its part, and the containers in memory if it looked at the workers.
type Answer = (Part, Option<Vec<LoadedContainer>>);

/// A read under way.
struct Read {
    since: Instant,
    answer: JoinHandle<Answer>,
    current: Current,
    turn: Option<OwnedSemaphorePermit>,
    /// How far its silence was told: not, as a warning, or as values that are not known any more.
    told: usize,
}

/// A sensor and its read.
pub(super) struct Sense {
    sensor: Arc<Mutex<Sensor>>,
    /// What the sensor says of itself, since it is locked while it reads.
    nature: Sensor,
    root: HostRoot,
    own: Own,
    turn: Arc<Semaphore>,
    read: Option<Read>,
}

impl Sense {
    pub(super) fn new(sensor: Sensor, root: HostRoot, own: Own, turn: Arc<Semaphore>) -> Self {
        Self { nature: sensor.clone(), sensor: Arc::new(Mutex::new(sensor)), root, own, turn, read: None }
    }

    /// Reads, however long that takes, and tells the board. When it is given up half-way, the next call goes on waiting.
    pub(super) async fn look(&mut self, board: &Board) {
        if self.read.is_none() {
            self.read = Some(self.begin().await);
        }
        while let Some(read) = &mut self.read {
            let next = [TURN, SILENT_AFTER, UNKNOWN_AFTER].get(read.told).map(|after| read.since + *after);
            let silent = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                answer = &mut read.answer => {
                    self.read = None;
                    // A sensor that panicked has said so on its way, and is asked again in its time.
                    if let Ok((part, loaded)) = answer {
                        board.answered(self.nature.name(), part, loaded);
                    }
                }
                () = silent => {
                    read.told += 1;
                    tell(&self.nature, read, board);
                }
            }
        }
    }

    /// Starts a read when it is its turn.
    async fn begin(&self) -> Read {
        let turn = self.turn.clone().acquire_owned().await.ok();
        let counts_workers = self.nature.name() == "load";
        if counts_workers {
            self.own.tidy();
        }
        let current = Current::default();
        let (sensor, root, own) = (self.sensor.clone(), self.root.clone().followed(current.clone()), self.own.clone());
        let answer = tokio::task::spawn_blocking(move || {
            let (own_cpu, loaded) = if counts_workers { own.look() } else { (Duration::ZERO, Vec::new()) };
            let part = sensor.lock().unwrap_or_else(PoisonError::into_inner).read(&root, own_cpu);
            (part, counts_workers.then_some(loaded))
        });
        Read { since: Instant::now(), answer, current, turn, told: 0 }
    }

    /// Reads at its pace, and at once when the doorbell rings for it, until `drain`.
    pub(super) async fn keep(mut self, board: Arc<Board>, mut rung: watch::Receiver<()>, drain: CancellationToken) {
        let (pace, is_rung) = (self.nature.pace(), self.nature.is_rung());
        // The first look was taken before, unless it has not ended.
        let mut due = self.read.is_some();
        loop {
            if !due {
                tokio::select! {
                    () = drain.cancelled() => return,
                    () = tokio::time::sleep(pace) => {}
                    Ok(()) = rung.changed(), if is_rung => {}
                }
            }
            due = false;
            tokio::select! {
                () = drain.cancelled() => return,
                () = self.look(&board) => {}
            }
        }
    }
}

/// A stage of silence has passed.
fn tell(sensor: &Sensor, read: &mut Read, board: &Board) {
    let name = sensor.name();
    let path = read.current.place().map_or_else(|| name.to_string(), |place| place.to_string());
    let warning = |after: Duration, then: &str| {
        let problem = format!("has not answered for {} s: {name} is {then}", after.as_secs());
        Warning { path, problem }
    };
    match read.told {
        1 => read.turn = None,
        2 => board.silent(name, warning(SILENT_AFTER, "as it was last read"), None),
        _ => board.silent(name, warning(UNKNOWN_AFTER, "not known"), Some(sensor.silence())),
    }
}
