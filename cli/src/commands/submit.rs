//! `ouroctl submit`: ask, wait, and have the answer on standard output.

mod answer;
mod approve;
mod follow;
mod gather;
mod progress;
mod show;
mod span;

pub(crate) use span::parse_span;

use super::Context;
use crate::client::{Client, Submission, Submitted};
use crate::exit::{Exit, Failure};
use crate::output::{Format, json};
use approve::Verdict;
use clap::{Args, ValueEnum};
use follow::Interrupt;
use ouro_common::envelope;
use ouro_common::error::{Fault, FaultCode};
use serde::Serialize;
use std::ffi::OsString;
use std::time::Duration;

/// How often a submission is sent again when the connection breaks before the acknowledgement.
const SUBMIT_ATTEMPTS: u32 = 4;

/// After Ctrl-C the peer gets so long to hear of it.
const WITHDRAW_TIME: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// What you want done, in your words; `-` reads it from standard input
    prompt: OsString,
    /// An input; without TAG it is named after the file; PATH `-` is standard input
    #[arg(long = "file", short, value_name = "[TAG=]PATH")]
    files: Vec<OsString>,
    /// Show the graph and where it would run with predicted times, and ask before running it
    #[arg(long)]
    plan: bool,
    /// With --plan: run it without asking
    #[arg(long, short, requires = "plan")]
    yes: bool,
    /// Print the request's id and do not wait
    #[arg(long, short)]
    detach: bool,
    /// The time it may take
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = parse_span)]
    deadline: Duration,
    /// Only on nodes that belong to you
    #[arg(long)]
    private: bool,
    /// From 0 (background) to 9
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(0..=9))]
    priority: u8,
    /// How the answer is waited for
    #[arg(long, value_enum, default_value = "realtime")]
    mode: Mode,
    /// Submissions with the same key and content are one request
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Do not try the local model first
    #[arg(long)]
    no_first_pass: bool,
}

/// How the answer is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Somebody waits at a screen
    Realtime,
    /// Throughput matters, not latency
    Batch,
    /// Collected later
    Async,
}

impl From<Mode> for envelope::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Realtime => Self::Realtime,
            Mode::Batch => Self::Batch,
            Mode::Async => Self::Async,
        }
    }
}

/// `ouroboros.submitted/1`: what `--detach --output json` prints.
#[derive(Serialize)]
struct SubmittedDocument {
    schema: &'static str,
    id: String,
    repeat: bool,
}

pub(crate) async fn run(arguments: Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    // Everything that can be wrong on this side is found before anybody is dialled.
    let mut submission = gather::gather(&arguments, context.console)?;
    let mut client = context.client().await?;
    if context.verbose {
        context.console.note(&format!("asking the {}", client.route().name()));
    }
    if arguments.plan {
        match approve::approve(&client, &submission, arguments.yes, context).await? {
            Verdict::Run(plan) => {
                submission.envelope.approved_plan = Some(plan);
                submission.skip_first_pass = true;
            }
            Verdict::End(exit) => return Ok(exit),
        }
    }
    let mut interrupt = Interrupt::listen()?;
    let submitted = send(&mut client, &submission, &mut interrupt, context).await?;
    if arguments.detach {
        return detached(&submitted, context);
    }
    if context.verbose {
        let again = if submitted.repeat { ", which was there already" } else { "" };
        context.console.note(&format!("request {}{again}", submitted.id));
    }
    let ended = follow::follow(&mut client, submitted.id, arguments.deadline, &mut interrupt, context).await?;
    show::show(ended, context)
}

/// Sends until it is acknowledged: after a broken connection nobody knows whether it arrived, and the key makes it one.
async fn send(
    client: &mut Client,
    submission: &Submission,
    interrupt: &mut Interrupt,
    context: &mut Context<'_>,
) -> Result<Submitted, Failure> {
    let mut attempt = 1;
    loop {
        let result = tokio::select! {
            result = client.submit(submission) => result,
            () = interrupt.next() => return Err(withdraw(client, submission).await.into()),
        };
        match result {
            Ok(submitted) => return Ok(submitted),
            Err(fault) if fault.code == FaultCode::ServerUnreachable && attempt < SUBMIT_ATTEMPTS => {
                if attempt == 1 {
                    context.console.note("the connection broke before the request was acknowledged; sending it again");
                }
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(250 << attempt)) => {}
                    () = interrupt.next() => return Err(withdraw(client, submission).await.into()),
                }
                // If nobody is there yet, the next submission says so.
                let _ = client.reopen().await;
                attempt += 1;
            }
            Err(fault) => return Err(fault.into()),
        }
    }
}

/// Ctrl-C before the acknowledgement: the request may have arrived all the same, so it is cancelled as far as possible.
async fn withdraw(client: &Client, submission: &Submission) -> Fault {
    let id = submission.envelope.id.to_string();
    // It fails where the request never arrived, which is just as well.
    let _ = tokio::time::timeout(WITHDRAW_TIME, client.cancel(&id)).await;
    Fault::new(FaultCode::Cancelled, "cancelled before the request was acknowledged").at(id)
}

fn detached(submitted: &Submitted, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let id = submitted.id.to_string();
    let text = match context.format {
        Format::Json => json(&SubmittedDocument { schema: "ouroboros.submitted/1", id, repeat: submitted.repeat }),
        Format::Table | Format::Quiet => format!("{id}\n"),
    };
    context.console.print(&text)?;
    Ok(Exit::Done)
}
