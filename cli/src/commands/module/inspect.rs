//! `ouroctl module inspect`: what is on a module, wherever it is, without mounting it.

use super::Keys;
use crate::commands::{Context, lines};
use crate::exit::{Exit, Failure};
use crate::image::open::open;
use crate::output::module::{ModuleDocument, render};
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// An image, a folder or tar archive with an OCI layout, or a device
    #[arg(value_name = "MODULE")]
    module: PathBuf,
    #[command(flatten)]
    keys: Keys,
}

pub(crate) fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let trusted = arguments.keys.read(context)?;
    let opened = open(&arguments.module)?;
    let contents = opened.read(&arguments.module, &trusted)?;
    let document = ModuleDocument::of(&arguments.module, &opened, &contents);
    context.show(&document, render, |d| lines(d.containers.iter().map(|c| c.digest)))?;
    Ok(Exit::Done)
}
