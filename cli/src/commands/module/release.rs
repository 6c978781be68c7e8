//! `ouroctl module release`: the word that a module waits for, said to the agent of this machine.

use crate::commands::Context;
use crate::exit::{Exit, Failure};
use clap::Args;
use serde::Serialize;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Its label, like `OURO-TEXT`, or the slot it is in, like `sda1`
    #[arg(value_name = "LABEL|SLOT")]
    module: String,
}

/// `ouroboros.module-released/1`.
#[derive(Serialize)]
struct ReleasedDocument {
    schema: &'static str,
    slot: String,
}

pub(crate) async fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let slot = context.agent().await?.release_module(&arguments.module).await?;
    let document = ReleasedDocument { schema: "ouroboros.module-released/1", slot };
    context.show(
        &document,
        |d, _| format!("the module in {} is mounted now; see `ouroctl modules`\n", d.slot),
        |d| format!("{}\n", d.slot),
    )?;
    Ok(Exit::Done)
}
