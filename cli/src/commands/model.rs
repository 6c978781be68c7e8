//! `ouroctl model …`: which containers and models this machine's agent has in memory, and a person's word about it.

use super::Context;
use crate::exit::{Exit, Failure};
use crate::output::loaded;
use clap::{Args, Subcommand};
use ouro_common::document::{LoadedDocument, LoadedView};

/// What can be done with containers in memory.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// What is in memory, how large it is and how long it has waited
    Ps,
    /// Load a container before anybody asks for it
    Load(Arguments),
    /// Take a container out of memory; one that works ends when its step has
    Unload(Arguments),
    /// Load a container and keep it, however long it waits, until it is unpinned or the agent ends
    Pin(Arguments),
    /// Let a pinned container leave memory when it has waited long enough
    Unpin(Arguments),
}

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Its name, with its version if there are several; `first-pass` for the model that answers on this machine
    #[arg(value_name = "NAME[:VERSION]")]
    container: String,
}

pub(crate) async fn run(verb: Verb, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let agent = context.agent().await?;
    let document = match &verb {
        Verb::Ps => agent.loaded().await?,
        Verb::Load(which) => agent.change_loaded(&which.container, "load").await?,
        Verb::Unload(which) => agent.change_loaded(&which.container, "unload").await?,
        Verb::Pin(which) => agent.change_loaded(&which.container, "pin").await?,
        Verb::Unpin(which) => agent.change_loaded(&which.container, "unpin").await?,
    };
    let names = |d: &LoadedDocument| super::lines(d.workers.iter().map(LoadedView::name));
    context.show(&document, loaded::render, names)?;
    Ok(Exit::Done)
}
