//! The thread that listens to udev: libudev's objects may not leave the thread that made them.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, mpsc};
use tokio::sync::Notify;
use udev::MonitorBuilder;

/// Udevd's own socket: it is there while udevd runs.
const UDEVD: &str = "/run/udev/control";

/// The running thread; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Listener {
    /// Its other end becomes readable when this one is gone.
    _stop: UnixStream,
}

impl Listener {
    /// Returns when the socket is bound, so that no later change is missed.
    pub(super) fn start(subsystems: &'static [&'static str], bell: Arc<Notify>) -> io::Result<Self> {
        let (stop, stopped) = UnixStream::pair()?;
        let (ready, started) = mpsc::channel();
        std::thread::Builder::new().name("doorbell".into()).spawn(move || {
            if let Err(error) = listen(subsystems, &bell, (&stopped, &ready)) {
                // Nobody waits for it any more if it failed later than at the start.
                if let Err(mpsc::SendError(Err(error))) = ready.send(Err(error)) {
                    tracing::warn!(%error, "udev is no longer listened to: changes are noticed with the next reading");
                }
            }
        })?;
        started.recv().map_err(|_| io::Error::other("the thread that listens to udev ended at once"))??;
        Ok(Self { _stop: stop })
    }
}

fn listen(subsystems: &[&str], bell: &Notify, (stopped, ready): (&UnixStream, &mpsc::Sender<io::Result<()>>)) -> io::Result<()> {
    // Where no udevd repeats the kernel's events, as in most containers, the kernel itself is heard.
    let mut monitor = if Path::new(UDEVD).exists() { MonitorBuilder::new()? } else { MonitorBuilder::new_kernel()? };
    for subsystem in subsystems {
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
            // All that are there are one ring.
            let count = socket.iter().count();
            tracing::debug!(count, ?subsystems, "udev says that something changed");
            if count > 0 {
                bell.notify_one();
            }
        } else if !events.is_empty() {
            return Err(io::Error::other("the socket to udev was closed"));
        }
    }
}
