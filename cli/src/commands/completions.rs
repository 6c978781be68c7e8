//! `ouroctl completions SHELL`: for the shell's start-up file or its completions folder.

use super::Context;
use crate::arguments::Ouroctl;
use crate::exit::{Exit, Failure};
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Ouroctl::command(), "ouroctl", &mut script);
    context.console.print_bytes(&script)?;
    Ok(Exit::Done)
}
