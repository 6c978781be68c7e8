//! A process of a trial fleet that outlives the command that started it.
//!
//! It holds a locked file as its standard input, which the kernel unlocks when it ends however it ends. So whether it
//! runs is known for certain, and a process id is never taken for another process's that got the same number.

use ouro_common::error::{Fault, FaultCode};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::time::Instant;

/// How often it is looked whether a process has ended.
const LOOK: Duration = Duration::from_millis(50);

/// A process by its name.
pub(super) struct Process {
    dir: PathBuf,
    name: String,
    home: PathBuf,
}

impl Process {
    /// The process `name` of the fleet in `dir`, with its home.
    pub(super) fn new(dir: &Path, name: &str, home: PathBuf) -> Self {
        Self { dir: dir.to_path_buf(), name: name.to_string(), home }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
    pub(super) fn home(&self) -> &PathBuf {
        &self.home
    }
    pub(super) fn is_server(&self) -> bool {
        self.name == "server"
    }
    /// Where its output goes.
    pub(super) fn log(&self) -> PathBuf {
        self.dir.join(format!("{}.log", self.name))
    }
    fn lock_file(&self) -> PathBuf {
        self.dir.join(format!("{}.lock", self.name))
    }
    fn pid_file(&self) -> PathBuf {
        self.dir.join(format!("{}.pid", self.name))
    }

    /// Whether it was ever started.
    pub(super) fn was_started(&self) -> bool {
        self.lock_file().exists()
    }

    /// Whether it runs.
    pub(super) fn is_running(&self) -> bool {
        match File::open(self.lock_file()) {
            Ok(file) => flock(&file, FlockOperation::NonBlockingLockExclusive).is_err(),
            Err(_) => false,
        }
    }

    /// Its process id when it was last started.
    pub(super) fn pid(&self) -> Option<i32> {
        std::fs::read_to_string(self.pid_file()).ok()?.trim().parse().ok()
    }

    /// A command with this process's home and log, in a process group of its own, so that Ctrl-C does not reach it.
    pub(super) fn command(&self, program: &Path, arguments: &[&str]) -> Result<Command, Fault> {
        let log = OpenOptions::new().create(true).append(true).open(self.log()).map_err(|e| self.fault(&self.log(), &e))?;
        let both = log.try_clone().map_err(|e| self.fault(&self.log(), &e))?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("OUROBOROS_HOME", &self.home)
            .env_remove("OUROBOROS_SERVER")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(both)
            .process_group(0);
        Ok(command)
    }

    /// Starts it. One that runs already is left alone, and the answer is `false`.
    pub(super) fn start(&self, program: &Path, arguments: &[&str]) -> Result<bool, Fault> {
        let path = self.lock_file();
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|e| self.fault(&path, &e))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(false);
        }
        let mut command = self.command(program, arguments)?;
        let child = command.stdin(lock).spawn().map_err(|e| self.fault(program, &e))?;
        // The command holds another copy of the locked file.
        drop(command);
        std::fs::write(self.pid_file(), format!("{}\n", child.id())).map_err(|e| self.fault(&self.pid_file(), &e))?;
        Ok(true)
    }

    /// Sends SIGTERM if it runs.
    pub(super) fn ask_to_stop(&self) -> Result<(), Fault> {
        self.signal(Signal::TERM)
    }

    /// Waits until it has ended; kills it after `grace`.
    pub(super) async fn wait_or_kill(&self, grace: Duration) -> Result<(), Fault> {
        if self.ends_within(grace).await {
            return Ok(());
        }
        self.signal(Signal::KILL)?;
        if self.ends_within(grace).await {
            return Ok(());
        }
        Err(Fault::new(FaultCode::Internal, format!("{} does not end, even when it is killed", self.name)).at(self.pid_file().display()))
    }

    async fn ends_within(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        while self.is_running() {
            if Instant::now() >= end {
                return false;
            }
            tokio::time::sleep(LOOK).await;
        }
        true
    }

    fn signal(&self, signal: Signal) -> Result<(), Fault> {
        if !self.is_running() {
            return Ok(());
        }
        let unknown = || {
            Fault::new(FaultCode::Internal, format!("{} runs, but its process id is not known", self.name)).at(self.pid_file().display())
        };
        let pid = self.pid().and_then(Pid::from_raw).ok_or_else(unknown)?;
        match kill_process(pid, signal) {
            // It has ended in the meantime.
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(e) => {
                Err(Fault::new(FaultCode::PermissionDenied, format!("{} cannot be stopped: {e}", self.name)).at(pid.as_raw_nonzero()))
            }
        }
    }

    /// The last lines it said, for who must find out why it did not start.
    pub(super) fn last_words(&self) -> String {
        let text = std::fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n    ")
    }

    fn fault(&self, path: &Path, error: &std::io::Error) -> Fault {
        Fault::new(FaultCode::Internal, format!("{} cannot be started: {error}", self.name)).at(path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, folder: &Path) -> Process {
        let process = Process::new(folder, "server", folder.join("node-1"));
        assert!(process.start(Path::new("/bin/sh"), &["-c", script]).unwrap());
        process
    }

    #[tokio::test]
    async fn a_process_is_started_once_seen_and_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let process = shell("echo ready; exec sleep 60", folder.path());
        assert!(process.is_running());
        while process.last_words() != "ready" {
            tokio::time::sleep(LOOK).await;
        }
        assert!(!process.start(Path::new("/bin/sh"), &["-c", "true"]).unwrap(), "it runs already");
        process.ask_to_stop().unwrap();
        process.wait_or_kill(Duration::from_secs(5)).await.unwrap();
        assert!(!process.is_running());
        process.ask_to_stop().unwrap();
    }

    #[tokio::test]
    async fn what_does_not_listen_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let process = shell("trap '' TERM; echo deaf; while :; do read x; done", folder.path());
        while process.last_words() != "deaf" {
            tokio::time::sleep(LOOK).await;
        }
        process.ask_to_stop().unwrap();
        process.wait_or_kill(Duration::from_millis(300)).await.unwrap();
        assert!(!process.is_running());
    }

    #[test]
    fn a_stale_process_id_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let process = Process::new(folder.path(), "agent-1", folder.path().join("node-1"));
        std::fs::write(folder.path().join("agent-1.lock"), "").unwrap();
        // Our own id stands for a process that got the number later: the test would not survive the signal.
        std::fs::write(folder.path().join("agent-1.pid"), std::process::id().to_string()).unwrap();
        assert!(process.was_started() && !process.is_running());
        process.signal(Signal::KILL).unwrap();
    }
}
