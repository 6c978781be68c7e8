//! The service `Operator`: join tokens.

use super::Client;
use crate::output::tokens::TokensDocument;
use ouro_common::error::Fault;
use ouro_proto::convert::{fault_of, read_document};
use ouro_proto::wire::operator_client::OperatorClient;
use ouro_proto::wire::{CreateTokenRequest, ListTokensRequest, RevokeTokenRequest};
use std::collections::HashMap;
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
}
