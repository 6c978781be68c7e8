//! What the first blocks of a device say: which file system it is, and its label.
//!
//! They are read by the agent itself, not taken from udev's database: that has no entry where no udevd runs, and for a moment an
//! old one where it does. Layouts from the kernel's documentation of ext4, EROFS and SquashFS.

use sha2::{Digest as _, Sha256};
use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Labels of modules begin so.
pub const LABEL_PREFIX: &str = "OURO-";
/// How much of a device is read to know it.
pub const PROBE_BYTES: usize = 4096;
/// ext4 and EROFS leave the first sectors to boot loaders.
const OFFSET: usize = 1024;

/// A file system that modules come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filesystem {
    /// ext2, ext3 or ext4.
    Ext4,
    /// EROFS.
    Erofs,
    /// SquashFS, which has no labels.
    Squashfs,
}

impl Filesystem {
    /// The kernel's name of the driver.
    pub fn driver(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Erofs => "erofs",
            Self::Squashfs => "squashfs",
        }
    }
}

/// What was found on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Its file system.
    pub filesystem: Filesystem,
    /// Its label; `None` where there is none.
    pub label: Option<String>,
    /// Names the volume wherever it is plugged in: the beginning of a hash of its first blocks, which do not change while it is
    /// only read.
    pub fingerprint: String,
}

impl Probe {
    /// Whether a file system with this label is a module, or can be one. Where there is no label, its files decide.
    pub fn may_be_module(&self) -> bool {
        match &self.label {
            Some(label) => label.starts_with(LABEL_PREFIX),
            None => self.filesystem != Filesystem::Ext4,
        }
    }
}

/// Reads the first blocks of the device at `path`. `None`: no file system that modules come in.
///
/// # Errors
/// What the system said: no rights, no medium, a broken device.
pub fn probe(path: &Path) -> io::Result<Option<Probe>> {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let device = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let mut first = Vec::with_capacity(PROBE_BYTES);
    device.take(PROBE_BYTES as u64).read_to_end(&mut first)?;
    Ok(parse(&first))
}

/// What the first blocks of a device say.
pub fn parse(first: &[u8]) -> Option<Probe> {
    let at = |offset: usize, len: usize| first.get(offset..offset + len);
    let (filesystem, label) = if at(OFFSET + 0x38, 2)? == [0x53, 0xef] {
        (Filesystem::Ext4, label(at(OFFSET + 0x78, 16)?))
    } else if at(OFFSET, 4)? == [0xe2, 0xe1, 0xf5, 0xe0] {
        (Filesystem::Erofs, label(at(OFFSET + 64, 16)?))
    } else if at(0, 4)? == *b"hsqs" {
        (Filesystem::Squashfs, None)
    } else {
        return None;
    };
    let hash = Sha256::digest(first);
    Some(Probe { filesystem, label, fingerprint: data_encoding::HEXLOWER.encode(&hash[..8]) })
}

/// A label, up to its first NUL. What could disturb a terminal or a path is replaced.
fn label(field: &[u8]) -> Option<String> {
    let text = field.split(|b| *b == 0).next().unwrap_or_default();
    let clean: String = String::from_utf8_lossy(text).chars().map(|c| if c.is_control() || c == '/' { '_' } else { c }).collect();
    (!clean.is_empty()).then_some(clean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(fields: &[(usize, &[u8])]) -> Vec<u8> {
        let mut block = vec![0; PROBE_BYTES];
        for (at, bytes) in fields {
            block[*at..*at + bytes.len()].copy_from_slice(bytes);
        }
        block
    }

    #[test]
    fn file_systems_and_labels_are_told_apart() {
        let ext4 = parse(&block(&[(0x438, &[0x53, 0xef]), (0x478, b"OURO-TEXT")])).unwrap();
        assert_eq!((ext4.filesystem, ext4.label.as_deref(), ext4.may_be_module()), (Filesystem::Ext4, Some("OURO-TEXT"), true));
        let other = parse(&block(&[(0x438, &[0x53, 0xef]), (0x478, b"rootfs")])).unwrap();
        assert!(!other.may_be_module() && other.fingerprint != ext4.fingerprint);
        let nameless = parse(&block(&[(0x438, &[0x53, 0xef])])).unwrap();
        assert!(!nameless.may_be_module(), "ext4 can carry a label, so one without is somebody else's");
        let erofs = parse(&block(&[(1024, &[0xe2, 0xe1, 0xf5, 0xe0])])).unwrap();
        assert_eq!((erofs.filesystem, erofs.label.as_deref(), erofs.may_be_module()), (Filesystem::Erofs, None, true));
        assert_eq!(parse(&block(&[(0, b"hsqs")])).unwrap().filesystem, Filesystem::Squashfs);
        assert_eq!(parse(&block(&[])), None);
    }

    #[test]
    fn a_label_cannot_disturb_a_terminal_or_a_path() {
        let odd = parse(&block(&[(0x438, &[0x53, 0xef]), (0x478, b"OURO-\x1b[2J/../\xff")])).unwrap();
        let label = odd.label.unwrap();
        assert!(label.starts_with("OURO-_[2J_") && !label.contains('/'), "{label:?}");
    }

    proptest! {
        #[test]
        fn survives_anything(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
            parse(&bytes);
        }
    }
}
