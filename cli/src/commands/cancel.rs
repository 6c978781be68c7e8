//! `ouroctl cancel REF`: ends a request. One that has ended stays as it is, and that is said.

use super::Context;
use crate::exit::{Exit, Failure};
use clap::Args;
use ouro_common::step::RequestState;
use serde::Serialize;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The request: its id, a unique end of it, or `last`
    #[arg(value_name = "REQUEST")]
    reference: String,
}

/// `ouroboros.cancel/1`.
#[derive(Serialize)]
struct CancelDocument {
    schema: &'static str,
    id: String,
    state: Option<RequestState>,
}

pub(crate) async fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let (id, state) = context.client().await?.cancel(&arguments.reference).await?;
    let document = CancelDocument { schema: "ouroboros.cancel/1", id, state };
    context.show(&document, |d, _| sentence(d), |d| format!("{}\n", d.id))?;
    Ok(Exit::Done)
}

fn sentence(document: &CancelDocument) -> String {
    match document.state {
        Some(RequestState::Cancelled) => format!("{} is cancelled\n", document.id),
        Some(state) if state.is_terminal() => format!("{} had ended already: {state}\n", document.id),
        Some(state) => format!("{} is being cancelled, it is {state}\n", document.id),
        None => format!("{} is being cancelled\n", document.id),
    }
}
