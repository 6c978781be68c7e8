//! Whom to talk to: the server that was named, the agent on this machine, or the server this identity belongs to.

use ouro_common::error::{Fault, FaultCode};
use ouro_common::home::Home;
use std::path::{Path, PathBuf};

/// The port a server listens on unless told otherwise.
const DEFAULT_PORT: u16 = 7443;

/// A way to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// The agent of this machine, at its socket.
    Agent(PathBuf),
    /// A server, with the identity in a folder.
    Server {
        /// Host and port.
        address: String,
        /// The folder with key, chain and CA.
        identity: PathBuf,
    },
}

impl Route {
    /// As a person calls it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Agent(_) => "agent",
            Self::Server { .. } => "server",
        }
    }
}

/// What decides about the way.
pub(crate) struct Target<'a> {
    /// The home of this user.
    pub(crate) home: &'a Home,
    /// The server that was named.
    pub(crate) server: Option<&'a str>,
    /// Whether the agent is left out.
    pub(crate) direct: bool,
}

/// The ways to who answers for requests, in the order of trying.
///
/// # Errors
/// When there is no agent here and no server is known.
pub(crate) fn for_requests(target: &Target<'_>) -> Result<Vec<Route>, Fault> {
    if target.server.is_some() || target.direct {
        return Ok(vec![server(target)?]);
    }
    let sockets = target.home.sockets().iter().filter(|s| s.exists());
    let mut routes: Vec<_> = sockets.map(|s| Route::Agent(s.clone())).collect();
    // A socket may be left over from an agent that was killed; then the server is asked.
    match server(target) {
        Ok(route) => routes.push(route),
        Err(fault) if routes.is_empty() => return Err(fault),
        Err(_) => {}
    }
    Ok(routes)
}

/// The ways to the agent of this machine.
///
/// # Errors
/// When none runs here.
pub(crate) fn for_agent(home: &Home) -> Result<Vec<Route>, Fault> {
    let routes: Vec<_> = home.sockets().iter().filter(|s| s.exists()).map(|s| Route::Agent(s.clone())).collect();
    if routes.is_empty() {
        let fault = Fault::new(FaultCode::NotFound, "no agent runs on this machine").at(home.root().display());
        return Err(fault.remedy("run this on the node the module is plugged into, with its OUROBOROS_HOME if it has one"));
    }
    Ok(routes)
}

/// The way to the server.
///
/// # Errors
/// When no server is known.
pub(crate) fn for_operators(target: &Target<'_>) -> Result<Vec<Route>, Fault> {
    Ok(vec![server(target)?])
}

fn server(target: &Target<'_>) -> Result<Route, Fault> {
    let identity = target.home.operator();
    let address = match target.server {
        Some(named) => with_port(named),
        None => known_address(target.home)?,
    };
    if !identity.join("chain.pem").exists() {
        return Err(Fault::new(FaultCode::Unauthenticated, "there is no identity to show to the server")
            .at(identity.display())
            .remedy("ask an operator for a token (`ouroctl token create --role client`), then `ouroctl login SERVER --token …`"));
    }
    Ok(Route::Server { address, identity })
}

/// The address of the last login, or else the one a server on this machine listens on.
fn known_address(home: &Home) -> Result<String, Fault> {
    let line = |path: &Path| std::fs::read_to_string(path).ok().map(|t| t.trim().to_string()).filter(|t| !t.is_empty());
    let own = line(&home.operator().join("address")).map(|a| with_port(&a));
    own.or_else(|| line(&home.server_address()).map(|a| reachable(&a))).ok_or_else(|| {
        Fault::new(FaultCode::ServerUnreachable, "there is no agent on this machine, and no server is known")
            .at(home.root().display())
            .remedy("try it out with `ouroctl dev up`, join a fleet with `ouro-agent join`, or name a server with --server HOST:PORT")
    })
}

/// A server that listens on every address of this machine is reached through loopback.
fn reachable(address: &str) -> String {
    match address.rsplit_once(':') {
        Some(("0.0.0.0", port)) => format!("127.0.0.1:{port}"),
        Some(("[::]", port)) => format!("[::1]:{port}"),
        _ => address.to_string(),
    }
}

/// A host with the port filled in where it is missing.
pub(crate) fn with_port(server: &str) -> String {
    let server = server.trim();
    match server {
        _ if server.parse::<std::net::Ipv6Addr>().is_ok() => format!("[{server}]:{DEFAULT_PORT}"),
        _ if server.ends_with(']') || !server.contains(':') => format!("{server}:{DEFAULT_PORT}"),
        _ => server.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn home(root: &Path) -> Home {
        let root = root.to_str().unwrap().to_string();
        Home::from_environment(|name| (name == "OUROBOROS_HOME").then(|| root.clone())).unwrap()
    }

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn the_way_is_the_named_server_then_the_agent_then_the_known_server() {
        let folder = tempfile::tempdir().unwrap();
        let home = home(folder.path());
        let target = |server, direct| Target { home: &home, server, direct };
        let nothing = for_requests(&target(None, false)).unwrap_err();
        assert!(nothing.remedy.contains("dev up"), "{nothing}");

        write(&home.operator().join("chain.pem"), "x");
        write(&home.server_address(), "0.0.0.0:7443\n");
        let local = Route::Server { address: "127.0.0.1:7443".into(), identity: home.operator() };
        assert_eq!(for_requests(&target(None, false)).unwrap(), std::slice::from_ref(&local));

        write(&home.agent_socket(), "");
        let agent = Route::Agent(home.agent_socket());
        assert_eq!(for_requests(&target(None, false)).unwrap(), [agent, local.clone()]);
        assert_eq!(for_requests(&target(None, true)).unwrap(), std::slice::from_ref(&local));
        assert_eq!(for_operators(&target(None, false)).unwrap(), [local]);

        write(&home.operator().join("address"), "odin\n");
        let of_login = Route::Server { address: "odin:7443".into(), identity: home.operator() };
        assert_eq!(for_operators(&target(None, false)).unwrap(), [of_login]);
        let named = Route::Server { address: "thor:9".into(), identity: home.operator() };
        assert_eq!(for_requests(&target(Some("thor:9"), false)).unwrap(), [named]);
    }

    #[test]
    fn an_agent_needs_no_identity_of_the_user() {
        let folder = tempfile::tempdir().unwrap();
        let home = home(folder.path());
        write(&home.agent_socket(), "");
        assert_eq!(for_requests(&Target { home: &home, server: None, direct: false }).unwrap().len(), 1);
        let named = for_requests(&Target { home: &home, server: Some("odin"), direct: false }).unwrap_err();
        assert!(named.remedy.contains("login"), "{named}");
    }

    #[test]
    fn ports_are_filled_in() {
        for (given, full) in [("a", "a:7443"), ("a:1", "a:1"), ("::1", "[::1]:7443"), ("[::1]", "[::1]:7443"), ("[::1]:9", "[::1]:9")] {
            assert_eq!(with_port(given), full);
        }
    }
}
