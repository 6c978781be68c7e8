//! `ouroctl modules`: what is plugged in where; and `modules watch`: what comes and goes.

use super::{Context, lines};
use crate::exit::{Exit, Failure};
use crate::output::modules::render;
use crate::selector::{Filters, select};
use clap::{Args, Subcommand};

/// The kinds of events that are about modules.
const KINDS: [&str; 8] = [
    "plugged",
    "unplugged",
    "module_seen",
    "module_asleep",
    "module_untrusted",
    "module_incomplete",
    "module_suspect",
    "module_conflict",
];

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Only those in these nodes; `*` stands for anything
    #[arg(value_name = "NODE")]
    names: Vec<String>,
    #[command(flatten)]
    filters: Filters,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// What comes and goes, as it does, until Ctrl-C
    Watch,
}

pub(crate) async fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    if let Some(Verb::Watch) = arguments.verb {
        return super::events::run(&super::events::Arguments::following(&KINDS), context).await;
    }
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
