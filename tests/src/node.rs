//! A real `ouro-agent` on a home of its own.

use crate::assets::{onnxruntime, program};
use crate::cpu_quota::CpuQuota;
use crate::ouroctl::Ouroctl;
use crate::process::Process;
use crate::testbed::Testbed;
use crate::wait::{SHORT, eventually};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What an agent is to be.
#[derive(Debug, Clone, Default)]
pub struct NodeOptions {
    /// The name it asks to be known by.
    pub name: String,
    /// Sample containers in its module folder.
    pub containers: Vec<String>,
    /// The model of its first pass.
    pub model: Option<PathBuf>,
    /// A recorded machine to read.
    pub recorded: Option<PathBuf>,
    /// Steps that may run at once.
    pub slots: Option<u32>,
    /// Bytes that its spool may hold.
    pub spool_max_bytes: Option<u64>,
    /// Slots in which it looks for modules; none unless named: every agent of this machine would use the same devices.
    pub devices: Vec<String>,
    /// Those of them that ask first.
    pub ask: Vec<String>,
    /// The machine that umockdev makes up for it.
    pub testbed: Option<Testbed>,
    /// What else stands in `agent.toml`: sections.
    pub configuration: String,
}

impl NodeOptions {
    /// A node with this name and these sample containers.
    pub fn new(name: &str, containers: &[&str]) -> Self {
        Self {
            name: name.into(),
            containers: containers.iter().map(ToString::to_string).collect(),
            ..Self::default()
        }
    }

    /// With a first pass.
    #[must_use]
    pub fn with_model(mut self, model: PathBuf) -> Self {
        self.model = Some(model);
        self
    }

    /// With the hardware of a recorded machine.
    #[must_use]
    pub fn recorded(mut self, root: PathBuf) -> Self {
        self.recorded = Some(root);
        self
    }

    /// With so many slots.
    #[must_use]
    pub fn slots(mut self, slots: u32) -> Self {
        self.slots = Some(slots);
        self
    }

    /// With a spool of so many bytes.
    #[must_use]
    pub fn spool(mut self, bytes: u64) -> Self {
        self.spool_max_bytes = Some(bytes);
        self
    }

    /// That looks for modules in these slots.
    #[must_use]
    pub fn watching(mut self, slots: &[&str]) -> Self {
        self.devices = slots.iter().map(ToString::to_string).collect();
        self
    }

    /// That asks before it uses what is in these slots.
    #[must_use]
    pub fn asking(mut self, slots: &[&str]) -> Self {
        self.ask = slots.iter().map(ToString::to_string).collect();
        self
    }

    /// In a machine that umockdev makes up.
    #[must_use]
    pub fn in_testbed(mut self, testbed: &Testbed) -> Self {
        self.testbed = Some(testbed.clone());
        self
    }

    /// With these sections in `agent.toml`.
    #[must_use]
    pub fn configured(mut self, sections: &str) -> Self {
        self.configuration = sections.into();
        self
    }

    fn toml(&self, modules: &Path) -> String {
        // TOML's basic strings are written as Rust's debug strings for the paths that occur here.
        let mut text = format!("name = {:?}\nmodules = [{modules:?}]\n", self.name);
        if let Some(slots) = self.slots {
            let _ = writeln!(text, "slots = {slots}");
        }
        if let Some(bytes) = self.spool_max_bytes {
            let _ = writeln!(text, "spool_max_bytes = {bytes}");
        }
        if let Some(root) = &self.recorded {
            let _ = writeln!(text, "hardware_root = {root:?}");
        }
        if let Some(library) = onnxruntime() {
            let _ = writeln!(text, "onnxruntime = {library:?}");
        }
        text.push_str("[first_pass]\n");
        if let Some(model) = &self.model {
            let _ = writeln!(text, "model = {model:?}");
        }
        let _ = writeln!(text, "[devices]\nwatch = {:?}\nask = {:?}", self.devices, self.ask);
        if self.testbed.is_some() {
            // umockdev answers for /dev/null too, and nobody in the bed does: no program can be started there.
            text.push_str("[oci]\nruntimes = []\n");
        }
        text.push_str(&self.configuration);
        text
    }
}

/// An agent: its home and, while it runs, its process.
#[derive(Debug)]
pub struct Node {
    name: String,
    home: PathBuf,
    testbed: Option<Testbed>,
    process: Option<Process>,
    wrap: fn(Command) -> Command,
    // Last: it is empty when the process is gone.
    quota: Option<CpuQuota>,
}

impl Node {
    /// Writes the configuration and the modules of a node; nothing runs yet.
    pub fn prepare(home: &Path, options: &NodeOptions) -> Self {
        let modules = home.join("modules");
        std::fs::create_dir_all(&modules).unwrap_or_else(|e| panic!("{}: {e}", modules.display()));
        let containers: Vec<&str> = options.containers.iter().map(String::as_str).collect();
        crate::assets::module_with(&modules, &containers);
        std::fs::write(home.join("agent.toml"), options.toml(&modules)).expect("the configuration can be written");
        Self {
            name: options.name.clone(),
            home: home.into(),
            testbed: options.testbed.clone(),
            process: None,
            wrap: |command| command,
            quota: None,
        }
    }

    /// With its agent in a cgroup.
    #[must_use]
    pub fn limited(mut self, quota: CpuQuota) -> Self {
        self.quota = Some(quota);
        self
    }

    /// With its program run by another one, such as `faketime`.
    #[must_use]
    pub fn wrapped(mut self, wrap: fn(Command) -> Command) -> Self {
        self.wrap = wrap;
        self
    }

    /// Runs `ouro-agent` with `arguments` on this node's home to its end.
    pub fn command(&self, arguments: &[&str]) -> Output {
        self.agent(arguments).output().expect("ouro-agent can be run")
    }

    fn agent(&self, arguments: &[&str]) -> Command {
        let agent = program("ouro-agent");
        let mut command = match self.testbed.as_ref().filter(|_| arguments == ["run"]) {
            Some(testbed) => testbed.command(&agent),
            None => Command::new(agent),
        };
        command.args(arguments).env("OUROBOROS_HOME", &self.home).env("RUST_LOG", "info");
        let command = (self.wrap)(command);
        match &self.quota {
            Some(quota) if arguments == ["run"] => quota.around(&command),
            _ => command,
        }
    }

    /// Joins the fleet.
    ///
    /// # Panics
    /// When the server refuses; its words are in the message.
    pub fn join(&self, address: &str, token: &str) {
        let joined = self.command(&["join", address, "--token", token]);
        assert!(joined.status.success(), "{} cannot join: {}", self.name, String::from_utf8_lossy(&joined.stderr));
    }

    /// Starts the agent, again if need be, and waits for its socket.
    pub fn start(&mut self) {
        self.process = None;
        let process = Process::start(&self.name, self.agent(&["run"]), &self.home.join("log"));
        let process = self.process.insert(process);
        let socket = self.home.join("run/agent.sock");
        eventually(&format!("the socket of {}", self.name), SHORT, || {
            assert!(process.ended().is_none(), "the agent ended: {}", process.log());
            std::os::unix::net::UnixStream::connect(&socket).ok()
        });
    }

    /// Its process.
    ///
    /// # Panics
    /// When it was never started.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the agent was started")
    }

    /// Steps that are under way, and results that the server has not acknowledged, as the running agent says.
    pub fn unsettled(&self) -> Option<(u64, u64)> {
        let status: serde_json::Value = serde_json::from_slice(&self.command(&["status", "--output", "json"]).stdout).ok()?;
        Some((status["busy"].as_u64()?, status["undelivered"].as_u64()?))
    }

    /// The processes of its workers.
    pub fn workers(&self) -> Vec<u32> {
        self.process.as_ref().map(Process::children).unwrap_or_default()
    }

    /// The name it asked for.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id that the server gave it; `None` before it has joined.
    pub fn id(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.home.join("agent/node.json")).ok()?;
        let joined: serde_json::Value = serde_json::from_str(&text).ok()?;
        joined["node"].as_str().map(str::to_string)
    }

    /// Its home.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Its module folder.
    pub fn modules(&self) -> PathBuf {
        self.home.join("modules")
    }

    /// `ouroctl` for a user of this machine.
    pub fn ouroctl(&self) -> Ouroctl {
        Ouroctl::new(&self.home)
    }

    pub(crate) fn report(&self) -> Option<String> {
        self.process.as_ref().map(Process::report)
    }
}

/// An agent that was killed leaves its containers running, its modules mounted and their devices read-only, until its next start, which
/// this one will not have.
impl Drop for Node {
    fn drop(&mut self) {
        self.process = None;
        if let Some(id) = self.id() {
            crate::programs::sweep(&id);
        }
        for mount in std::fs::read_dir(self.home.join("agent/mounts")).into_iter().flatten().flatten() {
            let quietly = |command: &mut Command| drop(command.stderr(std::process::Stdio::null()).status());
            quietly(Command::new("umount").arg("--lazy").arg(mount.path()));
            if let Some((slot, _)) = mount.file_name().to_str().and_then(|name| name.split_once('-')) {
                quietly(Command::new("blockdev").arg("--setrw").arg(format!("/dev/{slot}")));
            }
        }
        crate::programs::unmount_below(&self.home);
    }
}
