//! Bytes on the server's disk, by BLAKE3 digest: inputs of accepted requests, and answers.
//!
//! A blob is there whole and fsynced, or not at all. Below the free-space reserve nothing new is taken but results.

pub use sink::BlobSink;

mod sink;

use crate::init::io_fault;
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::Digest;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// The folder of blobs.
#[derive(Debug, Clone)]
pub struct Blobs {
    folder: PathBuf,
    min_free_bytes: u64,
}

/// A blob on its way to the disk; dropped unfinished, it leaves nothing behind.
pub struct BlobWriter {
    file: File,
    temporary: PathBuf,
    target: PathBuf,
    hasher: blake3::Hasher,
    expected: Digest,
    size_bytes: u64,
    written: u64,
}

impl Blobs {
    /// The blobs in `folder`, made if need be; leftovers of interrupted writes are removed.
    pub fn open(folder: &Path, min_free_bytes: u64) -> Result<Self, Fault> {
        fs::create_dir_all(folder).map_err(|e| io_fault(folder, &e))?;
        for entry in fs::read_dir(folder).map_err(|e| io_fault(folder, &e))?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(".new-") {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(Self { folder: folder.to_path_buf(), min_free_bytes })
    }

    /// Refuses with `DISK_FULL` when less than the reserve, or less than `needed` beyond it, is free.
    pub fn admit(&self, needed: u64) -> Result<(), Fault> {
        let free = rustix::fs::statvfs(&self.folder).map(|s| s.f_bavail.saturating_mul(s.f_frsize)).unwrap_or(u64::MAX);
        if free < self.min_free_bytes.saturating_add(needed) {
            let problem = format!(
                "the server's disk has {} MiB free, {} MiB are kept in reserve for results",
                free >> 20,
                self.min_free_bytes >> 20
            );
            return Err(Fault::new(FaultCode::DiskFull, problem)
                .at(self.folder.display())
                .remedy("free some space there, or start the server with a smaller --min-free-bytes"));
        }
        Ok(())
    }

    /// Where a blob lies.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.hex())
    }

    /// Whether a blob is there.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.path(digest).exists()
    }

    /// Begins to write a blob that should have this digest and size.
    pub fn writer(&self, expected: Digest, size_bytes: u64) -> Result<BlobWriter, Fault> {
        let temporary = self.folder.join(format!(".new-{}-{:016x}", expected.short(), rand::random::<u64>()));
        let file = File::create(&temporary).map_err(|e| io_fault(&temporary, &e))?;
        let target = self.path(&expected);
        Ok(BlobWriter { file, temporary, target, hasher: blake3::Hasher::new(), expected, size_bytes, written: 0 })
    }

    /// Writes small bytes whole.
    pub fn put(&self, digest: Digest, bytes: &[u8]) -> Result<(), Fault> {
        let mut writer = self.writer(digest, bytes.len() as u64)?;
        writer.write(bytes)?;
        writer.finish()
    }

    /// Reads up to `limit` bytes from `offset`.
    pub fn read(&self, digest: &Digest, offset: u64, limit: usize) -> Result<Vec<u8>, Fault> {
        let path = self.path(digest);
        let mut file = File::open(&path).map_err(|e| io_fault(&path, &e))?;
        file.seek(SeekFrom::Start(offset)).map_err(|e| io_fault(&path, &e))?;
        let mut bytes = Vec::new();
        file.take(limit as u64).read_to_end(&mut bytes).map_err(|e| io_fault(&path, &e))?;
        Ok(bytes)
    }

    /// Forgets a blob; it is no error if it is gone.
    pub fn remove(&self, digest: &Digest) {
        let _ = fs::remove_file(self.path(digest));
    }
}

impl BlobWriter {
    /// Adds bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.written += bytes.len() as u64;
        if self.written > self.size_bytes {
            return Err(
                Fault::new(FaultCode::DigestMismatch, format!("more than the announced {} bytes came", self.size_bytes)).at(self.expected)
            );
        }
        self.hasher.update(bytes);
        self.file.write_all(bytes).map_err(|e| io_fault(&self.temporary, &e))
    }

    /// Checks size and digest and makes the blob durable.
    pub fn finish(self) -> Result<(), Fault> {
        if self.written != self.size_bytes {
            let problem = format!("{} bytes were announced, {} came", self.size_bytes, self.written);
            return Err(Fault::new(FaultCode::DigestMismatch, problem).at(self.expected));
        }
        if Digest::from_blake3(self.hasher.finalize()) != self.expected {
            return Err(Fault::new(FaultCode::DigestMismatch, "the bytes do not hash to their digest: they were damaged").at(self.expected));
        }
        let failed = |e: std::io::Error| io_fault(&self.target, &e);
        self.file.sync_all().map_err(failed)?;
        fs::rename(&self.temporary, &self.target).map_err(failed)?;
        let folder = self.target.parent().unwrap_or(Path::new("."));
        File::open(folder).and_then(|d| d.sync_all()).map_err(failed)
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.temporary);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_there_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path(), 0).unwrap();
        let digest = Digest::blake3(b"hello world");
        let mut cut = blobs.writer(digest, 11).unwrap();
        cut.write(b"hello").unwrap();
        assert_eq!(cut.finish().unwrap_err().code, FaultCode::DigestMismatch);
        let mut lying = blobs.writer(digest, 11).unwrap();
        lying.write(b"hello wurld").unwrap();
        assert_eq!(lying.finish().unwrap_err().code, FaultCode::DigestMismatch);
        let mut long = blobs.writer(digest, 11).unwrap();
        assert!(long.write(b"hello world!").is_err());
        drop(long);
        assert!(!blobs.contains(&digest));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
        blobs.put(digest, b"hello world").unwrap();
        assert_eq!(blobs.read(&digest, 6, 100).unwrap(), b"world");
    }

    #[test]
    fn a_full_disk_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let fault = Blobs::open(folder.path(), u64::MAX).unwrap().admit(0).unwrap_err();
        assert_eq!(fault.code, FaultCode::DiskFull);
        assert_eq!(fault.at, folder.path().display().to_string());
    }
}
