//! From a path to a module: which form it has is seen from what it is and how it begins.

use super::archive::{Archive, is_tar};
use super::blobs::Blobs;
use super::ext4::{Ext4Image, HEAD_BYTES, declared_bytes, is_ext, label};
use super::folder::Folder;
use ouro_common::error::{Fault, FaultCode};
use ouro_common::module::{ModuleContents, TrustedKey, read_module};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

/// The form a module comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A folder.
    Folder,
    /// A tar archive.
    Archive,
    /// A file with an ext file system.
    Image,
    /// A block device with one.
    Device,
}

impl Form {
    /// For people and scripts.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Folder => "folder",
            Self::Archive => "archive",
            Self::Image => "image",
            Self::Device => "device",
        }
    }
}

/// A module that can be read.
pub(crate) struct Opened {
    /// What it comes in.
    pub(crate) form: Form,
    /// The file system's label, where there is one.
    pub(crate) label: Option<String>,
    /// Its files.
    pub(crate) blobs: Box<dyn Blobs>,
}

impl Opened {
    /// Reads what is on it.
    ///
    /// # Errors
    /// It is no module.
    pub(crate) fn read(&self, path: &Path, trusted: &[TrustedKey]) -> Result<ModuleContents, Fault> {
        let volume: &dyn Blobs = self.blobs.as_ref();
        read_module(volume, trusted).map_err(|error| {
            let problem = if error.is_no_module() { format!("it is no module: {error}") } else { error.to_string() };
            Fault::new(FaultCode::ModelInvalid, problem).at(path.display()).remedy("make one with `ouroctl module build`")
        })
    }
}

/// Opens the module at `path`.
///
/// # Errors
/// There is nothing there, or nothing that can be read as a module.
pub(crate) fn open(path: &Path) -> Result<Opened, Fault> {
    let refused = |problem: String| Fault::new(FaultCode::ModelInvalid, problem).at(path.display());
    let absent = |e: std::io::Error| Fault::new(FaultCode::InvalidArgument, format!("it cannot be read: {e}")).at(path.display());
    let kind = std::fs::metadata(path).map_err(absent)?.file_type();
    if kind.is_dir() {
        return Ok(Opened { form: Form::Folder, label: None, blobs: Box::new(Folder::new(path)) });
    }
    if !kind.is_file() && !kind.is_block_device() {
        return Err(refused("it is neither a file, a folder nor a block device".into()));
    }
    let mut head = vec![];
    File::open(path).map_err(absent)?.take(HEAD_BYTES as u64).read_to_end(&mut head).map_err(absent)?;
    if is_ext(&head) {
        let form = if kind.is_file() { Form::Image } else { Form::Device };
        let (there, declared) = (std::fs::metadata(path).map_err(absent)?.len(), declared_bytes(&head));
        if let Some(declared) = declared.filter(|declared| form == Form::Image && *declared > there) {
            return Err(refused(format!("it is cut off: it has {there} bytes instead of {declared}")).remedy("copy or build it again"));
        }
        let image = Ext4Image::open(path).map_err(|e| refused(format!("the ext4 file system: {e}")))?;
        return Ok(Opened { form, label: label(&head), blobs: Box::new(image) });
    }
    if is_tar(&head) {
        let archive = Archive::open(path).map_err(|e| refused(format!("the tar archive cannot be read: {e}")))?;
        return Ok(Opened { form: Form::Archive, label: None, blobs: Box::new(archive) });
    }
    Err(unknown(&head, path))
}

/// What cannot be read here, with what would help.
fn unknown(head: &[u8], path: &Path) -> Fault {
    let refused = |problem: &str| Fault::new(FaultCode::ModelInvalid, problem).at(path.display());
    let mountable = |name: &str| {
        refused(&format!("an image of {name} cannot be read without mounting it"))
            .remedy(format!("mount it as root with `mount -o ro {} FOLDER`, and name the folder", path.display()))
    };
    match head {
        _ if head.get(1024..1028) == Some(&[0xe2, 0xe1, 0xf5, 0xe0]) => mountable("EROFS"),
        _ if head.starts_with(b"hsqs") => mountable("SquashFS"),
        _ if head.starts_with(&[0x1f, 0x8b]) || head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) => {
            refused("it is compressed").remedy("decompress it first; a module is read in place")
        }
        _ if head.get(510..512) == Some(&[0x55, 0xaa]) => {
            refused("it holds a partition table").remedy("name the partition with the module, for example with a 1 at the end")
        }
        _ => refused("it is neither a folder, a tar archive nor an ext4 file system").remedy("make a module with `ouroctl module build`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_named_with_what_would_help() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("x.img");
        let at = |offset: usize, bytes: &[u8]| {
            let mut head = vec![0; 2048];
            head[offset..offset + bytes.len()].copy_from_slice(bytes);
            head
        };
        let cases = [
            (at(1024, &[0xe2, 0xe1, 0xf5, 0xe0]), "EROFS", "mount -o ro"),
            (at(0, b"hsqs"), "SquashFS", "mount -o ro"),
            (at(0, &[0x1f, 0x8b]), "compressed", "decompress"),
            (at(510, &[0x55, 0xaa]), "partition table", "name the partition"),
            (at(1080, &[0x53, 0xef]), "ext4 file system", ""),
            (at(257, b"ustar"), "tar archive", ""),
            (vec![], "neither a folder", "module build"),
        ];
        for (head, problem, remedy) in cases {
            std::fs::write(&path, head).unwrap();
            let Err(fault) = open(&path) else { panic!("{problem}") };
            assert!(fault.problem.contains(problem) && fault.remedy.contains(remedy), "{fault}");
        }
        let Err(fault) = open(&home.path().join("absent")) else {
            panic!("absent")
        };
        assert_eq!(fault.code, FaultCode::InvalidArgument);
        let fault = open(home.path()).unwrap_or_else(|f| panic!("{f}")).read(home.path(), &[]).unwrap_err();
        assert!(fault.problem.contains("it is no module"), "{fault}");
    }
}
