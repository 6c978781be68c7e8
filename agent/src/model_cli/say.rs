//! `ouro-agent run-model`: one prompt, the model's answer, and how likely it found each of its tokens.

use super::{ChildArgs, in_child, refused};
use ouro_common::error::{Fault, FaultCode};
use ouro_engine::language_model::{Finish, GenerateOptions, Hooks, LanguageModel, TokenEvent};
use ouro_engine::sampling::Sampling;
use serde_json::Value;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What to ask.
#[derive(Debug, clap::Args)]
pub struct SayArgs {
    /// A model in GGUF format, or a folder as Hugging Face publishes them: config.json, tokenizer.json, SafeTensors.
    #[arg(value_name = "FILE.gguf|FOLDER")]
    file: PathBuf,
    /// What to put to it, in its chat template.
    prompt: String,
    /// A JSON line for each token, with its natural-log probability, instead of text.
    #[arg(long)]
    logprobs: bool,
    /// Only answers that this JSON schema allows; the prompt should still say what is wanted.
    #[arg(long, value_name = "FILE")]
    json_schema: Option<PathBuf>,
    /// The most tokens of answer.
    #[arg(short = 'n', long, default_value_t = 512, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=32_768))]
    max_tokens: u32,
    /// Draw tokens at this temperature instead of taking the likeliest.
    #[arg(long, value_name = "T")]
    temperature: Option<f64>,
    /// Draw only from the likeliest tokens that together have this share.
    #[arg(long, default_value_t = 1.0, value_name = "P")]
    top_p: f64,
    /// Draw only tokens at least this share as likely as the likeliest.
    #[arg(long, default_value_t = 0.0, value_name = "P")]
    min_p: f64,
    /// Make tokens that came among the last 64 less likely by this factor.
    #[arg(long, default_value_t = 1.0, value_name = "R")]
    repetition_penalty: f64,
    /// What is drawn; the same seed gives the same answer.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    child: ChildArgs,
}

/// Answers the prompt on `out`.
///
/// # Errors
/// What is wrong with the file or the prompt.
pub fn run(args: &SayArgs, out: &mut dyn Write) -> Result<(), Fault> {
    in_child(args.child, 1, || say(args, out))
}

fn say(args: &SayArgs, out: &mut dyn Write) -> Result<(), Fault> {
    let written = |e: std::io::Error| Fault::new(FaultCode::Internal, format!("the answer cannot be written: {e}"));
    let schema = args.json_schema.as_deref().map(schema).transpose()?;
    let model = LanguageModel::open(&args.file).map_err(refused)?;
    // Beside the answer, which may go into a file.
    let read = format!("{}: {}\n", args.file.display(), model.origin());
    std::io::stderr().write_all(read.as_bytes()).map_err(written)?;
    let sampling = Sampling {
        temperature: args.temperature.unwrap_or_default(),
        top_p: args.top_p,
        min_p: args.min_p,
        repetition_penalty: args.repetition_penalty,
        seed: args.seed,
        ..Sampling::GREEDY
    };
    let options = GenerateOptions { max_tokens: usize::try_from(args.max_tokens).unwrap_or(usize::MAX), sampling };
    let start = Instant::now();
    let hooks = Hooks { cancel: &|| false, now: &|| start.elapsed() };
    let mut failed = None;
    let sink = &mut |event: &TokenEvent| {
        let result = if args.logprobs {
            writeln!(
                out,
                "{}",
                serde_json::json!({"token": event.id, "text": event.text, "logprob": event.logprob, "entropy": event.entropy})
            )
        } else {
            out.write_all(event.text.as_bytes())
        };
        match result.and_then(|()| out.flush()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    };
    let made = match &schema {
        Some(schema) => model.generate_json(&args.prompt, schema, &options, &hooks, sink),
        None => model.generate(&args.prompt, &options, &hooks, sink),
    };
    let made = made.map_err(refused)?;
    if failed.is_none() && !args.logprobs {
        failed = writeln!(out).err();
    }
    match failed {
        Some(error) => Err(written(error)),
        None if schema.is_some() && made.finish == Finish::Length => {
            let what = format!("the answer was cut off after {} tokens, so it is not the whole of its JSON", made.tokens.len());
            Err(refused(what).remedy("allow more tokens with -n, or limit lengths in the schema"))
        }
        None => Ok(()),
    }
}

/// The JSON schema of a file.
fn schema(path: &Path) -> Result<Value, Fault> {
    let name = path.display();
    let bytes = std::fs::read(path).map_err(|e| refused(format!("{name} cannot be read: {e}")))?;
    serde_json::from_slice(&bytes).map_err(|e| refused(format!("{name} is no JSON: {e}")))
}
