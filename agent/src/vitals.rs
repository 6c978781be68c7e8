//! How this node is doing: the machine's readings, each sensor at its own pace, and what this agent's own workers take of it.
//!
//! A sensor that does not answer costs a thread and its own values, nothing else: the others are read, and heartbeats go on.

use crate::config::OnUnplug;
use crate::modules::Modules;
use crate::profile::Containers;
use crate::sensing::doorbell::Doorbell;
use crate::sensing::host_root::HostRoot;
use crate::sensing::nvml::LiveNvml;
use crate::sensing::readings::Sensor;
use crate::workers::Pool;
use board::Board;
use ouro_common::device::Readings;
use own::Own;
use sense::Sense;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

mod board;
mod own;
mod sense;

/// How long the first look waits for sensors; those that answer later are heard later.
const FIRST_LOOK: Duration = Duration::from_secs(3);

/// What the vitals need.
pub struct VitalsOptions {
    /// The machine that is read.
    pub root: HostRoot,
    /// The workers.
    pub pool: Pool,
    /// The containers: a worker of one that is gone is given up.
    pub modules: Modules,
    /// What runs containers that are programs: their processor time is this agent's own.
    pub containers: Containers,
    /// What a pulled cable means.
    pub on_unplug: OnUnplug,
}

/// Reads until it is told to stop.
pub struct Vitals {
    senses: Vec<Sense>,
    board: Arc<Board>,
    live: bool,
}

impl Vitals {
    /// A reader that has not read yet.
    pub fn new(options: VitalsOptions) -> (Self, watch::Receiver<Arc<Readings>>) {
        let (board, receiver) = Board::new(options.on_unplug);
        let live = options.root.is_live();
        let mut sensors = Sensor::all();
        if live {
            sensors.push(Sensor::nvidia(&LiveNvml));
        }
        let turn = Arc::new(Semaphore::new(1));
        let own = Own::new(options.pool, options.modules, options.containers);
        let senses = sensors
            .into_iter()
            .map(|sensor| Sense::new(sensor, options.root.clone(), own.clone(), turn.clone()))
            .collect();
        (Self { senses, board: Arc::new(board), live }, receiver)
    }

    /// Reads everything once; what has not answered by then is waited for in [`Self::run`].
    pub async fn look(&mut self) {
        let board = &self.board;
        let looks = futures::future::join_all(self.senses.iter_mut().map(|sense| sense.look(board)));
        if tokio::time::timeout(FIRST_LOOK, looks).await.is_err() {
            tracing::warn!("not every sensor has answered; the others are read without it");
        }
    }

    /// Reads each sensor at its pace, and those of power and heat at once when one of them changes, until `drain`.
    pub async fn run(self, drain: CancellationToken) {
        // A recorded machine's cables are not this machine's.
        let doorbell = self.live.then(Doorbell::listen).flatten();
        let (ring, rung) = watch::channel(());
        let board = self.board;
        let keep = self.senses.into_iter().map(|sense| sense.keep(board.clone(), rung.clone(), drain.clone()));
        let keep = futures::future::join_all(keep);
        let listen = async {
            let Some(doorbell) = &doorbell else {
                return std::future::pending().await;
            };
            loop {
                doorbell.rung().await;
                ring.send_replace(());
            }
        };
        tokio::select! {
            _ = keep => {}
            () = listen => {}
        }
    }
}
