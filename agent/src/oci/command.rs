//! The OCI runtime's command line: create, start, delete, as the runtime specification names them. crun, runc and youki agree.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{ChildStderr, ChildStdout, Command};

/// The longest a command of the runtime may take; what takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// An installed runtime, with the folder where it remembers this agent's containers.
#[derive(Debug, Clone)]
pub(super) struct Cli {
    /// The program.
    pub(super) program: PathBuf,
    /// Its state.
    pub(super) state: PathBuf,
}

/// A command of the runtime failed.
#[derive(Debug, thiserror::Error)]
#[error("{program} {verb}: {problem}")]
pub(super) struct CliError {
    program: String,
    verb: &'static str,
    problem: String,
}

/// What a created container says.
pub(super) struct Pipes {
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
}

impl Cli {
    fn error(&self, verb: &'static str, problem: impl Into<String>) -> CliError {
        let program = self.program.file_name().unwrap_or(self.program.as_os_str()).to_string_lossy().into_owned();
        CliError { program, verb, problem: problem.into() }
    }

    /// Makes a container; its first process waits to be started. The pipes are the container's.
    ///
    /// # Errors
    /// What the runtime said.
    pub(super) async fn create(&self, name: &str, bundle: &Path, pid_file: &Path) -> Result<Pipes, CliError> {
        let verb = "create";
        let mut command = Command::new(&self.program);
        command
            .arg("--root")
            .arg(&self.state)
            .arg(verb)
            .arg("--bundle")
            .arg(bundle)
            .arg("--pid-file")
            .arg(pid_file)
            .arg(name);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|e| self.error(verb, e.to_string()))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (Some(stdout), Some(mut stderr)) = (stdout, stderr) else {
            return Err(self.error(verb, "it has no pipes"));
        };
        let ended = tokio::time::timeout(PATIENCE, child.wait()).await.map_err(|_| self.error(verb, "it hangs"))?;
        let status = ended.map_err(|e| self.error(verb, e.to_string()))?;
        if status.success() {
            return Ok(Pipes { stdout, stderr });
        }
        let mut said = vec![];
        let reading = tokio::io::AsyncReadExt::read_to_end(&mut stderr, &mut said);
        let _ = tokio::time::timeout(Duration::from_secs(1), reading).await;
        Err(self.error(verb, last_line(&said)))
    }

    /// Lets the container's first process go.
    ///
    /// # Errors
    /// What the runtime said.
    pub(super) async fn start(&self, name: &str) -> Result<(), CliError> {
        let verb = "start";
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.state).arg(verb).arg(name);
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(PATIENCE, command.output()).await.map_err(|_| self.error(verb, "it hangs"))?;
        let output = output.map_err(|e| self.error(verb, e.to_string()))?;
        if output.status.success() { Ok(()) } else { Err(self.error(verb, last_line(&output.stderr))) }
    }

    /// Kills a container and forgets it; one that is not there is right as well. Blocks.
    pub(super) fn delete(&self, name: &str) {
        let mut command = std::process::Command::new(&self.program);
        command.arg("--root").arg(&self.state).args(["delete", "--force"]).arg(name);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(mut child) = command.spawn() else { return };
        let start = Instant::now();
        while let Ok(None) = child.try_wait() {
            if start.elapsed() > PATIENCE {
                let _ = child.kill();
                let _ = child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The containers it remembers.
    pub(super) fn remembered(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.state).into_iter().flatten().flatten();
        entries
            .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .collect()
    }

    /// What it says its version is; also tells whether it can be run at all.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn version(&self) -> io::Result<String> {
        let mut child = std::process::Command::new(&self.program)
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut said = String::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(4096).read_to_string(&mut said)?;
        }
        let _ = child.wait();
        Ok(said.lines().next().unwrap_or_default().trim().to_string())
    }
}

/// What matters of a long complaint: its last line.
fn last_line(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let line = text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("it failed and said nothing").trim();
    line.chars().take(400).collect()
}
