//! `agent.toml`: every knob with its meaning and its default. Unknown keys are errors; `--dump-config` shows the result.

mod devices;
mod first_pass;

pub use devices::{DevicesConfig, PowerDown};
pub use first_pass::FirstPassConfig;

use crate::workers::load_policy::LoadPolicies;
use ouro_common::container::{LoadHints, LoadPolicy};
use ouro_common::error::{Fault, FaultCode};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use power::{OnUnplug, PowerConfig};

mod power;

/// The agent's configuration. Every key may be left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Host and port of the server; else the one that `join` was told.
    pub server: Option<String>,
    /// The name this machine asks to be known by at `join`; else the host's name.
    pub name: Option<String>,
    /// Steps that may run at once; else half the hardware threads, at least 1 and at most 4.
    pub slots: Option<u32>,
    /// A recorded machine to read instead of the live one.
    pub hardware_root: Option<PathBuf>,
    /// Folders that hold containers, each folder a module; else the folder `modules` in the home.
    pub modules: Option<Vec<PathBuf>>,
    /// The ONNX Runtime library; else `ORT_DYLIB_PATH`, else the system's library folders.
    pub onnxruntime: Option<PathBuf>,
    /// The most bytes of results that are kept for other nodes; the oldest go first. Default 4 GiB.
    pub spool_max_bytes: SpoolLimit,
    /// Where `/metrics` is served as Prometheus text, a loopback address like `127.0.0.1:9464`; off by default.
    pub metrics: Option<std::net::SocketAddr>,
    /// The local attempt with the small model.
    pub first_pass: FirstPassConfig,
    /// What a pulled cable means.
    pub power: PowerConfig,
    /// Rules about what leaves this machine.
    pub policy: Policy,
    /// The processes that run models.
    pub workers: WorkersConfig,
    /// Modules on block devices.
    pub devices: DevicesConfig,
    /// Containers that are programs.
    pub oci: OciConfig,
}

/// `spool_max_bytes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SpoolLimit(pub u64);

impl Default for SpoolLimit {
    fn default() -> Self {
        Self(4 << 30)
    }
}

/// `[policy]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Every request goes to the fleet, whatever the local model could do.
    pub offload_always: bool,
}

/// `[workers]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkersConfig {
    /// How long an unused container stays in memory, seconds. Default 300.
    pub idle_timeout_s: u64,
    /// A limit on a worker's address space in bytes; none by default, since mapped models need room.
    pub address_space_bytes: Option<u64>,
    /// Requests that a language model computes together. Default 8.
    pub batch: u32,
    /// Bytes of keys and values that a language model keeps for all its requests; else an eighth of the memory, at least 256 MiB.
    pub cache_bytes: Option<u64>,
    /// Bytes that all containers in memory may take together; else three quarters of the memory.
    pub memory_bytes: Option<u64>,
    /// When containers leave memory: `per_request`, `persistent`, `idle` or `dummy`; else as their manifests say, or `idle`.
    pub policy: Option<LoadPolicy>,
    /// The same for one container, by its name, or its name and version: `policy` and `idle_timeout_s`.
    pub containers: BTreeMap<String, LoadHints>,
}

impl Default for WorkersConfig {
    fn default() -> Self {
        Self {
            idle_timeout_s: 300,
            address_space_bytes: None,
            batch: 8,
            cache_bytes: None,
            memory_bytes: None,
            policy: None,
            containers: BTreeMap::new(),
        }
    }
}

impl WorkersConfig {
    /// Bytes of all containers in memory, on a machine with so much.
    pub fn memory_bytes(&self, memory_bytes: Option<u64>) -> u64 {
        self.memory_bytes.or(memory_bytes.map(|all| all / 4 * 3)).unwrap_or(u64::MAX)
    }

    /// When containers leave memory.
    pub fn load_policies(&self) -> LoadPolicies {
        LoadPolicies {
            node: self.policy,
            idle_timeout: Duration::from_secs(self.idle_timeout_s),
            containers: self.containers.clone(),
        }
    }

    /// Keys and values of a language model on a machine with so much memory, bytes.
    pub fn cache_bytes(&self, memory_bytes: Option<u64>) -> u64 {
        self.cache_bytes.unwrap_or_else(|| (memory_bytes.unwrap_or(0) / 8).max(256 << 20))
    }
}

/// `[oci]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OciConfig {
    /// OCI runtimes by name or path; the first that can run a container here is taken, none means that none is wanted.
    pub runtimes: Vec<String>,
    /// The most bytes of unpacked root filesystems that are kept; the longest unused go first. Default 8 GiB.
    pub cache_max_bytes: u64,
}

impl Default for OciConfig {
    fn default() -> Self {
        Self { runtimes: ["crun", "runc", "youki"].map(String::from).to_vec(), cache_max_bytes: 8 << 30 }
    }
}

impl Config {
    /// Reads the file; that it is not there means that every default holds.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` with the path, and the line and key in the parser's words.
    pub fn read(path: &Path) -> Result<Self, Fault> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => {
                return Err(Fault::new(FaultCode::InvalidArgument, format!("the configuration cannot be read: {error}")).at(path.display()));
            }
        };
        let invalid = |problem: String| {
            Fault::new(FaultCode::InvalidArgument, problem)
                .at(path.display())
                .remedy("mend the file; `ouro-agent --dump-config` shows what is in force")
        };
        let config: Self = toml::from_str(&text).map_err(|e| invalid(e.to_string().trim().to_string()))?;
        config.validate().map_err(invalid)?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), String> {
        if let Some(problem) = self.devices.problem() {
            return Err(problem);
        }
        if self.slots.is_some_and(|s| !(1..=256).contains(&s)) {
            return Err("slots: it goes from 1 to 256".into());
        }
        if !(1..=256).contains(&self.workers.batch) {
            return Err("workers.batch: it goes from 1 to 256".into());
        }
        if let Some(problem) = self.first_pass.problem() {
            return Err(problem);
        }
        if let Some(address) = self.metrics.filter(|a| !a.ip().is_loopback()) {
            return Err(format!("metrics: {address} is no loopback address; agents listen on nothing that others can reach"));
        }
        if let Some(server) = &self.server
            && server.trim().is_empty()
        {
            return Err("server: it is empty".into());
        }
        Ok(())
    }

    /// The whole configuration as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).unwrap_or_default()
    }

    /// Steps that may run at once on a machine with so many hardware threads.
    pub fn slots(&self, logical_cpus: u32) -> u32 {
        self.slots.unwrap_or_else(|| (logical_cpus / 2).clamp(1, 4))
    }
}

/// The address with the default port where none is given.
pub fn with_port(server: &str) -> String {
    let bare_v6 = server.matches(':').count() > 1 && !server.starts_with('[');
    match server {
        _ if bare_v6 => format!("[{server}]:7443"),
        _ if server.ends_with(']') || !server.contains(':') => format!("{server}:7443"),
        _ => server.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dump_reads_back_and_unknown_keys_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.toml");
        assert_eq!(Config::read(&path).unwrap(), Config::default());
        let text = "server = \"a:1\"\nslots = 3\nspool_max_bytes = 5\n[first_pass]\nthreshold = -0.5\n[workers]\nidle_timeout_s = 7\n";
        std::fs::write(&path, text).unwrap();
        let config = Config::read(&path).unwrap();
        assert_eq!((config.slots(64), config.spool_max_bytes.0, config.workers.idle_timeout_s), (3, 5, 7));
        assert!(config.first_pass.enabled && config.first_pass.max_tokens == 512, "what is not named keeps its default");
        std::fs::write(&path, config.to_toml()).unwrap();
        assert_eq!(Config::read(&path).unwrap(), config);
        for (bad, named) in [
            ("slotz = 1", "slotz"),
            ("slots = 0", "slots"),
            ("[workers]\nbatch = 0", "workers.batch"),
            ("[workers]\npolicy = \"never\"", "per_request"),
            ("[workers.containers.x]\npolicies = 1", "policies"),
            ("metrics = \"0.0.0.0:1\"", "metrics"),
            ("[first_pass]\nfeature = \"x\"", "first_pass.feature"),
        ] {
            std::fs::write(&path, bad).unwrap();
            let fault = Config::read(&path).unwrap_err();
            assert!(fault.problem.contains(named) && fault.at.ends_with("agent.toml"), "{fault}");
        }
    }

    #[test]
    fn slots_follow_the_processor() {
        let slots = |cpus| Config::default().slots(cpus);
        assert_eq!([slots(1), slots(2), slots(6), slots(128)], [1, 1, 3, 4]);
    }

    #[test]
    fn the_port_is_added_where_it_is_missing() {
        let cases = [("a", "a:7443"), ("a:1", "a:1"), ("::1", "[::1]:7443"), ("[::1]", "[::1]:7443"), ("[::1]:9", "[::1]:9")];
        for (given, full) in cases {
            assert_eq!(with_port(given), full);
        }
    }
}
