//! The socket itself: where it lies, who may open it, and the server behind it.

use super::release::AgentService;
use super::service::LocalRequests;
use super::status::StatusSource;
use crate::durable::FileError;
use crate::requests::Requests;
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::NodeId;
use ouro_proto::wire::agent_server::AgentServer;
use ouro_proto::wire::requests_server::RequestsServer;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

/// Members of this group may use the agent, if it exists.
const GROUP: &str = "ouroboros";
/// Where the system's groups are listed, group(5).
const GROUPS: &str = "/etc/group";

/// What the socket needs.
pub struct ApiOptions {
    /// Where it is to lie.
    pub socket: PathBuf,
    /// This node.
    pub node: NodeId,
    /// The requests.
    pub requests: Requests,
    /// What the agent knows about itself.
    pub status: StatusSource,
}

/// A socket that is open.
pub struct LocalApi {
    options: ApiOptions,
    listener: UnixListener,
}

impl LocalApi {
    /// Opens the socket. One that an earlier run left is replaced: the home's lock says that nobody uses it.
    ///
    /// # Errors
    /// What the file system refused, with the path.
    pub fn open(options: ApiOptions) -> Result<Self, Fault> {
        let group = fs::read_to_string(GROUPS).ok().and_then(|groups| group_id(&groups, GROUP));
        let listener = bind(&options.socket, group).map_err(|e| {
            Fault::new(FaultCode::Internal, format!("the agent's socket cannot be opened: {}", e.source))
                .at(e.path.display())
                .remedy("set OUROBOROS_HOME to a folder of yours with a path shorter than 90 characters")
        })?;
        Ok(Self { options, listener })
    }

    /// Serves until `drain`.
    pub async fn run(self, drain: CancellationToken) {
        let ApiOptions { socket, node, requests, status } = self.options;
        let service = LocalRequests::new(node, requests);
        let served = Server::builder()
            .add_service(RequestsServer::new(service))
            .add_service(AgentServer::new(AgentService(status)))
            .serve_with_incoming_shutdown(UnixListenerStream::new(self.listener), drain.cancelled());
        // Watchers that stay are not waited for: their requests go on in the journal.
        let patience = async {
            drain.cancelled().await;
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        };
        tokio::select! {
            served = served => if let Err(error) = served {
                tracing::error!(%error, "the local socket ended");
            },
            () = patience => {}
        }
        let _ = fs::remove_file(socket);
    }
}

fn bind(socket: &Path, group: Option<u32>) -> Result<UnixListener, FileError> {
    let folder = socket.parent().unwrap_or(Path::new("."));
    let (folder_mode, mode) = if group.is_some() { (0o755, 0o660) } else { (0o700, 0o600) };
    fs::DirBuilder::new().recursive(true).mode(folder_mode).create(folder).map_err(FileError::at(folder))?;
    match fs::remove_file(socket) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(FileError { path: socket.into(), source: e }),
        _ => {}
    }
    let listener = UnixListener::bind(socket).map_err(FileError::at(socket))?;
    if let Some(group) = group {
        // Without the right to give it to the group, it stays its owner's.
        let _ = rustix::fs::chown(socket, None, Some(rustix::fs::Gid::from_raw(group)));
    }
    fs::set_permissions(socket, fs::Permissions::from_mode(mode)).map_err(FileError::at(socket))?;
    Ok(listener)
}

/// The number of a group in the text of group(5).
fn group_id(groups: &str, name: &str) -> Option<u32> {
    let mut lines = groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines.find(|fields| fields.first() == Some(&name))?.get(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_socket_is_the_owner_s_and_a_stale_one_is_replaced() {
        let home = tempfile::tempdir().unwrap();
        let socket = home.path().join("run/agent.sock");
        for _ in 0..2 {
            let listener = bind(&socket, None).unwrap();
            assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
            drop(listener);
        }
    }

    #[test]
    fn groups_are_found_by_their_whole_name() {
        let groups = "root:x:0:\nouroboros-dev:x:7:\nouroboros:x:991:ada,bob\n";
        assert_eq!(group_id(groups, GROUP), Some(991));
        assert_eq!(group_id("ouroboros:x:\n", GROUP), None);
    }
}
