//! Several requests of one model at once: each step of the decoder computes a token of each answer, and a part of one prompt.
//!
//! Requests come and go between steps. A prompt is computed in parts, so that the other answers wait for one part at most, and prompts
//! take turns. What a request gets does not depend on who else is there: not on a bit of its logits. The keys and values of a request
//! are set aside before it begins, for its longest possible answer; one for which there is no room waits, and none begins before it.

mod prefixes;

use super::answer::Answer;
use super::{Finish, GenerateOptions, Generation, LanguageModel, ModelError, Timing, TokenEvent};
use crate::decoder::{DecoderError, PAGE, Row, Sequence};
use crate::grammar::Grammar;
use ouro_common::document::BatchState;
use prefixes::Prefixes;
use serde_json::Value;
use std::collections::VecDeque;
use std::time::Duration;

/// Tokens of a prompt that are computed in a step while nobody waits for a token.
const WHOLE_PART: usize = 4 * PAGE;
/// The same while others wait for theirs.
const FAIR_PART: usize = PAGE;

/// What a batch may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchOptions {
    /// The most requests that are computed together.
    pub most: usize,
    /// Bytes of keys and values of all of them, the beginnings that are kept included.
    pub cache_bytes: u64,
}

/// A request.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// The prompt.
    pub prompt: String,
    /// What the answer may be.
    pub options: GenerateOptions,
    /// A JSON schema that the answer is held to.
    pub schema: Option<Value>,
    /// Whose it is: beginnings are shared among requests with the same word, and with no others. Without one nothing is shared.
    pub scope: Option<String>,
}

/// What comes from outside during a step.
#[derive(Clone, Copy)]
pub struct BatchHooks<'a> {
    /// Whether a request is not wanted any more; asked before each layer.
    pub left: &'a dyn Fn(u64) -> bool,
    /// A monotonic clock; its zero has no meaning.
    pub now: &'a dyn Fn() -> Duration,
}

/// What became of a request in a step.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// It has a token more.
    Token(TokenEvent),
    /// It is answered.
    Ended(Box<Generation>),
    /// It cannot be answered.
    Failed(String),
}

/// A request that waits for room.
#[derive(Debug)]
struct Waiting {
    job: u64,
    ids: Vec<u32>,
    options: GenerateOptions,
    grammar: Option<Grammar>,
    scope: Option<String>,
    bytes: u64,
}

/// A request that is computed.
#[derive(Debug)]
struct Member<'m> {
    job: u64,
    ids: Vec<u32>,
    scope: Option<String>,
    /// What was set aside for it.
    bytes: u64,
    sequence: Sequence,
    answer: Answer<'m>,
    /// The last token of its answer; `None` while its prompt is computed.
    last: Option<u32>,
    /// When its prompt had a turn last, in steps.
    turn: u64,
    begun: Duration,
    prompt_done: Duration,
}

impl Member<'_> {
    /// The rows of its prompt in this step.
    fn part(&self, most: usize) -> std::ops::Range<usize> {
        let start = self.sequence.length();
        start..(start + most).min(self.ids.len())
    }
}

/// The requests of a model.
#[derive(Debug)]
pub struct Batch<'m> {
    model: &'m LanguageModel,
    options: BatchOptions,
    waiting: VecDeque<Waiting>,
    members: Vec<Member<'m>>,
    prefixes: Prefixes,
    steps: u64,
    most_running: usize,
    prompt_tokens: u64,
    reused_tokens: u64,
}

impl<'m> Batch<'m> {
    /// No requests yet.
    pub fn new(model: &'m LanguageModel, options: BatchOptions) -> Self {
        let options = BatchOptions { most: options.most.max(1), ..options };
        Self {
            model,
            options,
            waiting: VecDeque::new(),
            members: vec![],
            prefixes: Prefixes::default(),
            steps: 0,
            most_running: 0,
            prompt_tokens: 0,
            reused_tokens: 0,
        }
    }

    /// Takes a request, which begins with one of the next steps. `job` is the caller's name for it.
    ///
    /// # Errors
    /// What is wrong with the prompt or the schema, or that it could never have room.
    pub fn join(&mut self, job: u64, ask: Ask) -> Result<(), ModelError> {
        let ids = self.model.encode(&ask.prompt)?;
        let tokens = ids.len() + Answer::room(self.model, ids.len(), &ask.options);
        let (bytes, limit) = (self.model.decoder.cache_bytes(tokens), self.options.cache_bytes);
        if bytes > limit {
            return Err(ModelError::CacheTooSmall { tokens, needed: bytes, limit });
        }
        let grammar = ask.schema.map(|schema| self.model.grammar(&schema)).transpose()?;
        self.waiting.push_back(Waiting { job, ids, options: ask.options, grammar, scope: ask.scope, bytes });
        Ok(())
    }

    /// Whether there is nothing to compute.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.members.is_empty()
    }

    /// How many there are and what they take.
    pub fn state(&self) -> BatchState {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        BatchState {
            running: count(self.members.len()),
            waiting: count(self.waiting.len()),
            most: count(self.options.most),
            most_running: count(self.most_running),
            cache_bytes: self.set_aside(),
            cache_limit_bytes: self.options.cache_bytes,
            prefixes: count(self.prefixes.count()),
            prefix_bytes: self.prefixes.bytes(),
            prompt_tokens: self.prompt_tokens,
            reused_tokens: self.reused_tokens,
        }
    }

    /// The beginnings of prompts that are kept, as bytes that [`Batch::restore`] takes.
    pub fn save(&self) -> Vec<u8> {
        self.prefixes.save()
    }

    /// Takes over what a batch of the same model has saved, as far as there is room; how many beginnings that were, and `None` when the
    /// bytes are damaged or of another model.
    pub fn restore(&mut self, bytes: &[u8]) -> Option<u32> {
        self.prefixes = Prefixes::restore(bytes, &self.model.decoder)?;
        self.prefixes.shrink(self.options.cache_bytes.saturating_sub(self.set_aside()));
        u32::try_from(self.prefixes.count()).ok()
    }

    fn set_aside(&self) -> u64 {
        self.members.iter().map(|member| member.bytes).sum()
    }

    /// Computes a step; `say` gets what became of the requests in it. Nothing more is said of one that has left.
    pub fn step(&mut self, hooks: &BatchHooks<'_>, say: &mut dyn FnMut(u64, Said)) {
        self.waiting.retain(|waiting| !(hooks.left)(waiting.job));
        self.members.retain(|member| !(hooks.left)(member.job));
        self.admit((hooks.now)());
        self.most_running = self.most_running.max(self.members.len());
        let prompt = (0..self.members.len()).filter(|&at| self.members[at].last.is_none()).min_by_key(|&at| self.members[at].turn);
        // The prompt's rows come first, then one of each answer.
        let answers = (0..self.members.len()).filter(|&at| self.members[at].last.is_some());
        let order: Vec<usize> = prompt.into_iter().chain(answers).collect();
        let part = match prompt {
            Some(at) => self.members[at].part(self.most_of_prompt(order.len() > 1)),
            None => 0..0,
        };
        let rows = self.rows(&order, &part);
        let ends = prompt.is_none_or(|at| part.end == self.members[at].ids.len());
        let want: Vec<usize> = if ends { part.len().saturating_sub(1)..rows.len() } else { part.len()..rows.len() }.collect();
        let Some(logits) = self.compute(&order, (&rows, part.len()), &want, hooks, say) else {
            return;
        };
        self.steps += 1;
        if let Some(at) = prompt {
            self.members[at].turn = self.steps;
        }
        let wanted: Vec<usize> = if ends { order } else { order[1..].to_vec() };
        let vocabulary = self.model.config().vocabulary;
        let now = (hooks.now)();
        let results: Vec<(u64, Option<Result<Finish, String>>)> = wanted
            .iter()
            .zip(logits.chunks_exact(vocabulary))
            .map(|(&at, logits)| (self.members[at].job, self.take(at, logits, now, say)))
            .collect();
        for (job, result) in results {
            if let Some(result) = result {
                self.end(job, result, now, say);
            }
        }
    }

    /// Begins those that have waited longest, as long as there is room.
    fn admit(&mut self, now: Duration) {
        while let Some(next) = self.waiting.front()
            && self.members.len() < self.options.most
            && self.set_aside() + next.bytes <= self.options.cache_bytes
            && let Some(Waiting { job, ids, options, grammar, scope, bytes }) = self.waiting.pop_front()
        {
            let answer = Answer::begin(self.model, &ids, &options, grammar);
            let mut sequence = self.model.decoder.sequence(answer.length());
            let reused = scope.as_deref().map_or(0, |scope| self.prefixes.begin(scope, &ids, &mut sequence));
            self.prompt_tokens += ids.len() as u64;
            self.reused_tokens += reused as u64;
            self.members
                .push(Member { job, ids, scope, bytes, sequence, answer, last: None, turn: 0, begun: now, prompt_done: now });
            self.prefixes.shrink(self.options.cache_bytes.saturating_sub(self.set_aside()));
        }
    }

    fn end(&mut self, job: u64, result: Result<Finish, String>, now: Duration, say: &mut dyn FnMut(u64, Said)) {
        let Some(at) = self.members.iter().position(|member| member.job == job) else {
            return;
        };
        let member = self.members.remove(at);
        let timing = Timing {
            prompt: member.prompt_done.saturating_sub(member.begun),
            decode: now.saturating_sub(member.prompt_done),
        };
        say(
            job,
            match result {
                Ok(finish) => Said::Ended(Box::new(member.answer.end(finish, timing))),
                Err(why) => Said::Failed(why),
            },
        );
    }

    /// How much of a prompt is computed in a step.
    fn most_of_prompt(&self, others_wait: bool) -> usize {
        if others_wait || !self.model.decoder.cuts_freely() { FAIR_PART } else { WHOLE_PART }
    }

    fn rows(&self, order: &[usize], part: &std::ops::Range<usize>) -> Vec<Row> {
        let mut rows = vec![];
        for (sequence, &at) in order.iter().enumerate() {
            let member = &self.members[at];
            match member.last {
                Some(token) => rows.push(Row { sequence, position: member.sequence.length(), token }),
                None => rows.extend(part.clone().map(|position| Row { sequence, position, token: member.ids[position] })),
            }
        }
        rows
    }

    /// The logits of the wanted rows; `None` when there are none, when all have left, or when it failed for all.
    fn compute(
        &mut self,
        order: &[usize],
        rows: (&[Row], usize),
        want: &[usize],
        hooks: &BatchHooks<'_>,
        say: &mut dyn FnMut(u64, Said),
    ) -> Option<Vec<f32>> {
        if rows.0.is_empty() {
            return None;
        }
        let jobs: Vec<u64> = order.iter().map(|&at| self.members[at].job).collect();
        let mut places: Vec<Option<&mut Sequence>> = self.members.iter_mut().map(|member| Some(&mut member.sequence)).collect();
        let mut sequences: Vec<&mut Sequence> = order.iter().filter_map(|&at| places[at].take()).collect();
        let cancel = || jobs.iter().all(|&job| (hooks.left)(job));
        match self.model.decoder.forward_steadily(&mut sequences, rows, want, &cancel) {
            Ok(logits) => logits,
            Err(error) => {
                jobs.iter().for_each(|&job| say(job, Said::Failed(error.to_string())));
                self.members.retain(|member| !jobs.contains(&member.job));
                None
            }
        }
    }

    /// The next token of a request; how it ended, if it did.
    fn take(&mut self, at: usize, logits: &[f32], now: Duration, say: &mut dyn FnMut(u64, Said)) -> Option<Result<Finish, String>> {
        let member = &mut self.members[at];
        if !logits.iter().all(|logit| logit.is_finite()) {
            let position = member.sequence.length().saturating_sub(1);
            return Some(Err(DecoderError::NotFinite { position }.to_string()));
        }
        if member.last.is_none() {
            member.prompt_done = now;
            if let Some(scope) = &member.scope {
                self.prefixes.keep(scope, &member.ids, &member.sequence);
                let set_aside = self.set_aside();
                self.prefixes.shrink(self.options.cache_bytes.saturating_sub(set_aside));
            }
        }
        let member = &mut self.members[at];
        let (event, finish) = match member.answer.next(logits) {
            Ok(Some(next)) => next,
            Ok(None) => return Some(Ok(Finish::Length)),
            Err(error) => return Some(Err(error.to_string())),
        };
        member.last = Some(event.id);
        say(member.job, Said::Token(event));
        finish.map(Ok)
    }
}

#[cfg(test)]
mod tests;
