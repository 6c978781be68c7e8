//! Bytes by digest: fetched to a file that is right or not there, and put from a file, resumed where the line broke.

use super::{Link, call_fault};
use bytes::Bytes;
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::Digest;
use ouro_proto::convert::digest_to_wire;
use ouro_proto::wire;
use ouro_proto::wire::blobs_client::BlobsClient;
use std::io;
use std::path::Path;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Bytes a message carries.
const PART_BYTES: usize = 64 * 1024;
/// Times a transfer is taken up again before it counts as failed.
const ATTEMPTS: u32 = 5;

impl Link {
    /// Fetches a blob into `file`. Its BLAKE3 is checked; a damaged one is not left behind.
    ///
    /// # Errors
    /// `SERVER_UNREACHABLE` when the server is away, `NOT_FOUND` when it has no such blob, `DIGEST_MISMATCH`.
    pub async fn fetch(&self, digest: &Digest, size_bytes: u64, file: &Path) -> Result<(), Fault> {
        let disk = |e: io::Error| Fault::new(FaultCode::DiskFull, format!("the blob cannot be written: {e}")).at(file.display());
        let mut out = File::create(file).await.map_err(disk)?;
        let (mut hasher, mut offset, mut attempt) = (blake3::Hasher::new(), 0_u64, 0);
        while offset < size_bytes || (size_bytes == 0 && attempt == 0) {
            attempt += 1;
            let before = offset;
            let mut client = BlobsClient::new(self.bulk().await?);
            let request = wire::GetRequest { digest: Some(digest_to_wire(digest)), offset };
            let result = async {
                let mut parts = client.get(request).await?.into_inner();
                while let Some(part) = parts.message().await? {
                    offset += part.data.len() as u64;
                    if offset > size_bytes {
                        break;
                    }
                    hasher.update(&part.data);
                    out.write_all(&part.data).await.map_err(|e| tonic::Status::data_loss(e.to_string()))?;
                }
                Ok::<(), tonic::Status>(())
            };
            match result.await {
                Ok(()) if offset >= size_bytes => {}
                Err(status) => {
                    let fault = call_fault(&status);
                    let stuck = offset == before && attempt >= ATTEMPTS;
                    if stuck || fault.code != FaultCode::ServerUnreachable {
                        return Err(fault);
                    }
                }
                _ if attempt >= ATTEMPTS && offset == before => {
                    return Err(Fault::new(FaultCode::NotFound, "the server's blob ends too early").at(digest));
                }
                // What came is kept; the rest is asked for.
                _ => {}
            }
        }
        out.flush().await.map_err(disk)?;
        if offset != size_bytes || Digest::from_blake3(hasher.finalize()) != *digest {
            let _ = std::fs::remove_file(file);
            return Err(Fault::new(FaultCode::DigestMismatch, "what arrived is not what was announced").at(digest));
        }
        Ok(())
    }

    /// Puts a file to the server: `answer` to its disk, `relay` to whoever waits for it.
    ///
    /// # Errors
    /// `SERVER_UNREACHABLE` when the server is away; else what it refused.
    pub async fn put(&self, digest: &Digest, file: &Path, media: &str, purpose: &'static str) -> Result<(), Fault> {
        let disk = |e: io::Error| Fault::new(FaultCode::NotFound, format!("the blob cannot be read: {e}")).at(file.display());
        let input = File::open(file).await.map_err(disk)?;
        let size_bytes = input.metadata().await.map_err(disk)?.len();
        let header = wire::BlobHeader {
            digest: Some(digest_to_wire(digest)),
            size_bytes,
            media: media.to_string(),
            offset: 0,
            purpose: purpose.to_string(),
        };
        let mut client = BlobsClient::new(self.bulk().await?);
        let (sender, parts) = mpsc::channel(4);
        let reading = tokio::spawn(send_parts(input, header, sender));
        let put = client.put(ReceiverStream::new(parts)).await;
        reading.abort();
        put.map(|_| ()).map_err(|status| call_fault(&status))
    }
}

async fn send_parts(mut input: File, header: wire::BlobHeader, sender: mpsc::Sender<wire::BlobPart>) {
    let mut header = Some(header);
    loop {
        let mut data = vec![0; PART_BYTES];
        // A file that cannot be read any further ends the stream early, and the server refuses its digest.
        let read = input.read(&mut data).await.unwrap_or(0);
        data.truncate(read);
        let first = header.is_some();
        if read == 0 && !first {
            return;
        }
        let part = wire::BlobPart { header: header.take(), data: Bytes::from(data).into() };
        if sender.send(part).await.is_err() {
            return;
        }
    }
}
