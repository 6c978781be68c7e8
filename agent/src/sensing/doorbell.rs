//! The kernel's word that a cable was pulled or a zone got hot, so that a reading need not wait for its turn.
//!
//! Events of `power_supply` and `thermal` only wake the reader; what is true is read from the files as always. Where udev
//! cannot be used (phones, static builds, some containers) there is no doorbell, and the readings come by the clock alone.

use std::sync::Arc;
use tokio::sync::Notify;

#[cfg(feature = "udev")]
mod udev_monitor;

/// Rings when a power supply or a thermal zone changes.
#[derive(Debug)]
pub struct Doorbell {
    bell: Arc<Notify>,
    /// Ends the thread that listens when it is dropped.
    #[cfg(feature = "udev")]
    _listener: udev_monitor::Listener,
}

impl Doorbell {
    /// Starts to listen; `None`, with a warning in the log, where udev cannot be used.
    #[cfg(feature = "udev")]
    pub fn listen() -> Option<Self> {
        let bell = Arc::new(Notify::new());
        match udev_monitor::Listener::start(Arc::clone(&bell)) {
            Ok(listener) => Some(Self { bell, _listener: listener }),
            Err(error) => {
                tracing::warn!(%error, "udev cannot be used: a pulled cable is noticed with the next reading, not at once");
                None
            }
        }
    }

    /// Starts to listen; `None`, with a warning in the log: this agent was built without udev.
    #[cfg(not(feature = "udev"))]
    pub fn listen() -> Option<Self> {
        tracing::warn!("this agent was built without udev: a pulled cable is noticed with the next reading, not at once");
        None
    }

    /// Waits for the next change. Changes while nobody waits are one ring, and it is not lost.
    pub async fn rung(&self) {
        self.bell.notified().await;
    }
}
