//! `ouroctl module sign`: a signature into an image or a folder, in place of one that is there.

use super::{PasswordSource, own_key, signer};
use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::image::gather::Content;
use crate::image::make_ext4::Programs;
use crate::image::open::{Form, open};
use crate::output::module::{ModuleDocument, render};
use clap::Args;
use ouro_common::error::{Fault, FaultCode};
use ouro_common::module::{INDEX_FILE, SIGNATURE_FILE, limits, sha256};
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// An image, or a folder with an OCI layout
    #[arg(value_name = "MODULE")]
    module: PathBuf,
    /// The secret key [default: module.key in the home]
    #[arg(long, value_name = "KEY")]
    key: Option<PathBuf>,
    #[command(flatten)]
    password: PasswordSource,
}

pub(crate) fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let path = &arguments.module;
    let key = arguments.key.clone().map_or_else(|| own_key(context), Ok)?;
    let opened = open(path)?;
    // What is no module, or a damaged one, is not vouched for.
    let contents = opened.read(path, &[])?;
    if let Some(problem) = contents.problems.first() {
        return Err(Fault::new(FaultCode::ModelInvalid, problem.to_string())
            .at(path.display())
            .remedy("build the module again")
            .into());
    }
    let unread = |e| Fault::new(FaultCode::ModelInvalid, format!("{INDEX_FILE}: {e}")).at(path.display());
    let index = opened.blobs.read(INDEX_FILE, limits::INDEX_BYTES).map_err(unread)?;
    let signer = signer(&key, &arguments.password, context)?;
    let signature = signer.sign(&index, &sha256(&index))?;
    let unwritable = |e: std::io::Error| Fault::new(FaultCode::InvalidArgument, format!("it cannot be written: {e}")).at(path.display());
    match opened.form {
        Form::Folder => std::fs::write(path.join(SIGNATURE_FILE), signature).map_err(unwritable)?,
        Form::Image => {
            let scratch = tempfile::tempdir().map_err(unwritable)?;
            let files = BTreeMap::from([(SIGNATURE_FILE.to_string(), Content::Bytes(signature.into_bytes()))]);
            Programs::find(context.variable("PATH").as_deref())?.fill(&files, path, scratch.path())?;
        }
        Form::Archive | Form::Device => {
            return Err(
                Fault::new(FaultCode::InvalidArgument, format!("a module in an {} cannot be signed in place", opened.form.name()))
                    .at(path.display())
                    .remedy("sign the image or folder it was made from")
                    .into(),
            );
        }
    }
    let again = open(path)?;
    let contents = again.read(path, &[signer.public().clone()])?;
    if !contents.signature.is_trusted() {
        let problem = format!("the signature was not taken up: {}", contents.signature);
        return Err(Fault::new(FaultCode::Internal, problem)
            .at(path.display())
            .remedy("is the image full? Build it with --sign")
            .into());
    }
    let document = ModuleDocument::of(path, &again, &contents);
    context.show(&document, render, |d| format!("{}\n", d.digest))?;
    Ok(Exit::Done)
}
