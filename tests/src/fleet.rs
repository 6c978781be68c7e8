//! A server and agents of a test, each on a home of its own in one folder.

use crate::client::{Claims, Client, Conduct, Identity, Liar};
use crate::node::{Node, NodeOptions};
use crate::ouroctl::Ouroctl;
use crate::server::Server;
use crate::wait::{SHORT, eventually};
use ouro_common::document::NodeView;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// What a fleet is to be.
#[derive(Debug, Default)]
pub struct FleetOptions {
    /// Arguments for `ouro-server run`.
    pub server_arguments: Vec<&'static str>,
    /// The server's home; else a folder in the fleet's own.
    pub server_home: Option<PathBuf>,
    /// More variables for `ouro-server run`.
    pub server_environment: Vec<(String, String)>,
}

/// A running fleet. When it is dropped in a failing test, its logs are printed.
#[derive(Debug)]
pub struct Fleet {
    /// The nodes in the order in which they were added.
    pub nodes: Vec<Node>,
    /// The server.
    pub server: Server,
    // Last: the folder goes when the processes are gone.
    folder: tempfile::TempDir,
}

impl Fleet {
    /// A server without nodes.
    pub fn new() -> Self {
        Self::with(&FleetOptions::default())
    }

    /// A server and these nodes, all online.
    pub fn of(nodes: &[NodeOptions]) -> Self {
        let mut fleet = Self::new();
        for options in nodes {
            fleet.add(options);
        }
        for options in nodes {
            fleet.wait_online(&options.name);
        }
        fleet
    }

    /// A server as `options` want it.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn with(options: &FleetOptions) -> Self {
        let folder = tempfile::Builder::new().prefix("ouro-").tempdir().expect("a folder can be made");
        let home = options.server_home.clone().unwrap_or_else(|| folder.path().join("server"));
        std::fs::create_dir_all(&home).unwrap_or_else(|e| panic!("{}: {e}", home.display()));
        let server = Server::start(&home, &folder.path().join("server.log"), &options.server_arguments, &options.server_environment);
        Self { nodes: vec![], server, folder }
    }

    /// Adds a node: joined and running, perhaps not yet online.
    pub fn add(&mut self, options: &NodeOptions) -> &mut Node {
        let mut node = Node::prepare(&self.path(&options.name), options);
        node.join(self.server.address(), &self.server.join_token());
        node.start();
        self.nodes.push(node);
        self.nodes.last_mut().expect("it was pushed")
    }

    /// Adds a node that is the test itself and claims what `claims` says.
    pub fn add_liar(&self, name: &str, claims: Claims, conduct: Conduct) {
        let liar = Liar::join(self.server.address(), self.server.home(), &self.server.join_token(), name);
        liar.take_part(claims, conduct);
    }

    /// What a node has told of itself, as the server keeps it.
    ///
    /// # Panics
    /// When it has told nothing yet.
    pub fn claims_of(&self, name: &str) -> Claims {
        let database = rusqlite::Connection::open(self.server.home().join("server/store.db")).expect("the store can be read");
        let query = "SELECT profile, announcement FROM nodes WHERE name = ?1";
        let read = |row: &rusqlite::Row<'_>| Ok(Claims { profile: row.get(0)?, announcement: row.get(1)? });
        database.query_row(query, [name], read).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// A path in the fleet's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into the fleet's folder.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        path
    }

    /// The node of this name.
    ///
    /// # Panics
    /// When there is none.
    pub fn node(&mut self, name: &str) -> &mut Node {
        self.nodes.iter_mut().find(|n| n.name() == name).unwrap_or_else(|| panic!("there is no node {name}"))
    }

    /// `ouroctl` for the operator, on the server's machine.
    pub fn operator(&self) -> Ouroctl {
        Ouroctl::new(self.server.home()).server(self.server.address())
    }

    /// The raw client with the operator's certificate.
    pub fn client(&self) -> Client {
        Client::connect(self.server.address(), &Identity::read(&self.server.home().join("operator")))
    }

    /// Waits until a node is online and has told what it offers.
    pub fn wait_online(&self, name: &str) -> NodeView {
        let mut client = self.client();
        eventually(&format!("{name} online"), SHORT, || {
            let nodes = client.nodes().nodes;
            nodes.into_iter().find(|n| n.name == name && n.session == "online" && !n.containers.is_empty())
        })
    }

    /// Waits until a container is offered by the node.
    pub fn wait_container(&self, node: &str, container: &str) {
        let mut client = self.client();
        eventually(&format!("{container} on {node}"), SHORT, || {
            let nodes = client.nodes().nodes;
            nodes.into_iter().find(|n| n.name == node && n.containers.iter().any(|c| c.name.as_str() == container))
        });
    }

    /// The fleet's folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Default for Fleet {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let logs = std::iter::once(self.server.process().report()).chain(self.nodes.iter().filter_map(Node::report));
        for log in logs {
            let _ = write!(std::io::stderr(), "{log}");
        }
    }
}
