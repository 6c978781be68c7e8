//! What tests of modules on devices stand on: a fleet, a signed module, and a loop device to plug it into.

use crate::loop_device::LoopDevice;
use crate::udevd::ensure_udevd;
use crate::wait::{SHORT, eventually};
use crate::{Client, Fleet, FleetOptions, assets, skipped};
use ouro_common::document::ModuleView;
use ouro_common::module::ModuleState;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// A fleet without nodes, a signed module with a container that sleeps and one that works, and a free loop device.
#[derive(Debug)]
pub struct Ground {
    /// The fleet.
    pub fleet: Fleet,
    /// The module.
    pub image: PathBuf,
    /// The device, with nothing in it.
    pub device: LoopDevice,
    client: Client,
}

impl Ground {
    /// `None`, and why on stderr, where this machine has no such devices.
    pub fn new() -> Option<Self> {
        let fleet = Fleet::with(&FleetOptions::default());
        let containers = fleet.path("containers");
        assets::module_with(&containers, &["noop", "keywords"]);
        let image = fleet.path("module.img");
        let _ = fleet.operator().run(&["module", "keygen", "--no-password"]);
        build(&fleet, &containers, &image, true);
        let found = ensure_udevd().and_then(|()| LoopDevice::over(&image));
        let device = found.inspect_err(|why| skipped(why)).ok()?;
        device.detach();
        let client = fleet.client();
        Some(Self { fleet, image, device, client })
    }

    /// Makes the key of the modules one that the fleet trusts.
    pub fn trust(&self) {
        let key = self.fleet.server.home().join("module.pub").display().to_string();
        let _ = self.fleet.operator().run(&["module", "trust", &key]).exits(0);
    }

    /// Puts an image into the device.
    ///
    /// # Panics
    /// When it is taken.
    pub fn plug(&self, image: &Path) {
        self.device.attach(image).expect("the device is free");
    }

    /// All modules in the fleet.
    ///
    /// # Panics
    /// When the server does not answer.
    pub fn modules(&self) -> Vec<ModuleView> {
        let asking = self.client.asking();
        self.client.wait_for(async { asking.modules().await }).expect("the server answers").modules
    }

    /// The module in the ground's device, once it is in this state.
    pub fn module(&self, state: ModuleState) -> ModuleView {
        self.module_in(&self.device.slot(), state)
    }

    /// The module in a slot, once it is in this state.
    pub fn module_in(&self, slot: &str, state: ModuleState) -> ModuleView {
        eventually(&format!("{slot} {state:?}"), SHORT, || {
            self.modules().into_iter().find(|m| m.slot == slot && m.state == state)
        })
    }

    /// Returns when nothing is known of the ground's device any more.
    pub fn gone(&self) {
        let slot = self.device.slot();
        eventually(&format!("{slot} empty"), SHORT, || self.modules().iter().all(|m| m.slot != slot).then_some(()));
    }
}

/// Builds a module from a folder of containers.
pub fn build(fleet: &Fleet, containers: &Path, image: &Path, signed: bool) {
    let (containers, image) = (containers.display().to_string(), image.display().to_string());
    let key = fleet.server.home().join("module.key").display().to_string();
    let mut line = vec!["module", "build", &containers, "-o", &image, "--label", "OURO-TEST"];
    if signed {
        line.extend(["--sign", &key]);
    }
    let _ = fleet.operator().run(&line).exits(0);
}

/// A figure for whoever reads the test's output.
pub fn told(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
