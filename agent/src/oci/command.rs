//! The OCI runtime's command line: create, start, delete, as the runtime specification names them. crun, runc and youki agree.

use super::orphans::Orphans;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{ChildStderr, ChildStdout, Command};

/// The longest a command of the runtime may take; what takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(20);
/// The longest it may take to say its version.
const SAY_VERSION: Duration = Duration::from_secs(5);

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
        let (mut child, _entry) = Orphans::spawn(&mut command).map_err(|e| self.error(verb, e.to_string()))?;
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
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let (child, _entry) = Orphans::spawn(&mut command).map_err(|e| self.error(verb, e.to_string()))?;
        let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.map_err(|_| self.error(verb, "it hangs"))?;
        let output = output.map_err(|e| self.error(verb, e.to_string()))?;
        if output.status.success() { Ok(()) } else { Err(self.error(verb, last_line(&output.stderr))) }
    }

    /// Kills a container and forgets it; one that is not there is right as well. Blocks. Whether the runtime came to an end: else
    /// it hangs.
    pub(super) fn delete(&self, name: &str) -> bool {
        let mut command = std::process::Command::new(&self.program);
        command.arg("--root").arg(&self.state).args(["delete", "--force"]).arg(name);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok((mut child, _entry)) = Orphans::spawn_blocking(&mut command) else {
            return true;
        };
        let start = Instant::now();
        while let Ok(None) = child.try_wait() {
            if start.elapsed() > PATIENCE {
                let _ = child.kill();
                let _ = child.wait();
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // What a `create` that failed had started has become this process's.
        Orphans::reap(&self.program);
        true
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
    /// What the system said, or that it hangs.
    pub(super) async fn version(&self) -> Result<String, CliError> {
        let verb = "--version";
        let mut command = Command::new(&self.program);
        command.arg(verb).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let (child, _entry) = Orphans::spawn(&mut command).map_err(|e| self.error(verb, e.to_string()))?;
        let said = tokio::time::timeout(SAY_VERSION, child.wait_with_output()).await.map_err(|_| self.error(verb, "it hangs"))?;
        let said = said.map_err(|e| self.error(verb, e.to_string()))?.stdout;
        let line = String::from_utf8_lossy(&said).lines().next().unwrap_or_default().trim().to_string();
        Ok(line.chars().take(200).collect())
    }
}

/// What matters of a long complaint: its last line.
fn last_line(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let line = text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("it failed and said nothing").trim();
    line.chars().take(400).collect()
}
