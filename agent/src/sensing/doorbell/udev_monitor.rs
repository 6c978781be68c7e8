//! The thread that listens to udev: libudev's objects may not leave the thread that made them.

use super::Bells;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, mpsc};
use udev::MonitorBuilder;

/// Udevd's own socket: it is there while udevd runs.
const UDEVD: &str = "/run/udev/control";
const SUBSYSTEMS: [&str; 3] = ["power_supply", "thermal", DEVICES];
/// The subsystem of disks, partitions and loop devices.
const DEVICES: &str = "block";

/// The running thread; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Listener {
    /// Its other end becomes readable when this one is gone.
    _stop: UnixStream,
}

impl Listener {
    /// Returns when the socket is bound, so that no later change is missed.
    pub(super) fn start(bells: Arc<Bells>) -> io::Result<Self> {
        let (stop, stopped) = UnixStream::pair()?;
        let (ready, started) = mpsc::channel();
        std::thread::Builder::new().name("doorbell".into()).spawn(move || {
            if let Err(error) = listen(&bells, &stopped, &ready) {
                // Nobody waits for it any more if it failed later than at the start.
                if let Err(mpsc::SendError(Err(error))) = ready.send(Err(error)) {
                    tracing::warn!(%error, "udev is no longer listened to: pulled cables and modules are noticed with the next look");
                }
            }
        })?;
        started.recv().map_err(|_| io::Error::other("the thread that listens to udev ended at once"))??;
        Ok(Self { _stop: stop })
    }
}

fn listen(bells: &Bells, stopped: &UnixStream, ready: &mpsc::Sender<io::Result<()>>) -> io::Result<()> {
    // Where no udevd repeats the kernel's events, as in most containers, the kernel itself is heard.
    let mut monitor = if Path::new(UDEVD).exists() { MonitorBuilder::new()? } else { MonitorBuilder::new_kernel()? };
    for subsystem in SUBSYSTEMS {
        monitor = monitor.match_subsystem(subsystem)?;
    }
    let socket = monitor.listen()?;
    let _waiting = ready.send(Ok(()));
    loop {
        let mut waited = [PollFd::new(&socket, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
        match poll(&mut waited, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [events, stop] = waited.map(|fd| fd.revents());
        if !stop.is_empty() {
            return Ok(());
        }
        if events.contains(PollFlags::IN) {
            // All that are there are one ring of each bell.
            let (devices, sensors): (Vec<_>, Vec<_>) =
                socket.iter().map(|event| event.subsystem().is_some_and(|name| name == DEVICES)).partition(|device| *device);
            tracing::debug!(devices = devices.len(), sensors = sensors.len(), "udev says that something changed");
            if !devices.is_empty() {
                bells.devices.notify_one();
            }
            if !sensors.is_empty() {
                bells.sensors.notify_one();
            }
        } else if !events.is_empty() {
            return Err(io::Error::other("the socket to udev was closed"));
        }
    }
}
