//! Where things lie: one home folder for everything a machine keeps, the same for agent, server and `ouroctl`.
//!
//! `$OUROBOROS_HOME`, or else `ouroboros` in the XDG data folder. Pure path arithmetic: nothing is read or created here.

use std::path::PathBuf;

/// The folder everything lies in, and the names within it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
    sockets: Vec<PathBuf>,
}

impl Home {
    /// The home according to the environment. `None` when neither `OUROBOROS_HOME`, `XDG_DATA_HOME` nor `HOME` is set.
    ///
    /// With `OUROBOROS_HOME` the agent's socket is in it; without, in the user's runtime folder (XDG Base Directory
    /// Specification), or the system's for an agent that runs as a service.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let set = |name: &str| variable(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        if let Some(root) = set("OUROBOROS_HOME") {
            return Some(Self { sockets: vec![root.join("run/agent.sock")], root });
        }
        let data = set("XDG_DATA_HOME").or_else(|| set("HOME").map(|h| h.join(".local/share")))?;
        let root = data.join("ouroboros");
        let mut sockets: Vec<_> = set("XDG_RUNTIME_DIR").map(|r| r.join("ouroboros/agent.sock")).into_iter().collect();
        if sockets.is_empty() {
            sockets.push(root.join("run/agent.sock"));
        }
        sockets.push(PathBuf::from("/run/ouroboros/agent.sock"));
        Some(Self { root, sockets })
    }

    /// The folder itself.
    pub fn root(&self) -> &PathBuf {
        &self.root
    }
    /// Where an agent of this home listens: the first of [`Self::sockets`].
    pub fn agent_socket(&self) -> PathBuf {
        self.sockets[0].clone()
    }
    /// Where `ouroctl` looks for an agent, in this order.
    pub fn sockets(&self) -> &[PathBuf] {
        &self.sockets
    }
    /// The server's folder: CA, store, blobs, lock and address.
    pub fn server(&self) -> PathBuf {
        self.root.join("server")
    }
    /// The file with the address the server listens on, written when it is ready.
    pub fn server_address(&self) -> PathBuf {
        self.root.join("server/address")
    }
    /// The agent's folder: identity, journal, spool.
    pub fn agent(&self) -> PathBuf {
        self.root.join("agent")
    }
    /// The agent's configuration.
    pub fn agent_config(&self) -> PathBuf {
        self.root.join("agent.toml")
    }
    /// The identity `ouroctl` shows to the server, with the file `address` that says which one.
    pub fn operator(&self) -> PathBuf {
        self.root.join("operator")
    }
    /// The join token `ouro-server init` writes.
    pub fn join_token(&self) -> PathBuf {
        self.root.join("join-token")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(vars: &[(&str, &str)]) -> Option<Home> {
        Home::from_environment(|name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_string()))
    }

    #[test]
    fn the_environment_decides() {
        let own = home(&[("OUROBOROS_HOME", "/srv/o"), ("HOME", "/home/ada")]).unwrap();
        assert_eq!(own.agent_socket(), PathBuf::from("/srv/o/run/agent.sock"));
        assert_eq!(own.sockets().len(), 1, "an explicit home is never mixed with the system's");
        let user = home(&[("HOME", "/home/ada"), ("XDG_RUNTIME_DIR", "/run/user/1")]).unwrap();
        assert_eq!(user.root(), &PathBuf::from("/home/ada/.local/share/ouroboros"));
        assert_eq!(user.agent_socket(), PathBuf::from("/run/user/1/ouroboros/agent.sock"));
        assert_eq!(home(&[("OUROBOROS_HOME", "")]), None);
    }
}
