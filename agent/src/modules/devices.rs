//! The devices' half of the watcher: carries out what the plan says, and tells what came of it.
//!
//! Whatever can hang, since a stick is broken, is done in a thread of its own; what it reports about an insertion that has gone
//! in the meantime is undone.

use super::hold::{Hold, Seat};
use super::image::{Found, Image, Judge, Link};
use super::scan::Installed;
use crate::clock::unix_ms;
use crate::config::DevicesConfig;
use crate::durable::FileError;
use crate::hotplug::intent::Intents;
use crate::hotplug::look::{Device, Insertion, look};
use crate::hotplug::mount::{MountError, Mounts, let_write, release, set_read_only};
use crate::hotplug::plan::{Action, Known, Rules, Stage, Waiting, next};
use crate::hotplug::slot_power::{PciSlot, Sleepers, SlotError};
use crate::hotplug::superblock::{Probe, probe};
use crate::sensing::host_root::HostRoot;
use crate::sensing::{nvme_path_bytes_per_s, port_link};
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::{BootId, Digest};
use ouro_common::module::{ModuleError, Placement, TrustedKey};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;

mod asleep;
mod told;

use asleep::{Dormitory, PowerDownError};

/// What the watcher of devices needs.
#[derive(Debug, Clone)]
pub struct DevicesOptions {
    /// The machine; only a live one has devices that can be mounted.
    pub root: HostRoot,
    /// Which slots, and what is demanded.
    pub config: DevicesConfig,
    /// Where it mounts.
    pub mounts: PathBuf,
    /// Where it writes down what it is about to do.
    pub intents: PathBuf,
    /// Where it writes down which slots it powered down.
    pub asleep: PathBuf,
    /// The kernel's boot.
    pub boot: BootId,
}

/// What came of an action that took its time.
#[derive(Debug)]
pub(super) struct Report {
    slot: String,
    insertion: Insertion,
    outcome: Outcome,
}

#[derive(Debug)]
enum Outcome {
    Probed(std::io::Result<Option<Probe>>),
    Opened(Box<Result<Open, OpenError>>),
    PoweredDown(Result<(), PowerDownError>),
    PoweredUp(PciSlot, Result<(), SlotError>),
}

/// A module that is mounted and read.
#[derive(Debug)]
struct Open {
    hold: Arc<Hold>,
    image: Image,
    link: Link,
    ready_after_ms: f64,
    /// How long it took to wake the last time, ms, if it ever slept.
    wake_ms: Option<f64>,
}

/// A module could not be mounted or read.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    /// The intent cannot be written down, so nothing was done.
    #[error("the agent's own disk refuses the intent: {0}")]
    Intent(#[from] FileError),
    /// It cannot be mounted.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// It is mounted and cannot be read.
    #[error("{0}")]
    Read(#[from] ModuleError),
}

/// The devices that are watched.
pub(super) struct Devices {
    options: DevicesOptions,
    mounts: Mounts,
    intents: Intents,
    rules: Rules,
    known: BTreeMap<String, Known>,
    seen: BTreeMap<String, Device>,
    /// Since when each slot's device has been known, for the time until it is ready.
    since: BTreeMap<String, Instant>,
    open: BTreeMap<String, Open>,
    asleep: Dormitory,
    reports: (mpsc::UnboundedSender<Report>, mpsc::UnboundedReceiver<Report>),
}

impl Devices {
    /// A watcher that has seen nothing. `None` where there is nothing to watch: no slots, or a recorded machine.
    ///
    /// # Errors
    /// When the agent's own folders cannot be used.
    pub(super) fn new(options: DevicesOptions) -> Result<Option<Self>, FileError> {
        if !options.root.is_live() || options.config.watch.is_empty() {
            return Ok(None);
        }
        let mounts = Mounts::open(options.mounts.clone(), &options.root)?;
        let intents = Intents::open(options.intents.clone(), options.boot)?;
        let asleep = Dormitory::open(Sleepers::open(options.asleep.clone())?, &options.root);
        let rules = Rules { ask: options.config.ask.clone(), suspects: intents.suspects(), ..Rules::default() };
        Ok(Some(Self {
            options,
            mounts,
            intents,
            rules,
            known: BTreeMap::new(),
            seen: BTreeMap::new(),
            since: BTreeMap::new(),
            open: BTreeMap::new(),
            asleep,
            reports: mpsc::unbounded_channel(),
        }))
    }

    /// The intents, for those who load containers.
    pub(super) fn intents(&self) -> Intents {
        self.intents.clone()
    }

    /// Looks at everything and begins what is to be done. `event`: when the kernel told, if it did. Whether anything changed that
    /// people see.
    pub(super) fn look(&mut self, event: Instant) -> bool {
        self.seen = look(&self.options.root, &self.options.config.watch, &self.mounts.folder().to_string_lossy());
        let changed = self.drop_silent() | self.act(event) | self.put_to_sleep(event);
        for (slot, device) in &self.seen {
            if let Some(known) = self.known.get_mut(slot) {
                known.written_last = device.written;
            }
        }
        changed
    }

    /// Whether a loop device is mounted: its detaching rings no bell.
    pub(super) fn has_loops(&self) -> bool {
        self.open.keys().any(|slot| slot.starts_with("loop"))
    }

    /// Whether something is under way that will change what is announced.
    pub(super) fn is_settling(&self) -> bool {
        self.known.values().any(|known| matches!(known.stage, Stage::Probing | Stage::Mounting(_)))
    }

    /// The next thing that came of what was begun.
    pub(super) async fn reported(&mut self) -> Option<Report> {
        self.reports.1.recv().await
    }

    /// Modules whose device is there and does not answer are given up until they are plugged in again.
    fn drop_silent(&mut self) -> bool {
        let silent: Vec<String> = self.open.iter().filter(|(_, open)| open.hold.is_silent()).map(|(slot, _)| slot.clone()).collect();
        for slot in &silent {
            if let Some(open) = self.open.remove(slot) {
                tracing::warn!(slot, label = open.hold.seat().label, "a module's device does not answer any more");
                release(&open.hold.seat().at);
            }
            if let Some(Known { stage, .. }) = self.known.get_mut(slot)
                && let Stage::Mounted(probe) = stage.clone()
            {
                *stage = Stage::Failed(probe, "its device does not answer any more; plug it in again".into());
            }
        }
        !silent.is_empty()
    }

    fn act(&mut self, event: Instant) -> bool {
        let mut changed = false;
        // What is judged can lead to more at once; a probe or a mount ends the chain until it reports.
        for action in next(&self.known, &self.seen, &self.rules) {
            changed |= self.carry_out(action, event);
        }
        changed | self.settle_sleepers()
    }

    fn carry_out(&mut self, action: Action, event: Instant) -> bool {
        match action {
            Action::Probe { slot, insertion } => {
                let written = self.seen.get(&slot).map_or(0, |device| device.written);
                let known = Known { insertion, stage: Stage::Probing, written_then: written, written_last: written };
                self.known.insert(slot.clone(), known);
                self.since.insert(slot.clone(), event);
                let device = PathBuf::from(self.options.root.dev(&slot).as_str());
                self.begin(slot, insertion, move || Outcome::Probed(probe(&device)));
                false
            }
            Action::Mount { slot, probe } => {
                let waited = self.known.get(&slot).is_some_and(|known| !matches!(known.stage, Stage::Waiting(_, Waiting::Judgement)));
                if waited {
                    // For a person: that is nobody's slowness.
                    self.since.insert(slot.clone(), event);
                }
                self.mount(slot, probe)
            }
            Action::Wait { slot, probe, waiting } => {
                tracing::info!(slot, label = probe.label, ?waiting, "a module waits");
                self.stage(&slot, Stage::Waiting(probe, waiting))
            }
            Action::Ignore { slot } => self.stage(&slot, Stage::Foreign),
            Action::Remove { slot } => self.remove(&slot),
        }
    }

    fn stage(&mut self, slot: &str, stage: Stage) -> bool {
        let known = self.known.get_mut(slot).filter(|known| known.stage != stage);
        known.map(|known| known.stage = stage).is_some()
    }

    fn mount(&mut self, slot: String, probe: Probe) -> bool {
        let (Some(device), Some(since)) = (self.seen.get(&slot).cloned(), self.since.get(&slot).copied()) else {
            return false;
        };
        let changed = self.stage(&slot, Stage::Mounting(probe.clone()));
        let (root, mounts, intents) = (self.options.root.clone(), self.mounts.clone(), self.intents.clone());
        let (name, insertion) = (slot.clone(), device.insertion);
        self.begin(slot, insertion, move || {
            Outcome::Opened(Box::new(open(&root, &mounts, &intents, (&name, &device, &probe)).map(|(hold, image)| {
                let pci = device.pci.as_deref();
                let bytes_per_s = pci.and_then(|pci| nvme_path_bytes_per_s(&root, pci));
                let link = Link { bytes_per_s, port: pci.and_then(|pci| port_link(&root, pci)) };
                Open { hold, image, link, ready_after_ms: since.elapsed().as_secs_f64() * 1e3, wake_ms: None }
            })))
        });
        changed
    }

    /// Does something that may take long, or for ever, beside everything else.
    fn begin(&mut self, slot: String, insertion: Insertion, work: impl FnOnce() -> Outcome + Send + 'static) {
        let reports = self.reports.0.clone();
        let thread = std::thread::Builder::new().name(format!("module {slot}"));
        let started = thread.spawn(move || {
            let report = Report { slot, insertion, outcome: work() };
            // Nobody listens any more: the agent ends, and what was mounted is unmounted at its next start.
            let _ = reports.send(report);
        });
        if let Err(error) = started {
            tracing::error!(%error, "no thread for a module can be started");
        }
    }

    /// Takes in what came of something. Whether anything changed that people see.
    pub(super) fn apply(&mut self, report: Report) -> bool {
        let Report { slot, insertion, outcome } = report;
        let outcome = match outcome {
            // These are about the port, whatever is in it by now.
            Outcome::PoweredDown(result) => {
                let changed = self.powered_down(&slot, insertion, result);
                return self.act(Instant::now()) | changed;
            }
            Outcome::PoweredUp(port, result) => return self.powered_up(&port, result),
            other => other,
        };
        if self.known.get(&slot).is_none_or(|known| known.insertion != insertion) {
            // Another device is there by now, or none.
            if let Outcome::Opened(opened) = outcome
                && let Ok(open) = *opened
            {
                open.hold.let_go();
                release(&open.hold.seat().at);
            }
            return false;
        }
        let changed = match outcome {
            Outcome::Probed(Ok(Some(probe))) => self.stage(&slot, Stage::Waiting(probe, Waiting::Judgement)),
            Outcome::Probed(Ok(None)) => self.stage(&slot, Stage::Foreign),
            Outcome::Probed(Err(error)) => self.stage(&slot, Stage::Unreadable(error.to_string())),
            Outcome::Opened(opened) => self.opened(&slot, *opened),
            Outcome::PoweredDown(_) | Outcome::PoweredUp(..) => false,
        };
        self.act(Instant::now()) | changed
    }

    fn opened(&mut self, slot: &str, opened: Result<Open, OpenError>) -> bool {
        let Some(Known { stage: Stage::Mounting(probe), .. }) = self.known.get(slot).cloned() else {
            return false;
        };
        match opened {
            Ok(open) => {
                let (label, ms) = (&open.hold.seat().label, open.ready_after_ms);
                tracing::info!(slot, label, module = %open.image.digest().short(), ready_after_ms = ms, "a module is plugged in");
                self.open.insert(slot.into(), open);
                self.stage(slot, Stage::Mounted(probe))
            }
            Err(OpenError::Read(error)) if error.is_no_module() && probe.label.is_none() => self.stage(slot, Stage::Foreign),
            Err(error) => {
                tracing::warn!(slot, label = probe.label, %error, "a module cannot be used");
                self.stage(slot, Stage::Failed(probe, error.to_string()))
            }
        }
    }

    fn remove(&mut self, slot: &str) -> bool {
        self.since.remove(slot);
        if let Some(open) = self.open.remove(slot) {
            tracing::info!(slot, label = open.hold.seat().label, "a module was pulled out");
            open.hold.let_go();
            release(&open.hold.seat().at);
            let_write(&self.options.root, slot);
        }
        let gone = self.known.remove(slot);
        gone.is_some_and(|known| !matches!(known.stage, Stage::Foreign | Stage::Probing))
    }

    /// Lets a module be mounted that waits for somebody's word: by its slot, or by its label where only one has it.
    ///
    /// # Errors
    /// `NOT_FOUND` when nothing of that name waits; `INVALID_ARGUMENT` when several do.
    pub(super) fn release(&mut self, wanted: &str) -> Result<String, Fault> {
        let waits = |stage: &Stage| matches!(stage, Stage::Waiting(_, Waiting::Word | Waiting::Suspect));
        let named = |slot: &str, stage: &Stage| match stage {
            Stage::Waiting(probe, _) => slot == wanted || probe.label.as_deref() == Some(wanted),
            _ => false,
        };
        let found: Vec<String> = self
            .known
            .iter()
            .filter(|(slot, k)| waits(&k.stage) && named(slot, &k.stage))
            .map(|(slot, _)| slot.clone())
            .collect();
        let [slot] = found.as_slice() else {
            return Err(match found.len() {
                0 => Fault::new(FaultCode::NotFound, "no module of that label, and none in that slot, waits to be released")
                    .at(wanted)
                    .remedy("see `ouroctl modules` for what waits, and on which node; release it there"),
                _ => Fault::new(FaultCode::InvalidArgument, format!("several modules with that label wait, in {}", found.join(", ")))
                    .at(wanted)
                    .remedy("name one by its slot"),
            });
        };
        let Some(Known { insertion, stage: Stage::Waiting(probe, _), .. }) = self.known.get(slot).cloned() else {
            return Err(Fault::new(FaultCode::NotFound, "it does not wait any more").at(wanted));
        };
        self.intents.release(&probe.fingerprint).map_err(|e| crate::home::file_fault(&e))?;
        self.rules.suspects = self.intents.suspects();
        self.rules.released.insert((slot.clone(), insertion));
        self.act(Instant::now());
        Ok(slot.clone())
    }

    /// What is announced of the devices, and what can be run from them.
    pub(super) fn placements(&self, keys: &[TrustedKey]) -> Vec<(Placement, Vec<Installed>)> {
        let judged = Judge { keys, policy: self.options.config.trust };
        let shown = |(slot, known): (&String, &Known)| match self.open.get(slot) {
            Some(open) => Some(open.placement(judged, None)),
            // What is being woken is shown as asleep until it is awake.
            None if self.is_bed(slot) => None,
            None => told::placement(slot, &known.stage).map(|placement| (placement, vec![])),
        };
        let awake = self.known.iter().filter_map(shown);
        // After those that are awake: what is on both is run from there.
        awake.chain(self.sleepers(judged)).collect()
    }

    /// The blobs that nobody has looked into yet, and the module each is on.
    pub(super) fn unchecked(&self) -> Option<(Arc<Hold>, Digest)> {
        let mut all = self.open.values().flat_map(|open| open.image.layers().map(move |digest| (&open.hold, digest)));
        all.find(|(hold, digest)| hold.known(digest).is_none()).map(|(hold, digest)| (hold.clone(), digest))
    }

    /// Unmounts everything, and lets the devices be written again.
    pub(super) fn close(&mut self) {
        for open in std::mem::take(&mut self.open).into_values() {
            let seat = open.hold.seat();
            open.hold.let_go();
            release(&seat.at);
            // The process is about to end: this one is waited for.
            let _ = set_read_only(Path::new(self.options.root.dev(&seat.slot).as_str()), false);
        }
        self.known.clear();
        self.wake_all();
    }
}

impl Open {
    /// What is announced of it, and what can be run from it.
    fn placement(&self, judged: Judge<'_>, asleep: Option<super::image::Asleep>) -> (Placement, Vec<Installed>) {
        let seat = self.hold.seat();
        let found = Found {
            label: &seat.label,
            slot: &seat.slot,
            at: &seat.at,
            hold: Some(&self.hold),
            link: self.link,
            ready_after_ms: Some(self.ready_after_ms),
            asleep,
        };
        self.image.placement(&found, judged, &mut |blob| self.hold.known(blob)?.err())
    }
}

/// Mounts and reads a module, with the intent written down while it lasts.
fn open(
    root: &HostRoot,
    mounts: &Mounts,
    intents: &Intents,
    (slot, device, probe): (&str, &Device, &Probe),
) -> Result<(Arc<Hold>, Image), OpenError> {
    let _intent = intents.begin(&probe.fingerprint, slot, probe.label.as_deref(), "mount")?;
    let suffix = format!("{}-{}", device.insertion.diskseq, unix_ms());
    let at = mounts.mount(root, slot, &suffix, probe.filesystem)?;
    let image = Image::read(&at).inspect_err(|_| {
        release(&at);
        let_write(root, slot);
    })?;
    let seat = Seat {
        slot: slot.into(),
        insertion: device.insertion,
        label: probe.label.clone().unwrap_or_else(|| slot.into()),
        fingerprint: probe.fingerprint.clone(),
        at,
    };
    Ok((Arc::new(Hold::new(seat, root.clone())), image))
}
