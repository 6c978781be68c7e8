//! An answer as it grows: from the logits that follow its last token to the next token, until one ends it.
//!
//! It knows nothing of how the logits came about, so that an answer alone and one among others are made by the same code.

use super::{Finish, GenerateOptions, Generation, LanguageModel, Timing, TokenEvent};
use crate::grammar::{Grammar, GrammarError};
use crate::sampling::{Choice, Sampler};
use crate::tokens::{TextStream, Tokenizer};

/// An answer that is being made.
#[derive(Debug)]
pub(super) struct Answer<'m> {
    tokenizer: &'m Tokenizer,
    stream: TextStream<'m>,
    sampler: Sampler,
    /// What it is held to.
    grammar: Option<Grammar>,
    /// The most tokens it may have.
    room: usize,
    made: Generation,
}

impl<'m> Answer<'m> {
    /// An answer to these tokens of prompt, which leave room for at least one, in this form.
    pub(super) fn begin(model: &'m LanguageModel, ids: &[u32], options: &GenerateOptions, grammar: Option<Grammar>) -> Self {
        let room = Self::room(model, ids.len(), options);
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
        Self { tokenizer: &model.tokenizer, stream: model.tokenizer.text_stream(), sampler, grammar, room, made }
    }

    /// The most tokens that an answer may have.
    pub(super) fn room(model: &LanguageModel, prompt_tokens: usize, options: &GenerateOptions) -> usize {
        options.max_tokens.min(model.config().context.saturating_sub(prompt_tokens))
    }

    /// The most tokens that prompt and answer may have together.
    pub(super) fn length(&self) -> usize {
        self.made.prompt_tokens + self.room
    }

    /// Chooses a token, and says whether the answer ends with it; `None` when there is none to choose.
    fn choose(&mut self, logits: &[f32]) -> Result<Option<(Choice, bool)>, GrammarError> {
        let Some(grammar) = &mut self.grammar else {
            let choice = self.sampler.choose(logits, None);
            return Ok(choice.map(|choice| (choice, self.tokenizer.is_stop(choice.id))));
        };
        let mask = grammar.mask()?;
        // The mask has no token that ends an answer.
        let allowed = |id| mask.allows(id) || mask.may_end && self.tokenizer.is_stop(id);
        match self.sampler.choose(logits, Some(&allowed)) {
            None => Ok(None),
            Some(choice) if self.tokenizer.is_stop(choice.id) => Ok(Some((choice, true))),
            Some(choice) => {
                grammar.accept(choice.id)?;
                Ok(Some((choice, grammar.is_complete())))
            }
        }
    }

    /// Chooses the next token, and says whether it ends the answer; `None` when there is no room for one, or none to choose.
    ///
    /// # Errors
    /// When the answer's form cannot be followed any further.
    pub(super) fn next(&mut self, logits: &[f32]) -> Result<Option<(TokenEvent, Option<Finish>)>, GrammarError> {
        if self.made.tokens.len() == self.room {
            return Ok(None);
        }
        let Some((choice, stop)) = self.choose(logits)? else {
            return Ok(None);
        };
        let last = stop || self.made.tokens.len() + 1 == self.room;
        let mut text = self.stream.push(choice.id);
        if last {
            text.push_str(&self.stream.finish());
        }
        self.made.tokens.push(choice.id);
        self.made.logprobs.push(choice.logprob);
        self.made.text.push_str(&text);
        let finish = if stop { Some(Finish::Stop) } else { last.then_some(Finish::Length) };
        Ok(Some((TokenEvent { id: choice.id, text, logprob: choice.logprob, entropy: choice.entropy }, finish)))
    }

    /// The answer as far as it came.
    pub(super) fn end(self, finish: Finish, timing: Timing) -> Generation {
        Generation { finish, timing, ..self.made }
    }
}
