//! Which entries of a layer are unpacked, and how: pure rules over what the archive says, one entry at a time.
//!
//! A layer comes from outside. Paths that climb, devices, and links that lead out are refused, and with them the layer: an
//! honest one has none of these. Absolute links are kept, since ordinary images are full of them and inside the container they
//! are harmless; on this machine nothing ever follows them. Set-user and set-group bits are dropped, owners are shifted.

/// What a layer may not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum LayerError {
    /// An entry is not what an honest layer has.
    #[error("the entry {path:?} {problem}")]
    Entry {
        /// As it is written in the archive, shortened.
        path: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The layers unpack to more than the manifest says.
    #[error("it unpacks to more than the {allowed} bytes its manifest allows (oci.rootfs_bytes)")]
    TooLarge {
        /// The limit, bytes.
        allowed: u64,
    },
    /// The archive grows more than an honest one does.
    #[error("it is a compression bomb: {packed} bytes of it unpack to {unpacked} and more")]
    Bomb {
        /// Bytes read.
        packed: u64,
        /// Bytes they became.
        unpacked: u64,
    },
    /// There are too many entries.
    #[error("it has more than {MAX_ENTRIES} entries")]
    TooMany,
}

/// The most entries of all layers together.
pub(super) const MAX_ENTRIES: u64 = 200_000;
/// The longest path, bytes, and the deepest.
const MAX_PATH_BYTES: usize = 4096;
const MAX_DEPTH: usize = 64;
/// How many times larger than packed an archive may become, once it is larger than [`BOMB_FROM_BYTES`]. Debian's own base layers
/// come to about 3, a file of zeros to 1,000.
const MAX_RATIO: u64 = 100;
const BOMB_FROM_BYTES: u64 = 32 << 20;
/// User and group ids of a root filesystem; 65536 is what every user namespace is given here.
const MAX_ID: u64 = 65_535;

/// What an entry is, as the archive says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A file with content.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Symlink,
    /// Another name of a file.
    Hardlink,
    /// A device, a FIFO, or what is not known.
    Other,
}

/// An entry as the archive describes it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// What it is.
    pub(super) kind: Kind,
    /// Its path.
    pub(super) path: Vec<u8>,
    /// Where it points, for links.
    pub(super) link: Option<Vec<u8>>,
    /// Permissions.
    pub(super) mode: u32,
    /// Owner.
    pub(super) uid: u64,
    /// Group.
    pub(super) gid: u64,
    /// Bytes of content.
    pub(super) size_bytes: u64,
}

/// A path without `.`, `..` and root: the names from the root filesystem's top. Empty for the top itself.
pub(super) type Parts = Vec<Vec<u8>>;

/// What is done for an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    /// Make a folder, or take over one that is there.
    Folder(Parts),
    /// Write a file.
    File(Parts),
    /// Make a symbolic link with this text.
    Symlink(Parts, Vec<u8>),
    /// Make another name of that file of the root filesystem.
    Hardlink(Parts, Parts),
    /// Remove what a lower layer put there.
    Remove(Parts),
    /// Remove everything a lower layer put into that folder.
    Empty(Parts),
}

/// What is counted over all layers.
#[derive(Debug, Clone, Default)]
pub(super) struct Budget {
    /// Bytes the root filesystem may have.
    pub(super) allowed_bytes: u64,
    /// Bytes it has.
    pub(super) bytes: u64,
    /// Entries so far.
    pub(super) entries: u64,
}

impl Budget {
    /// Takes an entry into account before anything of it is written.
    pub(super) fn take(&mut self, size_bytes: u64) -> Result<(), LayerError> {
        self.entries += 1;
        // An entry costs the disk something even when it is empty.
        self.bytes = self.bytes.saturating_add(size_bytes).saturating_add(512);
        if self.entries > MAX_ENTRIES {
            return Err(LayerError::TooMany);
        }
        if self.bytes > self.allowed_bytes {
            return Err(LayerError::TooLarge { allowed: self.allowed_bytes });
        }
        Ok(())
    }
}

/// Whether an archive of which `packed` bytes were read may have become `unpacked`.
pub(super) fn check_ratio(packed: u64, unpacked: u64) -> Result<(), LayerError> {
    if unpacked > BOMB_FROM_BYTES && unpacked / MAX_RATIO > packed {
        return Err(LayerError::Bomb { packed, unpacked });
    }
    Ok(())
}

/// The permissions and owners an entry gets: no set-user, set-group or sticky bit, and an owner that can always write.
pub(super) fn mode(entry: &Entry) -> u32 {
    entry.mode & 0o777
}

/// What is done for an entry.
pub(super) fn judge(entry: &Entry) -> Result<Act, LayerError> {
    let refuse = |problem| Err(LayerError::Entry { path: shown(&entry.path), problem });
    let parts = match parts(&entry.path) {
        Ok(parts) => parts,
        Err(problem) => return refuse(problem),
    };
    if entry.uid > MAX_ID || entry.gid > MAX_ID {
        return refuse("belongs to a user or group above 65535");
    }
    if let Some((name, folder)) = parts.split_last()
        && let Some(hidden) = name.strip_prefix(b".wh.")
    {
        return match hidden {
            b".wh..opq" => Ok(Act::Empty(folder.to_vec())),
            b"" | b"." | b".." => refuse("is a whiteout of nothing"),
            _ if hidden.starts_with(b".wh.") => refuse("is a whiteout that is not in the OCI specification"),
            _ => Ok(Act::Remove([folder, &[hidden.to_vec()]].concat())),
        };
    }
    if parts.is_empty() {
        return if entry.kind == Kind::Folder { Ok(Act::Folder(parts)) } else { refuse("would replace the root folder") };
    }
    match (entry.kind, &entry.link) {
        (Kind::Folder, _) => Ok(Act::Folder(parts)),
        (Kind::File, _) => Ok(Act::File(parts)),
        (Kind::Symlink, Some(to)) if to.is_empty() || to.contains(&0) || to.len() > MAX_PATH_BYTES => refuse("is a link to nothing"),
        (Kind::Symlink, Some(to)) if climbs_out(&parts, to) => refuse("is a link that leads out of the root filesystem"),
        (Kind::Symlink, Some(to)) => Ok(Act::Symlink(parts, to.clone())),
        (Kind::Hardlink, Some(to)) => match self::parts(to) {
            Ok(to) if !to.is_empty() => Ok(Act::Hardlink(parts, to)),
            _ => refuse("is a second name of something outside the root filesystem"),
        },
        (Kind::Symlink | Kind::Hardlink, None) => refuse("is a link to nothing"),
        (Kind::Other, _) => refuse("is a device, a FIFO or of an unknown kind"),
    }
}

/// The names of a path. A leading `/` or `./` is what some tools write; `..` is what no honest one does.
fn parts(path: &[u8]) -> Result<Parts, &'static str> {
    if path.len() > MAX_PATH_BYTES {
        return Err("has a path longer than 4096 bytes");
    }
    if path.contains(&0) {
        return Err("has a NUL in its path");
    }
    let names: Vec<&[u8]> = path.split(|b| *b == b'/').filter(|name| !name.is_empty() && *name != b".").collect();
    if names.contains(&&b".."[..]) {
        return Err("climbs out of the root filesystem with '..'");
    }
    if names.len() > MAX_DEPTH {
        return Err("lies deeper than 64 folders");
    }
    if names.iter().any(|name| name.len() > 255) {
        return Err("has a name longer than 255 bytes");
    }
    Ok(names.into_iter().map(<[u8]>::to_vec).collect())
}

/// Whether a relative link at `at` goes above the root filesystem's top, as it is written.
fn climbs_out(at: &[Vec<u8>], to: &[u8]) -> bool {
    if to.starts_with(b"/") {
        return to.split(|b| *b == b'/').try_fold(0_usize, depth).is_none();
    }
    to.split(|b| *b == b'/').try_fold(at.len() - 1, depth).is_none()
}

fn depth(depth: usize, name: &[u8]) -> Option<usize> {
    match name {
        b"" | b"." => Some(depth),
        b".." => depth.checked_sub(1),
        _ => Some(depth + 1),
    }
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(&path[..path.len().min(200)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(kind: Kind, path: &str, link: Option<&str>) -> Entry {
        let link = link.map(|l| l.as_bytes().to_vec());
        Entry { kind, path: path.into(), link, mode: 0o755, uid: 0, gid: 0, size_bytes: 0 }
    }

    fn names(names: &[&str]) -> Parts {
        names.iter().map(|n| n.as_bytes().to_vec()).collect()
    }

    #[test]
    fn honest_entries_are_unpacked_where_they_say() {
        assert_eq!(judge(&entry(Kind::Folder, "./", None)), Ok(Act::Folder(vec![])));
        assert_eq!(judge(&entry(Kind::File, "/bin/./sh", None)), Ok(Act::File(names(&["bin", "sh"]))));
        let link = judge(&entry(Kind::Symlink, "usr/bin/ls", Some("../../bin/busybox")));
        assert_eq!(link, Ok(Act::Symlink(names(&["usr", "bin", "ls"]), b"../../bin/busybox".to_vec())));
        assert!(judge(&entry(Kind::Symlink, "bin/sh", Some("/bin/busybox"))).is_ok());
        assert_eq!(judge(&entry(Kind::Hardlink, "a", Some("./b/c"))), Ok(Act::Hardlink(names(&["a"]), names(&["b", "c"]))));
        assert_eq!(judge(&entry(Kind::File, "etc/.wh.shadow", None)), Ok(Act::Remove(names(&["etc", "shadow"]))));
        assert_eq!(judge(&entry(Kind::File, "etc/.wh..wh..opq", None)), Ok(Act::Empty(names(&["etc"]))));
        assert_eq!(mode(&Entry { mode: 0o106_755, ..entry(Kind::File, "su", None) }), 0o755);
    }

    #[test]
    fn what_no_honest_layer_has_is_refused_with_its_name() {
        let deep = "d/".repeat(65);
        let cases = [
            entry(Kind::File, "../etc/shadow", None),
            entry(Kind::File, "a/../../b", None),
            entry(Kind::File, "a\0b", None),
            entry(Kind::File, ".", None),
            entry(Kind::Folder, &deep, None),
            entry(Kind::File, &"n".repeat(256), None),
            entry(Kind::Other, "dev/sda", None),
            entry(Kind::Symlink, "a", Some("../x")),
            entry(Kind::Symlink, "a/b", Some("../../../etc/shadow")),
            entry(Kind::Symlink, "a/b", Some("/../etc/shadow")),
            entry(Kind::Symlink, "a", Some("")),
            entry(Kind::Symlink, "a", None),
            entry(Kind::Hardlink, "a", Some("../../etc/shadow")),
            entry(Kind::Hardlink, "a", Some("/")),
            entry(Kind::File, "etc/.wh...", None),
            entry(Kind::File, "etc/.wh..wh.plnk", None),
            Entry { uid: 65_536, ..entry(Kind::File, "a", None) },
        ];
        for case in cases {
            assert!(matches!(judge(&case), Err(LayerError::Entry { .. })), "{case:?} {:?}", judge(&case));
        }
    }

    #[test]
    fn bytes_entries_and_growth_are_limited() {
        let mut budget = Budget { allowed_bytes: 10_000, ..Budget::default() };
        assert_eq!(budget.take(9_000), Ok(()));
        assert_eq!(budget.take(1_000), Err(LayerError::TooLarge { allowed: 10_000 }));
        let mut many = Budget { allowed_bytes: u64::MAX, entries: MAX_ENTRIES, ..Budget::default() };
        assert_eq!(many.take(0), Err(LayerError::TooMany));
        assert_eq!(check_ratio(1, BOMB_FROM_BYTES), Ok(()), "small ones may be dense");
        assert!(check_ratio(1 << 20, 200 << 20).is_err());
        assert_eq!(check_ratio(3 << 20, 200 << 20), Ok(()));
    }

    proptest! {
        #[test]
        fn no_act_ever_names_anything_above_the_top(
            path in proptest::collection::vec(proptest::sample::select(b"ab/.\0w".to_vec()), 0..24),
            link in proptest::collection::vec(proptest::sample::select(b"ab/.".to_vec()), 0..24),
            kind in proptest::sample::select(vec![Kind::File, Kind::Folder, Kind::Symlink, Kind::Hardlink, Kind::Other]),
        ) {
            let entry = Entry { kind, path, link: Some(link), mode: 0, uid: 0, gid: 0, size_bytes: 0 };
            if let Ok(act) = judge(&entry) {
                let named = match act {
                    Act::Folder(p) | Act::File(p) | Act::Remove(p) | Act::Empty(p) | Act::Symlink(p, _) => vec![p],
                    Act::Hardlink(p, to) => vec![p, to],
                };
                for name in named.concat() {
                    prop_assert!(!name.is_empty() && name != b"." && name != b".." && !name.contains(&b'/') && !name.contains(&0));
                }
            }
        }
    }
}
