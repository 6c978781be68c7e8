//! The local attempt: an answer that is shown only after it was judged good enough, or the reason to offload.

use super::{Finish, GenerateOptions, Generation, Hooks, LanguageModel, ModelError};
use crate::deferral::{Judge, Rule};
use ouro_common::envelope::FirstPassReport;
use std::ops::ControlFlow;

/// How the local attempt is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FirstPassOptions {
    /// What the answer may be.
    pub generate: GenerateOptions,
    /// When it is trusted.
    pub rule: Rule,
}

/// What came of the local attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct FirstPass {
    /// The answer, or as much of it as there was when it was given up.
    pub generation: Generation,
    /// What was found and decided. The caller adds the model's digest.
    pub report: FirstPassReport,
    /// Whether the caller ended it before there was a decision; the report then decides nothing.
    pub cancelled: bool,
}

impl LanguageModel {
    /// Tries to answer. `show` gets no text before the decision to answer: then at once all that was held back, and every
    /// piece as it comes; when the request is offloaded it gets nothing, and what there was is in the report.
    pub fn first_pass(
        &self,
        prompt: &str,
        options: &FirstPassOptions,
        hooks: &Hooks<'_>,
        show: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<FirstPass, ModelError> {
        let started = (hooks.now)();
        let mut decided_at = None;
        let mut judge = Judge::new(options.rule);
        let mut held = String::new();
        let sink = &mut |event: &super::TokenEvent| {
            if judge.verdict().is_some() {
                return if event.text.is_empty() { ControlFlow::Continue(()) } else { show(&event.text) };
            }
            held.push_str(&event.text);
            match judge.observe(event.observation()) {
                None => ControlFlow::Continue(()),
                Some(verdict) => {
                    decided_at = Some((hooks.now)());
                    if verdict.answer { show(&std::mem::take(&mut held)) } else { ControlFlow::Break(()) }
                }
            }
        };
        let generation = self.generate(prompt, &options.generate, hooks, sink)?;
        let early = judge.verdict().is_some();
        let cancelled = generation.finish == Finish::Cancelled && !early;
        let decided_at = decided_at.unwrap_or_else(|| (hooks.now)());
        let mut report = FirstPassReport {
            model_name: self.config().name.clone(),
            engine: Some(crate::BUILD.into()),
            prompt_tokens: u32::try_from(generation.prompt_tokens).unwrap_or(u32::MAX),
            elapsed_ms: u64::try_from(decided_at.saturating_sub(started).as_millis()).unwrap_or(u64::MAX),
            ..FirstPassReport::default()
        };
        if cancelled {
            report.why = "it was cancelled before there was a decision".into();
            return Ok(FirstPass { generation, report, cancelled });
        }
        let verdict = judge.finish();
        if verdict.answer && !early {
            // The answer is complete: there is nothing left that the caller could stop.
            let _ = show(&held);
        }
        verdict.fill(&options.rule, &mut report);
        if !report.answered {
            report.partial = Some(generation.text.clone());
        }
        Ok(FirstPass { generation, report, cancelled })
    }
}

#[cfg(test)]
mod tests {
    use super::super::generate::tests::{CALM, model};
    use super::*;
    use crate::deferral::Feature;
    use ouro_common::envelope::OffloadFlag;

    fn attempt(threshold: f64, tokens: usize, max_tokens: usize) -> (FirstPass, Vec<String>) {
        let rule = Rule { feature: Feature::MeanLogprob, threshold, tokens };
        let generate = GenerateOptions { max_tokens, ..GenerateOptions::default() };
        let mut shown = vec![];
        let show = &mut |text: &str| {
            shown.push(text.to_string());
            ControlFlow::Continue(())
        };
        let pass = model(3, |_| {}).first_pass("hello", &FirstPassOptions { generate, rule }, &CALM, show).unwrap();
        (pass, shown)
    }

    #[test]
    fn a_sure_answer_is_shown_whole() {
        for (tokens, max_tokens) in [(4, 12), (32, 12)] {
            let (pass, shown) = attempt(-1e9, tokens, max_tokens);
            assert!(pass.report.answered && pass.report.flags.is_empty() && !pass.cancelled);
            assert_eq!(shown.concat(), pass.generation.text);
            assert_eq!(pass.report.tokens as usize, tokens.min(pass.generation.tokens.len()));
            assert_eq!(pass.report.partial, None);
        }
    }

    #[test]
    fn an_unsure_answer_shows_nothing_and_stops_at_the_decision() {
        let (pass, shown) = attempt(0.0, 4, 12);
        assert!(shown.is_empty());
        assert_eq!((pass.report.answered, pass.report.tokens, pass.generation.tokens.len()), (false, 4, 4));
        assert_eq!(pass.report.flags, [OffloadFlag::LowConfidence]);
        assert_eq!(pass.report.partial.as_deref(), Some(pass.generation.text.as_str()));
        assert!(pass.report.why.contains("below the threshold 0.000"), "{}", pass.report.why);
        assert!(!pass.cancelled);
    }

    #[test]
    fn a_cancelled_attempt_decides_nothing() {
        let options = FirstPassOptions { generate: GenerateOptions::default(), rule: Rule::default() };
        let show = &mut |_: &str| panic!("nothing may be shown");
        let pass = model(3, |_| {}).first_pass("hello", &options, &Hooks { cancel: &|| true, ..CALM }, show).unwrap();
        assert!(pass.cancelled && !pass.report.answered && pass.report.flags.is_empty());
    }
}
