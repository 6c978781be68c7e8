//! `ouroctl module trust | distrust | trusted`: whose modules the fleet uses.

use crate::commands::{Context, lines};
use crate::exit::{Exit, Failure};
use crate::output::trusted_keys::render;
use clap::Args;
use ouro_common::document::TrustedKeysDocument;
use ouro_common::error::{Fault, FaultCode};
use std::path::PathBuf;

/// The largest file that is taken for a public key, bytes.
const MAX_BYTES: u64 = 4096;

#[derive(Debug, Args)]
pub(crate) struct TrustArguments {
    /// The public key: the file `NAME.pub` that `keygen`, or minisign, wrote
    #[arg(value_name = "KEY.pub")]
    key: PathBuf,
    /// What to call it; else the file's name without `.pub`
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DistrustArguments {
    /// The key's name or number, from `ouroctl module trusted`
    #[arg(value_name = "KEY")]
    key: String,
}

pub(crate) async fn trust(arguments: &TrustArguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let at = arguments.key.display();
    let unreadable =
        |problem: String| Fault::new(FaultCode::InvalidArgument, problem).at(&at).remedy("name the public key, a file like KEY.pub");
    let size = std::fs::metadata(&arguments.key).map_err(|e| unreadable(format!("the key cannot be read: {e}")))?.len();
    if size > MAX_BYTES {
        return Err(unreadable(format!("it has {size} bytes; a public key is much smaller")).into());
    }
    let text = std::fs::read_to_string(&arguments.key).map_err(|e| unreadable(format!("the key cannot be read: {e}")))?;
    let stem = || arguments.key.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let name = arguments.name.clone().or_else(stem).unwrap_or_default();
    let document = context.operator().await?.trust_key(&text, &name).await?;
    shown(&document, context)
}

pub(crate) async fn distrust(arguments: &DistrustArguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let document = context.operator().await?.distrust_key(&arguments.key).await?;
    shown(&document, context)
}

pub(crate) async fn trusted(context: &mut Context<'_>) -> Result<Exit, Failure> {
    let document = context.operator().await?.trusted_keys().await?;
    shown(&document, context)
}

fn shown(document: &TrustedKeysDocument, context: &mut Context<'_>) -> Result<Exit, Failure> {
    context.show(document, render, |d| lines(d.keys.iter().map(|key| key.id)))?;
    Ok(Exit::Done)
}
