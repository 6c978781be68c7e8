//! The service `Operator`: join tokens, nodes, poison and events.

use super::Client;
use crate::output::tokens::TokensDocument;
use ouro_common::document::{EventsDocument, PoisonDocument, ReplayDocument, TrustedKeysDocument};
use ouro_common::error::Fault;
use ouro_common::id::NodeId;
use ouro_common::step::NodeDeed;
use ouro_proto::convert::{fault_of, read_document};
use ouro_proto::wire::operator_client::OperatorClient;
use ouro_proto::wire::{
    ChangeNodeRequest, CreateTokenRequest, DistrustKeyRequest, Document, EventsRequest, ListPoisonRequest, ListTokensRequest,
    ListTrustedKeysRequest, ReleasePoisonRequest, ReplayRequest, RevokeTokenRequest, TrustKeyRequest,
};
use std::collections::HashMap;
use tonic::Streaming;
use tonic::transport::Channel;

/// What a new token is to be.
pub(crate) struct TokenSpec {
    /// `node`, `operator` or `client`.
    pub(crate) role: &'static str,
    /// How often it can be used.
    pub(crate) uses: u32,
    /// For how long, seconds.
    pub(crate) lifetime_s: u64,
    /// Labels for what it makes.
    pub(crate) labels: HashMap<String, String>,
    /// Whether nodes wait for approval.
    pub(crate) require_approval: bool,
}

impl Client {
    fn operator(&self) -> OperatorClient<Channel> {
        OperatorClient::new(self.channel.clone())
    }

    /// Makes a join token.
    pub(crate) async fn create_token(&self, spec: TokenSpec) -> Result<String, Fault> {
        let request = CreateTokenRequest {
            role: spec.role.to_string(),
            uses: spec.uses,
            lifetime_s: spec.lifetime_s,
            labels: spec.labels,
            require_approval: spec.require_approval,
        };
        Ok(self.operator().create_token(request).await.map_err(|s| fault_of(&s))?.into_inner().token)
    }

    /// The tokens there are.
    pub(crate) async fn tokens(&self) -> Result<TokensDocument, Fault> {
        let reply = self.operator().list_tokens(ListTokensRequest {}).await.map_err(|s| fault_of(&s))?;
        read_document(Some(&reply.into_inner()), "ouroboros.tokens/1")
    }

    /// Ends a token.
    pub(crate) async fn revoke_token(&self, id: &str) -> Result<(), Fault> {
        self.operator().revoke_token(RevokeTokenRequest { id: id.to_string() }).await.map_err(|s| fault_of(&s))?;
        Ok(())
    }

    /// Does a deed to a node, or changes its labels: the operators' decision about it now, and whether anything changed.
    pub(crate) async fn change_node(
        &self,
        node: NodeId,
        deed: Option<NodeDeed>,
        set_labels: HashMap<String, String>,
        unset_labels: Vec<String>,
    ) -> Result<(String, bool), Fault> {
        let deed = deed.map(|deed| deed.to_string()).unwrap_or_default();
        let request = ChangeNodeRequest { node: node.to_string(), deed, set_labels, unset_labels };
        let reply = self.operator().change_node(request).await.map_err(|s| fault_of(&s))?.into_inner();
        Ok((reply.admin, reply.changed))
    }

    /// Work that is kept away.
    pub(crate) async fn poison(&self) -> Result<PoisonDocument, Fault> {
        let reply = self.operator().list_poison(ListPoisonRequest {}).await.map_err(|s| fault_of(&s))?;
        read_document(Some(&reply.into_inner()), PoisonDocument::SCHEMA)
    }

    /// Takes the newest kept decision about a request again; `step` may be empty.
    pub(crate) async fn replay(&self, request: String, step: &str) -> Result<ReplayDocument, Fault> {
        let message = ReplayRequest { request, step: step.to_string() };
        let reply = self.operator().replay(message).await.map_err(|s| fault_of(&s))?;
        read_document(Some(&reply.into_inner()), ReplayDocument::SCHEMA)
    }

    /// Lets work run again; what was released.
    pub(crate) async fn release_poison(&self, id: &str) -> Result<PoisonDocument, Fault> {
        let request = ReleasePoisonRequest { id: id.to_string() };
        let reply = self.operator().release_poison(request).await.map_err(|s| fault_of(&s))?;
        read_document(Some(&reply.into_inner()), PoisonDocument::SCHEMA)
    }

    /// The keys whose modules are used.
    pub(crate) async fn trusted_keys(&self) -> Result<TrustedKeysDocument, Fault> {
        keys(self.operator().list_trusted_keys(ListTrustedKeysRequest {}).await)
    }

    /// Trusts a key; all that are trusted then.
    pub(crate) async fn trust_key(&self, key: &str, name: &str) -> Result<TrustedKeysDocument, Fault> {
        keys(self.operator().trust_key(TrustKeyRequest { key: key.to_string(), name: name.to_string() }).await)
    }

    /// Trusts a key no longer; all that are trusted then.
    pub(crate) async fn distrust_key(&self, key: &str) -> Result<TrustedKeysDocument, Fault> {
        keys(self.operator().distrust_key(DistrustKeyRequest { key: key.to_string() }).await)
    }

    /// What happened in the fleet, and what happens if `follow`.
    pub(crate) async fn events(&self, after: Option<u64>, limit: u32, follow: bool) -> Result<Events, Fault> {
        let reply = self.operator().events(EventsRequest { after, limit, follow }).await.map_err(|s| fault_of(&s))?;
        Ok(Events(reply.into_inner()))
    }
}

fn keys(reply: Result<tonic::Response<Document>, tonic::Status>) -> Result<TrustedKeysDocument, Fault> {
    read_document(Some(&reply.map_err(|s| fault_of(&s))?.into_inner()), TrustedKeysDocument::SCHEMA)
}

/// Events as they come.
pub(crate) struct Events(Streaming<Document>);

impl Events {
    /// The next ones; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<EventsDocument>, Fault> {
        match self.0.message().await.map_err(|s| fault_of(&s))? {
            Some(part) => read_document(Some(&part), EventsDocument::SCHEMA).map(Some),
            None => Ok(None),
        }
    }
}
