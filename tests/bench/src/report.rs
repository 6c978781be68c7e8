//! What a benchmark says: its figures, and beside them the machine and what else it was doing.

use crate::Noop;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// A whole report, schema `ouroboros.bench/1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Always [`Report::SCHEMA`].
    pub schema: String,
    /// Where it was measured.
    pub machine: Machine,
    /// No-op requests.
    pub noop: Noop,
}

/// The machine, as far as it explains the figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: Option<String>,
    /// Hardware threads.
    pub logical_cpus: Option<usize>,
    /// Processes that were running or waiting to run over the last minute, before the benchmark began.
    pub load_1min: Option<f64>,
    /// How the programs were built: `debug` is the development profile, in which only the parts that compute are optimised.
    pub build: String,
}

impl Machine {
    /// Looks at the machine as it is now.
    pub fn look() -> Self {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = cpuinfo
            .lines()
            .find_map(|l| l.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim().to_string()));
        let load = std::fs::read_to_string("/proc/loadavg").ok();
        let programs = ouro_tests::assets::program("ouro-server");
        let build = programs
            .parent()
            .and_then(|f| f.file_name())
            .map_or_else(|| "unknown".into(), |n| n.to_string_lossy().into_owned());
        Self {
            cpu,
            logical_cpus: std::thread::available_parallelism().ok().map(Into::into),
            load_1min: load.and_then(|text| text.split_whitespace().next()?.parse().ok()),
            build,
        }
    }
}

impl Report {
    /// The schema's name and version.
    pub const SCHEMA: &'static str = "ouroboros.bench/1";

    /// For people.
    pub fn table(&self) -> String {
        let (machine, noop) = (&self.machine, &self.noop);
        let mut text = String::new();
        let mut row = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<46} {value}");
        };
        let unknown = || "unknown".to_string();
        let mib = |bytes: Option<u64>| bytes.map_or_else(unknown, |b| format!("{:.1} MiB", b as f64 / f64::from(1 << 20)));
        row("processor", machine.cpu.clone().unwrap_or_else(unknown));
        row("hardware threads", machine.logical_cpus.map_or_else(unknown, |n| n.to_string()));
        row("load before it began (1 min)", machine.load_1min.map_or_else(unknown, |l| format!("{l:.2}")));
        row("build", machine.build.clone());
        row("durable 4 KiB write on this disk, P50", format!("{:.2} ms", noop.disk_sync_p50_ms));
        row("no-op requests in each measurement", noop.requests.to_string());
        row("agents, and slots of each", format!("{}, {}", noop.agents, noop.slots));
        row("one after the other: P50", format!("{:.1} ms", noop.sequential_p50_ms));
        row("one after the other: P99", format!("{:.1} ms", noop.sequential_p99_ms));
        row("one after the other: rate", format!("{:.0} requests/s", noop.sequential_per_s));
        row(&format!("{} at a time: rate", noop.in_flight), format!("{:.0} steps/s", noop.concurrent_per_s));
        row(&format!("{} at a time: P50", noop.in_flight), format!("{:.1} ms", noop.concurrent_p50_ms));
        row(&format!("{} at a time: P99", noop.in_flight), format!("{:.1} ms", noop.concurrent_p99_ms));
        row("4 requests of 100 steps at a time: rate", format!("{:.0} steps/s", noop.wide_steps_per_s));
        let split = |server: f64, agents: f64| format!("{server:.2} ms of the server, {agents:.2} ms of agents and workers");
        row("processor time of a request, many at a time", split(noop.server_ms_per_request, noop.agents_ms_per_request));
        row("processor time of a step of a hundred", split(noop.server_ms_per_wide_step, noop.agents_ms_per_wide_step));
        row("server memory before", mib(noop.server_memory_before_bytes));
        row("server memory after", mib(noop.server_memory_after_bytes));
        row("agent memory after", mib(noop.agent_memory_after_bytes));
        row("store growth per request", format!("{:.1} KiB", noop.store_bytes_per_request / 1024.0));
        text
    }
}
