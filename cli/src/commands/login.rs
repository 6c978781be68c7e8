//! `ouroctl login SERVER`: an identity for this user. The key is made here and never leaves.

use super::Context;
use crate::client::{enrol, with_port};
use crate::exit::{Exit, Failure};
use clap::Args;
use ouro_common::error::{Fault, FaultCode};
use serde::Serialize;
use std::path::PathBuf;

/// The longest token file that is read.
const MAX_TOKEN_BYTES: u64 = 4096;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The server, HOST or HOST:PORT
    #[arg(value_name = "SERVER")]
    to: String,
    #[command(flatten)]
    token: TokenSource,
    /// The name to be known by; else this user's
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct TokenSource {
    /// The token, or `-` to read it from standard input
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// A file with the token: unlike an argument, other users of this machine cannot see it
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// `ouroboros.login/1`.
#[derive(Serialize)]
struct LoginDocument {
    schema: &'static str,
    server: String,
    role: String,
    name: String,
    identity: PathBuf,
}

pub(crate) async fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let folder = context.home()?.operator();
    let token = token(&arguments.token, context)?;
    let user = || context.variable("USER").or_else(|| context.variable("LOGNAME"));
    let name = arguments.name.clone().or_else(user).unwrap_or_else(|| "user".into());
    let server = with_port(&arguments.to);
    let enrolled = enrol(&server, &token, &name, &folder).await?;
    let schema = "ouroboros.login/1";
    let document = LoginDocument { schema, server, role: enrolled.role, name: enrolled.name, identity: folder };
    context.show(
        &document,
        |d, _| {
            format!(
                "logged in to {} as {} {}\n  identity  {}\n\nNext:  ouroctl nodes\n",
                d.server,
                d.role,
                d.name,
                d.identity.display()
            )
        },
        |d| format!("{}\n", d.name),
    )?;
    Ok(Exit::Done)
}

fn token(source: &TokenSource, context: &mut Context<'_>) -> Result<String, Fault> {
    let bytes = match (&source.token, &source.token_file) {
        (Some(token), _) if token != "-" => return Ok(token.clone()),
        (_, Some(path)) if path.as_os_str() != "-" => std::fs::read(path)
            .map_err(|e| Fault::new(FaultCode::InvalidArgument, format!("the token file cannot be read: {e}")).at(path.display()))?,
        _ => context
            .console
            .read_input(MAX_TOKEN_BYTES)
            .map_err(|e| Fault::new(FaultCode::InvalidArgument, format!("standard input cannot be read: {e}")).at("token"))?,
    };
    String::from_utf8(bytes).map_err(|_| Fault::new(FaultCode::InvalidArgument, "what was read is no token").at("token"))
}
