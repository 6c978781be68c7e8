//! The service `Agent`, on the socket of this machine's agent only.

use super::Client;
use ouro_common::error::Fault;
use ouro_proto::convert::fault_of;
use ouro_proto::wire::ReleaseModuleRequest;
use ouro_proto::wire::agent_client::AgentClient;

impl Client {
    /// Lets a module be mounted that waits for somebody's word; the slot it is in.
    pub(crate) async fn release_module(&self, module: &str) -> Result<String, Fault> {
        let request = ReleaseModuleRequest { module: module.to_string() };
        let reply = AgentClient::new(self.channel.clone()).release_module(request).await.map_err(|s| fault_of(&s))?;
        Ok(reply.into_inner().slot)
    }
}
