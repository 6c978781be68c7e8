//! `ouroctl module build`: a folder of containers becomes a module, as an image for a stick or as a plain folder.

use super::{PasswordSource, interruptible, signer};
use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::image::gather::{Content, Packing, find};
use crate::image::{digests, layout, make_ext4::Programs, open::open};
use crate::keys::Signer;
use crate::output::module::{ModuleDocument, built};
use crate::transfer::Transfer;
use clap::Args;
use ouro_common::error::{Fault, FaultCode};
use ouro_common::module::{LAYOUT_FILE, SIGNATURE_FILE};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;
use std::{fs, io, thread};

/// What every module's label begins with.
const LABEL_PREFIX: &str = "OURO-";
/// How often it is looked how far an image is.
const LOOK: Duration = Duration::from_millis(250);
/// The most bytes of a label: what ext4 has room for.
const LABEL_BYTES: usize = 16;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The folder: a container, or a folder of containers
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// What is made: an image, or with a slash at the end a plain folder
    #[arg(short, long = "out", value_name = "FILE")]
    out: PathBuf,
    /// Sign it with this secret key
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
    #[command(flatten)]
    password: PasswordSource,
    /// The file system's label [default: OURO- and the folder's name]
    #[arg(long, value_name = "OURO-…", value_parser = parse_label)]
    label: Option<String>,
    /// Replace what is there
    #[arg(long)]
    force: bool,
}

fn parse_label(text: &str) -> Result<String, String> {
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if !text.starts_with(LABEL_PREFIX) || text.len() == LABEL_PREFIX.len() {
        return Err(format!("a module's label begins with {LABEL_PREFIX}, like OURO-TEXT"));
    }
    if text.len() > LABEL_BYTES || !plain {
        return Err(format!("a label has at most {LABEL_BYTES} letters, digits, -, _ and ."));
    }
    Ok(text.to_string())
}

/// A label from the folder's name.
fn label_of(folder: &Path) -> String {
    let name = folder.canonicalize().ok().and_then(|f| Some(f.file_name()?.to_string_lossy().to_ascii_uppercase()));
    let plain: String = name.unwrap_or_default().chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).collect();
    let cut = &plain[..plain.len().min(LABEL_BYTES - LABEL_PREFIX.len())];
    format!("{LABEL_PREFIX}{}", if cut.is_empty() { "MODULE" } else { cut })
}

pub(crate) async fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let plain = arguments.out.to_string_lossy().ends_with('/') || arguments.out.is_dir();
    refuse_overwriting(arguments, plain)?;
    let out = arguments.out.clone();
    let parent = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Removed with this value, whatever ends the command, Ctrl-C included.
    let scratch = tempfile::Builder::new().prefix(".ouro-module-").tempdir_in(parent).map_err(unwritable(parent))?;
    let work = Work {
        folder: arguments.folder.clone(),
        label: arguments.label.clone().unwrap_or_else(|| label_of(&arguments.folder)),
        programs: if plain { None } else { Some(Programs::find(context.variable("PATH").as_deref())?) },
        signer: arguments.sign.as_ref().map(|key| signer(key, &arguments.password, context)).transpose()?,
        scratch: scratch.path().to_path_buf(),
        transfer: Transfer::start(context),
    };
    let (made, opened) = interruptible(move || work.carry_out()).await?;
    put_in_place(&made, &out).map_err(unwritable(&out))?;
    let document = opened.at(&out);
    context.show(&document, built, |d| format!("{}\n", d.digest))?;
    Ok(Exit::Done)
}

fn unwritable(path: &Path) -> impl FnOnce(io::Error) -> Fault + '_ {
    move |error| Fault::new(FaultCode::InvalidArgument, format!("it cannot be written: {error}")).at(path.display())
}

/// Without `--force` nothing is replaced; with it, only what a build may have made.
fn refuse_overwriting(arguments: &Arguments, plain: bool) -> Result<(), Fault> {
    let out = &arguments.out;
    let Ok(meta) = fs::symlink_metadata(out) else { return Ok(()) };
    let refused = |problem: &str| Err(Fault::new(FaultCode::AlreadyExists, problem).at(out.display()));
    match (plain, meta.is_file(), meta.is_dir()) {
        (true, false, true) if fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_none()) => Ok(()),
        (true, false, true) if !arguments.force || !out.join(LAYOUT_FILE).exists() => {
            refused("the folder is not empty").map_err(|f| f.remedy("name a new folder, or replace a layout that is there with --force"))
        }
        (false, true, false) if !arguments.force => {
            refused("there is a file already").map_err(|f| f.remedy("name another with -o, or replace it with --force"))
        }
        (true, false, true) | (false, true, false) => Ok(()),
        _ => refused("it is neither a file nor a folder")
            .map_err(|f| f.remedy("name a file with -o; `ouroctl module write` puts an image on a device")),
    }
}

/// Everything a build needs, so that it can be waited for and given up.
struct Work {
    folder: PathBuf,
    label: String,
    programs: Option<Programs>,
    signer: Option<Signer>,
    scratch: PathBuf,
    transfer: Transfer,
}

impl Work {
    /// Builds the module in the scratch folder and reads it back.
    fn carry_out(&self) -> Result<(PathBuf, ModuleDocument), Fault> {
        let gathering = find(&self.folder, &self.scratch)?;
        self.transfer.begin("reading", gathering.total_bytes);
        let mut packing = gathering.pack(&mut |bytes| self.transfer.moved(bytes))?;
        if let Some(signer) = &self.signer {
            let signature = signer.sign(packing.index(), &packing.digest)?;
            packing.files.insert(SIGNATURE_FILE.into(), Content::Bytes(signature.into_bytes()));
        }
        let made = self.scratch.join("module");
        match &self.programs {
            Some(programs) => self.make_image(programs, &packing, &made)?,
            None => {
                self.transfer.begin("copying", packing.files.values().map(Content::size_bytes).sum());
                layout::write(&packing, &made, &mut |bytes| self.transfer.moved(bytes))
                    .map_err(|e| Fault::new(FaultCode::Internal, format!("it cannot be written: {}", e.source)).at(e.path.display()))?;
            }
        }
        let document = self.read_back(&made, &packing)?;
        Ok((made, document))
    }

    /// Makes the image, watching it grow: debugfs does not say how far it is.
    fn make_image(&self, programs: &Programs, packing: &Packing, made: &Path) -> Result<(), Fault> {
        self.transfer.begin("writing", packing.files.values().map(Content::size_bytes).sum());
        let (ended, end) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                while end.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                    // `st_blocks` counts 512 bytes each, whatever the file system's block is (stat(2)).
                    self.transfer.reached(fs::metadata(made).map_or(0, |meta| meta.blocks() * 512));
                }
            });
            let result = programs.make(packing, &self.label, made, &self.scratch);
            drop(ended);
            result
        })
    }

    /// Reads what was made as any reader would: a file that changed meanwhile, a full disk or a program's mistake shows here.
    fn read_back(&self, made: &Path, packing: &Packing) -> Result<ModuleDocument, Fault> {
        let trusted: Vec<_> = self.signer.iter().map(|signer| signer.public().clone()).collect();
        let opened = open(made)?;
        let contents = opened.read(made, &trusted)?;
        self.transfer.begin("checking", digests::total_bytes(&contents));
        let mut problems: Vec<String> = contents.problems.iter().map(ToString::to_string).collect();
        problems.extend(digests::check(opened.blobs.as_ref(), &contents, &mut |bytes| self.transfer.moved(bytes)));
        if contents.digest != packing.digest {
            problems.push("its index is not the one that was written".into());
        }
        if self.signer.is_some() && !contents.signature.is_trusted() {
            problems.push(contents.signature.to_string());
        }
        match problems.first() {
            None => Ok(ModuleDocument::of(made, &opened, &contents)),
            Some(problem) => Err(Fault::new(FaultCode::Internal, format!("the module came out wrong: {problem}"))
                .at(self.folder.display())
                .remedy("is the disk full, or were the files changed meanwhile? Build it again")),
        }
    }
}

/// Puts what was made where it belongs; a reader never sees half of it.
fn put_in_place(made: &Path, out: &Path) -> io::Result<()> {
    if made.is_dir() && out.is_dir() {
        fs::remove_dir_all(out)?;
    }
    if made.is_file() {
        fs::File::open(made)?.sync_all()?;
    }
    fs::rename(made, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_begin_with_the_prefix_and_fit() {
        assert_eq!(parse_label("OURO-TEXT").unwrap(), "OURO-TEXT");
        for bad in ["TEXT", "OURO-", "OURO-a/b", "OURO-ä", "OURO-123456789012"] {
            assert!(parse_label(bad).is_err(), "{bad}");
        }
        let home = tempfile::tempdir().unwrap();
        for (name, label) in [("text", "OURO-TEXT"), ("my very long name", "OURO-MYVERYLONGN"), ("ä…", "OURO-MODULE")] {
            let folder = home.path().join(name);
            fs::create_dir(&folder).unwrap();
            assert_eq!(label_of(&folder), label);
            parse_label(label).unwrap();
        }
    }
}
