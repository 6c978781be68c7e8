//! `ouro-vm`: a journey through a virtual machine with PCIe slots; `make test-vm` prepares what it needs.

use clap::Parser;
use ouro_vm::{Account, journey};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Pushes modules into the slots of a virtual machine and pulls them out again.
#[derive(Debug, Parser)]
#[command(name = "ouro-vm", version)]
struct Arguments {
    /// The folder with the guest's `vmlinuz` and `root.img`
    #[arg(long, value_name = "FOLDER")]
    guest: PathBuf,
    /// The folder that `make install` was given as DESTDIR
    #[arg(long, value_name = "FOLDER")]
    installed: PathBuf,
    /// Keep the serial log although nothing failed
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "test-vm: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut folder = tempfile::Builder::new().prefix("ouro-vm-").tempdir()?;
    let mut out = std::io::stdout();
    let went = journey::go(&arguments.guest, &arguments.installed, folder.path(), &mut Account::new(&mut out));
    if arguments.keep || went.is_err() {
        folder.disable_cleanup(true);
        // The disk is large, and the next run makes it again.
        let _ = std::fs::remove_file(folder.path().join("installed.img"));
        writeln!(std::io::stderr(), "test-vm: what the guest said is in {}", folder.path().join("serial.log").display())?;
    }
    went
}
