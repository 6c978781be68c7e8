//! A module on a device while it is plugged in: whether it still is, and which of its blobs were found to be what they are named.
//!
//! Whoever runs something from the module holds on to this value, and is told when the device goes.

use super::volume::FolderVolume;
use crate::hotplug::look::{Insertion, look};
use crate::hotplug::slot::Pattern;
use crate::sensing::host_root::HostRoot;
use ouro_common::id::Digest;
use ouro_common::module::blob_path;
use rustix::fs::{Mode, OFlags};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How much is hashed at a time.
const PIECE_BYTES: usize = 1 << 18;
/// The block that is read to see whether a device still answers; as large as any device's sector.
const BLOCK_BYTES: usize = 4096;

/// Where a module sits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// The device.
    pub slot: String,
    /// Which insertion.
    pub insertion: Insertion,
    /// What people call it: its label, or the slot where it has none.
    pub label: String,
    /// Names the volume wherever it sits.
    pub fingerprint: String,
    /// Where it is mounted.
    pub at: PathBuf,
}

/// A module that is plugged in.
#[derive(Debug)]
pub struct Hold {
    seat: Seat,
    root: HostRoot,
    gone: CancellationToken,
    silent: AtomicBool,
    checked: Mutex<HashMap<Digest, Result<(), String>>>,
    usage: Mutex<Usage>,
}

/// Who uses a module, and whether its slot may be powered down.
#[derive(Debug)]
struct Usage {
    users: usize,
    /// When the last of them went.
    since: Instant,
    /// Nobody may begin to use it: its slot is powered down, or about to be.
    asleep: bool,
    /// Its slot cannot be powered down.
    sleepless: bool,
}

/// A use of a module, until it is dropped. A module in use stays awake.
#[derive(Debug)]
pub struct InUse(Arc<Hold>);

impl InUse {
    /// Begins to use a module; `None` while it sleeps.
    pub fn begin(hold: &Arc<Hold>) -> Option<Self> {
        let mut usage = hold.usage();
        if usage.asleep {
            return None;
        }
        usage.users += 1;
        Some(Self(hold.clone()))
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut usage = self.0.usage();
        usage.users = usage.users.saturating_sub(1);
        usage.since = Instant::now();
    }
}

/// The same module in the same insertion is the same.
impl PartialEq for Hold {
    fn eq(&self, other: &Self) -> bool {
        self.seat == other.seat
    }
}

impl Hold {
    /// A module that has just been mounted.
    pub fn new(seat: Seat, root: HostRoot) -> Self {
        Self {
            seat,
            root,
            gone: CancellationToken::new(),
            silent: AtomicBool::new(false),
            checked: Mutex::default(),
            usage: Mutex::new(Usage { users: 0, since: Instant::now(), asleep: false, sleepless: false }),
        }
    }

    fn usage(&self) -> MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody has used it for so long, and its slot may be powered down.
    pub fn is_idle(&self, now: Instant, after: Duration) -> bool {
        let usage = self.usage();
        usage.users == 0 && !usage.asleep && !usage.sleepless && now.saturating_duration_since(usage.since) >= after
    }

    /// From now on nobody can begin to use it. `false`: somebody uses it.
    pub fn fall_asleep(&self) -> bool {
        let mut usage = self.usage();
        usage.asleep |= usage.users == 0;
        usage.asleep
    }

    /// It could not be put to sleep after all: it is tried again when it has been idle for as long again.
    pub fn stay_awake(&self) {
        let mut usage = self.usage();
        (usage.asleep, usage.since) = (false, Instant::now());
    }

    /// It is never put to sleep in this slot.
    pub fn forbid_sleep(&self) {
        self.usage().sleepless = true;
    }

    /// Whether its slot is powered down, or about to be.
    pub fn is_asleep(&self) -> bool {
        self.usage().asleep
    }

    /// Where it sits.
    pub fn seat(&self) -> &Seat {
        &self.seat
    }

    /// Says that it is gone.
    pub fn let_go(&self) {
        self.gone.cancel();
    }

    /// Says that its device is there and does not answer any more: what runs from it ends as if it had been pulled out.
    pub fn fall_silent(&self) {
        self.silent.store(true, Ordering::Release);
        self.gone.cancel();
    }

    /// Whether its device stopped answering.
    pub fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Acquire)
    }

    /// Resolves when it is gone.
    pub async fn gone(&self) {
        self.gone.cancelled().await;
    }

    /// What a person is told about a step whose module is gone.
    pub fn why_gone(&self) -> String {
        let what = if self.is_silent() { "does not answer any more in" } else { "was pulled out of" };
        format!("the module {} {what} {}", self.seat.label, self.seat.slot)
    }

    /// Where a blob lies.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.seat.at.join(blob_path(digest))
    }

    /// Whether the device is there and can be read. Asked when something went wrong; it reads from the device itself, past every
    /// cache, so it may take as long as the device does.
    pub fn still_answers(&self) -> bool {
        if self.gone.is_cancelled() {
            return false;
        }
        let slot = &self.seat.slot;
        let now = look(&self.root, &[Pattern(slot.clone())], &self.seat.at.to_string_lossy());
        let there = now.get(slot).is_some_and(|device| device.insertion == self.seat.insertion && !device.leaving);
        there && read_first_block(Path::new(self.root.dev(slot).as_str())).is_ok()
    }

    /// Whether a blob is what it is named by: read and hashed the first time, remembered while the device stays.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, digest: &Digest, bytes_per_s: Option<u64>) -> Result<(), String> {
        if let Some(known) = self.known(digest) {
            return known;
        }
        let found = self.hash(digest, bytes_per_s);
        // What was broken off by the end of the device says nothing about the blob.
        if !self.gone.is_cancelled() {
            self.checked().insert(*digest, found.clone());
        }
        found
    }

    /// What was found out about a blob.
    pub fn known(&self, digest: &Digest) -> Option<Result<(), String>> {
        self.checked().get(digest).cloned()
    }

    fn checked(&self) -> MutexGuard<'_, HashMap<Digest, Result<(), String>>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hash(&self, digest: &Digest, bytes_per_s: Option<u64>) -> Result<(), String> {
        let path = blob_path(digest);
        let unreadable = |problem: String| format!("{path}: {problem}");
        let volume = FolderVolume::open(&self.seat.at).map_err(|e| unreadable(e.to_string()))?;
        let (mut file, _) = volume.file(&path).map_err(|e| unreadable(e.to_string()))?;
        let (mut hasher, mut piece, mut done, begin) = (Sha256::new(), vec![0; PIECE_BYTES], 0u64, Instant::now());
        loop {
            if self.gone.is_cancelled() {
                return Err(self.why_gone());
            }
            match file.read(&mut piece).map_err(|e| unreadable(format!("it cannot be read: {e}")))? {
                0 => break,
                n => {
                    hasher.update(&piece[..n]);
                    done += n as u64;
                }
            }
            if let Some(rate) = bytes_per_s.filter(|rate| *rate > 0) {
                let due = Duration::from_secs_f64(done as f64 / rate as f64);
                std::thread::sleep(due.saturating_sub(begin.elapsed()).min(Duration::from_millis(250)));
            }
        }
        match Digest::sha256(hasher.finalize().into()) == *digest {
            true => Ok(()),
            false => Err(unreadable("its content is not what its name says: it was changed, or the module is damaged".into())),
        }
    }
}

/// Reads the first block from the device, not from memory.
fn read_first_block(device: &Path) -> rustix::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECT | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(device, flags, Mode::empty())?;
    // The kernel wants the memory aligned as the device's blocks are.
    let mut memory = vec![0; 2 * BLOCK_BYTES];
    let from = memory.as_ptr().align_offset(BLOCK_BYTES);
    match rustix::io::read(&file, &mut memory[from..from + BLOCK_BYTES])? {
        0 => Err(rustix::io::Errno::IO),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(at: &Path) -> Hold {
        let insertion = Insertion { diskseq: 1, start: 0, bytes: 4096 };
        let seat = Seat { slot: "loop7".into(), insertion, label: "OURO-T".into(), fingerprint: "f".into(), at: at.into() };
        Hold::new(seat, HostRoot::recorded(at))
    }

    #[test]
    fn a_blob_is_hashed_once_and_a_lie_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
        let hold = hold(dir.path());
        let honest = Digest::sha256(Sha256::digest(b"weights").into());
        let lie = Digest::sha256([3; 32]);
        std::fs::write(hold.blob(&honest), "weights").unwrap();
        std::fs::write(hold.blob(&lie), "other").unwrap();
        assert_eq!(hold.known(&honest), None);
        hold.check(&honest, Some(1 << 30)).unwrap();
        std::fs::remove_file(hold.blob(&honest)).unwrap();
        hold.check(&honest, None).unwrap();
        assert!(hold.check(&lie, None).unwrap_err().contains("not what its name says"));
        assert!(hold.known(&lie).unwrap().is_err());
    }

    #[test]
    fn a_module_sleeps_only_while_nobody_uses_it() {
        let hold = Arc::new(hold(Path::new("/nowhere")));
        let (now, hour) = (Instant::now(), Duration::from_secs(3600));
        assert!(!hold.is_idle(now, hour) && hold.is_idle(now + hour, hour));
        let (first, second) = (InUse::begin(&hold).unwrap(), InUse::begin(&hold).unwrap());
        drop(first);
        assert!(!hold.is_idle(now + 2 * hour, hour) && !hold.fall_asleep(), "one is left");
        drop(second);
        assert!(hold.fall_asleep() && InUse::begin(&hold).is_none());
        assert!(!hold.is_idle(now + 2 * hour, hour), "it sleeps already");
        hold.stay_awake();
        assert!(InUse::begin(&hold).is_some() && hold.is_idle(Instant::now() + hour, hour));
        hold.forbid_sleep();
        assert!(!hold.is_idle(Instant::now() + hour, hour));
    }

    #[test]
    fn a_module_that_is_gone_says_so_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let hold = hold(dir.path());
        assert!(!hold.still_answers(), "there is no such device under this root");
        std::fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
        let digest = Digest::sha256([3; 32]);
        std::fs::write(hold.blob(&digest), "other").unwrap();
        hold.let_go();
        assert!(hold.check(&digest, None).unwrap_err().contains("pulled out of loop7"));
        assert_eq!(hold.known(&digest), None, "its end says nothing about its blobs");
    }
}
