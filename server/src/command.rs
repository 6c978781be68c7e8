//! The command line of `ouro-server`.

use crate::daemon::{Options, Service};
use crate::init::init;
use crate::ticker::SystemTicker;
use clap::{Parser, Subcommand};
use ouro_common::error::{Fault, FaultCode};
use ouro_common::home::Home;
use std::io::Write;
use std::net::SocketAddr;
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
}

/// Carries out a command.
///
/// # Errors
/// A sentence for the person who typed it.
pub async fn run(command: Command, out: &mut dyn Write) -> Result<(), Fault> {
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
        Verb::Run { listen, min_free_bytes, require_approval } => {
            let service = Service::open(Options { home: home.clone(), listen, min_free_bytes, require_approval, ticker }).await?;
            write(out, &format!("listening on {}\n  address file  {}\n", service.address(), home.server_address().display()))?;
            service.run(stop_signal()?).await
        }
    }
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
