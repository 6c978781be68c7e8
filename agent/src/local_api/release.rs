//! What a local user asks of the agent itself: how it is, and that a module which waits for a word be used.

use super::forward::refuse;
use super::status::{SCHEMA, StatusSource};
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
        let peer = request.extensions().get::<UdsConnectInfo>().and_then(|info| info.peer_cred);
        let uid = peer.map(|peer| peer.uid());
        // What is mounted is read by the kernel: whoever may say so must be trusted with the machine.
        if !uid.is_some_and(|uid| uid == 0 || uid == rustix::process::getuid().as_raw()) {
            let fault = Fault::new(FaultCode::PermissionDenied, "only root and the agent's own user may release a module");
            return Err(refuse(fault.remedy("run it as root, on the node the module is plugged into")));
        }
        let slot = self.0.modules.release(&request.into_inner().module).await.map_err(refuse)?;
        Ok(Response::new(wire::ReleaseModuleReply { slot }))
    }
}
