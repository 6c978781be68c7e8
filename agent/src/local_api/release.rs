//! What a local user asks of the agent itself: how it is, that a module which waits for a word be used, and what is in memory.

use super::forward::refuse;
use super::status::{SCHEMA, StatusSource};
use ouro_common::document::LoadedDocument;
use ouro_common::error::{Fault, FaultCode};
use ouro_proto::convert::document;
use ouro_proto::wire;
use ouro_proto::wire::agent_server::Agent;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Response, Status};

/// The service on the socket.
pub(super) struct AgentService(pub(super) StatusSource);

#[tonic::async_trait]
impl Agent for AgentService {
    async fn status(&self, _: Request<wire::StatusRequest>) -> Result<Response<wire::Document>, Status> {
        Ok(Response::new(document(SCHEMA, &self.0.now())))
    }

    async fn release_module(&self, request: Request<wire::ReleaseModuleRequest>) -> Result<Response<wire::ReleaseModuleReply>, Status> {
        // What is mounted is read by the kernel: whoever may say so must be trusted with the machine.
        trusted(&request, "release a module")?;
        let slot = self.0.modules.release(&request.into_inner().module).await.map_err(refuse)?;
        Ok(Response::new(wire::ReleaseModuleReply { slot }))
    }

    async fn loaded(&self, _: Request<wire::LoadedRequest>) -> Result<Response<wire::Document>, Status> {
        Ok(Response::new(document(LoadedDocument::SCHEMA, &self.0.loaded())))
    }

    async fn change_loaded(&self, request: Request<wire::ChangeLoadedRequest>) -> Result<Response<wire::Document>, Status> {
        // What fills the memory of a machine is its owner's business.
        trusted(&request, "say what is in memory")?;
        let wire::ChangeLoadedRequest { container, change } = request.into_inner();
        let loaded = self.0.change_loaded(&container, &change).await.map_err(refuse)?;
        Ok(Response::new(document(LoadedDocument::SCHEMA, &loaded)))
    }
}

/// Refuses callers who are neither root nor the agent's own user.
fn trusted<T>(request: &Request<T>, what: &str) -> Result<(), Status> {
    let peer = request.extensions().get::<UdsConnectInfo>().and_then(|info| info.peer_cred);
    let uid = peer.map(|peer| peer.uid());
    if uid.is_some_and(|uid| uid == 0 || uid == rustix::process::getuid().as_raw()) {
        return Ok(());
    }
    let fault = Fault::new(FaultCode::PermissionDenied, format!("only root and the agent's own user may {what}"));
    Err(refuse(fault.remedy("run it as root, on the node itself")))
}
