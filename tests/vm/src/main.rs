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
    /// The folder that `make modules` filled
    #[arg(long, value_name = "FOLDER")]
    modules: PathBuf,
    /// Go this leg; may be given several times; else all
    #[arg(long, value_enum)]
    leg: Vec<journey::Leg>,
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
    let Arguments { guest, installed, modules, leg, keep } = arguments;
    let baggage = journey::Baggage { guest, installed, modules, legs: leg, folder: folder.path() };
    let went = journey::go(&baggage, &mut Account::new(&mut out));
    if *keep || went.is_err() {
        folder.disable_cleanup(true);
        // The disks are large, and the next run makes them again.
        for disk in std::fs::read_dir(folder.path())?.flatten().filter(|f| f.path().extension().is_some_and(|e| e == "img")) {
            let _ = std::fs::remove_file(disk.path());
        }
        writeln!(std::io::stderr(), "test-vm: what the guest said is in {}", folder.path().join("serial.log").display())?;
    }
    went
}
