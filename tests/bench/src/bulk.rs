//! Large results on their way from node to node through the server, both ways at once: how long small messages take meanwhile, and how
//! fast the large ones are beside a plain copy on the same machine in the same run.

use crate::Machine;
use crate::noop::quantile_ms;
use crate::teller::{Teller, Times, ages};
use anyhow::{Context as _, ensure};
use ouro_common::container::Manifest;
use ouro_common::document::{ContainerView, TraceDocument};
use ouro_common::envelope::{Envelope, Privacy};
use ouro_common::id::{Name, RequestId};
use ouro_common::plan::{Plan, Tags};
use ouro_common::step::RequestState;
use ouro_proto::channel::{ClientTls, connect};
use ouro_proto::identity::IdentityFiles;
use ouro_proto::wire::requests_client::RequestsClient;
use ouro_proto::wire::{LogsRequest, WatchRequest, watch_event};
use ouro_tests::{Client, Fleet, LONG, Node, NodeOptions, Relay, SHORT, assets, eventually, request, single_step};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long messages are watched while nothing large moves.
const QUIET: Duration = Duration::from_secs(5);
/// Time between two questions about what a step said.
const QUESTION: Duration = Duration::from_millis(100);
/// The nodes that send each other what is large.
const NODES: [&str; 2] = ["east", "west"];

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct BulkOptions {
    /// Size of what is sent each way, MiB.
    pub mib: u64,
    /// How much later each piece on each line arrives.
    pub delay: Duration,
}

/// How long some kind of message took, ms.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Spread {
    count: usize,
    p50: f64,
    p95: f64,
    most: f64,
}

impl Spread {
    fn of(times: &[Duration]) -> Self {
        let at = |share| quantile_ms(times, share);
        Self { count: times.len(), p50: at(0.5), p95: at(0.95), most: at(1.0) }
    }
}

/// Small messages over some time.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Messages {
    beats: Spread,
    chunks: Spread,
    questions: Spread,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Bulk {
    options: (u64, u128),
    /// The machine's load before and after.
    load: (Option<f64>, Option<f64>),
    quiet: Messages,
    busy: Messages,
    /// Until both ways were done.
    both_ways: Duration,
    rates: Vec<(&'static str, f64)>,
}

/// Starts a fleet and measures.
///
/// # Errors
/// When a transfer does not end well.
pub fn bulk(options: &BulkOptions) -> anyhow::Result<Bulk> {
    let load_before = Machine::look().load_1min;
    let mut fleet = Fleet::new();
    let mut relays = vec![];
    for name in NODES {
        let relay = Relay::to(fleet.server.address(), options.delay);
        let mut node = Node::prepare(&fleet.path(name), &NodeOptions::new(name, &[]).slots(4));
        own_noop(&node.modules(), name)?;
        node.join(&relay.address(), &fleet.server.join_token());
        node.start();
        fleet.nodes.push(node);
        relays.push(relay);
    }
    let mut client = fleet.client();
    let begin = Instant::now();
    NODES.iter().for_each(|name| drop(fleet.wait_online(name)));
    let relay = Relay::to(fleet.server.address(), options.delay);
    let teller = Teller::join(&fleet, &relay, ("teller", NODES[0]), begin)?;
    let (beats, chunks, questions) = (teller.beats.clone(), Times::default(), Times::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let _telling = runtime.spawn(teller.live());
    fleet.wait_online("teller");
    let nodes = NODES.map(|name| own_container(&client, name));
    trusted(&mut client, &nodes)?;

    // What is asked about: a step on each node that lasts, and the teller's own.
    let label = fleet.operator().run(&["node", "label", "teller", "--set", "owner=admin"]);
    ensure!(label.code == Some(0), "{}", label.both());
    let asking = client.asking();
    let noop = client.wait_for(async { asking.container("noop:1.0.0").await })?;
    let talking = Envelope { privacy: Privacy::Private, ..planned(single_step(&noop, serde_json::json!({})), "talk") };
    let talking = client.submit(&talking, &[])?;
    let lasting: Vec<RequestId> = nodes
        .iter()
        .map(|node| client.submit(&planned(single_step(node, serde_json::json!({"sleep_ms": 60_000})), "last"), &[]))
        .collect::<Result<_, _>>()?;
    eventually("the steps that last to run", SHORT, || lasting.iter().all(|id| runs(&mut client, *id)).then_some(()));
    let listener = Listener { fleet: &fleet, begin };
    runtime.spawn(listener.watch(talking, chunks.clone())?);
    for id in lasting {
        runtime.spawn(listener.ask(id, questions.clone())?);
    }
    eventually("the first chunk", SHORT, || (!chunks.take().is_empty()).then_some(()));
    let taken = || Messages {
        beats: Spread::of(&beats.take()),
        chunks: Spread::of(&chunks.take()),
        questions: Spread::of(&questions.take()),
    };
    taken();
    std::thread::sleep(QUIET);
    let quiet = taken();

    let size = options.mib << 20;
    let begun = Instant::now();
    let there = client.submit(&planned(carried(&nodes[0], &nodes[1], size), "there"), &[])?;
    let back = client.submit(&planned(carried(&nodes[1], &nodes[0], size - 1), "back"), &[])?;
    let done = [there, back].map(|id| ended(&mut client, id));
    let both_ways = begun.elapsed();
    let busy = taken();
    let [there, _] = done;
    let mut rates = vec![("through the server, both ways at once, as the receiving node sees it", rate(size, fetch_ms(&there?, 1)?))];
    rates.extend(alone(&mut client, &nodes, size)?);
    rates.extend(plain_copies(fleet.folder(), options.mib)?);
    runtime.shutdown_background();
    let load = (load_before, Machine::look().load_1min);
    Ok(Bulk { options: (options.mib, options.delay.as_millis()), load, quiet, busy, both_ways, rates })
}

/// The `noop` of this node alone, so that steps can be sent there; it may give more than the usual one.
fn own_noop(modules: &Path, node: &str) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(assets::tree().join("models/containers/noop/container.toml"))?;
    let text = text
        .replace("version = \"1.0.0\"", &format!("version = \"1.0.1-{node}\""))
        .replace("maximum = 67108864", "maximum = 268435456")
        .replace("media = \"application/octet-stream\" }", "media = \"application/octet-stream\", max_bytes = 268435456 }");
    Manifest::from_toml(&text)?;
    std::fs::create_dir_all(modules.join("noop"))?;
    Ok(std::fs::write(modules.join("noop/container.toml"), text)?)
}

fn own_container(client: &Client, node: &str) -> ContainerView {
    let (asking, name) = (client.asking(), format!("noop:1.0.1-{node}"));
    eventually(&name, SHORT, || client.wait_for(async { asking.container(&name).await }).ok())
}

/// A new node has one step at a time until its fifth result.
fn trusted(client: &mut Client, nodes: &[ContainerView]) -> anyhow::Result<()> {
    for node in nodes {
        for _ in 0..5 {
            let id = client.submit(&planned(single_step(node, serde_json::json!({})), "warm"), &[])?;
            ended(client, id)?;
        }
    }
    Ok(())
}

fn planned(plan: Plan, prompt: &str) -> Envelope {
    Envelope { approved_plan: Some(plan), ..request(prompt, &[]) }
}

/// A large result of one node that a step of another one reads.
fn carried(from: &ContainerView, to: &ContainerView, size: u64) -> Plan {
    let mut plan = single_step(from, serde_json::json!({"output_bytes": size}));
    let name = |text: &str| -> Name { text.parse().unwrap_or_else(|e| panic!("{text}: {e}")) };
    plan.steps[0].outputs.values_mut().for_each(|tag| *tag = name("large"));
    let mut second = single_step(to, serde_json::json!({"output_bytes": 7})).steps.remove(0);
    second.id = name("s2");
    second.inputs.values_mut().for_each(|tags| *tags = Tags::One(name("large")));
    plan.steps.push(second);
    plan
}

fn runs(client: &mut Client, id: RequestId) -> bool {
    client.trace(id).steps.first().is_some_and(|step| !step.attempts.is_empty())
}

fn ended(client: &mut Client, id: RequestId) -> anyhow::Result<TraceDocument> {
    let asking = client.asking();
    let result = client
        .wait_for(async { tokio::time::timeout(LONG, asking.finished(id)).await })
        .context("it does not end")??;
    ensure!(result.state == RequestState::Done, "{id} is {}: {:?}", result.state, result.fault);
    Ok(client.trace(id))
}

/// What a phase of a step's last attempt took.
fn fetch_ms(trace: &TraceDocument, step: usize) -> anyhow::Result<f64> {
    let attempt = trace.steps.get(step).and_then(|s| s.attempts.last()).context("there is such a step")?;
    attempt.phases_ms.get("fetch").copied().context("a node tells how long it fetched")
}

/// MB a second.
fn rate(bytes: u64, ms: f64) -> f64 {
    bytes as f64 / 1e6 / (ms / 1e3).max(1e-6)
}

/// The same with nothing beside it: one way through the server, and from step to step on one node.
fn alone(client: &mut Client, nodes: &[ContainerView; 2], size: u64) -> anyhow::Result<Vec<(&'static str, f64)>> {
    // What a node has made itself it need not fetch, and the same size has the same bytes.
    let small = 8 << 20;
    let mut timed = |to: usize, size: u64| -> anyhow::Result<TraceDocument> {
        let id = client.submit(&planned(carried(&nodes[0], &nodes[to], size), "alone"), &[])?;
        ended(client, id)
    };
    let (far, far_small, near, near_small) = (timed(1, size - 2)?, timed(1, small)?, timed(0, size - 3)?, timed(0, small - 1)?);
    let first = far.steps[0].attempts.last().context("it has run")?;
    let beside_ms = first.actual_ms.unwrap_or(0.0) - first.phases_ms.get("run").copied().unwrap_or(0.0);
    Ok(vec![
        ("through the server, alone", rate(size, fetch_ms(&far, 1)?)),
        ("through the server, 8 MiB", rate(small, fetch_ms(&far_small, 1)?)),
        ("hashed and made durable in the spool", rate(size, beside_ms)),
        ("from the spool to the next step on that node", rate(size, fetch_ms(&near, 1)?)),
        ("from the spool to the next step, 8 MiB", rate(small, fetch_ms(&near_small, 1)?)),
    ])
}

/// `dd` on the same file system, and in memory.
fn plain_copies(folder: &Path, mib: u64) -> anyhow::Result<Vec<(&'static str, f64)>> {
    let timed = |from: &Path, to: &Path, more: &[&str]| -> anyhow::Result<f64> {
        let mut dd = Command::new("dd");
        dd.arg(format!("if={}", from.display())).arg(format!("of={}", to.display())).args(["bs=1M", "status=none"]);
        let begun = Instant::now();
        ensure!(dd.arg(format!("count={mib}")).args(more).status()?.success(), "dd failed");
        let took = begun.elapsed();
        std::fs::remove_file(to)?;
        Ok(rate(mib << 20, took.as_secs_f64() * 1e3))
    };
    let memory = tempfile::tempdir_in("/dev/shm")?;
    let from = memory.path().join("from");
    std::fs::write(&from, vec![7; usize::try_from(mib << 20)?])?;
    Ok(vec![
        ("dd to the same file system, fsync at its end", timed(&from, &folder.join("dd"), &["conv=fsync"])?),
        ("dd in memory (tmpfs)", timed(&from, &memory.path().join("to"), &[])?),
    ])
}

/// Connections of the operator's own, on which nothing large comes.
struct Listener<'f> {
    fleet: &'f Fleet,
    begin: Instant,
}

impl Listener<'_> {
    fn tls(&self) -> anyhow::Result<(String, ClientTls)> {
        let files = IdentityFiles::new(self.fleet.server.home().join("operator"));
        Ok((self.fleet.server.address().to_string(), ClientTls::with_identity(&files)?))
    }

    /// Reads what the teller says as it comes.
    fn watch(&self, id: RequestId, ages_seen: Times) -> anyhow::Result<impl Future<Output = anyhow::Result<()>> + use<>> {
        let ((address, tls), begin) = (self.tls()?, self.begin);
        Ok(async move {
            let channel = connect(&address, &tls).await?;
            let mut events = RequestsClient::new(channel).watch(WatchRequest { request: id.to_string(), after: 0 }).await?.into_inner();
            while let Some(event) = events.message().await? {
                if let Some(watch_event::Body::Chunk(chunk)) = event.body {
                    ages(&chunk.data, begin).into_iter().for_each(|age| ages_seen.add(age));
                }
            }
            Ok(())
        })
    }

    /// Asks again and again what a step has said: to its node and back.
    fn ask(&self, id: RequestId, times: Times) -> anyhow::Result<impl Future<Output = anyhow::Result<()>> + use<>> {
        let (address, tls) = self.tls()?;
        Ok(async move {
            let mut client = RequestsClient::new(connect(&address, &tls).await?);
            let asked = LogsRequest { request: id.to_string(), step: String::new(), follow: false };
            loop {
                let begun = Instant::now();
                let mut said = client.logs(asked.clone()).await?.into_inner();
                while said.message().await?.is_some() {}
                times.add(begun.elapsed());
                tokio::time::sleep(QUESTION).await;
            }
        })
    }
}

impl Bulk {
    /// For people.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let (mib, delay_ms) = self.options;
        let _ = writeln!(text, "{mib} MiB each way between two nodes through the server; each line is {delay_ms} ms long each way");
        let figure = |load: Option<f64>| load.map_or_else(|| "unknown".to_string(), |load| format!("{load:.1}"));
        let _ = writeln!(text, "load of the machine (1 min): {} before, {} after", figure(self.load.0), figure(self.load.1));
        let _ = writeln!(text, "both ways were done after {:.1} s", self.both_ways.as_secs_f64());
        let _ = writeln!(text, "{:<56} {:>6} {:>9} {:>9} {:>9}", "ms", "count", "P50", "P95", "most");
        let mut row = |name: &str, s: Spread| {
            let _ = writeln!(text, "{name:<56} {:>6} {:>9.1} {:>9.1} {:>9.1}", s.count, s.p50, s.p95, s.most);
        };
        for (when, m) in [("quiet", self.quiet), ("transfers", self.busy)] {
            row(&format!("{when}: heartbeat and its answer, there and back"), m.beats);
            row(&format!("{when}: chunk from a node to who watches, one way"), m.chunks);
            row(&format!("{when}: question to a busy node, there and back"), m.questions);
        }
        for (name, rate) in &self.rates {
            let _ = writeln!(text, "{name:<68} {rate:>6.0} MB/s");
        }
        text
    }
}
