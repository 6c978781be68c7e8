//! The model of the first pass, inside its worker: hard rules first, then an attempt that is judged before it is shown.

use super::gguf::{failure, generate};
use super::{JobError, Stream, model_digest};
use crate::workers::protocol::{AttemptOrder, Word};
use ouro_common::envelope::FirstPassReport;
use ouro_common::id::Digest;
use ouro_engine::deferral::{Calibration, CalibrationKey, Feature, Rule, Situation, before_start};
use ouro_engine::language_model::{FirstPassOptions, GenerateOptions, Generation, Hooks, LanguageModel};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

/// The open model, and how fast it was the last time.
pub struct LocalModel {
    model: LanguageModel,
    digest: Digest,
    name: String,
    /// What was found of its answers, or why that is not used.
    calibration: Option<Result<Calibration, String>>,
    pace: Option<Pace>,
}

/// Seconds a token.
#[derive(Debug, Clone, Copy)]
struct Pace {
    prompt_s: f64,
    decode_s: f64,
}

impl LocalModel {
    /// Opens the model and finds out its digest, with what `digests` keeps of earlier times. A calibration that cannot be used is no
    /// reason not to answer.
    ///
    /// # Errors
    /// `LOAD_FAILED` with what is wrong with the file.
    pub fn open(path: &Path, calibration: Option<&Path>, digests: Option<&Path>) -> Result<Self, JobError> {
        let model = LanguageModel::open(path).map_err(|e| JobError::load(e.to_string()))?;
        let digest = model_digest::of(path, digests).map_err(|e| JobError::load(e.to_string()))?;
        let file = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let name = model.config().name.clone().unwrap_or(file);
        let key = CalibrationKey { model: digest, quantisation: model.quantisation(), engine: ouro_engine::BUILD.into() };
        let calibration = calibration.map(|path| read_calibration(path, &key));
        if let Some(Err(problem)) = &calibration {
            tracing::warn!(problem, "the calibration of the first pass is not used");
        }
        Ok(Self { model, digest, name, calibration, pace: None })
    }

    /// Tries to answer; what goes to `stream` may be shown.
    ///
    /// # Errors
    /// When the model itself fails; that it will not answer is no error.
    pub fn attempt(&mut self, order: &AttemptOrder, stream: Stream<'_>) -> Result<Word, JobError> {
        let (rule, calibration) = self.rule(order)?;
        let start = Instant::now();
        let prompt_tokens = self.model.count_tokens(&order.prompt).map_err(|e| failure(&e))?;
        let situation = Situation {
            has_model: true,
            prompt_tokens,
            answer_tokens: rule.tokens,
            context: self.model.config().context,
            inputs: order.inputs,
            forecast_s: self.pace.map(|p| p.prompt_s * prompt_tokens as f64 + p.decode_s * rule.tokens as f64),
            deadline_s: order.budget_ms as f64 / 1000.0,
            remote_s: None,
        };
        if let Some(refusal) = before_start(&situation) {
            let report = FirstPassReport {
                prompt_tokens: u32::try_from(prompt_tokens).unwrap_or(u32::MAX),
                flags: vec![refusal.flag],
                why: refusal.why,
                elapsed_ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
                calibration,
                ..self.report()
            };
            return Ok(Word::Attempted { report: Box::new(report), text: String::new() });
        }
        let hooks = Hooks { cancel: &|| false, now: &|| start.elapsed() };
        let max_tokens = usize::try_from(order.max_tokens).unwrap_or(usize::MAX);
        let options = FirstPassOptions { generate: GenerateOptions { max_tokens, ..GenerateOptions::default() }, rule };
        let pass = self.model.first_pass(&order.prompt, &options, &hooks, &mut |text| {
            if !text.is_empty() {
                stream(text);
            }
            ControlFlow::Continue(())
        });
        let pass = pass.map_err(|e| failure(&e))?;
        self.learn(&pass.generation);
        let text = if pass.report.answered { pass.generation.text } else { String::new() };
        let report = FirstPassReport { model: Some(self.digest), model_name: Some(self.name.clone()), calibration, ..pass.report };
        Ok(Word::Attempted { report: Box::new(report), text })
    }

    /// Answers however unsure it is.
    ///
    /// # Errors
    /// When the model fails or the prompt does not fit it.
    pub fn answer(&mut self, prompt: &str, max_tokens: u32, stream: Stream<'_>) -> Result<Word, JobError> {
        let max_tokens = usize::try_from(max_tokens).unwrap_or(usize::MAX);
        let text = generate(&self.model, prompt, max_tokens, stream).map_err(|e| failure(&e))?;
        Ok(Word::Answered { text })
    }

    fn report(&self) -> FirstPassReport {
        FirstPassReport { model: Some(self.digest), model_name: Some(self.name.clone()), ..FirstPassReport::default() }
    }

    /// What the configuration says, else what does its wish by the calibration, else the model's own rule; and a word about the
    /// calibration, if there is one.
    fn rule(&self, order: &AttemptOrder) -> Result<(Rule, Option<String>), JobError> {
        let unknown = |name: &String| JobError::input(format!("there is no feature {name:?}; it is one of {}", Feature::names()));
        let feature = order.feature.as_ref().map(|name| Feature::parse(name).ok_or_else(|| unknown(name))).transpose()?;
        let mut rule = self.model.rule();
        let word = match (&self.calibration, order.wish) {
            (Some(Ok(found)), Some(wish)) => {
                rule = found.rule(feature, wish);
                Some(format!("from {} graded prompts", found.prompts))
            }
            (Some(Ok(_)), None) | (None, _) => None,
            (Some(Err(problem)), _) => Some(format!("not used: {problem}")),
        };
        rule.feature = feature.unwrap_or(rule.feature);
        rule.threshold = order.threshold.unwrap_or(rule.threshold);
        Ok((rule, word))
    }

    fn learn(&mut self, made: &Generation) {
        if made.tokens.len() > 1 && made.prompt_tokens > 0 {
            self.pace = Some(Pace {
                prompt_s: made.timing.prompt.as_secs_f64() / made.prompt_tokens as f64,
                decode_s: made.timing.decode.as_secs_f64() / (made.tokens.len() - 1) as f64,
            });
        }
    }
}

/// The calibration in a file, if it is for this model and engine.
fn read_calibration(path: &Path, key: &CalibrationKey) -> Result<Calibration, String> {
    let bytes = std::fs::read(path).map_err(|e| format!("{} cannot be read: {e}", path.display()))?;
    let found: Calibration = serde_json::from_slice(&bytes).map_err(|e| format!("{} is no calibration: {e}", path.display()))?;
    found
        .mismatch(key)
        .map_or(Ok(found), |problem| Err(format!("{problem}; make it again with `ouro-agent first-pass eval --save`")))
}
