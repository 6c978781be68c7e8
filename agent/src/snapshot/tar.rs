//! The ustar format (POSIX.1-1988) with GNU's entries for long names, which sysfs needs: files, directories and links.
//!
//! Owner, time and mode are constants, so that the same machine gives the same bytes.

use std::io::{self, Write};

const BLOCK: usize = 512;
/// The longest name that fits its field.
const NAME_LIMIT: usize = 100;

/// An archive that is being written.
#[derive(Debug)]
pub(super) struct Archive<W> {
    out: W,
}

impl<W: Write> Archive<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out }
    }

    pub(super) fn file(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.entry(b'0', name, "", bytes)
    }

    pub(super) fn directory(&mut self, name: &str) -> io::Result<()> {
        self.entry(b'5', &format!("{name}/"), "", &[])
    }

    pub(super) fn link(&mut self, name: &str, target: &str) -> io::Result<()> {
        self.entry(b'2', name, target, &[])
    }

    /// Two empty blocks end an archive.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        Ok(self.out)
    }

    fn entry(&mut self, kind: u8, name: &str, target: &str, bytes: &[u8]) -> io::Result<()> {
        for (long, kind) in [(target, b'K'), (name, b'L')] {
            if long.len() > NAME_LIMIT {
                let mut text = long.as_bytes().to_vec();
                text.push(0);
                self.record(kind, b"././@LongLink", b"", &text)?;
            }
        }
        let short = |text: &str| text.as_bytes()[..text.len().min(NAME_LIMIT)].to_vec();
        self.record(kind, &short(name), &short(target), bytes)
    }

    fn record(&mut self, kind: u8, name: &[u8], target: &[u8], bytes: &[u8]) -> io::Result<()> {
        let mut header = [0u8; BLOCK];
        let mut put = |at: usize, field: &[u8]| header[at..at + field.len()].copy_from_slice(field);
        put(0, name);
        put(100, if kind == b'5' { b"0000755\0" } else { b"0000644\0" });
        put(108, b"0000000\0");
        put(116, b"0000000\0");
        put(124, format!("{:011o}\0", bytes.len()).as_bytes());
        put(136, b"00000000000\0");
        // The checksum is made with spaces in its own place.
        put(148, b"        ");
        put(156, &[kind]);
        put(157, target);
        put(257, b"ustar  \0");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.out.write_all(&header)?;
        self.out.write_all(bytes)?;
        let rest = bytes.len() % BLOCK;
        if rest > 0 { self.out.write_all(&[0; BLOCK][rest..]) } else { Ok(()) }
    }
}
