//! The kernel's word that a cable was pulled, a zone got hot or a device went, so that a reading need not wait for its turn.
//!
//! Events only wake the reader; what is true is read from the files as always. Where udev
//! cannot be used (phones, static builds, some containers) there is no doorbell, and the readings come by the clock alone.

use std::sync::Arc;
use tokio::sync::Notify;

#[cfg(feature = "udev")]
mod udev_monitor;

/// Rings when something of what it listens to changes.
#[derive(Debug)]
pub struct Doorbell {
    bell: Arc<Notify>,
    /// Ends the thread that listens when it is dropped.
    #[cfg(feature = "udev")]
    _listener: udev_monitor::Listener,
}

impl Doorbell {
    /// Listens for power supplies and thermal zones; `None`, with a warning in the log, where udev cannot be used.
    pub fn listen() -> Option<Self> {
        Self::to(&["power_supply", "thermal"], "a pulled cable")
    }

    /// Listens for devices that come and go; `None`, with a warning in the log, where udev cannot be used.
    pub fn listen_to_devices() -> Option<Self> {
        Self::to(&["nvme", "pci", "accel", "drm"], "a pulled device")
    }

    /// Listens for disks, partitions and loop devices; `None`, with a warning in the log, where udev cannot be used.
    pub fn listen_to_modules() -> Option<Self> {
        Self::to(&["block"], "a module")
    }

    #[cfg(feature = "udev")]
    fn to(subsystems: &'static [&'static str], what: &str) -> Option<Self> {
        let bell = Arc::new(Notify::new());
        match udev_monitor::Listener::start(subsystems, Arc::clone(&bell)) {
            Ok(listener) => Some(Self { bell, _listener: listener }),
            Err(error) => {
                tracing::warn!(%error, "udev cannot be used: {what} is noticed with the next reading, not at once");
                None
            }
        }
    }

    #[cfg(not(feature = "udev"))]
    fn to(_subsystems: &'static [&'static str], what: &str) -> Option<Self> {
        tracing::warn!("this agent was built without udev: {what} is noticed with the next reading, not at once");
        None
    }

    /// Waits for the next change. Changes while nobody waits are one ring, and it is not lost.
    pub async fn rung(&self) {
        self.bell.notified().await;
    }
}
