//! A module's sleep on a machine made of files: what is written to the slot, what is announced, and who is told when it ends.

use super::*;
use crate::config::DevicesConfig;
use crate::hotplug::intent::Intents;
use crate::hotplug::look::Device;
use crate::hotplug::mount::Mounts;
use crate::hotplug::plan::Rules;
use crate::hotplug::superblock::{Filesystem, Probe};
use crate::modules::devices::DevicesOptions;
use crate::modules::hold::{Hold, InUse};
use crate::modules::image::{Image, Link};
use crate::modules::scan::builtin_container;
use ouro_common::id::BootId;
use ouro_common::module::{self, INDEX_FILE, Index, LAYOUT, LAYOUT_FILE, ModuleState, TrustPolicy, blob_path};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::mpsc;

const CARD: &str = "0000:01:00.0";
const SLOT: &str = "nvme0n1";
const HOUR: Duration = Duration::from_secs(3600);

fn put(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// The files of a port with an NVMe stick in it.
fn machine(home: &Path) {
    let sys = home.join("sys");
    let port = "devices/pci0000:00/0000:00:1d.0";
    put(&sys.join(port).join(CARD).join("remove"), b"");
    fs::create_dir_all(sys.join(port).join(CARD).join("nvme/nvme0").join(SLOT)).unwrap();
    put(&sys.join("class/pci_bus/0000:01/rescan"), b"");
    for (at, to) in [
        ("bus/pci/devices".to_string() + "/" + CARD, String::new()),
        (format!("class/block/{SLOT}"), format!("/nvme/nvme0/{SLOT}")),
    ] {
        fs::create_dir_all(sys.join(&at).parent().unwrap()).unwrap();
        let target = HostRoot::recorded(home).sys(&format!("{port}/{CARD}{to}"));
        symlink(target.as_str(), sys.join(at)).unwrap();
    }
}

/// A module with one container in a folder.
fn layout(folder: &Path) {
    let manifest = builtin_container("noop").unwrap().manifest;
    let image = module::Image::new(&manifest, &[]).unwrap();
    put(&folder.join(LAYOUT_FILE), LAYOUT.as_bytes());
    put(&folder.join(INDEX_FILE), &Index::of(&[(&manifest, &image)]).to_json());
    put(&folder.join(blob_path(&image.digest)), &image.manifest_json);
    put(&folder.join(blob_path(&image.config_digest)), &image.config_json);
}

fn insertion(diskseq: u64) -> Insertion {
    Insertion { diskseq, start: 0, bytes: 1 << 20 }
}

fn probe() -> Probe {
    Probe { filesystem: Filesystem::Ext4, label: Some("OURO-T".into()), fingerprint: "f00d".into() }
}

struct Ground {
    home: tempfile::TempDir,
    devices: Devices,
}

impl Ground {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        machine(home.path());
        layout(&home.path().join("module"));
        let root = HostRoot::recorded(home.path());
        let config = DevicesConfig {
            power_down: PowerDown::Remove,
            power_down_after_s: 60,
            trust: TrustPolicy::Off,
            ..DevicesConfig::default()
        };
        let (boot, at) = (BootId::from_parts(0, [1; 10]), |name: &str| home.path().join(name));
        let mut devices = Devices {
            mounts: Mounts::open(at("mounts"), &root).unwrap(),
            intents: Intents::open(at("intents"), boot).unwrap(),
            rules: Rules::default(),
            known: BTreeMap::new(),
            seen: BTreeMap::new(),
            since: BTreeMap::new(),
            open: BTreeMap::new(),
            asleep: Dormitory::open(Sleepers::open(at("asleep")).unwrap(), &root),
            reports: mpsc::unbounded_channel(),
            options: DevicesOptions { mounts: at("mounts"), intents: at("intents"), asleep: at("asleep"), root, config, boot },
        };
        plug(&mut devices, home.path(), 1);
        Self { home, devices }
    }

    fn written(&self, file: &str) -> String {
        let root = &self.devices.options.root;
        String::from_utf8(root.read_bytes(&root.sys(file), 4096).unwrap()).unwrap()
    }

    async fn reported(&mut self) {
        let report = tokio::time::timeout(HOUR, self.devices.reported()).await.unwrap().unwrap();
        self.devices.apply(report);
    }

    /// What is announced of the one module: its state, the cost of waking it, and how many containers can be given steps.
    fn told(&self) -> Option<(ModuleState, Option<f64>, usize)> {
        let judged = Judge { keys: &[], policy: TrustPolicy::Off };
        let mut all: Vec<_> = self.devices.placements(judged.keys);
        assert!(all.len() < 2, "one module is in one place");
        let (placement, installed) = all.pop()?;
        Some((placement.state, placement.origin?.wake_ms, installed.len()))
    }

    /// Puts the module to sleep, as if nobody had wanted it for an hour.
    async fn sleep(&mut self) -> Seat {
        let seat = self.devices.open[SLOT].hold.seat().clone();
        assert!(self.devices.put_to_sleep(Instant::now() + HOUR));
        self.reported().await;
        seat
    }
}

/// The module is plugged in and mounted.
fn plug(devices: &mut Devices, home: &Path, diskseq: u64) {
    let folder = home.join("module");
    let device = Device {
        insertion: insertion(diskseq),
        number: "259:0".into(),
        usb: false,
        pci: Some(CARD.into()),
        leaving: false,
        elsewhere: None,
        written: 0,
    };
    let seat = Seat {
        slot: SLOT.into(),
        insertion: insertion(diskseq),
        label: "OURO-T".into(),
        fingerprint: "f00d".into(),
        at: folder.clone(),
    };
    let hold = Arc::new(Hold::new(seat, devices.options.root.clone()));
    let open = Open {
        hold,
        image: Image::read(&folder).unwrap(),
        link: Link::default(),
        ready_after_ms: 80.0,
        wake_ms: None,
    };
    devices.open.insert(SLOT.into(), open);
    devices.seen.insert(SLOT.into(), device);
    let known = Known { insertion: insertion(diskseq), stage: Stage::Mounted(probe()), written_then: 0, written_last: 0 };
    devices.known.insert(SLOT.into(), known);
}

#[tokio::test]
async fn an_idle_module_sleeps_is_offered_and_wakes_for_a_step() {
    let mut ground = Ground::new();
    assert_eq!(ground.told(), Some((ModuleState::Ready, None, 1)));
    assert!(!ground.devices.put_to_sleep(Instant::now()), "it has just been plugged in");
    let using = InUse::begin(&ground.devices.open[SLOT].hold).unwrap();
    assert!(!ground.devices.put_to_sleep(Instant::now() + HOUR), "a step runs from it");
    drop(using);

    let seat = ground.sleep().await;
    assert_eq!(ground.written(&format!("bus/pci/devices/{CARD}/remove")), "1");
    assert_eq!(ground.told(), Some((ModuleState::Asleep, Some(80.0), 1)), "as long as it took when it was pushed in");
    assert_eq!(fs::read_dir(ground.home.path().join("asleep")).unwrap().count(), 1, "the next run would wake it");

    let (answer, mut answered) = oneshot::channel();
    ground.devices.wake(&seat, answer);
    ground.reported().await;
    ground.devices.answer();
    assert_eq!(ground.written("class/pci_bus/0000:01/rescan"), "1");
    assert!(answered.try_recv().is_err(), "it has its power, and is not there yet");
    assert_eq!(ground.told().unwrap().0, ModuleState::Asleep);

    plug(&mut ground.devices, ground.home.path(), 2);
    assert!(ground.devices.settle_sleepers());
    ground.devices.answer();
    answered.try_recv().unwrap();
    assert_eq!(ground.told(), Some((ModuleState::Ready, None, 1)));
    assert!(ground.devices.open[SLOT].wake_ms.is_some_and(|ms| ms > 0.0), "now it is known how long that takes");
    assert_eq!(fs::read_dir(ground.home.path().join("asleep")).unwrap().count(), 0);
    // Nothing that slept is waited for.
    let (answer, mut answered) = oneshot::channel();
    ground.devices.wake(&seat, answer);
    ground.devices.answer();
    answered.try_recv().unwrap();
}

#[tokio::test]
async fn what_does_not_come_back_or_comes_back_as_another_is_given_up() {
    let mut ground = Ground::new();
    let seat = ground.sleep().await;
    fs::remove_file(ground.home.path().join("sys/class/pci_bus/0000:01/rescan")).unwrap();
    let (answer, mut answered) = oneshot::channel();
    ground.devices.wake(&seat, answer);
    ground.reported().await;
    ground.devices.answer();
    answered.try_recv().unwrap();
    assert_eq!(ground.told(), None);

    let mut ground = Ground::new();
    ground.sleep().await;
    plug(&mut ground.devices, ground.home.path(), 2);
    ground.devices.open.clear();
    ground.devices.known.get_mut(SLOT).unwrap().stage = Stage::Foreign;
    assert!(ground.devices.settle_sleepers());
    assert_eq!(ground.told(), None, "somebody put another stick in");
}

#[tokio::test]
async fn a_slot_that_cannot_be_powered_down_is_left_alone_for_good() {
    let mut ground = Ground::new();
    let port = ground.home.path().join("sys/devices/pci0000:00/0000:00:1d.0");
    fs::create_dir_all(port.join("0000:01:00.1")).unwrap();
    assert!(!ground.devices.put_to_sleep(Instant::now() + HOUR));
    fs::remove_dir(port.join("0000:01:00.1")).unwrap();
    assert!(!ground.devices.put_to_sleep(Instant::now() + HOUR), "it is not looked at every two seconds");
    assert_eq!(ground.told(), Some((ModuleState::Ready, None, 1)));
}

#[tokio::test]
async fn the_end_of_the_agent_wakes_what_sleeps() {
    let mut ground = Ground::new();
    ground.sleep().await;
    ground.devices.close();
    assert_eq!(ground.written("class/pci_bus/0000:01/rescan"), "1");
    assert_eq!(ground.told(), None);
}
