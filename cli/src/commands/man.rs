//! `ouroctl man DIR`: a manual page for every verb, for packagers.

use crate::arguments::Ouroctl;
use crate::exit::{Exit, Failure};
use clap::{Args, CommandFactory as _};
use ouro_common::error::{Fault, FaultCode};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The folder to write into
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let folder = &arguments.folder;
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Ouroctl::command(), folder))
        .map_err(|e| Fault::new(FaultCode::Internal, format!("the manual pages cannot be written: {e}")).at(folder.display()))?;
    Ok(Exit::Done)
}
