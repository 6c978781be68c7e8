//! The agent's own folder: what lies where in it, and the lock that keeps a second agent out.
//!
//! ```text
//! agent.toml            configuration, written by people
//! agent/identity/       key.pem, chain.pem, ca.pem
//! agent/node.json       which server, which node id and name: written by `join`
//! agent/lock            held by the running agent
//! agent/attempts/log    steps under way and results not yet acknowledged
//! agent/spool/          large results, named by their BLAKE3
//! agent/running/        a folder for each step that runs
//! agent/logs/           what containers said, a file a step, for a day
//! agent/oci/            unpacked root filesystems, and what the OCI runtime remembers of its containers
//! agent/requests/       requests asked on this machine, a folder each, for 7 days
//! agent/mounts/         modules on devices, mounted read-only, a folder each
//! agent/intents/        what is being done with a module, for the case that it takes the machine down
//! agent/trusted-keys.json  whose modules are used, as the server last said
//! agent/model-digests.json  digests of models that were read once, so that the next cold start need not
//! agent/bench.json      what the bandwidth and compute measurement found
//! modules/              directories with containers
//! run/agent.sock        the socket `ouroctl` talks to (without OUROBOROS_HOME: in the runtime folder)
//! ```

use crate::durable::{self, FileError};
use ouro_common::error::{Fault, FaultCode};
use ouro_common::home::Home;
use ouro_common::id::NodeId;
use ouro_proto::identity::IdentityFiles;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// Where a service without any home in its environment keeps its state.
const SYSTEM_HOME: &str = "/var/lib/ouroboros";
/// Where such a service listens.
const SYSTEM_SOCKET: &str = "/run/ouroboros/agent.sock";
/// Where containers are mounted while they run: in memory, so that a reboot leaves nothing.
const SYSTEM_RUNS: &str = "/run/ouroboros";

/// Where everything of the agent lies.
#[derive(Debug, Clone)]
pub struct AgentHome {
    home: Home,
    socket: PathBuf,
}

/// What `join` found out and every later start needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinedAs {
    /// Host and port of the server.
    pub server: String,
    /// The id the server gave.
    pub node: NodeId,
    /// The name the fleet knows this machine by.
    pub name: String,
}

impl AgentHome {
    /// The home according to the environment; the system's when it names none.
    ///
    /// A service's socket lies in the folder that systemd made for it, which `RUNTIME_DIRECTORY` names, systemd.exec(5):
    /// its state is for root alone, and users of the machine look for the socket there.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let runtime = variable("RUNTIME_DIRECTORY").filter(|v| !v.is_empty());
        let service = runtime.as_deref().and_then(|v| v.split(':').next()).map(|folder| Path::new(folder).join("agent.sock"));
        if let Some(home) = Home::from_environment(variable) {
            return Self { socket: service.unwrap_or_else(|| home.agent_socket()), home };
        }
        let system = Home::from_environment(|name| (name == "OUROBOROS_HOME").then(|| SYSTEM_HOME.to_string()));
        match system {
            Some(home) => Self { home, socket: PathBuf::from(SYSTEM_SOCKET) },
            None => Self::at(Path::new(SYSTEM_HOME)),
        }
    }

    /// The home in `root`, with the socket inside it.
    pub fn at(root: &Path) -> Self {
        let text = root.to_string_lossy().into_owned();
        let home = Home::from_environment(|name| (name == "OUROBOROS_HOME").then(|| text.clone()));
        // With OUROBOROS_HOME set there is always a home; the arm below is for an empty path.
        home.map_or_else(|| Self::at(Path::new(".")), |home| Self { socket: home.agent_socket(), home })
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        self.home.root()
    }
    /// The socket the agent listens on.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
    /// Where this agent's containers are mounted while they run; the name tells agents on one machine apart.
    pub fn runs(&self, agent: &str) -> PathBuf {
        Path::new(SYSTEM_RUNS).join(format!("oci-{agent}"))
    }
    /// Where to look for a running agent, in this order.
    pub fn sockets(&self) -> impl Iterator<Item = &PathBuf> {
        let others = self.home.sockets().iter().filter(|socket| **socket != self.socket);
        std::iter::once(&self.socket).chain(others)
    }
    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.home.agent_config()
    }
    /// Where containers are looked for when the configuration names no folder.
    pub fn modules(&self) -> PathBuf {
        self.root().join("modules")
    }
    /// The agent's identity.
    pub fn identity(&self) -> IdentityFiles {
        IdentityFiles::new(self.agent("identity"))
    }
    /// A file or folder among the agent's own.
    pub fn agent(&self, name: &str) -> PathBuf {
        self.home.agent().join(name)
    }

    /// What `join` wrote; `None` before a join.
    ///
    /// # Errors
    /// When the file is there but cannot be read.
    pub fn joined(&self) -> Result<Option<JoinedAs>, Fault> {
        let path = self.agent("node.json");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(file_fault(&FileError { path, source })),
        };
        let damaged = |e| Fault::new(FaultCode::Internal, format!("the file is damaged: {e}")).at(path.display());
        serde_json::from_slice(&bytes).map(Some).map_err(|e| damaged(e).remedy("join again"))
    }

    /// Remembers what `join` found out.
    ///
    /// # Errors
    /// What the file system refused.
    pub fn remember(&self, joined: &JoinedAs) -> Result<(), FileError> {
        let json = serde_json::to_vec_pretty(joined).unwrap_or_default();
        durable::write(&self.agent("node.json"), &json, durable::Keep::ThroughPowerLoss)
    }

    /// Takes the lock; it is held as long as the returned value lives.
    ///
    /// # Errors
    /// `HOME_IN_USE` when another agent runs on this home.
    pub fn lock(&self) -> Result<HomeLock, Fault> {
        let folder = self.home.agent();
        durable::make_folder(&folder).map_err(|e| file_fault(&e))?;
        let path = folder.join("lock");
        let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|source| file_fault(&FileError { path: path.clone(), source }))?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            Fault::new(FaultCode::HomeInUse, "another agent runs on this home")
                .at(path.display())
                .remedy("stop it first, or give this one a home of its own with OUROBOROS_HOME")
        })?;
        Ok(HomeLock { _file: file })
    }
}

/// Keeps other agents out of the home while it lives.
#[derive(Debug)]
pub struct HomeLock {
    _file: fs::File,
}

/// What a person is told about a file that cannot be used.
pub fn file_fault(error: &FileError) -> Fault {
    let code = if error.source.raw_os_error() == Some(28) { FaultCode::DiskFull } else { FaultCode::Internal };
    let remedy = match error.source.kind() {
        std::io::ErrorKind::PermissionDenied => "run it as the user who owns that folder, or set OUROBOROS_HOME to one of yours",
        std::io::ErrorKind::StorageFull => "free some space on that disk",
        _ => "look at that path",
    };
    Fault::new(code, error.source.to_string()).at(error.path.display()).remedy(remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_agent_on_a_home_is_told_so() {
        let folder = tempfile::tempdir().unwrap();
        let home = AgentHome::at(folder.path());
        let held = home.lock().unwrap();
        assert_eq!(home.lock().unwrap_err().code, FaultCode::HomeInUse);
        drop(held);
        assert!(home.lock().is_ok());
    }

    #[test]
    fn what_join_wrote_reads_back_and_damage_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let home = AgentHome::at(folder.path());
        assert_eq!(home.joined().unwrap(), None);
        durable::make_folder(&home.agent("")).unwrap();
        let joined = JoinedAs { server: "a:7443".into(), node: NodeId::from_parts(1, [1; 10]), name: "a".into() };
        home.remember(&joined).unwrap();
        assert_eq!(home.joined().unwrap(), Some(joined));
        fs::write(home.agent("node.json"), "{").unwrap();
        assert!(home.joined().unwrap_err().at.ends_with("node.json"));
    }

    #[test]
    fn without_any_home_in_the_environment_the_system_s_is_used() {
        let home = AgentHome::from_environment(|_| None);
        assert_eq!(home.root(), Path::new(SYSTEM_HOME));
        assert_eq!(home.socket(), Path::new(SYSTEM_SOCKET));
    }

    #[test]
    fn a_service_listens_where_systemd_made_a_folder_for_it() {
        let variables = [("OUROBOROS_HOME", "/var/lib/x"), ("RUNTIME_DIRECTORY", "/run/ouroboros:/run/more")];
        let home = AgentHome::from_environment(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_string()));
        assert_eq!(home.root(), Path::new("/var/lib/x"));
        assert_eq!(home.socket(), Path::new("/run/ouroboros/agent.sock"));
    }
}
