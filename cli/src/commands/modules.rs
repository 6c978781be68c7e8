//! `ouroctl modules`: what is plugged in where.

use super::{Context, lines};
use crate::exit::{Exit, Failure};
use crate::output::modules::render;
use crate::selector::{Filters, select};
use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only those in these nodes; `*` stands for anything
    #[arg(value_name = "NODE")]
    names: Vec<String>,
    #[command(flatten)]
    filters: Filters,
}

pub(crate) async fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let client = context.client().await?;
    let mut document = client.modules().await?;
    if !arguments.names.is_empty() || !arguments.filters.is_empty() {
        let nodes = client.nodes().await?.nodes;
        let chosen = select(&nodes, &arguments.names, &arguments.filters)?;
        document.modules.retain(|module| chosen.iter().any(|node| node.id == module.node));
    }
    context.show(&document, render, |d| lines(d.modules.iter().map(|m| m.module)))?;
    Ok(Exit::Done)
}
