//! What a person does with a model file by hand: measure it, and ask it something.
//!
//! Models never run in a process that has anything to lose: the command starts itself a second time, that child shuts itself
//! in as a worker does, and it writes to the same terminal. The count of threads is set where the child is started, because
//! it cannot be changed in a running process.

pub mod bench;
pub mod eval;
pub mod say;

use crate::sensing::host_root::HostRoot;
use crate::workers::{sandbox, threads};
use ouro_common::error::{Fault, FaultCode};
use serde::Serialize;
use std::io::Write;
use std::process::Command;

/// How the command finds its child: not for people.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct ChildArgs {
    /// The process that started this one for the work itself.
    #[arg(long, hide = true, value_name = "PID")]
    parent: Option<u32>,
    /// Threads to compute with; else all that this process may use.
    #[arg(short = 't', long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
}

impl ChildArgs {
    /// As many as a person says, else as many as a worker would have.
    fn threads(self) -> usize {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        self.threads.map_or_else(|| threads::allowed(&HostRoot::live(), processors, None), usize::from)
    }
}

/// Does `work` in a child of this process that has shut itself in: here if this is the child. The command line begins with so
/// many words of verb.
///
/// # Errors
/// What `work` says; or that the child could not be started, or died of the model.
fn in_child(args: ChildArgs, verb_words: usize, work: impl FnOnce() -> Result<(), Fault>) -> Result<(), Fault> {
    let internal = |what: String| Fault::new(FaultCode::Internal, what);
    if let Some(parent) = args.parent {
        sandbox::enter(parent, None).map_err(|e| internal(format!("the child cannot shut itself in: {e}")))?;
        return work();
    }
    let program = std::env::current_exe().map_err(|e| internal(format!("this program does not find itself: {e}")))?;
    // Right after the verb: later there may be a `--`, behind which everything is a prompt.
    let mut words = std::env::args_os().skip(1);
    let status = Command::new(program)
        .args(words.by_ref().take(verb_words))
        .args(["--parent", &std::process::id().to_string()])
        .args(words)
        .envs(ouro_engine::threads::environment(args.threads()))
        .status()
        .map_err(|e| internal(format!("the child that runs the model cannot be started: {e}")))?;
    match status.code() {
        Some(0) => Ok(()),
        // It has said itself what was wrong.
        Some(code) => std::process::exit(code),
        None => Err(internal(format!("the child that ran the model died: {status}")).remedy("check the model file")),
    }
}

/// Prints what came of it: as JSON where `output` says so, else as the table.
fn print(out: &mut dyn Write, output: &str, report: &impl Serialize, table: impl FnOnce() -> String) -> Result<(), Fault> {
    let text = if output == "json" { serde_json::to_string_pretty(report).unwrap_or_default() + "\n" } else { table() };
    out.write_all(text.as_bytes()).map_err(|e| Fault::new(FaultCode::Internal, e.to_string()))
}

/// What a person gave cannot be used.
fn refused(what: impl std::fmt::Display) -> Fault {
    Fault::new(FaultCode::InvalidArgument, what.to_string())
}
