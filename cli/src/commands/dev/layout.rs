//! Where everything of a trial fleet lies.
//!
//! ```text
//! DIR/listen            the address of the server, chosen at the first `up` and kept
//! DIR/NAME.log          what the process NAME said
//! DIR/NAME.lock         locked as long as NAME runs
//! DIR/NAME.pid          its process id; believed only while the lock is held
//! DIR/node-1/           the home of the server and of the first agent: what OUROBOROS_HOME is set to
//! DIR/node-N/           the home of another agent
//! ```

use super::process::Process;
use ouro_common::error::{Fault, FaultCode};
use ouro_common::home::Home;
use std::path::{Path, PathBuf};

/// The folder of a trial fleet.
pub(super) struct Layout {
    dir: PathBuf,
}

impl Layout {
    /// In `dir`, which need not exist.
    pub(super) fn at(dir: &Path) -> Result<Self, Fault> {
        let dir = std::path::absolute(dir)
            .map_err(|e| Fault::new(FaultCode::InvalidArgument, format!("the folder cannot be used: {e}")).at(dir.display()))?;
        Ok(Self { dir })
    }

    pub(super) fn dir(&self) -> &PathBuf {
        &self.dir
    }

    /// The home of the server and of the first agent.
    pub(super) fn first_home(&self) -> PathBuf {
        self.agent_home(1)
    }

    pub(super) fn agent_home(&self, number: u8) -> PathBuf {
        self.dir.join(format!("node-{number}"))
    }

    /// The server's process.
    pub(super) fn server(&self) -> Process {
        Process::new(&self.dir, "server", self.first_home())
    }

    /// An agent's process.
    pub(super) fn agent(&self, number: u8) -> Process {
        Process::new(&self.dir, &format!("agent-{number}"), self.agent_home(number))
    }

    /// Every process that was ever started here, the server first.
    pub(super) fn processes(&self) -> Vec<Process> {
        let agents = (1..=u8::MAX).map(|n| self.agent(n));
        std::iter::once(self.server()).chain(agents).filter(Process::was_started).collect()
    }

    /// The server's address, if it was chosen already.
    pub(super) fn listen(&self) -> Option<String> {
        std::fs::read_to_string(self.listen_file()).ok().map(|t| t.trim().to_string()).filter(|t| !t.is_empty())
    }

    pub(super) fn listen_file(&self) -> PathBuf {
        self.dir.join("listen")
    }

    /// The token the agents join with.
    pub(super) fn token_file(&self) -> PathBuf {
        self.dir.join("join-token")
    }
}

/// The names within a home.
pub(super) fn home_at(root: &Path) -> Result<Home, Fault> {
    let text = root.to_str().map(ToString::to_string);
    Home::from_environment(|name| text.clone().filter(|_| name == "OUROBOROS_HOME"))
        .ok_or_else(|| Fault::new(FaultCode::InvalidArgument, "the folder's name is not UTF-8").at(root.display()))
}
