//! The command line of `ouro-server`.

use crate::backup::{BackedUp, Restored, backup, restore};
use crate::daemon::{Options, Service};
use crate::init::init;
use crate::simulate;
use crate::store::Ticker as _;
use crate::ticker::SystemTicker;
use clap::{Parser, Subcommand};
use ouro_common::clock::WallTime;
use ouro_common::error::{Fault, FaultCode};
use ouro_common::home::Home;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// The central server of an Ouroboros fleet.
#[derive(Debug, Parser)]
#[command(name = "ouro-server", version, arg_required_else_help = true)]
pub struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a fleet: its CA, an operator's identity and a join token. Overwrites nothing.
    Init,
    /// Try the scheduler on a modelled fleet and a trace, in virtual time, beside simpler rules.
    Simulate(simulate::Options),
    /// Serve the fleet of this home.
    Run {
        /// Where to listen; port 0 takes a free one.
        #[arg(long, default_value = "0.0.0.0:7443", value_name = "ADDRESS")]
        listen: SocketAddr,
        /// Refuse new requests when less is free on the disk, in bytes.
        #[arg(long, default_value_t = 64 << 20, value_name = "BYTES")]
        min_free_bytes: u64,
        /// Every new node waits until an operator approves it, whatever its token says.
        #[arg(long)]
        require_approval: bool,
    },
    /// Write the whole fleet into one file, while the server runs or not. Keep it secret: the CA's key is in it.
    Backup {
        /// Where to; a file that is there is replaced.
        file: PathBuf,
    },
    /// Make this home the fleet of a backup. Steps that were under way are given out anew.
    Restore {
        /// The backup.
        file: PathBuf,
        /// Move a fleet that is in this home aside.
        #[arg(long)]
        force: bool,
    },
}

/// Carries out a command.
///
/// # Errors
/// A sentence for the person who typed it.
pub async fn run(command: Command, out: &mut dyn Write) -> Result<(), Fault> {
    if let Verb::Simulate(options) = &command.verb {
        return write(out, &simulate::simulate(options)?);
    }
    let home = Home::from_environment(|name| std::env::var(name).ok()).ok_or_else(|| {
        Fault::new(FaultCode::InvalidArgument, "there is no home folder").remedy("set OUROBOROS_HOME to a folder of your choice")
    })?;
    let ticker = Arc::new(SystemTicker::start());
    match command.verb {
        Verb::Init => {
            let made = init(&home, ticker).await?;
            let text = format!(
                "A fleet was made in {}\n  operator identity  {}\n  join token         {}  (100 uses, 24 hours)\n\n{}\n\n\
                 Next, here:            ouro-server run\n\
                 then on each machine:  ouro-agent join THIS-HOST:7443 --token {}\n",
                home.root().display(),
                home.operator().display(),
                home.join_token().display(),
                made.token,
                made.token,
            );
            write(out, &text)
        }
        Verb::Simulate(_) => Ok(()),
        Verb::Run { listen, min_free_bytes, require_approval } => {
            let service = Service::open(Options { home: home.clone(), listen, min_free_bytes, require_approval, ticker }).await?;
            write(out, &format!("listening on {}\n  address file  {}\n", service.address(), home.server_address().display()))?;
            service.run(stop_signal()?).await
        }
        Verb::Backup { file } => {
            let made = backup(&home, &file, ticker.wall())?;
            write(out, &backed_up(&made, &file))
        }
        Verb::Restore { file, force } => {
            let done = restore(&home, &file, force, ticker.as_ref())?;
            write(out, &restored(&done, &home))
        }
    }
}

fn backed_up(made: &BackedUp, file: &Path) -> String {
    let gone = if made.gone > 0 { format!(" ({} were gone: their time was over)", made.gone) } else { String::new() };
    format!(
        "The fleet was written to {}, {} KiB\n  requests  {}\n  nodes     {}\n  blobs     {}{gone}\n\n\
         Keep it secret: who has it can sign certificates of this fleet.\n",
        file.display(),
        made.bytes.div_ceil(1024),
        made.store.requests,
        made.store.nodes,
        made.store.blobs.len() - made.gone,
    )
}

fn restored(done: &Restored, home: &Home) -> String {
    let replaced = done.replaced.as_ref().map(|p| format!("  moved aside  {}\n", p.display())).unwrap_or_default();
    format!(
        "The fleet of {} is in {}\n  requests     {}\n  nodes        {}\n  generation   {}\n{replaced}\n\
         Next:  ouro-server run\n\
         Nodes come back by themselves. Tokens and removals are as they were then: look at `ouroctl token list` and `ouroctl nodes`.\n",
        WallTime(done.taken_unix_ms),
        home.server().display(),
        done.requests,
        done.nodes,
        done.generation,
    )
}

fn write(out: &mut dyn Write, text: &str) -> Result<(), Fault> {
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|e| Fault::new(FaultCode::Internal, e.to_string()))
}

/// Turns true on SIGTERM or SIGINT.
fn stop_signal() -> Result<watch::Receiver<bool>, Fault> {
    let failed = |e: std::io::Error| Fault::new(FaultCode::Internal, format!("signals cannot be handled: {e}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let (sender, drain) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        let _ = sender.send(true);
    });
    Ok(drain)
}
