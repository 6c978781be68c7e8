//! A real `ouro-server` on a home of its own.

use crate::assets::program;
use crate::process::Process;
use crate::wait::{SHORT, eventually};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A server: its home and, while it runs, its process.
#[derive(Debug)]
pub struct Server {
    home: PathBuf,
    log: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// The address is kept over restarts, so that agents find the server again.
    address: String,
    process: Option<Process>,
}

impl Server {
    /// Makes a fleet in `home` and serves it.
    ///
    /// # Panics
    /// When the server cannot be started; its words are in the message.
    pub fn start(home: &Path, log: &Path, arguments: &[&str], environment: &[(String, String)]) -> Self {
        let made = Self::command(home, &["init"]);
        assert!(made.status.success(), "ouro-server init: {}", String::from_utf8_lossy(&made.stderr));
        let arguments = arguments.iter().map(ToString::to_string).collect();
        let mut server = Self {
            home: home.into(),
            log: log.into(),
            arguments,
            environment: environment.to_vec(),
            address: "127.0.0.1:0".into(),
            process: None,
        };
        server.restart();
        server
    }

    /// Runs `ouro-server` with `arguments` on `home` to its end.
    pub fn command(home: &Path, arguments: &[&str]) -> Output {
        let mut command = Command::new(program("ouro-server"));
        command.args(arguments).env("OUROBOROS_HOME", home).env("RUST_LOG", "info");
        command.output().expect("ouro-server can be run")
    }

    /// Starts it again on the same home and address.
    pub fn restart(&mut self) {
        self.process = None;
        let file = self.home.join("server/address");
        let _ = std::fs::remove_file(&file);
        let mut command = Command::new(program("ouro-server"));
        command.args(["run", "--listen", &self.address]).args(&self.arguments);
        command.env("OUROBOROS_HOME", &self.home).env("RUST_LOG", "info");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let mut process = Process::start("ouro-server", command, &self.log);
        self.address = eventually("the server's address", SHORT, || {
            assert!(process.ended().is_none(), "the server ended: {}", process.log());
            let address = std::fs::read_to_string(&file).ok()?;
            address.ends_with('\n').then(|| address.trim().to_string())
        });
        self.process = Some(process);
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        self.process_mut().kill();
    }

    /// Ends it in order.
    pub fn stop(&mut self) {
        let status = self.process_mut().terminate();
        assert!(status.success(), "the server ended with {status}");
    }

    /// Asks it to end, and does not wait until it did.
    pub fn begin_to_stop(&self) {
        self.process().ask_to_end();
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its home: also the home of the operator that `init` made.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Its process.
    ///
    /// # Panics
    /// When it was never started.
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("the server was started")
    }

    fn process_mut(&mut self) -> &mut Process {
        self.process.as_mut().expect("the server was started")
    }

    /// The join token that `init` made.
    pub fn join_token(&self) -> String {
        let text = std::fs::read_to_string(self.home.join("join-token")).expect("init writes a join token");
        text.trim().to_string()
    }
}
