//! The command line of `ouro-agent`.

use crate::config::Config;
use crate::daemon::{Options, Service};
use crate::home::AgentHome;
use crate::hwdetect::{self, HwdetectOptions, HwdetectOutput};
use crate::join::{TokenSource, join, read_token};
use crate::local_api::ask_status;
use crate::model_cli::bench::{self, BenchArgs};
use crate::model_cli::eval::{self, FirstPassVerb};
use crate::model_cli::say::{self, SayArgs};
use crate::profile::host_name;
use crate::snapshot::{self, SnapshotOptions};
use crate::workers::child::{self, WorkerArgs};
use clap::{Parser, Subcommand};
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::AgentRunId;
use std::io::Write;
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The agent of an Ouroboros fleet: it makes this machine a node.
#[derive(Debug, Parser)]
#[command(name = "ouro-agent", version, arg_required_else_help = true)]
pub struct Command {
    /// Print the configuration that is in force, and end.
    #[arg(long)]
    dump_config: bool,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make this machine a node of a fleet.
    Join {
        /// Host or host:port of the server; the port is 7443 unless told.
        server: String,
        /// The join token.
        #[arg(long, conflicts_with = "token_file", required_unless_present = "token_file")]
        token: Option<String>,
        /// A file that holds the token; `-` reads it from standard input.
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
        /// The name this machine is to be known by; else the host's.
        #[arg(long)]
        name: Option<String>,
    },
    /// Run the agent until it is told to stop.
    Run,
    /// Ask the running agent how it is.
    Status {
        /// The form.
        #[arg(long, default_value = "table", value_parser = ["table", "json"])]
        output: String,
    },
    /// Print what hardware was found here, or on a recorded machine.
    Hwdetect {
        /// A recorded machine's folder.
        #[arg(long, value_name = "DIR")]
        root: Option<PathBuf>,
        /// The form.
        #[arg(long, default_value = "table", value_parser = ["table", "json"])]
        output: String,
        /// Measure the memory bandwidth too; that takes under two seconds.
        #[arg(long)]
        measure: bool,
    },
    /// Record this machine, or a recorded one, as a fixture; serial numbers, addresses and host names are taken out.
    Snapshot {
        /// `NAME.tar`, or a folder if it ends in `/`; it must not exist yet.
        file: PathBuf,
        /// A recorded machine's folder.
        #[arg(long, value_name = "DIR")]
        root: Option<PathBuf>,
    },
    /// Measure how fast a language model is on this machine.
    Bench(BenchArgs),
    /// Put a prompt to a language model, without a server and without the agent.
    RunModel(SayArgs),
    /// Evaluate how a model's own doubts sort its answers.
    #[command(subcommand)]
    FirstPass(FirstPassVerb),
    /// Run containers for the agent that started this process.
    #[command(hide = true)]
    Worker(WorkerArgs),
}

/// Whether a command line asks for JSON: then its errors are JSON too, on standard output.
pub fn wants_json(arguments: impl Iterator<Item = String>) -> bool {
    let mut before = String::new();
    for argument in arguments {
        if argument == "--output=json" || (before == "--output" && argument == "json") {
            return true;
        }
        before = argument;
    }
    false
}

/// A fault as `ouroboros.error/1`.
pub fn error_json(fault: &Fault) -> String {
    serde_json::json!({"schema": "ouroboros.error/1", "error": fault}).to_string()
}

/// Carries out a command.
///
/// # Errors
/// A sentence for the person who typed it.
pub fn run(command: Command, out: &mut dyn Write) -> Result<(), Fault> {
    let home = || AgentHome::from_environment(|name| std::env::var(name).ok());
    if command.dump_config {
        return print(out, &Config::read(&home().config())?.to_toml());
    }
    match command.verb {
        Some(Verb::Worker(args)) => child::run(&args).map_err(|e| Fault::new(FaultCode::Internal, format!("{e:#}"))),
        Some(Verb::Bench(args)) => bench::run(&args, out),
        Some(Verb::RunModel(args)) => say::run(&args, out),
        Some(Verb::FirstPass(FirstPassVerb::Eval(args))) => eval::run(&args, out),
        Some(Verb::Hwdetect { root, output, measure }) => {
            let output = if output == "json" { HwdetectOutput::Json } else { HwdetectOutput::Table };
            let detected = hwdetect::run(&HwdetectOptions { root, output, measure }, out);
            detected.map_err(|e| Fault::new(FaultCode::InvalidArgument, e.to_string()))
        }
        Some(Verb::Join { server, token, token_file, name }) => {
            let source = match (token, token_file) {
                (Some(text), _) => TokenSource::Text(text),
                (None, Some(path)) if path.as_os_str() == "-" => TokenSource::Stdin,
                (None, Some(path)) => TokenSource::File(path),
                (None, None) => {
                    return Err(Fault::new(FaultCode::InvalidArgument, "a token is needed").remedy("give --token or --token-file"));
                }
            };
            let (home, token) = (home(), read_token(&source, &mut std::io::stdin())?);
            let name = name.or(Config::read(&home.config())?.name).unwrap_or_else(host_name);
            let joined = block_on(join(&home, &server, &token, &name))??;
            let text = format!(
                "This machine is now the node {} of {}\n  node id   {}\n  identity  {}\n\nNext:  ouro-agent run\n",
                joined.name,
                joined.server,
                joined.node,
                home.identity().folder().display(),
            );
            print(out, &text)
        }
        Some(Verb::Snapshot { file, root }) => {
            let recorded = snapshot::run(&SnapshotOptions { root, file }, out);
            recorded.map_err(|e| Fault::new(FaultCode::InvalidArgument, e.to_string()))
        }
        Some(Verb::Run) => serve(home()),
        Some(Verb::Status { output }) => {
            let status = block_on(ask_status(&home()))??;
            let json = || format!("{}\n", serde_json::to_string_pretty(&status).unwrap_or_default());
            print(out, &if output == "json" { json() } else { status.to_string() })
        }
        None => Err(Fault::new(FaultCode::InvalidArgument, "there is nothing to do").remedy("see `ouro-agent --help`")),
    }
}

fn serve(home: AgentHome) -> Result<(), Fault> {
    let config = Config::read(&home.config())?;
    let program = std::env::current_exe()
        .map_err(|e| Fault::new(FaultCode::Internal, format!("this program does not find itself to start workers: {e}")))?;
    let run = AgentRunId::from_parts(crate::clock::unix_ms(), rand::random());
    let service = Service::open(Options { home, config, program, run, seed: rand::random() })?;
    block_on(async { service.run(stop_signal()?).await })?
}

/// Two threads are enough: the agent waits most of the time, and models run in workers. Of the blocking ones each sensor may
/// lose one to a kernel that does not answer, and there must be some left.
fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Fault> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).max_blocking_threads(24).enable_all().build();
    let runtime = runtime.map_err(|e| Fault::new(FaultCode::Internal, format!("the runtime cannot be started: {e}")))?;
    let result = runtime.block_on(future);
    // A blocking read that does not end must not hold up the end of the process.
    runtime.shutdown_background();
    Ok(result)
}

fn print(out: &mut dyn Write, text: &str) -> Result<(), Fault> {
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|e| Fault::new(FaultCode::Internal, e.to_string()))
}

/// Cancelled by SIGTERM or SIGINT.
fn stop_signal() -> Result<CancellationToken, Fault> {
    let failed = |e: std::io::Error| Fault::new(FaultCode::Internal, format!("signals cannot be handled: {e}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        told.cancel();
    });
    Ok(stop)
}
