//! `ouroctl modules`: what is plugged in where.

use super::{Context, lines};
use crate::exit::{Exit, Failure};
use crate::output::modules::render;

pub(crate) async fn run(context: &mut Context<'_>) -> Result<Exit, Failure> {
    let document = context.client().await?.modules().await?;
    context.show(&document, render, |d| lines(d.modules.iter().map(|m| m.module)))?;
    Ok(Exit::Done)
}
