//! Thousands of nodes at one server: each with a key, a certificate, a TLS connection and a session of its own, in one process.
//!
//! They say what agents say (the reports are those of recorded machines), beat as often as agents do, and dial again as agents do
//! when the server is killed. What they cannot do is run a step.

use anyhow::{Context as _, ensure};
use hw_fixtures::Fixture;
use ouro_common::device::NodeProfile;
use ouro_common::envelope::PROTOCOL_VERSION;
use ouro_common::id::{AgentRunId, BootId};
use ouro_proto::channel::{ClientTls, connect};
use ouro_proto::identity::{IdentityFiles, JoinToken};
use ouro_proto::wire::enrollment_client::EnrollmentClient;
use ouro_proto::wire::fleet_client::FleetClient;
use ouro_proto::wire::node_message::Body;
use ouro_proto::wire::{Document, EnrollRequest, Heartbeat, Hello, NodeMessage, Pong, server_message};
use ouro_tests::{Fleet, NodeOptions};
use rand::Rng as _;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc};

/// How often an agent says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// The ceilings of an agent's waiting times before it dials again: the first, and the last.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// Nodes that join, or dial for the first time, at once.
const AT_ONCE: usize = 64;
/// How long the quiet fleet is looked at.
const QUIET: Duration = Duration::from_secs(20);
/// Then it is given up.
const PATIENCE: Duration = Duration::from_secs(600);

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct UplinkOptions {
    /// Nodes.
    pub nodes: u32,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Uplinks {
    /// Nodes with a session of their own.
    pub nodes: u32,
    /// Until all had joined: a key, a request, a certificate.
    pub joined: Duration,
    /// From the first dialled to the last welcome.
    pub connected: Duration,
    /// The server's memory then, bytes.
    pub memory_bytes: u64,
    /// What the server wrote to the disk while all were quiet, bytes.
    pub quiet_written_bytes: u64,
    /// The server's processor time while all were quiet, seconds a second.
    pub quiet_load: f64,
    /// From the server's start after it was killed until all were back.
    pub back: Duration,
    /// The server's memory then, bytes.
    pub memory_after_bytes: u64,
}

/// A node: who it is and what it says of itself.
struct Node {
    tls: ClientTls,
    profile: Arc<Vec<u8>>,
    announcement: Arc<Vec<u8>>,
    boot: BootId,
    run: AgentRunId,
}

/// Joins the nodes, connects them, looks at the quiet fleet, kills the server, and waits until all are back.
///
/// # Errors
/// When the machine does not allow so many connections, or not all come back.
pub fn uplinks(options: &UplinkOptions) -> anyhow::Result<Uplinks> {
    open_files(u64::from(options.nodes) + 512)?;
    let mut fleet = Fleet::of(&[NodeOptions::new("real", &[])]);
    let claims = fleet.claims_of("real");
    let token = token(&fleet, options.nodes)?;
    let homes = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let address = fleet.server.address().to_string();

    let begin = Instant::now();
    let identities = runtime.block_on(join(&address, &token, homes.path(), fleet.server.home(), options.nodes))?;
    let joined = begin.elapsed();
    let profiles = profiles(&claims.profile)?;
    let announcement = Arc::new(claims.announcement.into_bytes());
    let nodes = identities.iter().enumerate().map(|(n, files)| {
        let id = |salt: u8| {
            let mut random = [salt; 10];
            random[..8].copy_from_slice(&(n as u64).to_be_bytes());
            random
        };
        Ok(Node {
            tls: ClientTls::with_identity(&IdentityFiles::new(files))?,
            profile: profiles[n % profiles.len()].clone(),
            announcement: announcement.clone(),
            boot: BootId::from_parts(1, id(1)),
            run: AgentRunId::from_parts(1, id(2)),
        })
    });
    let nodes: Vec<Node> = nodes.collect::<anyhow::Result<_>>()?;

    let connected = Arc::new(AtomicU32::new(0));
    let begin = Instant::now();
    let first = Arc::new(Semaphore::new(AT_ONCE));
    for node in nodes {
        runtime.spawn(live(node, address.clone(), connected.clone(), first.clone()));
    }
    let connected_after = wait_all(&connected, options.nodes, begin)?;
    // Profiles and announcements are still on their way to the disk.
    std::thread::sleep(HEARTBEAT * 2);
    let memory_bytes = fleet.server.process().resident_bytes().unwrap_or(0);
    let (bytes, cpu) = (fleet.server.process().written_bytes(), fleet.server.process().processor_time());
    std::thread::sleep(QUIET);
    let quiet_written_bytes = fleet.server.process().written_bytes().saturating_sub(bytes);
    let quiet_load = (fleet.server.process().processor_time() - cpu).as_secs_f64() / QUIET.as_secs_f64();

    fleet.server.kill();
    let gone = Instant::now();
    while connected.load(Ordering::Relaxed) > 0 {
        ensure!(gone.elapsed() < PATIENCE, "not all sessions noticed that the server was killed");
        std::thread::sleep(Duration::from_millis(20));
    }
    let begin = Instant::now();
    fleet.server.restart();
    let back = wait_all(&connected, options.nodes, begin)?;
    let memory_after_bytes = fleet.server.process().resident_bytes().unwrap_or(0);
    runtime.shutdown_background();
    Ok(Uplinks {
        nodes: options.nodes,
        joined,
        connected: connected_after,
        memory_bytes,
        quiet_written_bytes,
        quiet_load,
        back,
        memory_after_bytes,
    })
}

/// Raises the limit of open files for this process and the server that it starts.
fn open_files(wanted: u64) -> anyhow::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    if now.maximum.is_some_and(|most| most < wanted) {
        let raised = Rlimit { current: Some(wanted), maximum: Some(wanted) };
        let most = now.maximum.unwrap_or(0);
        return setrlimit(Resource::Nofile, raised)
            .with_context(|| format!("{wanted} open files are needed, {most} are allowed: use fewer --nodes"));
    }
    setrlimit(Resource::Nofile, Rlimit { current: now.maximum, ..now }).context("the limit of open files cannot be raised")
}

fn token(fleet: &Fleet, uses: u32) -> anyhow::Result<JoinToken> {
    let uses = uses.to_string();
    let created = fleet.operator().run(&["token", "create", "--uses", &uses, "--output", "json"]).exits(0);
    let document: serde_json::Value = created.json();
    let text = document["token"].as_str().context("a token document has a token")?;
    text.parse().map_err(|e| anyhow::anyhow!("{e}"))
}

/// The profile of a real agent with the hardware of each recorded machine.
fn profiles(real: &str) -> anyhow::Result<Vec<Arc<Vec<u8>>>> {
    let profile: NodeProfile = serde_json::from_str(real)?;
    let with = |fixture: Fixture| {
        let recorded = NodeProfile { hardware: fixture.expected, hostname: fixture.name, ..profile.clone() };
        Ok(Arc::new(serde_json::to_vec(&recorded)?))
    };
    hw_fixtures::all().into_iter().map(with).collect()
}

/// Gives every node a key and a certificate, over one connection.
async fn join(address: &str, token: &JoinToken, homes: &Path, server: &Path, nodes: u32) -> anyhow::Result<Vec<PathBuf>> {
    let channel = connect(address, &ClientTls::pinned(token.ca_sha256)?).await?;
    let ca = Arc::new(std::fs::read_to_string(server.join("server/ca.pem"))?);
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut joining = tokio::task::JoinSet::new();
    for n in 0..nodes {
        let place = places.clone().acquire_owned().await?;
        let (mut client, token, ca, home) = (EnrollmentClient::new(channel.clone()), token.clone(), ca.clone(), homes.join(n.to_string()));
        joining.spawn(async move {
            let files = IdentityFiles::new(&home);
            let name = format!("uplink-{n}");
            let csr_der = files.key_or_new()?.signing_request(&name)?;
            let request = EnrollRequest { token_id: token.id, token_secret: token.secret.to_vec(), csr_der, name };
            let reply = client.enroll(request).await?.into_inner();
            files.save(&reply.chain_pem, &ca)?;
            drop(place);
            anyhow::Ok(home)
        });
    }
    let mut homes = Vec::with_capacity(nodes as usize);
    while let Some(home) = joining.join_next().await {
        homes.push(home??);
    }
    Ok(homes)
}

/// One session after the other, as long as the benchmark lasts.
async fn live(node: Node, address: String, connected: Arc<AtomicU32>, first: Arc<Semaphore>) {
    let mut place = first.acquire_owned().await.ok();
    let mut failures = 0;
    loop {
        if session(&node, &address, &connected, &mut place).await {
            failures = 0;
        }
        let ceiling = BACKOFF.0.saturating_mul(1 << failures.min(8)).min(BACKOFF.1);
        failures += 1;
        let pause = ceiling.mul_f64(rand::rng().random_range(0.0..=1.0));
        tokio::time::sleep(pause).await;
    }
}

/// A session to its end; whether the server welcomed the node.
async fn session(node: &Node, address: &str, connected: &AtomicU32, place: &mut Option<tokio::sync::OwnedSemaphorePermit>) -> bool {
    let Ok(channel) = connect(address, &node.tls).await else {
        return false;
    };
    let document = |schema: &str, json: &[u8]| Document { schema: schema.into(), json: json.to_vec() };
    let hello = Hello {
        version_min: PROTOCOL_VERSION,
        version_max: PROTOCOL_VERSION,
        boot_id: node.boot.to_string(),
        agent_run: node.run.to_string(),
        profile: Some(document("ouroboros.profile/1", &node.profile)),
        holding: vec![],
        spooled: vec![],
    };
    let (sender, messages) = mpsc::channel(16);
    let say = async |body| sender.send(NodeMessage { body: Some(body) }).await.is_ok();
    let announcement = document("ouroboros.announcement/1", &node.announcement);
    if !(say(Body::Hello(hello)).await && say(Body::Announcement(announcement)).await) {
        return false;
    }
    let messages = tokio_stream::wrappers::ReceiverStream::new(messages);
    let Ok(opened) = FleetClient::new(channel).session(messages).await else {
        return false;
    };
    let mut answers = opened.into_inner();
    let mut beat = tokio::time::interval_at(tokio::time::Instant::now() + HEARTBEAT, HEARTBEAT);
    let (mut sequence, mut welcome) = (0, false);
    loop {
        tokio::select! {
            _ = beat.tick() => {
                sequence += 1;
                if !say(Body::Heartbeat(Heartbeat { sequence, readings: None })).await {
                    break;
                }
            }
            answer = answers.message() => match answer {
                Ok(Some(message)) => match message.body {
                    Some(server_message::Body::Welcome(_)) => {
                        welcome = true;
                        connected.fetch_add(1, Ordering::Relaxed);
                        place.take();
                    }
                    Some(server_message::Body::Ping(ping)) => drop(say(Body::Pong(Pong { nonce: ping.nonce })).await),
                    _ => {}
                },
                _ => break,
            },
        }
    }
    if welcome {
        connected.fetch_sub(1, Ordering::Relaxed);
    }
    welcome
}

fn wait_all(connected: &AtomicU32, nodes: u32, begin: Instant) -> anyhow::Result<Duration> {
    loop {
        let now = connected.load(Ordering::Relaxed);
        if now >= nodes {
            return Ok(begin.elapsed());
        }
        ensure!(begin.elapsed() < PATIENCE, "{now} of {nodes} nodes are connected after {} s", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Uplinks {
    /// For people.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let mut row = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<46} {value}");
        };
        let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
        let mib = |bytes: u64| format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20));
        row("nodes, each with a TLS connection of its own", self.nodes.to_string());
        row("until all had joined", seconds(self.joined));
        row("until all were connected", seconds(self.connected));
        row("memory of the server", mib(self.memory_bytes));
        row(
            &format!("written to the disk in {} quiet seconds", QUIET.as_secs()),
            format!("{} bytes", self.quiet_written_bytes),
        );
        row("processor of the server, quiet", format!("{:.1} % of one core", self.quiet_load * 100.0));
        row("server killed: from its start until all are back", seconds(self.back));
        row("memory of the server then", mib(self.memory_after_bytes));
        text
    }
}
