//! `ouroctl trace REF`: the whole story of one request, or a decision about it taken again.

use super::Context;
use crate::exit::{Exit, Failure};
use crate::output::replay;
use crate::output::trace::render;
use clap::Args;
use ouro_common::document::ReplayDocument;
use ouro_common::error::{Fault, FaultCode};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The request: its id, a unique end of it, or `last`; with --replay also REQUEST/STEP
    #[arg(value_name = "REQUEST", default_value = "last")]
    reference: String,
    /// Take the recorded decision again, from all it depended on, and compare the two byte for byte. For operators
    #[arg(long)]
    replay: bool,
}

pub(crate) async fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    if arguments.replay {
        return replayed(&arguments.reference, context).await;
    }
    let document = context.client().await?.trace(&arguments.reference).await?;
    context.show(&document, render, |d| format!("{}\n", d.request.state))?;
    Ok(Exit::Done)
}

async fn replayed(reference: &str, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let (request, step) = reference.split_once('/').unwrap_or((reference, ""));
    let request = context.client().await?.trace(request).await?.request.id;
    let document = context.operator().await?.replay(request.to_string(), step).await?;
    let words = |d: &ReplayDocument| format!("{}\n", if d.same { "same" } else { "different" });
    context.show(&document, replay::render, words)?;
    if document.same {
        return Ok(Exit::Done);
    }
    let fault = Fault::new(FaultCode::Internal, "the decision came out differently").at(request);
    Err(fault.remedy("was the server updated since? report both digests if it was not").into())
}
