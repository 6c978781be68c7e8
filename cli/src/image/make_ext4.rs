//! A module as an ext4 image: `mke2fs` makes an empty file system, `debugfs` fills it.
//!
//! Both come with e2fsprogs and need no privileges. Everything in the image follows from the module: no clock, no owner, no
//! order of a folder goes into it, so the same module gives the same bytes. It has no journal, and no feature that a
//! kernel of the last ten years lacks.

use super::gather::{Content, Packing};
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::Digest;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The file system's block, bytes.
const BLOCK: u64 = 4096;
/// Blocks in a group: as many as one block of bits can count.
const GROUP_BLOCKS: u64 = 8 * BLOCK;
/// The time of everything in an image, Unix seconds: the first day of 2020, as good as any.
const TIME: &str = "1577836800";
/// Free blocks that are left, for a signature that is added later.
const SPARE_BLOCKS: u64 = 64;
/// The features, all others switched off.
const FEATURES: &str = "none,filetype,extent,sparse_super,large_file,huge_file,flex_bg,dir_nlink,extra_isize,64bit,metadata_csum";

/// The programs of e2fsprogs.
#[derive(Debug)]
pub(crate) struct Programs {
    mke2fs: PathBuf,
    debugfs: PathBuf,
}

impl Programs {
    /// Finds them on `path`, and where Debian keeps what only root has on it.
    ///
    /// # Errors
    /// `PART_MISSING`, naming the package.
    pub(crate) fn find(path: Option<&str>) -> Result<Self, Fault> {
        let mut folders: Vec<PathBuf> = path.map(|p| std::env::split_paths(p).collect()).unwrap_or_default();
        folders.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
        let find = |name: &str| {
            folders.iter().map(|folder| folder.join(name)).find(|program| program.is_file()).ok_or_else(|| {
                Fault::new(FaultCode::PartMissing, format!("{name} is not installed; it makes the module's file system"))
                    .at(name)
                    .remedy("install e2fsprogs (`apt install e2fsprogs`), or write a plain folder with `-o FOLDER/`")
            })
        };
        Ok(Self { mke2fs: find("mke2fs")?, debugfs: find("debugfs")? })
    }

    /// Makes the image `out`, with what it needs meanwhile in `scratch`.
    ///
    /// # Errors
    /// What one of the programs said.
    pub(crate) fn make(&self, packing: &Packing, label: &str, out: &Path, scratch: &Path) -> Result<(), Fault> {
        let stage = scratch.join("files");
        fs::create_dir(&stage).map_err(failed(&stage))?;
        let (blocks, inodes) = size(packing.files.values().map(Content::size_bytes));
        File::create(out).and_then(|file| file.set_len(blocks * BLOCK)).map_err(failed(out))?;
        let config = scratch.join("mke2fs.conf");
        fs::write(&config, "[defaults]\n[fs_types]\n\tsmall = {\n\t}\n").map_err(failed(&config))?;
        let uuid = uuid(&packing.digest.bytes[..16]);
        let seed = uuid_of_seed(&packing.digest);
        let mut mke2fs = Command::new(&self.mke2fs);
        mke2fs.args(["-q", "-F", "-b", "4096", "-I", "256", "-m", "0", "-O", FEATURES, "-N", &inodes.to_string(), "-L", label]);
        mke2fs.args(["-U", &uuid, "-E", &format!("hash_seed={seed},lazy_itable_init=0,nodiscard,root_owner=0:0")]);
        mke2fs.arg(out).env("MKE2FS_CONFIG", &config);
        run(mke2fs, "mke2fs")?;
        self.fill(&packing.files, out, scratch)
    }

    /// Puts files into an image, over those of the same name.
    ///
    /// # Errors
    /// What debugfs said.
    pub(crate) fn fill(&self, files: &BTreeMap<String, Content>, image: &Path, scratch: &Path) -> Result<(), Fault> {
        let stage = scratch.join("files");
        fs::create_dir_all(&stage).map_err(failed(&stage))?;
        let image = fs::canonicalize(image).map_err(failed(image))?;
        let (mut commands, mut folders) = (String::new(), vec![]);
        for (i, (path, content)) in files.iter().enumerate() {
            // The stage has names without blanks or quotes: what debugfs reads, it reads as words.
            let staged = stage.join(i.to_string());
            match content {
                Content::Bytes(bytes) => fs::write(&staged, bytes),
                Content::File(source, _) => fs::canonicalize(source).and_then(|full| symlink(full, &staged)),
            }
            .map_err(failed(&staged))?;
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
            let _ = writeln!(commands, "cd /");
            for folder in folder.split('/').filter(|f| !f.is_empty()) {
                if !folders.contains(&folder) {
                    let _ = writeln!(commands, "mkdir {folder}");
                    folders.push(folder);
                }
                let _ = writeln!(commands, "cd {folder}");
            }
            let _ = writeln!(commands, "rm {name}\nwrite {i} {name}\nsif {name} mode 0100644");
        }
        let script = scratch.join("commands");
        fs::write(&script, commands).map_err(failed(&script))?;
        let mut debugfs = Command::new(&self.debugfs);
        debugfs.args(["-w", "-f"]).arg(&script).arg(&image).current_dir(&stage);
        // What it could not do is found by reading the image afterwards: debugfs ends with 0 whatever happens.
        run(debugfs, "debugfs")
    }
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> Fault + '_ {
    move |error| Fault::new(FaultCode::Internal, format!("it cannot be written: {error}")).at(path.display())
}

fn run(mut command: Command, name: &str) -> Result<(), Fault> {
    command.env("E2FSPROGS_FAKE_TIME", TIME).stdin(Stdio::null());
    let output = command.output();
    let output = output.map_err(|e| Fault::new(FaultCode::Internal, format!("{name} cannot be started: {e}")).at(name))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    Err(Fault::new(FaultCode::Internal, format!("{name} failed, {}: {said}", output.status))
        .at(name)
        .remedy("is the disk full?"))
}

/// Blocks and inodes of a file system for files of these sizes, on the safe side.
fn size(files: impl Iterator<Item = u64>) -> (u64, u64) {
    let (mut count, mut data) = (0u64, 0u64);
    for bytes in files {
        count += 1;
        // A leaf of the extent tree maps 340 extents; of a fresh file system an extent has far more than 32 MiB.
        data += bytes.div_ceil(BLOCK) + 1 + bytes / (340 * (32 << 20));
    }
    // The folders, lost+found among them, and the entries of blobs/sha256.
    data += 8 + (count * 80).div_ceil(BLOCK) + SPARE_BLOCKS;
    let inodes: u64 = count + 32;
    let mut blocks = data;
    loop {
        let groups = blocks.div_ceil(GROUP_BLOCKS);
        let descriptors = (groups * 64).div_ceil(BLOCK);
        // Two bitmaps and a table of inodes for each group, and a copy of the superblock and the descriptors.
        let table = inodes.div_ceil(groups * 16) + 1;
        let needed = (data + groups * (2 + table + 1 + descriptors)).next_multiple_of((1 << 20) / BLOCK);
        if needed <= blocks {
            return (blocks, inodes);
        }
        blocks = needed;
    }
}

/// Sixteen bytes in the form of a UUID of version 8, which means: made by a rule of one's own (RFC 9562).
fn uuid(bytes: &[u8]) -> String {
    let mut sixteen = [0; 16];
    sixteen.copy_from_slice(bytes);
    uuid::Builder::from_custom_bytes(sixteen).into_uuid().to_string()
}

fn uuid_of_seed(digest: &Digest) -> String {
    uuid(&digest.bytes[16..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_covers_the_files_and_little_more() {
        for files in [vec![], vec![0; 800], vec![1 << 32], vec![5 << 20, 3 << 20, 400, 400, 400], vec![40 << 30]] {
            let data: u64 = files.iter().sum();
            let (blocks, inodes) = size(files.iter().copied());
            assert!(inodes > files.len() as u64 && blocks * BLOCK > data, "{files:?}");
            let overhead = blocks * BLOCK - data;
            assert!(overhead < (8 << 20) + data / 200, "{overhead} bytes of overhead for {data}");
            assert_eq!(blocks * BLOCK % (1 << 20), 0);
        }
    }
}
