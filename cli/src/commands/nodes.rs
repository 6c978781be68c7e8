//! `ouroctl nodes`: the fleet at a glance. Of a large fleet the sums come first, and the rows only when they are asked for.

use super::{Context, lines};
use crate::exit::{Exit, Failure};
use crate::output::fleet_summary;
use crate::output::nodes::render;
use crate::selector::{Filters, select};
use clap::Args;

/// More nodes than a person wants to read are summed up.
const MANY: usize = 50;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only these; `*` stands for anything
    #[arg(value_name = "NODE")]
    names: Vec<String>,
    #[command(flatten)]
    filters: Filters,
    /// Say everything about each node under the table
    #[arg(long)]
    wide: bool,
    /// Show every row, however many there are
    #[arg(long)]
    all: bool,
}

pub(crate) async fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let mut document = context.client().await?.nodes().await?;
    if !arguments.names.is_empty() || !arguments.filters.is_empty() {
        let chosen = select(&document.nodes, &arguments.names, &arguments.filters)?;
        document.nodes = chosen.into_iter().cloned().collect();
    }
    let summed = document.nodes.len() > MANY && !arguments.all && !arguments.wide;
    context.show(
        &document,
        |d, style| if summed { fleet_summary::render(d, style) } else { render(d, style, arguments.wide) },
        |d| lines(d.nodes.iter().map(|n| n.id)),
    )?;
    Ok(Exit::Done)
}
