//! The program `ouro-agent`: reads its command line, carries it out, and says in one sentence what went wrong.

use clap::Parser as _;
use ouro_agent::command::{Command, error_json, run, wants_json};
use ouro_common::error::{Fault, FaultCode};
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

fn main() -> ExitCode {
    let json = wants_json(std::env::args());
    let command = match Command::try_parse() {
        Ok(command) => command,
        Err(usage) if json && usage.use_stderr() => {
            let fault = Fault::new(FaultCode::InvalidArgument, usage.render().to_string().trim_end());
            let _ = writeln!(std::io::stdout(), "{}", error_json(&fault));
            return ExitCode::from(2);
        }
        // Help and versions come this way too.
        Err(usage) => usage.exit(),
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("OUROBOROS_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    match run(command, &mut std::io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) if json => {
            let _ = writeln!(std::io::stdout(), "{}", error_json(&fault));
            ExitCode::FAILURE
        }
        Err(fault) => {
            // When even stderr is gone there is nobody left to tell.
            let _ = writeln!(std::io::stderr(), "error {}: {fault}", fault.code);
            ExitCode::FAILURE
        }
    }
}
