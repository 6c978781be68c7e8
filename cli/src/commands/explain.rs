//! `ouroctl explain REF`: why a request waits, or went where it went.

use super::Context;
use crate::exit::{Exit, Failure};
use crate::output::explain::render;
use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The request: its id, a unique end of it, or `last`
    #[arg(value_name = "REQUEST", default_value = "last")]
    reference: String,
}

pub(crate) async fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let document = context.client().await?.explain(&arguments.reference).await?;
    context.show(&document, render, |d| format!("{}\n", d.request.state))?;
    Ok(Exit::Done)
}
