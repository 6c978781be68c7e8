//! No-op requests through the durable store: everything that happens to a request but its work.
//!
//! Each is a request with an approved plan of one `noop` step: accepted durably, placed, assigned durably, run in a worker,
//! committed durably, and its end told to who waits. So a request costs three durable transactions. Requests of many steps show
//! what a step alone costs.

use anyhow::Context as _;
use ouro_common::envelope::Envelope;
use ouro_common::plan::Plan;
use ouro_common::step::RequestState;
use ouro_tests::{Asking, Fleet, NodeOptions, request, single_step, wide_plan};
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Requests before the clock starts: connections are made and the worker is loaded.
const WARM_UP: u32 = 20;
/// Small durable writes that show what the disk itself costs.
const SYNCS: usize = 100;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct NoopOptions {
    /// Requests in each of the two measurements.
    pub requests: u32,
    /// Requests at the same time in the second one.
    pub in_flight: u32,
    /// Agents.
    pub agents: u32,
    /// Steps that each agent runs at the same time.
    pub slots: u32,
}

/// Steps beside each other in a wide request.
const WIDTH: u32 = 99;

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Noop {
    /// Requests in each measurement.
    pub requests: u32,
    /// Agents.
    pub agents: u32,
    /// Steps each agent ran at the same time.
    pub slots: u32,
    /// One after the other: half of the requests were done within this, ms from submit to result.
    pub sequential_p50_ms: f64,
    /// One after the other: 99 % were done within this, ms.
    pub sequential_p99_ms: f64,
    /// One after the other: requests a second.
    pub sequential_per_s: f64,
    /// Requests at the same time in the second measurement.
    pub in_flight: u32,
    /// At the same time: requests a second. Each has one step, so this is also steps a second.
    pub concurrent_per_s: f64,
    /// At the same time: half of the requests were done within this, ms.
    pub concurrent_p50_ms: f64,
    /// At the same time: 99 % were done within this, ms.
    pub concurrent_p99_ms: f64,
    /// Steps of requests of a hundred steps, four such requests at a time: steps a second.
    pub wide_steps_per_s: f64,
    /// Processor time that one request of one step took of the server, at the same time as others, ms.
    pub server_ms_per_request: f64,
    /// And of the agents with their workers, ms.
    pub agents_ms_per_request: f64,
    /// Processor time that a step of a wide request took of the server, ms.
    pub server_ms_per_wide_step: f64,
    /// And of the agents with their workers, ms.
    pub agents_ms_per_wide_step: f64,
    /// The server's resident memory before the first request, bytes.
    pub server_memory_before_bytes: Option<u64>,
    /// Its resident memory after the last one, bytes.
    pub server_memory_after_bytes: Option<u64>,
    /// The agent's resident memory after the last one, its workers not counted, bytes.
    pub agent_memory_after_bytes: Option<u64>,
    /// What the store's files grew by for each request, bytes.
    pub store_bytes_per_request: f64,
    /// One small write with fsync on the same disk: half were done within this, ms.
    pub disk_sync_p50_ms: f64,
}

/// Starts a server and agents, and measures.
///
/// # Errors
/// When a request does not end well.
pub fn noop(options: &NoopOptions) -> anyhow::Result<Noop> {
    let names: Vec<String> = (1..=options.agents).map(|n| format!("bench-{n}")).collect();
    let nodes: Vec<_> = names.iter().map(|name| NodeOptions::new(name, &[]).slots(options.slots)).collect();
    let mut fleet = Fleet::of(&nodes);
    let client = fleet.client();
    let asking = client.asking();
    let container = client.wait_for(async { asking.container("noop").await }).context("the node offers noop")?;
    let plan = single_step(&container, serde_json::json!({}));
    // A new node has one step at a time until its fifth result.
    let warm = NoopOptions { requests: WARM_UP * options.agents, in_flight: 2 * options.agents, ..*options };
    client.wait_for(async { concurrent(&asking, &plan, &warm).await })?;

    let store = fleet.server.home().join("server");
    let (memory_before, store_before) = (fleet.server.process().resident_bytes(), store_bytes(&store));
    let begin = Instant::now();
    let one_by_one = client.wait_for(async { sequential(&asking, &plan, options.requests).await })?;
    let sequential_s = begin.elapsed().as_secs_f64();
    let before = processor_time(&mut fleet);
    let begin = Instant::now();
    let together = client.wait_for(async { concurrent(&asking, &plan, options).await })?;
    let concurrent_s = begin.elapsed().as_secs_f64();
    let took = processor_time(&mut fleet).since(before, options.requests);

    let grown = store_bytes(&store).saturating_sub(store_before);
    let join = client.wait_for(async { asking.container("compose").await }).context("the node offers compose")?;
    let wide = wide_plan(&container, &join, WIDTH);
    let rounds = options.requests.div_ceil(WIDTH + 1).max(4);
    let few = NoopOptions { requests: rounds, in_flight: 4, ..*options };
    let before = processor_time(&mut fleet);
    let begin = Instant::now();
    client.wait_for(async { concurrent(&asking, &wide, &few).await })?;
    let wide_s = begin.elapsed().as_secs_f64();
    let took_wide = processor_time(&mut fleet).since(before, rounds * (WIDTH + 1));

    Ok(Noop {
        requests: options.requests,
        agents: options.agents,
        slots: options.slots,
        sequential_p50_ms: quantile_ms(&one_by_one, 0.5),
        sequential_p99_ms: quantile_ms(&one_by_one, 0.99),
        sequential_per_s: f64::from(options.requests) / sequential_s,
        in_flight: options.in_flight,
        concurrent_per_s: f64::from(options.requests) / concurrent_s,
        concurrent_p50_ms: quantile_ms(&together, 0.5),
        concurrent_p99_ms: quantile_ms(&together, 0.99),
        wide_steps_per_s: f64::from(rounds * (WIDTH + 1)) / wide_s,
        server_ms_per_request: took.server_ms,
        agents_ms_per_request: took.agents_ms,
        server_ms_per_wide_step: took_wide.server_ms,
        agents_ms_per_wide_step: took_wide.agents_ms,
        server_memory_before_bytes: memory_before,
        server_memory_after_bytes: fleet.server.process().resident_bytes(),
        agent_memory_after_bytes: fleet.node(&names[0]).process().resident_bytes(),
        store_bytes_per_request: grown as f64 / f64::from(2 * options.requests),
        disk_sync_p50_ms: disk_sync_ms(fleet.folder())?,
    })
}

/// Processor time so far, or of one of many pieces of work, ms.
#[derive(Clone, Copy)]
struct Took {
    server_ms: f64,
    agents_ms: f64,
}

impl Took {
    fn since(self, before: Self, pieces: u32) -> Self {
        let each = |now: f64, before: f64| (now - before) / f64::from(pieces);
        Self { server_ms: each(self.server_ms, before.server_ms), agents_ms: each(self.agents_ms, before.agents_ms) }
    }
}

fn processor_time(fleet: &mut Fleet) -> Took {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let agents = fleet.nodes.iter_mut().map(|node| ms(node.process().processor_time())).sum();
    Took { server_ms: ms(fleet.server.process().processor_time()), agents_ms: agents }
}

async fn sequential(asking: &Asking, plan: &Plan, requests: u32) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::new();
    for _ in 0..requests {
        times.push(one(asking, plan).await?);
    }
    Ok(times)
}

async fn concurrent(asking: &Asking, plan: &Plan, options: &NoopOptions) -> anyhow::Result<Vec<Duration>> {
    let left = Arc::new(AtomicU32::new(options.requests));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..options.in_flight {
        let (asking, plan, left) = (asking.clone(), plan.clone(), left.clone());
        tasks.spawn(async move {
            let mut times = Vec::new();
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
                times.push(one(&asking, &plan).await?);
            }
            anyhow::Ok(times)
        });
    }
    let mut times = Vec::new();
    while let Some(done) = tasks.join_next().await {
        times.extend(done??);
    }
    Ok(times)
}

/// One request from submit to its result.
async fn one(asking: &Asking, plan: &Plan) -> anyhow::Result<Duration> {
    let begin = Instant::now();
    let envelope = Envelope { approved_plan: Some(plan.clone()), ..request("nothing", &[]) };
    let id = asking.submit(&envelope, &[]).await?;
    let result = asking.finished(id).await?;
    anyhow::ensure!(result.state == RequestState::Done, "{id} is {}: {:?}", result.state, result.fault);
    Ok(begin.elapsed())
}

/// The time within which this share of them was done, ms.
pub(crate) fn quantile_ms(times: &[Duration], share: f64) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).map_or(f64::NAN, |t| t.as_secs_f64() * 1e3)
}

/// The bytes of the database with its log.
fn store_bytes(folder: &Path) -> u64 {
    let files = ["store.db", "store.db-wal"].map(|name| std::fs::metadata(folder.join(name)).map_or(0, |m| m.len()));
    files.iter().sum()
}

fn disk_sync_ms(folder: &Path) -> anyhow::Result<f64> {
    let mut file = std::fs::File::create(folder.join("sync"))?;
    let mut times = Vec::new();
    for _ in 0..SYNCS {
        let begin = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        times.push(begin.elapsed());
    }
    Ok(quantile_ms(&times, 0.5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_sorted_times() {
        let times: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!((quantile_ms(&times, 0.5), quantile_ms(&times, 0.99)), (100.0, 198.0));
        assert_eq!(quantile_ms(&times[..1], 0.99), 200.0);
    }
}
