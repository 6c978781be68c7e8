//! `ouroctl node …`: what operators decide about nodes.

use super::{Context, lines};
use crate::exit::{Exit, Failure};
use crate::output::Format;
use crate::output::node_changes::{NodeChange, NodeChangesDocument, render};
use crate::selector::{Filters, select};
use clap::{Args, Subcommand};
use ouro_common::document::NodeView;
use ouro_common::error::{Fault, FaultCode};
use ouro_common::step::NodeDeed;
use std::collections::HashMap;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Nothing new for these nodes; what they run they finish
    Drain(Which),
    /// They take part again
    Undrain(Which),
    /// Let nodes take part that wait for it or were quarantined
    Approve(Which),
    /// Nothing new for these nodes until they are approved
    Quarantine(Which),
    /// Take nodes out of the fleet for good; to come back they join anew
    Remove(RemoveArguments),
    /// Set and remove labels
    Label(LabelArguments),
}

/// The nodes that are meant.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Names, in which `*` stands for anything, or ids
    #[arg(value_name = "NODE")]
    names: Vec<String>,
    #[command(flatten)]
    filters: Filters,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveArguments {
    #[command(flatten)]
    which: Which,
    /// Remove several nodes without asking
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LabelArguments {
    #[command(flatten)]
    which: Which,
    /// A label they get; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = super::token::parse_label)]
    set: Vec<(String, String)>,
    /// A label they lose; may be given several times
    #[arg(long, value_name = "KEY")]
    unset: Vec<String>,
}

/// What is to be done to each of the nodes.
struct Change {
    deed: Option<NodeDeed>,
    set: HashMap<String, String>,
    unset: Vec<String>,
}

impl From<NodeDeed> for Change {
    fn from(deed: NodeDeed) -> Self {
        Self { deed: Some(deed), set: HashMap::new(), unset: vec![] }
    }
}

pub(crate) async fn run(verb: Verb, context: &mut Context<'_>) -> Result<Exit, Failure> {
    match verb {
        Verb::Drain(which) => change(&which, NodeDeed::Drain.into(), true, context).await,
        Verb::Undrain(which) => change(&which, NodeDeed::Undrain.into(), true, context).await,
        Verb::Approve(which) => change(&which, NodeDeed::Approve.into(), true, context).await,
        Verb::Quarantine(which) => change(&which, NodeDeed::Quarantine.into(), true, context).await,
        Verb::Remove(arguments) => change(&arguments.which, NodeDeed::Remove.into(), arguments.yes, context).await,
        Verb::Label(arguments) => {
            if arguments.set.is_empty() && arguments.unset.is_empty() {
                let fault = Fault::new(FaultCode::InvalidArgument, "there is no label to set or to remove");
                return Err(fault.remedy("give --set KEY=VALUE or --unset KEY").into());
            }
            let set = arguments.set.into_iter().collect();
            change(&arguments.which, Change { deed: None, set, unset: arguments.unset }, true, context).await
        }
    }
}

/// Does it to one node after the other; one that refuses does not keep the others from it.
async fn change(which: &Which, change: Change, yes: bool, context: &mut Context<'_>) -> Result<Exit, Failure> {
    if which.names.is_empty() && which.filters.is_empty() {
        let fault = Fault::new(FaultCode::InvalidArgument, "no node is named");
        return Err(fault.remedy("name nodes, or choose them by --filter; name '*' means all of them").into());
    }
    let client = context.operator().await?;
    let document = client.nodes().await?;
    let chosen = select(&document.nodes, &which.names, &which.filters)?;
    if !yes && chosen.len() > 1 {
        ask(&chosen, context)?;
    }
    let mut changes = Vec::with_capacity(chosen.len());
    for node in chosen {
        let outcome = client.change_node(node.id, change.deed, change.set.clone(), change.unset.clone()).await;
        let (now, changed, fault) = match outcome {
            Ok((admin, changed)) => (admin, changed, None),
            Err(fault) => (node.admin.to_string(), false, Some(fault)),
        };
        changes.push(NodeChange { node: node.id, name: node.name.clone(), before: node.admin.to_string(), now, changed, fault });
    }
    let schema = NodeChangesDocument::SCHEMA.to_string();
    let document = NodeChangesDocument { schema, deed: change.deed.map_or("label".into(), |deed| deed.to_string()), changes };
    context.show(&document, render, |d| lines(d.changes.iter().filter(|c| c.fault.is_none()).map(|c| c.node)))?;
    Ok(if document.changes.iter().any(|c| c.fault.is_some()) { Exit::Error } else { Exit::Done })
}

/// Several nodes are removed only after a yes.
fn ask(chosen: &[&NodeView], context: &mut Context<'_>) -> Result<(), Failure> {
    let names: Vec<_> = chosen.iter().map(|node| node.name.as_str()).collect();
    if context.format == Format::Table && context.console.can_ask() {
        let question = format!("{}\nRemove these {} nodes for good?", names.join("\n"), names.len());
        return match context.console.confirm(&question) {
            true => Ok(()),
            false => Err(Fault::new(FaultCode::Cancelled, "nothing was removed").into()),
        };
    }
    let problem = format!("{} nodes would be removed for good: {}", names.len(), names.join(", "));
    Err(Fault::new(FaultCode::InvalidArgument, problem).remedy("add --yes if that is what you want").into())
}
