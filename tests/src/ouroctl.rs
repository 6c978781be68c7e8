//! `ouroctl` as a person or a script runs it: arguments in, standard output, standard error and exit code out.

use crate::assets::program;
use crate::process::Process;
use serde::de::DeserializeOwned;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A person's shell on some machine.
#[derive(Debug, Clone)]
pub struct Ouroctl {
    home: PathBuf,
    server: Option<String>,
}

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The command line, for messages.
    pub line: String,
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ouroctl {
    /// With this home.
    pub fn new(home: &Path) -> Self {
        Self { home: home.into(), server: None }
    }

    /// That talks to this server.
    #[must_use]
    pub fn server(mut self, address: &str) -> Self {
        self.server = Some(address.into());
        self
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("ouroctl"));
        command.args(arguments).env("OUROBOROS_HOME", &self.home).env("NO_COLOR", "1").env("COLUMNS", "100");
        match &self.server {
            Some(address) => command.env("OUROBOROS_SERVER", address),
            None => command.env_remove("OUROBOROS_SERVER"),
        };
        command
    }

    /// Runs a command to its end; there is no terminal.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        self.run_with_input(arguments, b"")
    }

    /// Runs a command with `input` on its standard input.
    ///
    /// # Panics
    /// When it cannot be run at all.
    pub fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Outcome {
        let mut command = self.command(arguments);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ouroctl can be run");
        let mut stdin = child.stdin.take().expect("it was piped");
        let input = input.to_vec();
        // A command that has read enough closes its end; that is its right.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().expect("ouroctl can be waited for");
        writer.join().expect("the writer does not panic");
        Outcome {
            line: format!("ouroctl {}", arguments.join(" ")),
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("ouroctl writes UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("ouroctl writes UTF-8"),
        }
    }

    /// Starts a command and leaves it running; its output goes to `log`.
    pub fn start(&self, arguments: &[&str], log: &Path) -> Process {
        Process::start("ouroctl", self.command(arguments), log)
    }
}

impl Outcome {
    /// Asserts the exit code.
    ///
    /// # Panics
    /// When it is another; both outputs are in the message.
    #[must_use]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "exit code of `{}`\n{}", self.line, self.both());
        self
    }

    /// Both outputs together, for messages and for what may stand in either.
    pub fn both(&self) -> String {
        format!("--- stdout\n{}--- stderr\n{}", self.stdout, self.stderr)
    }

    /// Asserts that a text stands in either output, whatever the case.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn says(self, text: &str) -> Self {
        let both = self.both();
        assert!(both.to_lowercase().contains(&text.to_lowercase()), "`{}` does not say {text:?}\n{both}", self.line);
        self
    }

    /// Standard output as one JSON document.
    ///
    /// # Panics
    /// When it is none.
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("`{}` printed no such JSON: {e}\n{}", self.line, self.both()))
    }
}
