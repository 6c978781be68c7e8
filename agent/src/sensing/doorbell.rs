//! The kernel's word that a cable was pulled, a zone got hot or a device was plugged in, so that nobody need wait for a turn.
//!
//! Events only wake the readers (`power_supply` and `thermal` one, `block` the other); what is true is read from the files as
//! always. Where udev cannot be used (phones, static builds, some containers) there is no doorbell, and they look by the clock alone.

use std::sync::Arc;
use tokio::sync::Notify;

#[cfg(feature = "udev")]
mod udev_monitor;

/// The bells of one socket. Events while nobody waits are one ring, and it is not lost.
#[derive(Debug, Default)]
struct Bells {
    sensors: Notify,
    devices: Notify,
}

/// Rings when a power supply or a thermal zone changes, and when a block device comes or goes.
#[derive(Debug)]
pub struct Doorbell {
    bells: Arc<Bells>,
    /// Ends the thread that listens when it is dropped.
    #[cfg(feature = "udev")]
    _listener: udev_monitor::Listener,
}

impl Doorbell {
    /// Starts to listen; `None`, with a warning in the log, where udev cannot be used.
    #[cfg(feature = "udev")]
    pub fn listen() -> Option<Self> {
        let bells = Arc::new(Bells::default());
        match udev_monitor::Listener::start(Arc::clone(&bells)) {
            Ok(listener) => Some(Self { bells, _listener: listener }),
            Err(error) => {
                tracing::warn!(%error, "udev cannot be used: pulled cables and modules are noticed with the next look, not at once");
                None
            }
        }
    }

    /// Starts to listen; `None`, with a warning in the log: this agent was built without udev.
    #[cfg(not(feature = "udev"))]
    pub fn listen() -> Option<Self> {
        tracing::warn!("this agent was built without udev: pulled cables and modules are noticed with the next look, not at once");
        None
    }

    /// Waits for the next change of a power supply or a thermal zone.
    pub async fn rung(&self) {
        self.bells.sensors.notified().await;
    }

    /// Waits for the next block device that comes, goes or changes.
    pub async fn plugged(&self) {
        self.bells.devices.notified().await;
    }
}
