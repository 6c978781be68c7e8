//! One worker process from the agent's side: started, spoken to, and killed with its whole group.

use super::protocol::{MAX_LINE_BYTES, Order, Word, line};
use super::threads;
use crate::logs::{LogWriter, Stream};
use crate::sensing::host_root::HostRoot;
use ouro_common::step::Evidence;
use rustix::process::{Pid, Signal, kill_process_group};
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

/// How workers are started.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// The program that is started as `PROGRAM worker`.
    pub program: PathBuf,
    /// A limit on a worker's address space.
    pub address_space_bytes: Option<u64>,
    /// Threads a worker may compute with; all when `None`. A quota or a low battery leaves fewer.
    pub threads: Option<usize>,
}

/// How a worker ended that was not asked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Death {
    /// In words.
    pub(crate) why: String,
    /// What speaks for the work's guilt.
    pub(crate) evidence: Option<Evidence>,
}

/// A running worker. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    group: Option<Pid>,
    orders: ChildStdin,
    words: BufReader<ChildStdout>,
    /// The beginning of a line whose rest has not come.
    half: Vec<u8>,
    log: Arc<Mutex<Option<LogWriter>>>,
}

impl Process {
    /// Starts `PROGRAM worker`. Must be called on a thread that lives as long as the worker: the worker dies with it.
    pub(crate) fn start(options: &WorkerOptions) -> io::Result<Self> {
        let mut command = Command::new(&options.program);
        command.arg("worker").arg("--parent").arg(std::process::id().to_string());
        if let Some(bytes) = options.address_space_bytes {
            command.arg("--address-space-bytes").arg(bytes.to_string());
        }
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = threads::allowed(&HostRoot::live(), processors, options.threads);
        command.envs(ouro_engine::threads::environment(threads));
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        let missing = || io::Error::other("a worker without pipes");
        let orders = child.stdin.take().ok_or_else(missing)?;
        let words = BufReader::new(child.stdout.take().ok_or_else(missing)?);
        let log = Arc::default();
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(pass_on(stderr, child.id().unwrap_or(0), Arc::clone(&log)));
        }
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok(Self { child, group, orders, words, half: vec![], log })
    }

    /// Its process id, while it runs.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Whether it died while nobody spoke with it.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Whose log gets what it says from now on, beside the agent's.
    pub(crate) fn log_to(&self, log: Option<LogWriter>) {
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = log;
    }

    /// Gives an order.
    pub(crate) async fn tell(&mut self, order: &Order) -> io::Result<()> {
        self.orders.write_all(&line(order)).await?;
        self.orders.flush().await
    }

    /// The next word; `None` when the worker closed its end. Given up half-way, it loses nothing.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Word>> {
        let room = (MAX_LINE_BYTES + 1).saturating_sub(self.half.len());
        (&mut self.words).take(room as u64).read_until(b'\n', &mut self.half).await?;
        let line = std::mem::take(&mut self.half);
        if line.is_empty() {
            return Ok(None);
        }
        if !line.ends_with(b"\n") {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the worker's line is cut off or longer than 8 MiB"));
        }
        serde_json::from_slice(&line).map(Some).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
    }

    /// Kills the worker and all it started.
    fn kill(&mut self) {
        if let Some(group) = self.group.take() {
            // That it is dead already is what was wanted.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// Waits for the end of a worker that stopped talking, and says what it died of.
    pub(crate) async fn autopsy(mut self) -> Death {
        let patience = std::time::Duration::from_secs(2);
        match tokio::time::timeout(patience, self.child.wait()).await {
            Ok(Ok(status)) => death(status),
            Ok(Err(error)) => Death { why: format!("the worker is gone: {error}"), evidence: None },
            Err(_) => {
                self.kill();
                Death { why: "the worker stopped talking and was killed".into(), evidence: None }
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn death(status: ExitStatus) -> Death {
    match status.signal() {
        Some(signal) => {
            let why = format!("the worker died by signal {signal}{}", name(signal));
            Death { why, evidence: Evidence::from_signal(signal) }
        }
        None => Death { why: format!("the worker ended with {status}"), evidence: None },
    }
}

fn name(signal: i32) -> &'static str {
    match signal {
        4 => " (illegal instruction)",
        6 => " (abort)",
        7 => " (bus error)",
        9 => " (killed from outside)",
        11 => " (segmentation fault)",
        _ => "",
    }
}

/// A worker's stderr becomes lines of the agent's log, each cut at 1,000 bytes, and of the step's that it works for.
async fn pass_on(stderr: ChildStderr, worker: u32, log: Arc<Mutex<Option<LogWriter>>>) {
    let mut lines = BufReader::new(stderr);
    let mut line = vec![];
    loop {
        line.clear();
        match (&mut lines).take(1000).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                if let Some(log) = log.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
                    log.write(Stream::Err, &line);
                }
                tracing::info!(worker, "{}", String::from_utf8_lossy(&line).trim_end());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_deaths_by_its_own_doing_are_evidence() {
        let of = |signal: i32| death(ExitStatus::from_raw(signal)).evidence;
        assert_eq!(of(11), Some(Evidence::Signal { number: 11 }));
        assert_eq!(of(9), None);
        assert_eq!(
            death(ExitStatus::from_raw(1 << 8)),
            Death { why: "the worker ended with exit status: 1".into(), evidence: None }
        );
    }
}
