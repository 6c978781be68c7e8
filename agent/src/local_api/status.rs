//! `ouro-agent status`: what the running agent knows about itself, asked through its socket.

use crate::clock::unix_ms;
use crate::home::{AgentHome, JoinedAs};
use crate::modules::Modules;
use crate::steps::Steps;
use crate::uplink;
use crate::workers::Pool;
use ouro_common::device::{LoadedContainer, NodeProfile, RuntimeAvailability};
use ouro_common::error::{Fault, FaultCode};
use ouro_common::module::ModuleState;
use ouro_proto::convert::{fault_of, read_document};
use ouro_proto::wire;
use ouro_proto::wire::agent_client::AgentClient;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use tokio::sync::watch;
use tonic::transport::Endpoint;

pub(super) const SCHEMA: &str = "ouroboros.agent-status/1";

/// The document `ouroboros.agent-status/1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// Always `ouroboros.agent-status/1`.
    pub schema: String,
    /// Who this node is.
    pub node: JoinedAs,
    /// Whether there is a session with the server.
    pub connected: bool,
    /// For how long that has been so, ms.
    pub for_ms: u64,
    /// What the operators decided about the node.
    pub admin: Option<String>,
    /// Why there is no session.
    pub problem: Option<String>,
    /// The smoothed round trip, ms.
    pub rtt_ms: Option<f64>,
    /// The model of the first pass.
    pub first_pass_model: Option<String>,
    /// Steps that may run at once.
    pub slots: u32,
    /// Steps that run now.
    pub busy: u32,
    /// Results the server has yet to acknowledge.
    pub undelivered: u32,
    /// Bytes in the spool.
    pub spool_bytes: u64,
    /// Modules: label, slot and the containers on each.
    pub modules: Vec<ModuleLine>,
    /// Containers in memory.
    pub workers: Vec<WorkerLine>,
    /// Whether the hardware is read from a recorded machine.
    pub recorded: bool,
    /// Which runtimes work here, and why the others do not.
    #[serde(default)]
    pub runtimes: Vec<RuntimeAvailability>,
    /// What could not be read on this machine.
    pub warnings: Vec<ouro_common::device::Warning>,
}

/// A module in [`AgentStatus`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleLine {
    /// Its label.
    pub label: String,
    /// Where it sits.
    pub slot: String,
    /// Where it is in its life.
    pub state: ModuleState,
    /// Why, where that is not evident.
    pub why: String,
    /// Its containers, by name and version.
    pub containers: Vec<String>,
    /// What could not be used.
    pub problems: Vec<String>,
}

/// A worker in [`AgentStatus`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerLine {
    /// The container it has loaded.
    pub container: String,
    /// Whether a step runs in it.
    pub busy: bool,
}

/// Where the status comes from.
pub struct StatusSource {
    /// Who this node is.
    pub joined: JoinedAs,
    /// The session.
    pub session: watch::Receiver<uplink::Status>,
    /// What the node is.
    pub profile: watch::Receiver<Arc<NodeProfile>>,
    /// The containers.
    pub modules: Modules,
    /// The steps.
    pub steps: Steps,
    /// The workers.
    pub pool: Pool,
    /// The local model.
    pub first_pass: crate::first_pass::FirstPass,
    /// Bytes in the spool.
    pub spool: crate::spool::Spool,
}

impl StatusSource {
    pub(super) fn now(&self) -> AgentStatus {
        let session = self.session.borrow().clone();
        let seen = self.modules.now();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let modules = seen.announcement.placements.iter().map(|placement| ModuleLine {
            label: placement.label.clone(),
            slot: placement.slot.clone(),
            state: placement.state,
            why: placement.why.clone(),
            containers: placement.containers.iter().map(|c| c.manifest.reference().to_string()).collect(),
            problems: placement.problems.clone(),
        });
        let name = |loaded: &LoadedContainer| {
            let installed = seen.installed.get(&loaded.digest);
            installed.map_or_else(|| loaded.digest.short(), |i| i.container.manifest.reference().to_string())
        };
        let workers = self.pool.loaded_now(|_| None);
        let profile = self.profile.borrow().clone();
        AgentStatus {
            schema: SCHEMA.into(),
            node: self.joined.clone(),
            connected: session.connected,
            for_ms: unix_ms().saturating_sub(session.since_unix_ms),
            admin: session.admin,
            problem: session.problem,
            rtt_ms: session.rtt_ms,
            first_pass_model: profile.first_pass_model.clone(),
            slots: profile.slots,
            busy: count(self.steps.busy()),
            undelivered: count(self.steps.outbox().keys().len()),
            spool_bytes: self.spool.size_bytes(),
            modules: modules.collect(),
            workers: workers.iter().map(|w| WorkerLine { container: name(w), busy: w.busy }).collect(),
            recorded: profile.recorded,
            runtimes: profile.runtimes.clone(),
            warnings: profile.hardware.warnings.clone(),
        }
    }
}

/// Asks the running agent.
///
/// # Errors
/// `NOT_FOUND` when none runs on this home.
pub async fn ask_status(home: &AgentHome) -> Result<AgentStatus, Fault> {
    let absent = || {
        Fault::new(FaultCode::NotFound, "no agent runs on this home")
            .at(home.socket().display())
            .remedy("start it with `ouro-agent run`")
    };
    let mut connected = None;
    for socket in home.sockets() {
        let endpoint = Endpoint::try_from(format!("unix:{}", socket.display())).map_err(|_| absent())?;
        connected = endpoint.connect().await.ok();
        if connected.is_some() {
            break;
        }
    }
    let channel = connected.ok_or_else(absent)?;
    let reply = AgentClient::new(channel).status(wire::StatusRequest {}).await.map_err(|status| fault_of(&status))?;
    read_document(Some(&reply.into_inner()), SCHEMA)
}

impl fmt::Display for AgentStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.for_ms / 1000;
        writeln!(f, "node        {} ({})", self.node.name, self.node.node)?;
        writeln!(f, "server      {}", self.node.server)?;
        match (self.connected, &self.problem) {
            (true, _) => {
                let rtt = self.rtt_ms.map_or_else(String::new, |ms| format!(", {ms:.1} ms away"));
                writeln!(f, "session     {} for {seconds} s{rtt}", self.admin.as_deref().unwrap_or("open"))?;
            }
            (false, problem) => writeln!(f, "session     none for {seconds} s: {}", problem.as_deref().unwrap_or("dialling"))?,
        }
        writeln!(f, "first pass  {}", self.first_pass_model.as_deref().unwrap_or("no model: requests go to the fleet"))?;
        writeln!(f, "steps       {} of {} slots busy, {} results to deliver", self.busy, self.slots, self.undelivered)?;
        writeln!(f, "spool       {} bytes", self.spool_bytes)?;
        for module in &self.modules {
            writeln!(f, "module      {} ({}): {}", module.label, module.slot, module.containers.join(", "))?;
            if !module.why.is_empty() {
                writeln!(f, "            {:?}: {}", module.state, module.why)?;
            }
            for problem in &module.problems {
                writeln!(f, "            problem: {problem}")?;
            }
        }
        for worker in &self.workers {
            writeln!(f, "worker      {}{}", worker.container, if worker.busy { ", busy" } else { "" })?;
        }
        for runtime in &self.runtimes {
            let not = if runtime.available { "" } else { "not available: " };
            writeln!(f, "runtime     {}: {not}{}", runtime.runtime, runtime.detail)?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning     {}: {}", warning.path, warning.problem)?;
        }
        Ok(())
    }
}
