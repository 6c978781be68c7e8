//! The watcher: woken by a bell, a report or a tick, it looks again and tells what changed.

use super::devices::{Devices, DevicesOptions};
use super::hold::Hold;
use super::{FileDigests, ModuleFolder, Modules, Order, Snapshot, TrustedKeys, scan};
use crate::sensing::doorbell::Doorbell;
use ouro_common::id::Digest;
use ouro_common::module::{TrustPolicy, TrustedKey};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How often everything is looked at when nothing rings.
const PERIOD: Duration = Duration::from_secs(2);
/// How often while a loop device is mounted: the kernel tells nobody that it was detached.
const LOOP_PERIOD: Duration = Duration::from_millis(250);
/// Events come in bursts; so long after the first of them, one look sees them all.
const SETTLE: Duration = Duration::from_millis(10);
/// How long the first announcement waits for modules that are being mounted.
const FIRST_LOOK: Duration = Duration::from_secs(3);

/// What the modules' watcher needs to know.
pub struct ModulesOptions {
    /// The folders.
    pub folders: Vec<ModuleFolder>,
    /// What is demanded of the signature of an image in a folder.
    pub trust_folders: TrustPolicy,
    /// The devices; `None`: none are looked at.
    pub devices: Option<DevicesOptions>,
    /// The keys the fleet trusts.
    pub keys: TrustedKeys,
    /// Rings when a device comes or goes.
    pub doorbell: Option<Arc<Doorbell>>,
}

/// Looks at folders and devices until it is told to stop.
pub struct ModulesService {
    folders: Vec<ModuleFolder>,
    trust_folders: TrustPolicy,
    keys: TrustedKeys,
    doorbell: Option<Arc<Doorbell>>,
    devices: Option<Devices>,
    verify_bytes_per_s: u64,
    digests: Arc<Mutex<FileDigests>>,
    in_folders: Snapshot,
    scanning: Option<JoinHandle<Snapshot>>,
    checking: Option<oneshot::Receiver<()>>,
    looked: Instant,
    orders: mpsc::Receiver<Order>,
    snapshot: watch::Sender<Arc<Snapshot>>,
}

/// What woke the watcher.
enum Woken {
    Bell,
    Tick,
    Folders(Snapshot),
    Order(Order),
    /// Trusted keys changed, or a blob was looked into: what is offered may differ.
    Again,
    Drain,
}

impl ModulesService {
    /// A watcher that has seen the built-in containers only, and the handle to what it sees.
    pub fn new(options: ModulesOptions) -> (Self, Modules) {
        let verify_bytes_per_s = options.devices.as_ref().map_or(0, |devices| devices.config.verify_bytes_per_s);
        let devices = options.devices.map(Devices::new).transpose().map(Option::flatten).unwrap_or_else(|error| {
            tracing::error!(%error, "modules on devices are not used: the agent's own folders cannot be");
            None
        });
        let first = scan(&[], &[], options.trust_folders, &mut FileDigests::default());
        let (sender, receiver) = watch::channel(Arc::new(first.clone()));
        let (order, orders) = mpsc::channel(16);
        let modules = Modules { snapshot: receiver, orders: order, intents: devices.as_ref().map(Devices::intents) };
        let service = Self {
            folders: options.folders,
            trust_folders: options.trust_folders,
            keys: options.keys,
            doorbell: options.doorbell,
            devices,
            verify_bytes_per_s,
            digests: Arc::default(),
            in_folders: first,
            scanning: None,
            checking: None,
            looked: Instant::now(),
            orders,
            snapshot: sender,
        };
        (service, modules)
    }

    /// Looks now, waits for what is being mounted, and tells what changed.
    pub async fn look(&mut self) {
        let begin = Instant::now();
        if let Some(devices) = &mut self.devices {
            devices.look(begin);
        }
        if let Ok(seen) = self.scan_folders().await {
            self.in_folders = seen;
        }
        while let Some(devices) = self.devices.as_mut().filter(|devices| devices.is_settling()) {
            match tokio::time::timeout(FIRST_LOOK.saturating_sub(begin.elapsed()), devices.reported()).await {
                Ok(Some(report)) => devices.apply(report),
                Ok(None) | Err(_) => break,
            };
        }
        self.publish();
    }

    /// Looks whenever there is reason to, until `drain`; then everything is unmounted.
    pub async fn run(mut self, drain: CancellationToken) {
        let mut keys = self.keys.changes();
        loop {
            match self.woken(&mut keys, &drain).await {
                Woken::Drain => break,
                Woken::Bell => {
                    let event = Instant::now();
                    tokio::time::sleep(SETTLE).await;
                    self.look_at_devices(event);
                }
                Woken::Tick => {
                    self.look_at_devices(Instant::now());
                    if self.scanning.is_none() {
                        self.scanning = Some(self.scan_folders());
                    }
                }
                Woken::Folders(seen) => self.in_folders = seen,
                Woken::Order(Order::Release(wanted, answer)) => {
                    let released = match &mut self.devices {
                        Some(devices) => devices.release(&wanted),
                        None => Err(no_devices(&wanted)),
                    };
                    let _ = answer.send(released);
                }
                Woken::Order(Order::Wake(seat, answer)) => {
                    if let Some(devices) = &mut self.devices {
                        devices.wake(&seat, answer);
                    }
                }
                Woken::Order(Order::LookAgain) => self.look_at_devices(Instant::now()),
                Woken::Again => {}
            }
            self.check_next();
            self.publish();
            // What they waited for can be seen now.
            self.devices.iter_mut().for_each(Devices::answer);
        }
        if let Some(devices) = &mut self.devices {
            devices.close();
        }
    }

    fn look_at_devices(&mut self, event: Instant) {
        self.looked = Instant::now();
        if let Some(devices) = &mut self.devices {
            devices.look(event);
        }
    }

    async fn woken(&mut self, keys: &mut watch::Receiver<Vec<TrustedKey>>, drain: &CancellationToken) -> Woken {
        let period = if self.devices.as_ref().is_some_and(Devices::has_loops) { LOOP_PERIOD } else { PERIOD };
        let tick = tokio::time::sleep(period.saturating_sub(self.looked.elapsed()));
        tokio::select! {
            () = drain.cancelled() => Woken::Drain,
            () = plugged(self.doorbell.as_deref()) => Woken::Bell,
            report = reported(self.devices.as_mut()) => {
                if let (Some(devices), Some(report)) = (&mut self.devices, report) {
                    devices.apply(report);
                }
                Woken::Again
            }
            Some(order) = self.orders.recv() => Woken::Order(order),
            Ok(()) = keys.changed() => Woken::Again,
            seen = ended(&mut self.scanning) => {
                self.scanning = None;
                seen.map_or(Woken::Again, Woken::Folders)
            }
            () = checked(&mut self.checking) => {
                self.checking = None;
                Woken::Again
            }
            () = tick => Woken::Tick,
        }
    }

    /// Looks at the folders beside everything else: a large model that is new there is hashed first.
    fn scan_folders(&self) -> JoinHandle<Snapshot> {
        let (folders, digests, policy, keys) = (self.folders.clone(), self.digests.clone(), self.trust_folders, self.keys.now());
        tokio::task::spawn_blocking(move || {
            // Held for the whole look: two looks at once would hash a large model twice.
            let mut digests = digests.lock().unwrap_or_else(PoisonError::into_inner);
            scan(&folders, &keys, policy, &mut digests)
        })
    }

    /// Begins to hash the next blob that nobody has looked into, if none is being hashed.
    fn check_next(&mut self) {
        let rate = self.verify_bytes_per_s;
        if self.checking.is_some() || rate == 0 {
            return;
        }
        let Some((hold, blob)) = self.devices.as_ref().and_then(Devices::unchecked) else {
            return;
        };
        let (done, receiver) = oneshot::channel();
        // A device may never answer; the thread then stays with it and nothing else waits.
        let thread = std::thread::Builder::new().name("module hash".into());
        if thread.spawn(move || check(&hold, &blob, rate, done)).is_ok() {
            self.checking = Some(receiver);
        }
    }

    fn publish(&self) {
        let mut seen = self.in_folders.clone();
        let keys = self.keys.now();
        for (placement, installed) in self.devices.iter().flat_map(|devices| devices.placements(&keys)) {
            seen.announcement.placements.push(placement);
            for installed in installed {
                // What is on two modules, or on one and in a folder, is run from the first: the folder stays.
                seen.installed.entry(installed.container.digest).or_insert(installed);
            }
        }
        self.snapshot.send_if_modified(|known| {
            let changed = **known != seen;
            if changed {
                tracing::info!(containers = seen.installed.len(), "the containers of this node changed");
                *known = Arc::new(seen);
            }
            changed
        });
    }
}

fn check(hold: &Hold, blob: &Digest, bytes_per_s: u64, done: oneshot::Sender<()>) {
    if let Err(problem) = hold.check(blob, Some(bytes_per_s)) {
        tracing::warn!(slot = hold.seat().slot, label = hold.seat().label, problem, "a module's file is not what it should be");
    }
    let _ = done.send(());
}

fn no_devices(wanted: &str) -> ouro_common::error::Fault {
    ouro_common::error::Fault::new(ouro_common::error::FaultCode::NotFound, "this agent looks at no devices")
        .at(wanted)
        .remedy("name the slots it should look at in `devices.watch` of agent.toml")
}

async fn plugged(doorbell: Option<&Doorbell>) {
    match doorbell {
        Some(doorbell) => doorbell.rung().await,
        None => std::future::pending().await,
    }
}

async fn reported(devices: Option<&mut Devices>) -> Option<super::devices::Report> {
    match devices {
        Some(devices) => devices.reported().await,
        None => std::future::pending().await,
    }
}

async fn ended(scanning: &mut Option<JoinHandle<Snapshot>>) -> Option<Snapshot> {
    match scanning {
        Some(task) => task.await.inspect_err(|error| tracing::error!(%error, "looking at the module folders failed")).ok(),
        None => std::future::pending().await,
    }
}

async fn checked(checking: &mut Option<oneshot::Receiver<()>>) {
    match checking {
        // An error means that the thread has ended without a word, which is an end as well.
        Some(done) => drop(done.await),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_differences_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let here = ModuleFolder { path: folder.path().into(), required: true };
        let options = ModulesOptions {
            folders: vec![here],
            trust_folders: TrustPolicy::Off,
            devices: None,
            keys: TrustedKeys::open(folder.path().join("keys.json")),
            doorbell: None,
        };
        let (mut service, modules) = ModulesService::new(options);
        let mut changes = modules.changes();
        service.look().await;
        changes.changed().await.unwrap();
        service.look().await;
        assert!(!changes.has_changed().unwrap(), "nothing changed, nothing is told");
        std::fs::create_dir(folder.path().join("broken")).unwrap();
        std::fs::write(folder.path().join("broken/container.toml"), "name = 1").unwrap();
        service.look().await;
        assert!(changes.has_changed().unwrap());
        let now = modules.now();
        let placement = now.announcement.placements.iter().find(|p| p.slot.starts_with("dir:")).unwrap();
        assert!(placement.problems[0].contains("broken"), "{:?}", placement.problems);
    }

    #[tokio::test]
    async fn without_devices_nothing_can_be_released() {
        let folder = tempfile::tempdir().unwrap();
        let keys = TrustedKeys::open(folder.path().join("keys.json"));
        let options = ModulesOptions { folders: vec![], trust_folders: TrustPolicy::Off, devices: None, keys, doorbell: None };
        let (service, modules) = ModulesService::new(options);
        let drain = CancellationToken::new();
        let running = tokio::spawn(service.run(drain.clone()));
        let fault = modules.release("sda1").await.unwrap_err();
        assert!(fault.remedy.contains("devices.watch"), "{fault}");
        drain.cancel();
        running.await.unwrap();
    }
}
