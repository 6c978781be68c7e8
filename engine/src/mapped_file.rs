//! A file of weights in memory as the kernel's cache has it, with huge pages where the kernel gives them.
//!
//! Weights are read from end to end for every token. With pages of 4 KiB the processor looks up half a million of them each
//! time, and stops reading ahead at the end of each; with pages of 2 MiB the same kernels decode a fifth faster. File systems
//! that keep large folios (ext4, XFS, Btrfs) fill the cache in such pages when a mapping asks for them while the file is cold,
//! and keep them for whoever maps it next. A cache that is warm already stays as it is.

use memmap2::Mmap;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::sync::Arc;

/// A mapped file. Clones share the map.
#[derive(Debug, Clone)]
pub(crate) struct MappedFile(Arc<Mmap>);

impl MappedFile {
    /// Maps a file.
    pub(crate) fn new(file: &File) -> io::Result<Self> {
        // SAFETY: the map is only read. Somebody who shortens the file while it is mapped can end this process (SIGBUS);
        // models run in a worker of their own so that this harms nobody else, and modules are mounted read-only.
        let map = unsafe { Mmap::map(file) }?;
        #[cfg(target_os = "linux")]
        if map.len() >= huge::WORTH_BYTES {
            // A kernel without huge pages refuses; everything works without.
            let _ = map.advise(memmap2::Advice::HugePage);
        }
        Ok(Self(Arc::new(map)))
    }

    /// Reads a file that will be needed as a whole, beside whatever is computed meanwhile, if little of it is in memory.
    pub(crate) fn read_ahead(&self) {
        Self::read_all_ahead(std::iter::once(self));
    }

    /// So for several files that are needed together, one after the other.
    pub(crate) fn read_all_ahead<'a>(files: impl Iterator<Item = &'a Self> + Clone) {
        #[cfg(target_os = "linux")]
        if huge::fits_memory(files.clone().map(|file| file.len()).sum()) {
            let cold: Vec<_> = files.filter(|file| huge::is_cold(&file.0)).map(|file| Arc::downgrade(&file.0)).collect();
            if !cold.is_empty() {
                // Without the thread, who computes reads.
                let _ = std::thread::Builder::new().name("read-ahead".into()).spawn(move || cold.iter().for_each(huge::read));
            }
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
impl MappedFile {
    /// Whether little of it is in memory.
    pub(crate) fn is_cold(&self) -> bool {
        huge::is_cold(&self.0)
    }

    /// Asks the kernel to keep nothing of a file that is on the disk already.
    pub(crate) fn forget(file: &File) {
        use std::os::fd::AsRawFd as _;
        // SAFETY: the descriptor is open; the call only advises.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(target_os = "linux")]
mod huge {
    use memmap2::{Advice, Mmap};
    use std::ops::Range;
    use std::sync::Weak;

    /// A huge page of every 64-bit architecture with base pages of 4 KiB.
    const HUGE_BYTES: usize = 2 << 20;
    /// Smaller files are not worth the calls.
    pub(super) const WORTH_BYTES: usize = 32 << 20;
    /// Places at which is looked whether a file is in memory.
    const SAMPLES: usize = 64;
    /// What is read by one call: between two calls the file may go.
    const STRIDE_BYTES: usize = 4 * HUGE_BYTES;

    fn page_bytes() -> usize {
        // SAFETY: asks for a number.
        usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096).max(1)
    }

    /// Whether the kernel has each page of a range in memory. Who may not write the file is told so of every page.
    fn in_memory(map: &Mmap, range: Range<usize>) -> bool {
        let page = page_bytes();
        let range = range.start / page * page..range.end.min(map.len());
        let mut pages = vec![0_u8; range.len().div_ceil(page)];
        // SAFETY: the range is of a live map and begins with a page, and there is a byte for each of its pages.
        let told = unsafe { libc::mincore(map.as_ptr().add(range.start).cast_mut().cast(), range.len(), pages.as_mut_ptr().cast()) };
        told != 0 || pages.iter().all(|page| page & 1 == 1)
    }

    /// Whether an eighth of the file or more is not in memory, as far as samples tell.
    pub(super) fn is_cold(map: &Mmap) -> bool {
        let missing = (0..SAMPLES).filter(|sample| {
            let at = map.len() / SAMPLES * sample;
            !in_memory(map, at..at + 1)
        });
        map.len() >= WORTH_BYTES && missing.count() * 8 >= SAMPLES
    }

    /// Whether a file of so many bytes takes at most half of the machine's memory: reading more drives out what was read.
    pub(super) fn fits_memory(bytes: usize) -> bool {
        // SAFETY: asks for a number.
        let pages = usize::try_from(unsafe { libc::sysconf(libc::_SC_PHYS_PAGES) }).unwrap_or_default();
        bytes <= pages.saturating_mul(page_bytes()) / 2
    }

    /// Reads the file from its beginning to its end, or until nobody has it any more.
    pub(super) fn read(map: &Weak<Mmap>) {
        let mut at = 0;
        while let Some(map) = map.upgrade() {
            if at == 0 {
                prefer_huge(&map);
            }
            let count = STRIDE_BYTES.min(map.len() - at);
            // What cannot be read now is read, or fails, where it is used.
            if map.advise_range(Advice::PopulateRead, at, count).is_err() {
                let _ = map.advise(Advice::Normal);
                return;
            }
            at += count;
            if at == map.len() {
                return;
            }
        }
    }

    /// Kernels read one huge page at a time where a mapping says that it is read at random and in huge pages: with their own
    /// reading ahead the cache's pages become larger, which can be mapped in small pages only. Older kernels would read single
    /// small pages, which is found out with the first that is missing.
    fn prefer_huge(map: &Mmap) {
        let whole = (0..map.len() / HUGE_BYTES).map(|huge| huge * HUGE_BYTES..(huge + 1) * HUGE_BYTES);
        let Some(missing) = whole.step_by(8).find(|range| !in_memory(map, range.clone())) else {
            return;
        };
        if map.advise(Advice::Random).is_err() {
            return;
        }
        // SAFETY: the byte is in the map; a volatile read is made.
        let _ = unsafe { map.as_ptr().add(missing.start).read_volatile() };
        if !in_memory(map, missing) {
            let _ = map.advise(Advice::Normal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_cold_file_is_read_and_stays_what_it_was() {
        let mut file = tempfile::tempfile().unwrap();
        let line: Vec<u8> = (0..=255).collect();
        for _ in 0..(40 << 20) / line.len() {
            file.write_all(&line).unwrap();
        }
        file.write_all(b"end").unwrap();
        file.sync_all().unwrap();
        #[cfg(target_os = "linux")]
        MappedFile::forget(&file);
        let map = MappedFile::new(&file).unwrap();
        map.read_ahead();
        #[cfg(target_os = "linux")]
        for _ in 0..1000 {
            // On a file system that is memory itself nothing was ever cold.
            if !map.is_cold() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        #[cfg(target_os = "linux")]
        assert!(!map.is_cold(), "nobody read the file");
        assert!(map.chunks_exact(line.len()).all(|chunk| chunk == line) && map.ends_with(b"end"));
    }

    #[test]
    fn an_empty_or_small_file_is_mapped() {
        let mut file = tempfile::tempfile().unwrap();
        assert!(MappedFile::new(&file).is_ok_and(|map| map.is_empty()));
        file.write_all(b"small").unwrap();
        let map = MappedFile::new(&file).unwrap();
        map.read_ahead();
        assert_eq!(&*map, b"small");
    }
}
