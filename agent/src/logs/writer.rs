//! One step's log: a ring of the newest bytes, and where in the whole they stand.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::watch;

/// The most that is kept of one step, bytes.
pub(super) const KEPT_BYTES: usize = 256 * 1024;
/// The most that is taken from a container in a second, bytes.
const PACE_BYTES: u64 = 4 << 20;
const CHUNK_BYTES: usize = 16 * 1024;
/// How much of standard error is remembered for a failure's message, bytes.
const TAIL_BYTES: usize = 4096;

/// Where something was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// The newest bytes of a log.
#[derive(Debug, Default)]
pub(super) struct Ring {
    /// Where the first kept byte stands in the whole.
    pub(super) from: u64,
    /// The kept bytes.
    pub(super) bytes: VecDeque<u8>,
    /// Whether nothing more comes.
    pub(super) ended: bool,
    tail: VecDeque<u8>,
}

impl Ring {
    fn push(&mut self, stream: Stream, bytes: &[u8]) {
        let keep = |ring: &mut VecDeque<u8>, most: usize| {
            ring.extend(bytes);
            let over = ring.len().saturating_sub(most);
            ring.drain(..over);
            over as u64
        };
        if stream == Stream::Err {
            keep(&mut self.tail, TAIL_BYTES);
        }
        self.from += keep(&mut self.bytes, KEPT_BYTES);
    }
}

/// Where a step's words go. Clones share it.
#[derive(Debug, Clone)]
pub struct LogWriter {
    ring: Arc<Mutex<Ring>>,
    grown: watch::Sender<()>,
}

impl LogWriter {
    /// A log that nobody reads.
    pub fn nowhere() -> Self {
        Self { ring: Arc::default(), grown: watch::Sender::new(()) }
    }

    pub(super) fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rings whenever something was added or the log ended.
    pub(super) fn grown(&self) -> watch::Receiver<()> {
        self.grown.subscribe()
    }

    /// Adds bytes.
    pub fn write(&self, stream: Stream, bytes: &[u8]) {
        self.ring().push(stream, bytes);
        self.grown.send_replace(());
    }

    /// Adds everything that is read from `source` until it ends, paced.
    pub async fn follow(&self, stream: Stream, mut source: impl AsyncRead + Unpin) {
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut taken = 0_u64;
        while let Ok(n) = source.read(&mut buffer).await
            && n > 0
        {
            self.write(stream, &buffer[..n]);
            taken += n as u64;
            // A tenth of a second's worth, then a pause: the writer waits meanwhile.
            if taken >= PACE_BYTES / 10 {
                taken = 0;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// What was said last on standard error.
    pub fn stderr_tail(&self) -> String {
        String::from_utf8_lossy(self.ring().tail.make_contiguous()).into_owned()
    }

    /// Nothing more comes.
    pub fn end(&self) {
        self.ring().ended = true;
        self.grown.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_bytes_are_kept_and_their_place_is_known() {
        let log = LogWriter::nowhere();
        log.write(Stream::Out, &vec![b'a'; KEPT_BYTES]);
        log.write(Stream::Err, b"the end");
        let ring = log.ring();
        assert_eq!((ring.bytes.len(), ring.from), (KEPT_BYTES, 7));
        assert!(ring.bytes.iter().rev().take(3).eq(b"dne"));
        drop(ring);
        assert_eq!(log.stderr_tail(), "the end");
    }

    #[tokio::test]
    async fn an_endless_writer_is_paced() {
        let log = LogWriter::nowhere();
        let endless = tokio::io::repeat(b'x');
        let _ = tokio::time::timeout(Duration::from_millis(350), log.follow(Stream::Out, endless)).await;
        let ring = log.ring();
        let total = ring.from + ring.bytes.len() as u64;
        assert!(total <= PACE_BYTES, "{total} in a third of a second");
    }
}
