//! `ouroctl module verify`: the signature, and every byte against its digest. It ends with 0 only if all of it is right.

use super::Keys;
use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::image::{digests, open::open};
use crate::output::module::{ModuleDocument, checked, render};
use crate::transfer::Transfer;
use clap::Args;
use ouro_common::error::{Fault, FaultCode};
use ouro_common::module::Verdict;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// An image, a folder or tar archive with an OCI layout, or a device
    #[arg(value_name = "MODULE")]
    module: PathBuf,
    #[command(flatten)]
    keys: Keys,
    /// Check the bytes only, whoever signed it or not
    #[arg(long)]
    any_signature: bool,
}

pub(crate) fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let trusted = arguments.keys.read(context)?;
    let opened = open(&arguments.module)?;
    let contents = opened.read(&arguments.module, &trusted)?;
    let bar = Transfer::start(context);
    bar.begin("checking", digests::total_bytes(&contents));
    let problems = digests::check(opened.blobs.as_ref(), &contents, &mut |bytes| bar.moved(bytes));
    drop(bar);
    let document = ModuleDocument::of(&arguments.module, &opened, &contents).checked(problems);
    match fault(&document, arguments.any_signature) {
        None => {
            context.show(&document, checked, |d| format!("{}\n", d.digest))?;
            Ok(Exit::Done)
        }
        Some(fault) => {
            if context.format == crate::output::Format::Table {
                let text = render(&document, context.console.error_style());
                context.console.note(text.trim_end());
            }
            Err(fault.at(arguments.module.display()).into())
        }
    }
}

/// Why the module is not right, if it is not.
fn fault(document: &ModuleDocument, any_signature: bool) -> Option<Fault> {
    if let Some(problem) = document.problems.first() {
        let more = document.problems.len() - 1;
        let rest = if more == 0 { String::new() } else { format!(" (and {more} more)") };
        return Some(Fault::new(FaultCode::DigestMismatch, format!("{problem}{rest}")).remedy("build or copy the module again"));
    }
    let refused = |problem: String, remedy: &str| Some(Fault::new(FaultCode::ModelInvalid, problem).remedy(remedy));
    match &document.signature {
        _ if any_signature => None,
        Verdict::Trusted { .. } => None,
        Verdict::Unsigned => {
            refused("it is not signed".into(), "sign it with `ouroctl module sign`, or check the bytes only: --any-signature")
        }
        Verdict::Untrusted { key } => refused(
            format!("it is signed by the key {key}, which was not given"),
            "give the signer's public key with --key, or check the bytes only: --any-signature",
        ),
        Verdict::Bad { problem } => refused(format!("its signature is bad: {problem}"), "get the module again, from whom signed it"),
    }
}
