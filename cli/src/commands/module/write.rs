//! `ouroctl module write`: an image onto a device, with a question before and a check after.

use super::interruptible;
use crate::commands::Context;
use crate::disks::{disks, writable};
use crate::exit::{Exit, Failure};
use crate::image::open::{Form, open};
use crate::output::quantity::bytes;
use crate::raw_device::{holds, needed_bytes, write};
use crate::transfer::Transfer;
use clap::Args;
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::Digest;
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The image, made by `ouroctl module build`
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// The device: a whole stick or a partition
    #[arg(value_name = "DEVICE")]
    device: PathBuf,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// `ouroboros.module-written/1`.
#[derive(Serialize)]
struct WrittenDocument {
    schema: &'static str,
    device: PathBuf,
    digest: Digest,
    size_bytes: u64,
    verified: bool,
}

pub(crate) async fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let image = &arguments.image;
    let digest = module_in(image)?;
    let refused = |problem: String| Fault::new(FaultCode::InvalidArgument, problem).at(arguments.device.display());
    let size_bytes = fs::metadata(image)
        .map_err(|e| Fault::new(FaultCode::InvalidArgument, e.to_string()).at(image.display()))?
        .len();
    let device = fs::canonicalize(&arguments.device)
        .map_err(|e| refused(format!("it cannot be found: {e}")).remedy("`lsblk` lists the devices of this machine"))?;
    let all = disks()?;
    let target = writable(&all, &device, needed_bytes(size_bytes))?;
    if !arguments.yes {
        let question = format!(
            "Write {} over {} ({}, {})? It holds {}, which is lost.",
            image.display(),
            target.name,
            target.called(),
            bytes(target.size),
            target.holds()
        );
        if !context.console.can_ask() {
            return Err(refused(format!("nobody can be asked here whether it may be written over; it holds {}", target.holds()))
                .remedy("say so on the command line: --yes")
                .into());
        }
        if !context.console.confirm(&question) {
            return Err(Fault::new(FaultCode::Cancelled, "nothing was written").at(device.display()).into());
        }
    }
    let transfer = Transfer::start(context);
    let (from, to, device_bytes) = (image.clone(), device.clone(), target.size);
    interruptible(move || put(&from, size_bytes, &to, device_bytes, &transfer)).await?;
    let schema = "ouroboros.module-written/1";
    let document = WrittenDocument { schema, device, digest, size_bytes, verified: true };
    context.show(
        &document,
        |d, _| format!("{} is on {}: {} written, read back and the same\n", d.digest, d.device.display(), bytes(d.size_bytes)),
        |d| format!("{}\n", d.digest),
    )?;
    Ok(Exit::Done)
}

/// Writes and reads back.
fn put(image: &Path, image_bytes: u64, device: &Path, device_bytes: u64, transfer: &Transfer) -> Result<(), Fault> {
    transfer.begin("writing", needed_bytes(image_bytes));
    let written = write(image, device, device_bytes, &mut |n| transfer.moved(n)).map_err(|e| failed(&e, device))?;
    transfer.begin("checking", needed_bytes(image_bytes));
    if holds(device, &written, &mut |n| transfer.moved(n)).map_err(|e| failed(&e, device))? {
        return Ok(());
    }
    Err(Fault::new(FaultCode::DigestMismatch, "what was read back from the device is not what was written to it")
        .at(device.display())
        .remedy("the device is broken or smaller than it says; use another"))
}

/// The module in the image: what is none, or only half of one, is not put on a stick.
fn module_in(image: &Path) -> Result<Digest, Fault> {
    let opened = open(image)?;
    if opened.form != Form::Image {
        return Err(Fault::new(FaultCode::InvalidArgument, format!("a {} cannot be put on a device as it is", opened.form.name()))
            .at(image.display())
            .remedy("build an image: `ouroctl module build FOLDER -o module.img`"));
    }
    let contents = opened.read(image, &[])?;
    match contents.problems.first() {
        None => Ok(contents.digest),
        Some(problem) => Err(Fault::new(FaultCode::ModelInvalid, problem.to_string()).at(image.display()).remedy("build the module again")),
    }
}

fn failed(error: &std::io::Error, device: &Path) -> Fault {
    let fault = |problem: String, remedy: &str| Fault::new(FaultCode::InvalidArgument, problem).at(device.display()).remedy(remedy);
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => fault("it may be written by root only".into(), "run the command with sudo"),
        std::io::ErrorKind::ResourceBusy => {
            fault("it is in use".into(), "unmount it, and stop the agent on this machine if the module is its")
        }
        _ => Fault::new(FaultCode::Internal, format!("writing failed: {error}"))
            .at(device.display())
            .remedy("is the device still there?"),
    }
}
