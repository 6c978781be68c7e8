//! How fast the medium of the agent's home is read and how fast digests are checked: small measurements of a tenth of a second.
//!
//! The file that is read is written for it and driven out of the page cache; where that cannot be done, as on a file system in
//! memory, the figure is that of the memory, which is what containers there are loaded from.

use rustix::fs::{Advice, fadvise};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

/// The file that is read, bytes: a few times what drives take in from the host at once.
const FILE_BYTES: usize = 32 << 20;
/// Free space without which nothing is written, bytes.
const LEAST_FREE_BYTES: u64 = 1 << 30;
/// What is hashed or read at once, bytes.
const PIECE_BYTES: usize = 1 << 20;
/// Hashing ends after this.
const HASH_TIME: Duration = Duration::from_millis(60);
/// Reading a slow medium ends after this.
const READ_TIME: Duration = Duration::from_millis(400);

/// What was measured; `None` where it could not be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Speeds {
    /// Sequential reads of the medium that holds the agent's home, bytes per second.
    pub disk_bytes_per_s: Option<f64>,
    /// SHA-256 of one thread, as blobs are checked, bytes per second.
    pub hash_bytes_per_s: Option<f64>,
}

/// Measures with a file in `folder`, which is gone afterwards.
pub fn measure(folder: &Path) -> Speeds {
    let disk = read_rate(folder);
    if let Err(error) = &disk {
        tracing::debug!(folder = %folder.display(), %error, "the disk could not be measured");
    }
    Speeds { disk_bytes_per_s: disk.ok().flatten(), hash_bytes_per_s: Some(hash_rate()) }
}

/// The best piece counts: an interruption says nothing of the processor.
fn hash_rate() -> f64 {
    let piece = vec![0x5a_u8; PIECE_BYTES];
    let (begin, mut best_s) = (Instant::now(), f64::INFINITY);
    while begin.elapsed() < HASH_TIME || best_s.is_infinite() {
        let start = Instant::now();
        std::hint::black_box(Sha256::digest(&piece));
        best_s = best_s.min(start.elapsed().as_secs_f64());
    }
    PIECE_BYTES as f64 / best_s.max(1e-9)
}

/// `None` where too little is free.
fn read_rate(folder: &Path) -> io::Result<Option<f64>> {
    let space = rustix::fs::statvfs(folder)?;
    if space.f_bavail.saturating_mul(space.f_frsize) < LEAST_FREE_BYTES {
        return Ok(None);
    }
    let path = folder.join(format!("measure-{}", std::process::id()));
    let rate = write_out(&path).and_then(|()| read_back(&path));
    let _ = fs::remove_file(&path);
    rate.map(Some)
}

fn write_out(path: &Path) -> io::Result<()> {
    let mut file = File::create(path)?;
    // Not a pattern that a file system or a drive would compress away.
    let mut word = 0x9e37_79b9_7f4a_7c15_u64;
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    for _ in 0..FILE_BYTES / PIECE_BYTES {
        piece.clear();
        while piece.len() < PIECE_BYTES {
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            piece.extend_from_slice(&word.rotate_left(29).to_le_bytes());
        }
        file.write_all(&piece)?;
    }
    file.sync_all()
}

fn read_back(path: &Path) -> io::Result<f64> {
    let mut file = File::open(path)?;
    fadvise(&file, 0, None, Advice::DontNeed)?;
    let mut piece = vec![0; PIECE_BYTES];
    let (begin, mut read) = (Instant::now(), 0_usize);
    while begin.elapsed() < READ_TIME {
        match file.read(&mut piece)? {
            0 => break,
            n => read += n,
        }
    }
    Ok(read as f64 / begin.elapsed().as_secs_f64().max(1e-9))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_measured_and_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let speeds = measure(folder.path());
        assert!(speeds.hash_bytes_per_s.unwrap() > 1e6, "{speeds:?}");
        assert!(speeds.disk_bytes_per_s.is_none_or(|rate| rate > 1e5), "{speeds:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(measure(&folder.path().join("none")).disk_bytes_per_s, None);
    }
}
