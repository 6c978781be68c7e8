//! A tar archive as a sequence of entries, with long names and pax records put together here under limits of our own.
//!
//! The library would read a record of any length into memory, and a hostile archive can say any length.

use super::layer_rules::{Entry, Kind};
use std::io::{self, Read};
use tar::{Archive, EntryType, PaxExtensions};

/// The longest record that describes an entry, bytes.
const MAX_RECORD_BYTES: u64 = 64 * 1024;

/// What records before an entry say about it.
#[derive(Default)]
struct Told {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    uid: Option<u64>,
    gid: Option<u64>,
}

/// Calls `act` for each entry, with its content.
///
/// # Errors
/// When the archive is damaged, or whatever `act` says.
pub(super) fn for_each<E: From<io::Error>>(
    archive: impl Read,
    mut act: impl FnMut(Entry, &mut dyn Read) -> Result<(), E>,
) -> Result<(), E> {
    let mut archive = Archive::new(archive);
    let mut told = Told::default();
    for raw in archive.entries()?.raw(true) {
        let mut raw = raw?;
        let kind = match raw.header().entry_type() {
            EntryType::GNULongName => {
                told.path = Some(record(&mut raw)?);
                continue;
            }
            EntryType::GNULongLink => {
                told.link = Some(record(&mut raw)?);
                continue;
            }
            EntryType::XHeader => {
                told.pax(&record(&mut raw)?)?;
                continue;
            }
            // Records for the whole archive: comments of the tools that wrote it.
            EntryType::XGlobalHeader => continue,
            EntryType::Regular | EntryType::Continuous => Kind::File,
            EntryType::Directory => Kind::Folder,
            EntryType::Symlink => Kind::Symlink,
            EntryType::Link => Kind::Hardlink,
            _ => Kind::Other,
        };
        let told = std::mem::take(&mut told);
        let header = raw.header();
        let entry = Entry {
            kind,
            path: told.path.unwrap_or_else(|| raw.path_bytes().into_owned()),
            link: told.link.or_else(|| raw.link_name_bytes().map(|l| l.into_owned())),
            mode: if blank(&header.as_old().mode) { 0o644 } else { header.mode()? },
            uid: told.uid.map_or_else(|| if blank(&header.as_old().uid) { Ok(0) } else { header.uid() }, Ok)?,
            gid: told.gid.map_or_else(|| if blank(&header.as_old().gid) { Ok(0) } else { header.gid() }, Ok)?,
            size_bytes: if kind == Kind::File { raw.size() } else { 0 },
        };
        act(entry, &mut raw)?;
    }
    Ok(())
}

/// Whether a tool left a number out, which some do for the owner: root then, as everywhere.
fn blank(field: &[u8]) -> bool {
    field.iter().all(|b| matches!(b, 0 | b' '))
}

fn record(raw: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    raw.take(MAX_RECORD_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_RECORD_BYTES {
        return Err(io::Error::other("a record of the archive is longer than 64 KiB"));
    }
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    Ok(bytes)
}

impl Told {
    fn pax(&mut self, record: &[u8]) -> io::Result<()> {
        for pair in PaxExtensions::new(record) {
            let pair = pair?;
            let value = pair.value_bytes();
            let number = || std::str::from_utf8(value).ok().and_then(|v| v.parse().ok());
            match pair.key_bytes() {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"uid" => self.uid = number(),
                b"gid" => self.gid = number(),
                // It would contradict the header, or be more than the header can say: 8 GiB.
                b"size" => return Err(io::Error::other("an entry has its size in a pax record; none is that large here")),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_put_together_and_endless_ones_refused() {
        let long = format!("{}/file", "folder/".repeat(30));
        let mut builder = tar::Builder::new(vec![]);
        let mut header = tar::Header::new_gnu();
        header.set_size(3);
        header.set_mode(0o644);
        builder.append_data(&mut header, &long, &b"abc"[..]).unwrap();
        let archive = builder.into_inner().unwrap();
        let mut seen = vec![];
        for_each::<io::Error>(archive.as_slice(), |entry, content| {
            let mut text = String::new();
            content.read_to_string(&mut text)?;
            seen.push((String::from_utf8(entry.path).unwrap(), text));
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, [(long, "abc".to_string())]);

        let mut header = tar::Header::new_gnu();
        header.set_entry_type(EntryType::GNULongName);
        header.set_size(1 << 32);
        header.set_cksum();
        let endless = Read::chain(&header.as_bytes()[..], io::repeat(b'x'));
        let error = for_each::<io::Error>(endless, |_, _| Ok(())).unwrap_err();
        assert!(error.to_string().contains("64 KiB"), "{error}");
        assert!(for_each::<io::Error>(&b"no tar at all"[..], |_, _| Ok(())).is_err());
    }
}
