//! `gguf` containers: a prompt in, text out, token by token; several requests together.

use super::{BatchLimits, Job, JobError, Load, Stream};
use ouro_common::step::FailureClass;
use ouro_engine::language_model::{Ask, Batch, BatchOptions, Finish, GenerateOptions, Generation, Hooks, LanguageModel, ModelError};
use ouro_engine::sampling::Sampling;
use std::ops::{ControlFlow, RangeInclusive};
use std::time::Instant;

/// A language model in memory.
pub(crate) struct Talker {
    model: LanguageModel,
    limits: BatchLimits,
    /// What it kept when it left memory last; read before anybody hears that it is loaded, for then the file goes.
    sessions: Option<Vec<u8>>,
    input: String,
    output: String,
}

impl Talker {
    /// Opens the model. The first input port takes the prompt, the first output port gets the answer.
    pub(crate) fn open(load: &Load) -> Result<Self, JobError> {
        let path = load.model.as_ref().ok_or_else(|| JobError::load("the container has no model file"))?;
        let input = load.manifest.inputs.first();
        let input = input.ok_or_else(|| JobError::load("the manifest declares no input port for the prompt"))?;
        let output = load.manifest.outputs.first().ok_or_else(|| JobError::load("the manifest declares no output port"))?;
        let model = LanguageModel::open(path).map_err(|e| JobError::load(e.to_string()))?;
        Ok(Self {
            model,
            limits: load.batch,
            sessions: load.sessions.as_ref().and_then(|file| std::fs::read(file).ok()),
            input: input.port.to_string(),
            output: output.port.to_string(),
        })
    }

    /// A batch without requests.
    pub(crate) fn batch(&self) -> Batch<'_> {
        let most = usize::try_from(self.limits.most).unwrap_or(usize::MAX);
        let mut batch = Batch::new(&self.model, BatchOptions { most, cache_bytes: self.limits.cache_bytes });
        // What cannot be read is computed again when it is asked for.
        if let Some(bytes) = &self.sessions {
            match batch.restore(bytes) {
                Some(prefixes) => tracing::info!(prefixes, "what was kept of earlier requests is back"),
                None => tracing::warn!("what was kept of earlier requests is damaged or another model's"),
            }
        }
        batch
    }

    /// What a job asks of the model.
    pub(crate) fn ask(&self, job: &Job) -> Result<Ask, JobError> {
        let schema = job.params.get("schema").filter(|schema| !schema.is_null()).cloned();
        Ok(Ask { prompt: job.text(&self.input)?, options: options(&job.params)?, schema, scope: job.scope.clone() })
    }

    /// Leaves a job's answer where it belongs; one that was to be JSON only if it is whole.
    pub(crate) fn answered(&self, job: &Job, made: &Generation) -> Result<(), JobError> {
        if made.finish == Finish::Length && job.params.get("schema").is_some_and(|schema| !schema.is_null()) {
            let tokens = made.tokens.len();
            let why = format!("the answer was cut off after {tokens} tokens and is not the whole of its JSON; allow more max_tokens");
            return Err(JobError::input(why));
        }
        job.write(&self.output, made.text.as_bytes())
    }
}

/// The answer that a step's parameters ask for: of the likeliest tokens, if they name no temperature.
fn options(params: &serde_json::Value) -> Result<GenerateOptions, JobError> {
    let whole = |name: &str, range: RangeInclusive<u64>, default: u64| match params.get(name) {
        None | Some(serde_json::Value::Null) => Ok(default),
        Some(value) => value.as_u64().filter(|v| range.contains(v)).ok_or_else(|| {
            JobError::input(format!("the parameter {name} must be a whole number from {} to {}, not {value}", range.start(), range.end()))
        }),
    };
    let number = |name: &str, range: RangeInclusive<f64>, default: f64| match params.get(name) {
        None | Some(serde_json::Value::Null) => Ok(default),
        Some(value) => value.as_f64().filter(|v| range.contains(v)).ok_or_else(|| {
            JobError::input(format!("the parameter {name} must be a number from {} to {}, not {value}", range.start(), range.end()))
        }),
    };
    let most = GenerateOptions::default().max_tokens as u64;
    let greedy = Sampling::GREEDY;
    let sampling = Sampling {
        temperature: number("temperature", 0.0..=10.0, greedy.temperature)?,
        top_p: number("top_p", 0.0..=1.0, greedy.top_p)?,
        min_p: number("min_p", 0.0..=1.0, greedy.min_p)?,
        repetition_penalty: number("repetition_penalty", 0.1..=10.0, greedy.repetition_penalty)?,
        seed: whole("seed", 0..=u64::MAX, greedy.seed)?,
        ..greedy
    };
    let max_tokens = usize::try_from(whole("max_tokens", 1..=32_768, most)?).unwrap_or(usize::MAX);
    Ok(GenerateOptions { max_tokens, sampling })
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
pub(crate) fn failure(error: &ModelError) -> JobError {
    match error {
        ModelError::PromptTooLong { .. } | ModelError::PromptEmpty | ModelError::Grammar(_) => JobError::input(error.to_string()),
        // Another node may allow more.
        ModelError::CacheTooSmall { .. } => JobError { class: FailureClass::DoesNotFit, why: error.to_string() },
        ModelError::File(_) | ModelError::Folder(_) | ModelError::Tokenizer(_) | ModelError::Decoder(_) => {
            JobError::error(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn parameters_are_taken_within_their_limits_and_refused_by_name() {
        let plain = options(&json!({})).unwrap();
        assert_eq!((plain.max_tokens, plain.sampling), (512, Sampling::GREEDY));
        let drawn = options(&json!({"max_tokens": 7, "temperature": 0.8, "top_p": 0.9, "seed": 5})).unwrap();
        assert_eq!(drawn.sampling, Sampling { temperature: 0.8, top_p: 0.9, seed: 5, ..Sampling::GREEDY });
        for (bad, name) in [
            (json!({"max_tokens": 0}), "max_tokens"),
            (json!({"max_tokens": "many"}), "max_tokens"),
            (json!({"temperature": -1}), "temperature"),
            (json!({"top_p": 1.5}), "top_p"),
            (json!({"seed": -1}), "seed"),
        ] {
            let error = options(&bad).unwrap_err();
            assert!(error.class == FailureClass::InvalidInput && error.why.contains(name), "{error}");
        }
    }
}
