//! `ouroctl poison list | show | release`: work that is kept away from the fleet because it killed workers.

use super::{Context, lines};
use crate::exit::{Exit, Failure};
use crate::output::poison::{render, render_entry};
use clap::Subcommand;
use ouro_common::document::PoisonDocument;
use ouro_common::error::{Fault, FaultCode};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Work that is not run: the same container, parameters and inputs killed workers on two nodes
    List,
    /// One entry, with the deaths that speak against it
    Show {
        /// Its id, from `poison list`
        id: String,
    },
    /// Let the work run again
    Release {
        /// Its id, from `poison list`
        id: String,
    },
}

pub(crate) async fn run(verb: Verb, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let client = context.operator().await?;
    match verb {
        Verb::List => {
            let document = client.poison().await?;
            context.show(&document, render, ids)?;
        }
        Verb::Show { id } => {
            let all = client.poison().await?.poison;
            let entry = all.iter().find(|entry| entry.id == id || entry.step_key.to_string() == id).cloned();
            let entry = entry.ok_or_else(|| {
                let known: Vec<_> = all.iter().map(|entry| entry.id.as_str()).collect();
                let remedy = if known.is_empty() { "nothing is poison now".into() } else { format!("there is {}", known.join(", ")) };
                Fault::new(FaultCode::NotFound, format!("there is no poison {id:?}")).remedy(remedy)
            })?;
            let document = PoisonDocument { schema: PoisonDocument::SCHEMA.into(), poison: vec![entry] };
            context.show(&document, render_entry, ids)?;
        }
        Verb::Release { id } => {
            let document = client.release_poison(&id).await?;
            let sentence = |d: &PoisonDocument, _| {
                let line = |e: &ouro_common::document::PoisonEntry| format!("{} ({}) may run again\n", e.id, e.container);
                d.poison.iter().map(line).collect()
            };
            context.show(&document, sentence, ids)?;
        }
    }
    Ok(Exit::Done)
}

fn ids(document: &PoisonDocument) -> String {
    lines(document.poison.iter().map(|entry| &entry.id))
}
