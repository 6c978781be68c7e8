//! A blob as it comes in over the network, written by a thread of its own: where the disk makes a pause, only its sender waits, and no
//! heartbeat.

use super::BlobWriter;
use bytes::Bytes;
use ouro_common::error::{Fault, FaultCode};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Parts on their way to the disk.
const QUEUE: usize = 16;

/// A blob on its way to the disk. Dropped before its end, it leaves nothing behind.
pub struct BlobSink {
    parts: mpsc::Sender<Bytes>,
    writing: JoinHandle<Result<(), Fault>>,
}

impl BlobSink {
    /// Writes what will come.
    pub fn new(mut writer: BlobWriter) -> Self {
        let (parts, mut queue) = mpsc::channel::<Bytes>(QUEUE);
        let writing = tokio::task::spawn_blocking(move || {
            while let Some(part) = queue.blocking_recv() {
                writer.write(&part)?;
            }
            // Of a transfer that was given up parts are missing: then this refuses.
            writer.finish()
        });
        Self { parts, writing }
    }

    /// Adds bytes, waiting for the disk if need be.
    ///
    /// # Errors
    /// What the disk refused, or that more came than was announced.
    pub async fn write(&mut self, part: Bytes) -> Result<(), Fault> {
        match self.parts.send(part).await {
            Ok(()) => Ok(()),
            // The thread ends before its time only for a reason.
            Err(_) => outcome((&mut self.writing).await).and_then(|()| Err(stopped())),
        }
    }

    /// Checks size and digest and makes the blob durable.
    ///
    /// # Errors
    /// What the disk refused, or that other bytes came than were announced.
    pub async fn finish(self) -> Result<(), Fault> {
        drop(self.parts);
        outcome(self.writing.await)
    }
}

fn outcome(ended: Result<Result<(), Fault>, tokio::task::JoinError>) -> Result<(), Fault> {
    ended.unwrap_or_else(|_| Err(stopped()))
}

fn stopped() -> Fault {
    Fault::new(FaultCode::Internal, "the thread that writes the blob has stopped")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blobs::Blobs;
    use ouro_common::id::Digest;

    #[tokio::test]
    async fn what_comes_in_parts_is_there_whole_and_what_does_not_come_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path(), 0).unwrap();
        let digest = Digest::blake3(b"hello world");
        let sink = || BlobSink::new(blobs.writer(digest, 11).unwrap());
        let mut whole = sink();
        for part in ["hello", " world"] {
            whole.write(Bytes::from(part)).await.unwrap();
        }
        whole.finish().await.unwrap();
        assert_eq!(blobs.read(&digest, 0, 100).unwrap(), b"hello world");
        blobs.remove(&digest);
        let mut cut = sink();
        cut.write(Bytes::from("hello")).await.unwrap();
        assert_eq!(cut.finish().await.unwrap_err().code, FaultCode::DigestMismatch);
        let mut long = sink();
        let refused = async {
            loop {
                if let Err(fault) = long.write(Bytes::from("hello")).await {
                    return fault;
                }
            }
        };
        assert!(refused.await.problem.contains("more than the announced 11 bytes"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
    }
}
