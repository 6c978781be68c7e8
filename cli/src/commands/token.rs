//! `ouroctl token create | list | revoke`: join tokens for machines and people.

use super::{Context, lines};
use crate::client::TokenSpec;
use crate::exit::{Exit, Failure};
use crate::output::quantity::span_ms;
use crate::output::tokens::render;
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a token; whoever has it can join as often as it says
    Create(CreateArguments),
    /// The tokens there are, without their secrets
    List,
    /// End a token; what joined with it stays
    Revoke {
        /// The token's id: the part after `ouro1.`
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateArguments {
    /// What joins with it
    #[arg(long, value_enum, default_value = "node")]
    role: Role,
    /// How often it can be used
    #[arg(long, value_name = "N", default_value_t = 1)]
    uses: u32,
    /// For how long
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = super::submit::parse_span)]
    lifetime: Duration,
    /// A label for the nodes that join with it; may be given several times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    /// Nodes that join with it wait until an operator approves them
    #[arg(long)]
    require_approval: bool,
}

/// What a token makes.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Role {
    /// A machine that runs the agent
    Node,
    /// A person who may do everything
    Operator,
    /// A person who may submit and see their own requests
    Client,
}

/// `ouroboros.token/1`.
#[derive(Serialize)]
struct TokenDocument {
    schema: &'static str,
    token: String,
    role: &'static str,
    uses: u32,
    lifetime_s: u64,
}

/// `ouroboros.token-revoked/1`.
#[derive(Serialize)]
struct RevokedDocument {
    schema: &'static str,
    id: String,
}

pub(super) fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_string(), value.to_string())),
        _ => Err("expected KEY=VALUE".into()),
    }
}

pub(crate) async fn run(verb: Verb, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let client = context.operator().await?;
    match verb {
        Verb::Create(arguments) => {
            let role = match arguments.role {
                Role::Node => "node",
                Role::Operator => "operator",
                Role::Client => "client",
            };
            let (uses, lifetime_s) = (arguments.uses, arguments.lifetime.as_secs());
            let labels = arguments.labels.into_iter().collect();
            let spec = TokenSpec { role, uses, lifetime_s, labels, require_approval: arguments.require_approval };
            let token = client.create_token(spec).await?;
            let document = TokenDocument { schema: "ouroboros.token/1", token, role, uses, lifetime_s };
            context.show(&document, |d, _| created(d), |d| format!("{}\n", d.token))?;
        }
        Verb::List => {
            let document = client.tokens().await?;
            context.show(&document, render, |d| lines(d.tokens.iter().map(|t| &t.id)))?;
        }
        Verb::Revoke { id } => {
            client.revoke_token(&id).await?;
            let document = RevokedDocument { schema: "ouroboros.token-revoked/1", id };
            context.show(&document, |d, _| format!("{} is revoked; what joined with it stays\n", d.id), |d| format!("{}\n", d.id))?;
        }
    }
    Ok(Exit::Done)
}

fn created(document: &TokenDocument) -> String {
    let verb = if document.role == "node" { "ouro-agent join" } else { "ouroctl login" };
    let uses = if document.uses == 1 { "once".to_string() } else { format!("{} times", document.uses) };
    let time = span_ms(document.lifetime_s as f64 * 1000.0);
    format!("{}\n\nIt can be used {uses} within {time}:\n  {verb} SERVER --token {}\n", document.token, document.token)
}
