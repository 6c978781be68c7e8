//! `ouroctl module …`: making modules, signing them, looking into them and putting them on sticks, for which no fleet is needed;
//! and saying whose modules are used.

mod build;
mod inspect;
mod keygen;
mod list;
mod release;
mod sign;
mod trust;
mod verify;
mod write;

use super::Context;
use crate::exit::{Exit, Failure};
use crate::keys::{Signer, password_from, public, public_path};
use clap::{Args, Subcommand};
use ouro_common::error::{Fault, FaultCode};
use ouro_common::module::TrustedKey;
use std::path::{Path, PathBuf};

/// What can be done with modules.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Pack a folder of containers into a module
    Build(build::Arguments),
    /// Make a key for signing modules
    Keygen(keygen::Arguments),
    /// Sign a module, or sign it anew
    Sign(sign::Arguments),
    /// Check a module's signature and every byte on it
    Verify(verify::Arguments),
    /// Show what is on a module
    Inspect(inspect::Arguments),
    /// The modules in this machine's drives
    List,
    /// Put a module on a stick, over everything that is there
    Write(write::Arguments),
    /// Use a module that waits for a word: one in a slot that asks, or a suspect one
    Release(release::Arguments),
    /// Let the fleet use modules that this key has signed
    Trust(trust::TrustArguments),
    /// Stop using modules that this key has signed
    Distrust(trust::DistrustArguments),
    /// The keys whose modules the fleet uses
    Trusted,
}

pub(crate) async fn run(verb: Verb, context: &mut Context<'_>) -> Result<Exit, Failure> {
    match verb {
        Verb::Build(arguments) => build::run(&arguments, context).await,
        Verb::Keygen(arguments) => keygen::run(&arguments, context),
        Verb::Sign(arguments) => sign::run(&arguments, context),
        Verb::Verify(arguments) => verify::run(&arguments, context),
        Verb::Inspect(arguments) => inspect::run(&arguments, context),
        Verb::List => list::run(context),
        Verb::Write(arguments) => write::run(&arguments, context).await,
        Verb::Release(arguments) => release::run(&arguments, context).await,
        Verb::Trust(arguments) => trust::trust(&arguments, context).await,
        Verb::Distrust(arguments) => trust::distrust(&arguments, context).await,
        Verb::Trusted => trust::trusted(context).await,
    }
}

/// Where a secret key's password comes from.
#[derive(Debug, Clone, Args)]
struct PasswordSource {
    /// A file with the key's password in its first line, or `-` for standard input; else it is asked for
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl PasswordSource {
    fn password(&self, context: &mut Context<'_>) -> Result<String, Fault> {
        if let Some(path) = &self.password_file {
            return password_from(path, |limit| context.console.read_input(limit));
        }
        if !context.console.can_ask() {
            return Err(Fault::new(FaultCode::InvalidArgument, "the key has a password, and nobody can be asked for it here")
                .remedy("name a file with it: --password-file FILE"));
        }
        rpassword::prompt_password("Password of the key: ")
            .map_err(|e| Fault::new(FaultCode::InvalidArgument, format!("the password cannot be read: {e}")))
    }
}

fn signer(key: &Path, password: &PasswordSource, context: &mut Context<'_>) -> Result<Signer, Fault> {
    Signer::read(key, &mut || password.password(context))
}

/// The key of this user: made by `keygen` when no other file is named.
fn own_key(context: &Context<'_>) -> Result<PathBuf, Fault> {
    Ok(context.home()?.root().join("module.key"))
}

/// The public keys a module may be signed with: those named, else this user's own.
#[derive(Debug, Clone, Args)]
struct Keys {
    /// A public key that the module may be signed with: a .pub file, or the line in it; may be given several times
    #[arg(long = "key", value_name = "KEY")]
    keys: Vec<String>,
}

impl Keys {
    fn read(&self, context: &Context<'_>) -> Result<Vec<TrustedKey>, Fault> {
        if self.keys.is_empty() {
            let own = public_path(&own_key(context)?);
            return if own.exists() { Ok(vec![public(&own.display().to_string())?]) } else { Ok(vec![]) };
        }
        self.keys.iter().map(|key| public(key)).collect()
    }
}

/// Carries out long work beside the event loop, so that Ctrl-C ends the command and its temporary files go with it.
async fn interruptible<T: Send + 'static>(work: impl FnOnce() -> Result<T, Fault> + Send + 'static) -> Result<T, Fault> {
    tokio::select! {
        done = tokio::task::spawn_blocking(work) => {
            done.unwrap_or_else(|e| Err(Fault::new(FaultCode::Internal, format!("the work ended early: {e}"))))
        }
        _ = tokio::signal::ctrl_c() => Err(Fault::new(FaultCode::Cancelled, "interrupted")),
    }
}
