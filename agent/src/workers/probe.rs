//! Asks a worker of its own which runtimes work here and what the machine achieves, and lets it go again.

use super::process::{Process, WorkerOptions};
use super::protocol::{Order, ProbeOrder, Word};
use crate::sensing::speeds::Speeds;
use ouro_common::device::{Achieved, RuntimeAvailability};
use std::time::Duration;

/// A probe that takes longer is killed: some library hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a probe found.
#[derive(Debug, Clone, Default)]
pub struct Probed {
    /// One entry a runtime.
    pub runtimes: Vec<RuntimeAvailability>,
    /// Bandwidth and compute, where they were measured.
    pub achieved: Option<Achieved>,
    /// Disk and hashing, where they were measured.
    pub speeds: Option<Speeds>,
}

/// Probes the machine. What cannot be found out is said to be unavailable, with the reason.
pub async fn probe(options: &WorkerOptions, order: ProbeOrder) -> Probed {
    let asked = async {
        let mut worker = Process::start(options).map_err(|e| format!("a worker cannot be started: {e}"))?;
        let told = worker.tell(&Order::Probe(order)).await;
        match worker.next().await {
            Ok(Some(Word::Probed { runtimes, measured, speeds })) => Ok(Probed { runtimes, achieved: measured, speeds }),
            Ok(_) => Err(worker.autopsy().await.why),
            Err(error) => Err(told.err().unwrap_or(error).to_string()),
        }
    };
    let outcome = tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err("the probe took longer than 30 s".into()));
    outcome.unwrap_or_else(|why| {
        tracing::error!(why, "the runtimes could not be probed");
        let none = |runtime: &str| RuntimeAvailability { runtime: runtime.into(), available: false, detail: why.clone() };
        Probed { runtimes: ["builtin", "gguf", "onnx"].map(none).to_vec(), ..Probed::default() }
    })
}
