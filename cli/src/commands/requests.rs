//! `ouroctl requests`: the latest requests, of this user, or for operators of all.

use super::{Context, lines};
use crate::exit::{Exit, Failure};
use crate::output::requests::render;
use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The most requests to show
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

pub(crate) async fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let document = context.client().await?.list(arguments.limit).await?;
    context.show(&document, render, |d| lines(d.requests.iter().map(|r| r.id)))?;
    Ok(Exit::Done)
}
