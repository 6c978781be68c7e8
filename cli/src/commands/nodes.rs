//! `ouroctl nodes`: the fleet at a glance.

use super::{Context, lines};
use crate::exit::{Exit, Failure};
use crate::output::nodes::render;
use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Say everything about each node under the table
    #[arg(long)]
    wide: bool,
}

pub(crate) async fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let document = context.client().await?.nodes().await?;
    context.show(&document, |d, style| render(d, style, arguments.wide), |d| lines(d.nodes.iter().map(|n| n.id)))?;
    Ok(Exit::Done)
}
