//! An answer as it grows: from the logits that follow its last token to the next token, until one ends it.
//!
//! It knows nothing of how the logits came about, so that an answer alone and one among others are made by the same code.

use super::{Finish, GenerateOptions, Generation, LanguageModel, Timing, TokenEvent};
use crate::sampling::Sampler;
use crate::tokens::{TextStream, Tokenizer};

/// An answer that is being made.
#[derive(Debug)]
pub(super) struct Answer<'m> {
    tokenizer: &'m Tokenizer,
    stream: TextStream<'m>,
    sampler: Sampler,
    /// The most tokens it may have.
    room: usize,
    made: Generation,
}

impl<'m> Answer<'m> {
    /// An answer to these tokens of prompt, which leave room for at least one.
    pub(super) fn begin(model: &'m LanguageModel, ids: &[u32], options: &GenerateOptions) -> Self {
        let room = options.max_tokens.min(model.config().context.saturating_sub(ids.len()));
        let mut sampler = Sampler::new(options.sampling);
        sampler.observe(ids);
        let made = Generation {
            prompt_tokens: ids.len(),
            tokens: vec![],
            logprobs: vec![],
            text: String::new(),
            finish: Finish::Length,
            timing: Timing::default(),
        };
        Self { tokenizer: &model.tokenizer, stream: model.tokenizer.text_stream(), sampler, room, made }
    }

    /// The most tokens that prompt and answer may have together.
    pub(super) fn length(&self) -> usize {
        self.made.prompt_tokens + self.room
    }

    /// Chooses the next token, and says whether it ends the answer; `None` when there is no room for one, or none to choose.
    pub(super) fn next(&mut self, logits: &[f32]) -> Option<(TokenEvent, Option<Finish>)> {
        if self.made.tokens.len() == self.room {
            return None;
        }
        let choice = self.sampler.choose(logits, None)?;
        let stop = self.tokenizer.is_stop(choice.id);
        let last = stop || self.made.tokens.len() + 1 == self.room;
        let mut text = self.stream.push(choice.id);
        if last {
            text.push_str(&self.stream.finish());
        }
        self.made.tokens.push(choice.id);
        self.made.logprobs.push(choice.logprob);
        self.made.text.push_str(&text);
        let finish = if stop { Some(Finish::Stop) } else { last.then_some(Finish::Length) };
        Some((TokenEvent { id: choice.id, text, logprob: choice.logprob, entropy: choice.entropy }, finish))
    }

    /// The answer as far as it came.
    pub(super) fn end(self, finish: Finish, timing: Timing) -> Generation {
        Generation { finish, timing, ..self.made }
    }
}
