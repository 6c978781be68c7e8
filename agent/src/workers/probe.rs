//! Asks a worker of its own which runtimes work here and what the machine achieves, and lets it go again. What it finds is told at
//! once: a library that hangs afterwards takes nothing back.

use super::process::{Process, WorkerOptions};
use super::protocol::{Order, ProbeOrder, Word};
use crate::sensing::speeds::Speeds;
use ouro_common::device::{Achieved, RuntimeAvailability};

/// Something a probe found out.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    /// Whether a runtime works.
    Runtime(RuntimeAvailability),
    /// What the machine achieves.
    Measured(Achieved),
    /// How fast disk and hashing are.
    Speeds(Speeds),
}

/// Probes the machine. Dropped, it ends.
///
/// # Errors
/// Why the worker did not come to its end, in words.
pub async fn probe(options: &WorkerOptions, order: ProbeOrder, mut tell: impl FnMut(Finding)) -> Result<(), String> {
    let mut worker = Process::start(options).map_err(|e| format!("a worker cannot be started: {e}"))?;
    let told = worker.tell(&Order::Probe(order)).await;
    loop {
        match worker.next().await {
            Ok(Some(Word::Works { runtime })) => tell(Finding::Runtime(runtime)),
            Ok(Some(Word::Measured { achieved })) => tell(Finding::Measured(achieved)),
            Ok(Some(Word::Speeds { speeds })) => tell(Finding::Speeds(speeds)),
            Ok(Some(Word::Done)) => return Ok(()),
            Ok(_) => return Err(worker.autopsy().await.why),
            Err(error) => return Err(told.err().unwrap_or(error).to_string()),
        }
    }
}
