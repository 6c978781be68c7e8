//! Writing an image over a device and reading it back, past the page cache: what is verified came from the device itself.

use memmap2::MmapMut;
use rustix::fs::{Advice, OFlags, fadvise};
use sha2::{Digest as _, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

/// How much is moved at once, bytes; its memory is aligned to pages, as direct transfers need.
const PIECE_BYTES: usize = 4 << 20;
/// What offsets and lengths are multiples of, bytes: the largest logical block of today's devices.
const ALIGN: u64 = 4096;
/// How much is cleared at the end of a device, bytes: there lies the copy of an old partition table (UEFI, GPT).
const TAIL_BYTES: u64 = 1 << 20;

/// What was written, to compare what is read back with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    bytes: u64,
    sha256: [u8; 32],
}

/// The bytes an image takes on a device.
pub(crate) fn needed_bytes(image_bytes: u64) -> u64 {
    image_bytes.next_multiple_of(ALIGN)
}

/// Writes `image` over `device`; `moved` is told of every piece, in bytes.
///
/// # Errors
/// The image cannot be read, or the device not be opened, written or flushed. A device that is in use is not opened.
pub(crate) fn write(image: &Path, device: &Path, device_bytes: u64, moved: &mut dyn FnMut(u64)) -> io::Result<Written> {
    let mut source = File::open(image)?;
    let target = open(device, OpenOptions::new().write(true), OFlags::EXCL)?;
    let mut piece = MmapMut::map_anon(PIECE_BYTES)?;
    let (mut at, mut hasher) = (0, Sha256::new());
    loop {
        let n = fill(&mut source, &mut piece)?;
        if n == 0 {
            break;
        }
        let end = usize::try_from((n as u64).next_multiple_of(ALIGN)).unwrap_or(PIECE_BYTES);
        piece[n..end].fill(0);
        hasher.update(&piece[..end]);
        target.write_all_at(&piece[..end], at)?;
        at += end as u64;
        moved(end as u64);
    }
    clear_tail(&target, at, device_bytes, &mut piece)?;
    target.sync_all()?;
    Ok(Written { bytes: at, sha256: hasher.finalize().into() })
}

/// Whether the device holds what was written to it; `moved` is told of every piece, in bytes.
///
/// # Errors
/// It cannot be read.
pub(crate) fn holds(device: &Path, written: &Written, moved: &mut dyn FnMut(u64)) -> io::Result<bool> {
    let source = open(device, OpenOptions::new().read(true), OFlags::empty())?;
    // For a device that takes no direct transfers; what is cached of it is given up as far as the kernel likes.
    let _ = fadvise(&source, 0, None, Advice::DontNeed);
    let mut piece = MmapMut::map_anon(PIECE_BYTES)?;
    let (mut at, mut hasher) = (0, Sha256::new());
    while at < written.bytes {
        let n = usize::try_from((written.bytes - at).min(PIECE_BYTES as u64)).unwrap_or(PIECE_BYTES);
        source.read_exact_at(&mut piece[..n], at)?;
        hasher.update(&piece[..n]);
        at += n as u64;
        moved(n as u64);
    }
    let found: [u8; 32] = hasher.finalize().into();
    Ok(found == written.sha256)
}

fn fill(source: &mut File, piece: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < piece.len() {
        match source.read(&mut piece[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

fn clear_tail(target: &File, from: u64, device_bytes: u64, piece: &mut MmapMut) -> io::Result<()> {
    let start = device_bytes.saturating_sub(TAIL_BYTES).next_multiple_of(ALIGN).max(from);
    let Some(length) = device_bytes.checked_sub(start).filter(|n| *n > 0 && *n <= TAIL_BYTES) else {
        return Ok(());
    };
    let length = usize::try_from(length).unwrap_or(0);
    piece[..length].fill(0);
    target.write_all_at(&piece[..length], start)
}

/// Opens a device for direct transfers, or if it knows none, for ordinary ones.
fn open(device: &Path, options: &mut OpenOptions, flags: OFlags) -> io::Result<File> {
    let bits = |flags: OFlags| i32::try_from(flags.bits()).unwrap_or_default();
    match options.custom_flags(bits(flags | OFlags::DIRECT)).open(device) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => options.custom_flags(bits(flags)).open(device),
        opened => opened,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_old_tables_are_gone() {
        let home = tempfile::tempdir().unwrap();
        let (image, device) = (home.path().join("image"), home.path().join("device"));
        let content: Vec<u8> = (0..(5 << 20) + 100).map(|i: u32| (i % 251) as u8).collect();
        std::fs::write(&image, &content).unwrap();
        let device_bytes = 9 << 20;
        std::fs::write(&device, vec![0xff; device_bytes]).unwrap();
        let mut moved = 0;
        let written = write(&image, &device, device_bytes as u64, &mut |bytes| moved += bytes).unwrap();
        let end = needed_bytes(content.len() as u64) as usize;
        assert_eq!(moved, end as u64);
        assert!(holds(&device, &written, &mut |_| ()).unwrap());
        let now = std::fs::read(&device).unwrap();
        assert_eq!(now.len(), device_bytes);
        assert!(now[..content.len()] == content && now[content.len()..end].iter().all(|b| *b == 0));
        assert!(now[end..8 << 20].iter().all(|b| *b == 0xff), "what lies between is left alone");
        assert!(now[8 << 20..].iter().all(|b| *b == 0));
        std::fs::write(&device, &now[..end - 1]).unwrap();
        assert!(holds(&device, &written, &mut |_| ()).is_err());
        std::fs::write(&device, vec![1; end]).unwrap();
        assert!(!holds(&device, &written, &mut |_| ()).unwrap());
    }

    #[test]
    fn a_device_that_is_just_large_enough_is_not_written_beyond() {
        let home = tempfile::tempdir().unwrap();
        let (image, device) = (home.path().join("image"), home.path().join("device"));
        std::fs::write(&image, vec![7; 1 << 20]).unwrap();
        std::fs::write(&device, vec![0; 1 << 20]).unwrap();
        let written = write(&image, &device, 1 << 20, &mut |_| ()).unwrap();
        assert!(holds(&device, &written, &mut |_| ()).unwrap());
        assert_eq!(std::fs::read(&device).unwrap(), vec![7; 1 << 20]);
    }
}
