//! The pool under a limit: who leaves so that another can be loaded, who leaves because the machine is short of something, and what a
//! container that leaves leaves behind.

use super::{Pool, RunFailure, State, is_language};
use crate::modules::{Installed, Source};
use crate::runtimes::model_digest;
use crate::workers::load_policy::InForce;
use crate::workers::residency::{BETWEEN, Held, Room, Stays, Strain, make_room};
use crate::workers::resident::Resident;
use ouro_common::clock::Instant as Moment;
use ouro_common::container::LoadPolicy;
use ouro_common::device::Readings;
use ouro_common::id::Digest;
use ouro_common::mfpi::threshold::{self, GateState};
use ouro_common::step::FailureClass;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often one who waits for room looks again: who rests is a matter of time.
const LOOKS_AGAIN: Duration = Duration::from_millis(200);
/// One who has waited so long for room gets it before those in whose place it wants to come take up anything new.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the machine is looked at when nothing in its readings changes.
const PERIOD: Duration = Duration::from_secs(5);
/// Bytes a second at which a model is reckoned to be read again.
const READ_BYTES_PER_S: f64 = 1e9;

/// What is known of a container that is or was in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// What it was reckoned to take.
    pub(super) bytes: u64,
    /// How long it took to load.
    pub(super) loading: Duration,
    /// Which policy holds.
    pub(super) in_force: InForce,
}

/// What a container left in a file when it left memory. The file goes with it.
#[derive(Debug)]
pub struct Parked {
    pub(super) file: PathBuf,
    pub(super) source: Source,
    /// Beginnings of prompts in it.
    pub prefixes: u32,
    /// Its size.
    pub bytes: u64,
}

impl Drop for Parked {
    fn drop(&mut self) {
        // If it is gone already, that is what was wanted.
        let _ = std::fs::remove_file(&self.file);
    }
}

/// The machine's needs as they were last seen.
#[derive(Debug, Default)]
pub(super) struct Needs {
    strain: Strain,
    gate: GateState,
    /// When somebody left because of them last.
    relieved: Option<Instant>,
}

/// Memory that a container is about to take.
pub(super) struct Coming<'p> {
    pool: &'p Pool,
    digest: Digest,
    bytes: u64,
}

impl Coming<'_> {
    /// How much that is.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.state();
        if let Some(at) = state.coming.iter().position(|coming| *coming == (self.digest, self.bytes)) {
            state.coming.swap_remove(at);
        }
    }
}

/// Containers that take up nothing new until somebody else has had their place.
#[derive(Default)]
struct Yielding<'p> {
    pool: Option<&'p Pool>,
    digests: Vec<Digest>,
}

impl Drop for Yielding<'_> {
    fn drop(&mut self) {
        if let Some(pool) = self.pool {
            pool.state().yielding.retain(|digest| !self.digests.contains(digest));
        }
    }
}

/// Who wants to be in memory.
#[derive(Debug, Clone)]
pub(super) struct Wants {
    pub(super) digest: Digest,
    /// For people.
    pub(super) name: String,
    /// What it will take.
    pub(super) bytes: u64,
}

impl Wants {
    /// A container takes what its manifest says, and at least its model's file.
    pub(super) fn of(installed: &Installed) -> Self {
        let file = installed.source.model().and_then(|path| model_digest::size_bytes(path).ok()).unwrap_or(0);
        let manifest = &installed.container.manifest;
        let bytes = manifest.needs.memory_bytes.max(file);
        Self { digest: installed.container.digest, name: manifest.reference().to_string(), bytes }
    }
}

/// There is no room for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoRoom {
    /// There never is.
    #[error(
        "{name} needs {needs} bytes of memory and all containers of this node together may have {limit}; raise workers.memory_bytes in \
         its agent.toml"
    )]
    Limit {
        /// Who wants it.
        name: String,
        /// Bytes it needs.
        needs: u64,
        /// Bytes there are for all.
        limit: u64,
    },
    /// Not while others are pinned.
    #[error(
        "{name} needs {needs} bytes of memory; of the {limit} that containers may have on this node {pinned} are pinned: unpin one, or \
         raise workers.memory_bytes in its agent.toml"
    )]
    Pinned {
        /// Who wants it.
        name: String,
        /// Bytes it needs.
        needs: u64,
        /// Bytes there are for all.
        limit: u64,
        /// Bytes of those that are pinned.
        pinned: u64,
    },
    /// Not just now.
    #[error(
        "{name} needs {needs} bytes of memory, and of the {limit} that containers may have on this node too many are in use now; ask \
         again later, or raise workers.memory_bytes in its agent.toml"
    )]
    InUse {
        /// Who wants it.
        name: String,
        /// Bytes it needs.
        needs: u64,
        /// Bytes there are for all.
        limit: u64,
    },
}

impl From<NoRoom> for RunFailure {
    fn from(no_room: NoRoom) -> Self {
        Self::new(FailureClass::LoadFailed, no_room.to_string())
    }
}

impl State {
    /// The containers in memory as the rules see them; `gpu` says what a process has on GPUs.
    fn held(&self, gpu: &HashMap<u32, u64>) -> Vec<Held> {
        let one = |digest: &Digest, process: Option<u32>, idle: Option<Duration>| {
            let known = self.known.get(digest);
            let bytes = known.map_or(0, |known| known.bytes);
            let stays = match known.map(|known| known.in_force.policy) {
                _ if self.pinned.contains(digest) => Stays::Pinned,
                Some(LoadPolicy::Persistent) => Stays::Persistent,
                _ => Stays::WhileUsed,
            };
            let reading = Duration::from_secs_f64(bytes as f64 / READ_BYTES_PER_S);
            let gpu_bytes = process.and_then(|process| gpu.get(&process).copied()).unwrap_or(0);
            let reload = known.map_or(Duration::ZERO, |known| known.loading) + reading;
            Held { digest: *digest, bytes, reload, idle, stays, gpu_bytes }
        };
        let idle = self.idle.iter().flat_map(|(digest, list)| list.iter().map(move |idle| (digest, idle)));
        let idle = idle.map(|(digest, idle)| one(digest, idle.process.id(), Some(idle.since.elapsed())));
        // One that is being loaded is reckoned by what it will take.
        let comes = |digest: &Digest| self.coming.iter().any(|(coming, _)| coming == digest);
        let busy = self.busy.iter().filter(|(digest, _)| !comes(digest));
        let busy = busy.flat_map(|(digest, list)| list.iter().map(move |id| (digest, *id)));
        let busy = busy.map(|(digest, id)| one(digest, Some(id), None));
        let residents = self.residents.iter().map(|(digest, resident)| one(digest, Some(resident.id()), resident.idle()));
        let parting = self.parting.iter().filter_map(|(digest, resident)| Some((digest, resident.upgrade()?)));
        let parting = parting.map(|(digest, resident)| one(digest, Some(resident.id()), None));
        let coming = self.coming.iter().map(|(digest, bytes)| Held { bytes: *bytes, ..one(digest, None, None) });
        idle.chain(busy).chain(residents).chain(parting).chain(coming).collect()
    }
}

impl Pool {
    /// Waits until there is room for a container, at most for as long as it has patience, and makes it; what it will take is reserved
    /// while the value lives.
    pub(super) async fn room_for(&self, wants: &Wants, patience: Option<Duration>) -> Result<Coming<'_>, NoRoom> {
        let (Wants { digest, name, bytes: needs }, limit) = (wants.clone(), self.options.memory_bytes);
        let (start, mut yielding) = (Instant::now(), Yielding::default());
        loop {
            let room = {
                let mut state = self.state();
                let room = make_room(&state.held(&HashMap::new()), needs, limit);
                if let Room::Now(leaving) = &room {
                    leaving.iter().for_each(|digest| self.let_go(&mut state, digest));
                    state.coming.push((digest, needs));
                }
                room
            };
            match room {
                Room::Now(leaving) => {
                    if !leaving.is_empty() {
                        tracing::info!(container = %name, left = leaving.len(), "others left memory to make room");
                    }
                    return Ok(Coming { pool: self, digest, bytes: needs });
                }
                Room::Never { .. } if needs > limit => return Err(NoRoom::Limit { name, needs, limit }),
                Room::Never { pinned } => return Err(NoRoom::Pinned { name, needs, limit, pinned }),
                Room::Later(_) if patience.is_some_and(|patience| start.elapsed() >= patience) => {
                    return Err(NoRoom::InUse { name, needs, limit });
                }
                Room::Later(order) if start.elapsed() >= PATIENCE && yielding.pool.is_none() => {
                    self.state().yielding.extend(order.iter().copied());
                    yielding = Yielding { pool: Some(self), digests: order };
                }
                Room::Later(_) => {}
            }
            tokio::time::sleep(LOOKS_AGAIN).await;
        }
    }

    /// Waits while a container is to take up nothing new.
    pub(super) async fn unless_yielding(&self, digest: &Digest) {
        while self.state().yielding.contains(digest) {
            tokio::time::sleep(LOOKS_AGAIN).await;
        }
    }

    /// Ends those of a container's workers that wait.
    pub(super) fn let_go(&self, state: &mut State, digest: &Digest) {
        // Dropping a worker kills it.
        state.idle.remove(digest);
        if state.residents.get(digest).is_some_and(|resident| resident.idle().is_some())
            && let Some(resident) = state.residents.remove(digest)
        {
            self.end(state, *digest, resident);
        }
    }

    /// Ends a language model's worker when its jobs have; what it keeps goes to a file where the policy says so.
    pub(super) fn end(&self, state: &mut State, digest: Digest, resident: Arc<Resident>) {
        state.parting.push((digest, Arc::downgrade(&resident)));
        let parks = state.known.get(&digest).is_some_and(|known| known.in_force.policy == LoadPolicy::Dummy);
        let Some(folder) = self.options.sessions.clone().filter(|_| parks && resident.batch().prefixes > 0) else {
            return;
        };
        let pool = self.clone();
        tokio::spawn(async move {
            let file = folder.join(format!("{}.{}", digest.short(), resident.id()));
            let source = resident.source().clone();
            match resident.park(file.clone()).await {
                Some((prefixes, bytes)) => drop(pool.state().parked.insert(digest, Parked { file, source, prefixes, bytes })),
                None => drop(std::fs::remove_file(&file)),
            }
        });
    }

    /// A job of a language model has ended: under some policies the model goes with it.
    pub(super) fn job_ended(&self, digest: &Digest) {
        let mut state = self.state();
        if state.goes_with_its_job(digest) {
            self.let_go(&mut state, digest);
        }
    }

    /// What a container left behind when it left memory last, if it is to be loaded from the same place.
    pub(super) fn take_parked(&self, installed: &Installed) -> Option<Parked> {
        let parked = self.state().parked.remove(&installed.container.digest);
        parked.filter(|parked| is_language(&installed.container) && parked.source == installed.source)
    }

    /// The containers that left something behind: beginnings of prompts, and bytes.
    pub fn parked(&self) -> Vec<(Digest, u32, u64)> {
        self.state().parked.iter().map(|(digest, parked)| (*digest, parked.prefixes, parked.bytes)).collect()
    }

    /// Looks at the machine now and then, and lets containers leave one after the other while it is short of something.
    pub async fn mind(self, mut readings: watch::Receiver<Arc<Readings>>) {
        let start = Instant::now();
        loop {
            let seen = readings.borrow_and_update().clone();
            self.relieve(&seen, Moment(u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)));
            tokio::select! {
                changed = readings.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
    }

    fn relieve(&self, readings: &Readings, now: Moment) {
        let ids = self.ids();
        let mut gpu: HashMap<u32, u64> = HashMap::new();
        for process in readings.gpus.iter().flat_map(|gpu| &gpu.processes) {
            *gpu.entry(process.pid).or_default() += process.memory_bytes.unwrap_or(0);
        }
        let mut state = self.state();
        let needs = &mut state.needs;
        needs.gate = threshold::next(&needs.gate, readings, now);
        needs.strain = needs.strain.next(readings, &needs.gate.gate, |pid| ids.contains(&pid));
        if needs.relieved.is_some_and(|at| at.elapsed() < BETWEEN) {
            return;
        }
        let Some((digest, why)) = state.needs.strain.relieve(&state.held(&gpu)) else {
            return;
        };
        state.needs.relieved = Some(Instant::now());
        self.let_go(&mut state, &digest);
        drop(state);
        tracing::info!(container = %digest.short(), why, "a container left memory");
    }

    /// Whether nothing should be loaded that nobody asks for.
    pub fn is_strained(&self) -> bool {
        self.state().needs.strain != Strain::default()
    }
}
