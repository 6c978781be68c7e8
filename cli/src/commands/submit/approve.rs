//! `--plan`: show the graph and the places, then run exactly that, or nothing.

use super::Context;
use crate::client::{Client, Submission};
use crate::exit::{Exit, Failure};
use crate::output::plan::{is_placeable, render};
use crate::output::{Format, json};
use ouro_common::plan::Plan;

/// What comes of the plan.
pub(super) enum Verdict {
    /// It was approved.
    Run(Plan),
    /// That was all.
    End(Exit),
}

/// Asks for the plan, shows it, and finds out whether it may run.
pub(super) async fn approve(client: &Client, submission: &Submission, yes: bool, context: &mut Context<'_>) -> Result<Verdict, Failure> {
    let document = client.plan(submission).await?;
    let plan = document.plan.clone().filter(|_| document.refusal.is_none());
    let ask = !yes && plan.is_some() && context.format == Format::Table && context.console.can_ask();
    match context.format {
        // One object on standard output: the plan where it is the end, and else the result.
        Format::Json if yes && plan.is_some() => {}
        Format::Json => context.console.print(&json(&document))?,
        Format::Quiet => {}
        // A plan that is run is no answer: it must not get among what a pipe reads.
        Format::Table if ask || (yes && plan.is_some()) => {
            let text = render(&document, context.console.error_style());
            context.console.note(&text);
        }
        Format::Table => {
            let text = render(&document, context.console.style());
            context.console.print(&text)?;
        }
    }
    let Some(plan) = plan else {
        return Ok(Verdict::End(Exit::CannotPlace));
    };
    let question = if is_placeable(&document) { "Run it?" } else { "Not every step has a place now. Run it and wait for one?" };
    if yes || (ask && context.console.confirm(question)) {
        return Ok(Verdict::Run(plan));
    }
    Ok(Verdict::End(Exit::Done))
}
