//! `ouroctl events`: what happened in the fleet, and with `--follow` what happens.

use super::Context;
use crate::exit::{Exit, Failure};
use crate::output::Format;
use crate::output::events::line;
use clap::Args;
use ouro_common::document::EventsDocument;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Go on with what happens from now on, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// How many of the newest to begin with
    #[arg(long, short = 'n', value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    /// Begin after the event with this number
    #[arg(long, value_name = "SEQ")]
    after: Option<u64>,
    /// Only events of this kind, like `lost` or `quarantined`; may be given several times
    #[arg(long, value_name = "KIND")]
    kind: Vec<String>,
    /// Only events about this node
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
}

impl Arguments {
    /// Events of these kinds, the last few and then what comes.
    pub(crate) fn following(kinds: &[&str]) -> Self {
        let kind = kinds.iter().map(ToString::to_string).collect();
        Self { follow: true, limit: 50, after: None, kind, node: None }
    }
}

pub(crate) async fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let client = context.operator().await?;
    let mut events = client.events(arguments.after, arguments.limit, arguments.follow).await?;
    let mut all = EventsDocument { schema: EventsDocument::SCHEMA.into(), events: vec![] };
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    loop {
        let part = tokio::select! {
            part = events.next() => part?,
            _ = &mut interrupted => return Ok(Exit::Cancelled),
        };
        let Some(mut part) = part else { break };
        part.events.retain(|event| {
            let kind = arguments.kind.is_empty() || arguments.kind.contains(&event.kind);
            kind && arguments.node.as_ref().is_none_or(|node| event.node_name.as_ref() == Some(node))
        });
        match context.format {
            // One object; a stream that has no end is one object a line.
            Format::Json if !arguments.follow => all.events.extend(part.events),
            Format::Json => {
                for event in &part.events {
                    let text = serde_json::to_string(event).unwrap_or_default();
                    context.console.print(&format!("{text}\n"))?;
                }
            }
            Format::Quiet => context.console.print(&super::lines(part.events.iter().map(|event| event.seq)))?,
            Format::Table => {
                let style = context.console.style();
                let text: String = part.events.iter().map(|event| line(event, style)).collect();
                context.console.print(&text)?;
            }
        }
    }
    if context.format == Format::Json && !arguments.follow {
        context.console.print(&crate::output::json(&all))?;
    }
    Ok(Exit::Done)
}
