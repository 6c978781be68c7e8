//! The command line: what every verb takes, and the verbs.

use crate::commands::Command;
use crate::output::Format;
use clap::{Args, Parser};
use std::ffi::OsString;

/// Inspect and drive an Ouroboros fleet.
#[derive(Debug, Parser)]
#[command(name = "ouroctl", version, about, max_term_width = 100, propagate_version = true)]
#[command(after_help = "Exit codes: 0 done, 1 error, 2 wrong usage, 3 cannot be placed, 4 the work failed, \
                        124 deadline passed, 130 cancelled.")]
pub(crate) struct Ouroctl {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every verb takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// How to print: for people, as one JSON object, or nothing but the answer or the ids
    #[arg(long, global = true, value_enum, default_value = "table", value_name = "FORMAT")]
    pub(crate) output: Format,
    /// The server to talk to, HOST:PORT; without it the agent on this machine is asked first
    #[arg(long, global = true, env = "OUROBOROS_SERVER", value_name = "HOST:PORT")]
    pub(crate) server: Option<String>,
    /// Talk to the server even if an agent runs on this machine
    #[arg(long, global = true)]
    pub(crate) direct: bool,
    /// Say what happens while it happens, a line each
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,
}

/// Whether the command line asks for JSON, before it is known to be right otherwise.
pub(crate) fn asks_for_json(arguments: &[OsString]) -> bool {
    let mut previous = None;
    arguments.iter().take_while(|a| a.as_os_str() != "--").any(|argument| {
        let json = argument == "--output=json" || (argument == "json" && previous == Some(OsString::from("--output")));
        previous = Some(argument.clone());
        json
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Ouroctl::command().debug_assert();
    }

    #[test]
    fn json_is_recognised_in_a_broken_command_line() {
        let asks = |line: &str| asks_for_json(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert!(asks("ouroctl --output json nonsense"));
        assert!(asks("ouroctl nodes --what --output=json"));
        assert!(!asks("ouroctl submit json"));
        assert!(!asks("ouroctl submit -- --output=json"));
    }
}
