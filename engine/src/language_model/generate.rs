//! Answering a prompt, token by token.

use super::answer::Answer;
use super::{LanguageModel, ModelError};
use crate::deferral::Observation;
use crate::grammar::Grammar;
use crate::sampling::Sampling;
use serde_json::Value;
use std::ops::ControlFlow;
use std::time::Duration;

/// What an answer may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GenerateOptions {
    /// The most tokens of answer; the model's context may allow fewer.
    pub max_tokens: usize,
    /// How tokens are chosen.
    pub sampling: Sampling,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self { max_tokens: 512, sampling: Sampling::GREEDY }
    }
}

/// What comes from outside while an answer is made.
#[derive(Clone, Copy)]
pub struct Hooks<'a> {
    /// Asked between tokens and between parts of the prompt; `true` ends the answer.
    pub cancel: &'a dyn Fn() -> bool,
    /// A monotonic clock; its zero has no meaning.
    pub now: &'a dyn Fn() -> Duration,
}

/// A token that was made.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenEvent {
    /// The token; the last one may be the model's end token.
    pub id: u32,
    /// The text it completes; whole characters, often none.
    pub text: String,
    /// Its exact natural-log probability.
    pub logprob: f64,
    /// The entropy of the distribution it was chosen from, nats.
    pub entropy: f64,
}

impl TokenEvent {
    /// What deferral looks at.
    pub fn observation(&self) -> Observation {
        Observation { id: self.id, logprob: self.logprob, entropy: self.entropy }
    }
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it.
    Stop,
    /// There were as many tokens as allowed.
    Length,
    /// The caller ended it, by [`Hooks::cancel`] or by its sink.
    Cancelled,
}

/// Where the time went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timing {
    /// The prompt, up to the first logits.
    pub prompt: Duration,
    /// Everything after.
    pub decode: Duration,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// Tokens of the templated prompt.
    pub prompt_tokens: usize,
    /// The tokens of the answer, the end token included.
    pub tokens: Vec<u32>,
    /// The natural-log probability of each.
    pub logprobs: Vec<f64>,
    /// The answer.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
    /// Where the time went.
    pub timing: Timing,
}

impl LanguageModel {
    /// Answers a prompt in the model's chat template; `sink` gets each token as it is made and may end the answer.
    pub fn generate(
        &self,
        prompt: &str,
        options: &GenerateOptions,
        hooks: &Hooks<'_>,
        sink: &mut dyn FnMut(&TokenEvent) -> ControlFlow<()>,
    ) -> Result<Generation, ModelError> {
        self.answer(prompt, options, None, hooks, sink)
    }

    /// As [`LanguageModel::generate`], but the answer is JSON that a schema allows, unless it ends by [`Finish::Length`] or
    /// [`Finish::Cancelled`]. The model is not told of the schema: the prompt should.
    pub fn generate_json(
        &self,
        prompt: &str,
        schema: &Value,
        options: &GenerateOptions,
        hooks: &Hooks<'_>,
        sink: &mut dyn FnMut(&TokenEvent) -> ControlFlow<()>,
    ) -> Result<Generation, ModelError> {
        let grammar = self.grammar(schema)?;
        self.answer(prompt, options, Some(grammar), hooks, sink)
    }

    fn answer(
        &self,
        prompt: &str,
        options: &GenerateOptions,
        grammar: Option<Grammar>,
        hooks: &Hooks<'_>,
        sink: &mut dyn FnMut(&TokenEvent) -> ControlFlow<()>,
    ) -> Result<Generation, ModelError> {
        let ids = self.encode(prompt)?;
        let mut answer = Answer::begin(self, &ids, options, grammar);
        let started = (hooks.now)();
        let mut session = self.decoder.session(answer.length());
        let mut logits = session.extend(&ids, hooks.cancel)?;
        let prompt_done = (hooks.now)();
        let finish = loop {
            let Some(current) = logits else { break Finish::Cancelled };
            let Some((event, finish)) = answer.next(&current)? else {
                break Finish::Length;
            };
            let flow = sink(&event);
            match finish {
                Some(Finish::Stop) => break Finish::Stop,
                _ if flow.is_break() => break Finish::Cancelled,
                Some(finish) => break finish,
                None => logits = session.extend(&[event.id], hooks.cancel)?,
            }
        };
        let timing = Timing { prompt: prompt_done.saturating_sub(started), decode: (hooks.now)().saturating_sub(prompt_done) };
        Ok(answer.end(finish, timing))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::decoder::random_model::RandomModel;
    use crate::gguf::writer::GgufWriter;
    use crate::tokens::tests::write_byte_level;

    pub(crate) const CALM: Hooks<'static> = Hooks { cancel: &|| false, now: &|| Duration::ZERO };

    /// A random model with a tokenizer; `change` may alter its file.
    pub(crate) fn model(seed: u64, change: impl FnOnce(&mut GgufWriter)) -> LanguageModel {
        let vocabulary = write_byte_level(&mut GgufWriter::new(), "qwen2");
        let mut made = RandomModel { vocabulary, seed, context: 96, ..RandomModel::default() }.make();
        write_byte_level(&mut made.writer, "qwen2");
        change(&mut made.writer);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.gguf");
        std::fs::write(&path, made.writer.finish()).unwrap();
        LanguageModel::open(&path).unwrap()
    }

    #[test]
    fn an_answer_is_streamed_as_it_is_returned_and_is_the_same_each_time() {
        let model = model(3, |_| {});
        for sampling in [Sampling::GREEDY, Sampling { temperature: 1.0, top_p: 0.9, seed: 5, ..Sampling::GREEDY }] {
            let options = GenerateOptions { max_tokens: 20, sampling };
            let run = || {
                let mut events = vec![];
                let sink = &mut |event: &TokenEvent| {
                    events.push(event.clone());
                    ControlFlow::Continue(())
                };
                let answer = model.generate("hello", &options, &CALM, sink).unwrap();
                (answer, events)
            };
            let (answer, events) = run();
            assert_eq!(events.iter().map(|e| e.text.as_str()).collect::<String>(), answer.text);
            assert_eq!(events.iter().map(|e| e.id).collect::<Vec<_>>(), answer.tokens);
            assert_eq!(answer.tokens.len(), answer.logprobs.len());
            assert!(answer.tokens.len() == 20 || answer.finish == Finish::Stop);
            assert_eq!(run().0, answer);
        }
    }

    #[test]
    fn an_answer_ends_when_the_caller_says_so_or_the_context_is_full() {
        let model = model(4, |writer| writer.u32("tokenizer.ggml.eos_token_id", 0));
        let options = GenerateOptions { max_tokens: 500, ..GenerateOptions::default() };
        let mut count = 0;
        let stop_at_two = &mut |_: &TokenEvent| {
            count += 1;
            if count == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let answer = model.generate("x", &options, &CALM, stop_at_two).unwrap();
        assert!(answer.finish == Finish::Cancelled && answer.tokens.len() == 2 || answer.finish == Finish::Stop);

        let on = &mut |_: &TokenEvent| ControlFlow::Continue(());
        let cancelled = model.generate("x", &options, &Hooks { cancel: &|| true, ..CALM }, on).unwrap();
        assert_eq!((cancelled.finish, cancelled.tokens.len()), (Finish::Cancelled, 0));
        let full = model.generate("x", &options, &CALM, on).unwrap();
        assert!(full.finish == Finish::Stop || full.prompt_tokens + full.tokens.len() == 96);
        for empty in ["", " \n"] {
            assert!(matches!(model.generate(empty, &options, &CALM, on), Err(ModelError::PromptEmpty)));
        }
        let none = model.generate("x", &GenerateOptions { max_tokens: 0, ..options }, &CALM, on).unwrap();
        assert_eq!((none.finish, none.text.as_str()), (Finish::Length, ""));
        let long = model.generate(&"word ".repeat(50), &options, &CALM, on).unwrap_err();
        assert!(matches!(long, ModelError::PromptTooLong { context: 96, .. }), "{long}");
    }
}
