//! `ouroctl module keygen`: a key pair for signing modules, in minisign's files.

use super::{PasswordSource, own_key};
use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::keys::{make, public_path};
use clap::Args;
use ouro_common::error::{Fault, FaultCode};
use serde::Serialize;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Where the secret key goes; its public half lies beside it, with .pub at the end [default: module.key in the home]
    #[arg(short, long = "out", value_name = "FILE")]
    out: Option<PathBuf>,
    /// Do not protect the key with a password
    #[arg(short = 'W', long, conflicts_with = "password_file")]
    no_password: bool,
    #[command(flatten)]
    password: PasswordSource,
}

/// `ouroboros.module-key/1`.
#[derive(Serialize)]
struct KeyDocument {
    schema: &'static str,
    key: String,
    public_key: String,
    secret_file: PathBuf,
    public_file: PathBuf,
    encrypted: bool,
}

pub(crate) fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let secret_file = arguments.out.clone().map_or_else(|| own_key(context), Ok)?;
    let password = password(arguments, context)?;
    let encrypted = password.is_some();
    let key = make(&secret_file, password)?;
    let public_file = public_path(&secret_file);
    let schema = "ouroboros.module-key/1";
    let (id, public_key) = (key.id().to_string(), key.base64().to_string());
    let document = KeyDocument { schema, key: id, public_key, secret_file, public_file, encrypted };
    context.show(
        &document,
        |d, _| {
            format!(
                "key {}\n  secret  {}{}\n  public  {}\n  line    {}\n\n\
                 Next:  ouroctl module trust {}       (once, for the fleet)\n       \
                 ouroctl module build FOLDER -o module.img --sign {}\n",
                d.key,
                d.secret_file.display(),
                if d.encrypted { "" } else { " (no password: whoever reads it can sign)" },
                d.public_file.display(),
                d.public_key,
                d.public_file.display(),
                d.secret_file.display()
            )
        },
        |d| format!("{}\n", d.public_key),
    )?;
    Ok(Exit::Done)
}

fn password(arguments: &Arguments, context: &mut Context<'_>) -> Result<Option<String>, Fault> {
    let wrong = |problem: &str| Fault::new(FaultCode::InvalidArgument, problem).at("password");
    if arguments.no_password {
        return Ok(None);
    }
    if arguments.password.password_file.is_none() && !context.console.can_ask() {
        return Err(wrong("nobody can be asked for a password here")
            .remedy("name a file with it: --password-file FILE, or make an open key: --no-password"));
    }
    let first = arguments.password.password(context)?;
    if first.is_empty() {
        return Err(wrong("the password is empty").remedy("choose one, or make an open key: --no-password"));
    }
    if arguments.password.password_file.is_none() && arguments.password.password(context)? != first {
        return Err(wrong("the two passwords differ"));
    }
    Ok(Some(first))
}
