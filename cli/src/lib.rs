//! `ouroctl` as a library: parse the command line, run one verb, say how it ended.
//!
//! The process's edges (arguments, variables, standard streams) come in from outside; verbs speak the vocabulary of
//! `ouro-common`, and only the client speaks the wire.

pub use console::Console;
pub use exit::Exit;

mod arguments;
mod client;
mod commands;
mod console;
mod disks;
mod exit;
mod image;
mod keys;
mod output;
mod raw_device;
mod selector;
mod transfer;

use arguments::Ouroctl;
use clap::Parser as _;
use clap::error::ErrorKind;
use commands::Context;
use exit::Failure;
use ouro_common::error::{Fault, FaultCode};
use output::{Format, fault};
use std::ffi::OsString;

/// Runs one command line to its end. Nothing is left to be told afterwards but the exit code.
pub async fn run(arguments: Vec<OsString>, variable: &dyn Fn(&str) -> Option<String>, console: &mut Console) -> Exit {
    if variable("NO_COLOR").is_some_and(|v| !v.is_empty()) {
        console.forbid_colour();
    }
    let asked_for_json = arguments::asks_for_json(&arguments);
    let parsed = match Ouroctl::try_parse_from(arguments) {
        Ok(parsed) => parsed,
        Err(error) => return refuse_usage(&error, asked_for_json, console),
    };
    let format = parsed.global.output;
    let mut context = Context::new(&parsed.global, variable, console);
    let result = commands::run(parsed.command, &mut context).await;
    match result {
        Ok(exit) => exit,
        Err(failure) => tell(&failure, format, console),
    }
}

/// What clap has to say: help and version are no errors; errors are JSON when JSON was asked for.
fn refuse_usage(error: &clap::Error, json: bool, console: &mut Console) -> Exit {
    let text = if console.colours_errors() { error.render().ansi().to_string() } else { error.render().to_string() };
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match console.print(&text) {
            Ok(()) => Exit::Done,
            Err(failure) => tell(&failure, Format::Table, console),
        },
        _ if json => {
            let problem = error.render().to_string();
            let sentence: Vec<_> =
                problem.lines().map(str::trim).take_while(|l| !l.starts_with("Usage:")).filter(|l| !l.is_empty()).collect();
            let problem = sentence.join(" ").trim_start_matches("error: ").to_string();
            let usage = Fault::new(FaultCode::InvalidArgument, problem).remedy("see `ouroctl --help`");
            tell(&Failure::Fault(usage), Format::Json, console);
            Exit::Usage
        }
        _ => {
            console.note(text.trim_end());
            Exit::Usage
        }
    }
}

/// Tells a failure in the format that was asked for.
fn tell(failure: &Failure, format: Format, console: &mut Console) -> Exit {
    match failure {
        Failure::Fault(reason) => {
            if format == Format::Json {
                // If standard output is gone as well there is nobody left to tell.
                let _ = console.print(&fault::json(reason));
            } else {
                let text = fault::text(reason, console.error_style());
                console.note(text.trim_end());
            }
            Exit::of_fault(reason)
        }
        // The reader had enough: that is its right, not an error.
        Failure::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Done,
        Failure::Output(error) => {
            console.note(&format!("error: standard output cannot be written: {error}"));
            Exit::Error
        }
    }
}
