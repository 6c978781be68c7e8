//! The service `Agent`, on the socket of this machine's agent only.

use super::Client;
use ouro_common::document::LoadedDocument;
use ouro_common::error::Fault;
use ouro_proto::convert::{fault_of, read_document};
use ouro_proto::wire::agent_client::AgentClient;
use ouro_proto::wire::{ChangeLoadedRequest, LoadedRequest, ReleaseModuleRequest};

impl Client {
    /// Lets a module be mounted that waits for somebody's word; the slot it is in.
    pub(crate) async fn release_module(&self, module: &str) -> Result<String, Fault> {
        let request = ReleaseModuleRequest { module: module.to_string() };
        let reply = AgentClient::new(self.channel.clone()).release_module(request).await.map_err(|s| fault_of(&s))?;
        Ok(reply.into_inner().slot)
    }

    /// What the agent has in memory.
    pub(crate) async fn loaded(&self) -> Result<LoadedDocument, Fault> {
        let reply = AgentClient::new(self.channel.clone()).loaded(LoadedRequest {}).await.map_err(|s| fault_of(&s))?;
        read_document(Some(&reply.into_inner()), LoadedDocument::SCHEMA)
    }

    /// Changes it: `load`, `unload`, `pin` or `unpin`; what is in memory then.
    pub(crate) async fn change_loaded(&self, container: &str, change: &str) -> Result<LoadedDocument, Fault> {
        let request = ChangeLoadedRequest { container: container.to_string(), change: change.to_string() };
        let reply = AgentClient::new(self.channel.clone()).change_loaded(request).await.map_err(|s| fault_of(&s))?;
        read_document(Some(&reply.into_inner()), LoadedDocument::SCHEMA)
    }
}
