//! `gguf` containers: a prompt in, text out, token by token.

use super::{Job, JobError, Load, Plugged, Stream};
use ouro_engine::language_model::{GenerateOptions, Hooks, LanguageModel, ModelError};
use std::ops::ControlFlow;
use std::time::Instant;

struct Gguf {
    model: LanguageModel,
    input: String,
    output: String,
}

/// Opens the model. The first input port takes the prompt, the first output port gets the answer.
pub(super) fn plug(load: &Load) -> Result<Box<dyn Plugged>, JobError> {
    let path = load.model.as_ref().ok_or_else(|| JobError::load("the container has no model file"))?;
    let input = load
        .manifest
        .inputs
        .first()
        .ok_or_else(|| JobError::load("the manifest declares no input port for the prompt"))?;
    let output = load.manifest.outputs.first().ok_or_else(|| JobError::load("the manifest declares no output port"))?;
    let model = LanguageModel::open(path).map_err(|e| JobError::load(e.to_string()))?;
    Ok(Box::new(Gguf { model, input: input.port.to_string(), output: output.port.to_string() }))
}

impl Plugged for Gguf {
    fn run(&mut self, job: &Job, stream: Stream<'_>) -> Result<(), JobError> {
        let prompt = job.text(&self.input)?;
        let max_tokens = match job.params.get("max_tokens") {
            None => GenerateOptions::default().max_tokens,
            Some(n) => n
                .as_u64()
                .and_then(|n| usize::try_from(n).ok())
                .filter(|n| (1..=32_768).contains(n))
                .ok_or_else(|| JobError::input(format!("the parameter max_tokens must be a whole number from 1 to 32768, not {n}")))?,
        };
        let text = generate(&self.model, &prompt, max_tokens, stream).map_err(|e| failure(&e))?;
        job.write(&self.output, text.as_bytes())
    }
}

/// The whole answer; each piece of it goes to `stream` as it is made.
pub(super) fn generate(model: &LanguageModel, prompt: &str, max_tokens: usize, stream: Stream<'_>) -> Result<String, ModelError> {
    let start = Instant::now();
    // A worker is ended by a kill, so there is nothing to ask between tokens.
    let hooks = Hooks { cancel: &|| false, now: &|| start.elapsed() };
    let options = GenerateOptions { max_tokens, ..GenerateOptions::default() };
    let made = model.generate(prompt, &options, &hooks, &mut |event| {
        if !event.text.is_empty() {
            stream(&event.text);
        }
        ControlFlow::Continue(())
    })?;
    Ok(made.text)
}

/// What a model's refusal says about the work.
pub(super) fn failure(error: &ModelError) -> JobError {
    match error {
        ModelError::PromptTooLong { .. } | ModelError::PromptEmpty => JobError::input(error.to_string()),
        ModelError::File(_) | ModelError::Folder(_) | ModelError::Tokenizer(_) | ModelError::Decoder(_) => {
            JobError::error(error.to_string())
        }
    }
}
