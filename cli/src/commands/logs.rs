//! `ouroctl logs REF`: what the steps of a request said, and with `--follow` what they say.

use super::Context;
use crate::exit::{Exit, Failure};
use crate::output::Format;
use crate::output::logs::{Line, Lines, LogsDocument};
use crate::output::text::for_terminal;
use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The request: its id, a unique end of it, or `last`; or one step of it: REQUEST/STEP
    #[arg(value_name = "REQUEST[/STEP]", default_value = "last")]
    reference: String,
    /// Go on with what they say from now on, until they have ended, or until Ctrl-C
    #[arg(long, short)]
    follow: bool,
}

pub(crate) async fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let (request, step) = arguments.reference.split_once('/').unwrap_or((&arguments.reference, ""));
    let client = context.client().await?;
    let trace = client.trace(request).await?;
    let id = trace.request.id;
    // One that has no plan yet may get several steps.
    let prefixed = step.is_empty() && trace.steps.len() != 1;
    let mut logs = client.logs(id, step, arguments.follow).await?;
    let (mut lines, mut document) = (Lines::default(), LogsDocument::of(id));
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    loop {
        let said = tokio::select! {
            said = logs.next() => said,
            _ = &mut interrupted => return Ok(Exit::Cancelled),
        };
        // What was said before the stream broke is shown first.
        let (fresh, end) = match said {
            Ok(Some(said)) => (lines.take(&said), None),
            Ok(None) => (lines.rest(), Some(Ok(()))),
            Err(fault) => (lines.rest(), Some(Err(fault))),
        };
        match context.format {
            Format::Json if !arguments.follow => document.lines.extend(fresh),
            Format::Json => {
                let text: String = fresh.iter().map(|l| serde_json::to_string(l).unwrap_or_default() + "\n").collect();
                context.console.print(&text)?;
            }
            Format::Quiet | Format::Table => show(&fresh, prefixed && context.format == Format::Table, context)?,
        }
        if let Some(end) = end {
            end?;
            break;
        }
    }
    if context.format == Format::Json && !arguments.follow {
        context.console.print(&crate::output::json(&document))?;
    }
    Ok(Exit::Done)
}

fn show(lines: &[Line], prefixed: bool, context: &mut Context<'_>) -> Result<(), Failure> {
    for line in lines {
        if let Some(note) = &line.note {
            context.console.note(&for_terminal(&format!("{}: {note}", line.step)));
            continue;
        }
        let prefix = if prefixed { format!("{} | ", line.step) } else { String::new() };
        let text = if context.console.out_is_terminal() { for_terminal(&line.text) } else { line.text.clone() };
        context.console.print(&format!("{prefix}{text}\n"))?;
    }
    Ok(())
}
