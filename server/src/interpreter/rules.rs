//! The rule planner: reads the request, finds containers for what it asks, chains them backwards, and composes.
//!
//! It never guesses beyond its rules: what it does not know it refuses, with the nearest containers. What is asked for
//! in general ("analyse this") gets a stated default: summary and key phrases of a text, the statistics of a table,
//! the digit in an image.

use super::asks::{Ask, Target};
use super::capability::{Capability, capabilities, overlap};
use super::draft::{Draft, Tagged};
use super::intent::is_table;
use super::lexicon::{Concept, LANGUAGE_CODES};
use super::reading::{Reader, Reading, TextInPrompt};
use super::refuse::{Obstacle, refusal};
use super::subject::{Use, prompt, subjects, uses};
use super::words::words;
use super::{Interpreter, InterpreterRequest, Next, Outputs};
use ouro_common::container::MediaType;
use ouro_common::plan::{Catalogue, MAX_STEPS, Plan, Tags, validate};
use std::collections::BTreeMap;

/// What stands in `planner` of its plans and refusals.
pub const PLANNER: &str = "rules-1";

/// The most inputs one ask looks at; a request has at most 64.
pub(crate) const MAX_FEEDS: usize = 64;

/// Plans by rules alone. Build it once: it holds the phrases of every language it knows.
#[derive(Debug, Clone)]
pub struct RuleInterpreter {
    reader: Reader,
}

impl RuleInterpreter {
    /// A planner with the built-in phrases.
    pub fn new() -> Self {
        Self { reader: Reader::new() }
    }
}

impl Default for RuleInterpreter {
    fn default() -> Self {
        Self::new()
    }
}

// === impl Interpreter ===

impl Interpreter for RuleInterpreter {
    fn name(&self) -> &str {
        PLANNER
    }

    fn next(&self, request: &InterpreterRequest, catalogue: &Catalogue, _outputs: &Outputs) -> Next {
        let capabilities = capabilities(catalogue, &self.reader.book);
        let reading = self.reader.read(request, &capabilities);
        let planner = Planner { reader: &self.reader, request, reading: &reading, capabilities: &capabilities, preferred: Vec::new() };
        let planner = Planner { preferred: planner.by_overlap(false), ..planner };
        let planned = planner.plan().and_then(|plan| match validate(&plan, catalogue, &request.given()) {
            Ok(()) => Ok(plan),
            Err(error) => {
                debug_assert!(false, "the rules wrote an unsound plan: {error}");
                Err(Obstacle::NotUnderstood)
            }
        });
        match planned {
            Ok(plan) => Next::Plan(plan),
            Err(obstacle) => {
                let near = planner.nearest(&obstacle);
                Next::Refusal(refusal(&obstacle, request, &reading, &capabilities, &near))
            }
        }
    }
}

/// One planning: everything it looks at.
pub(crate) struct Planner<'a> {
    pub(crate) reader: &'a Reader,
    pub(crate) request: &'a InterpreterRequest,
    pub(crate) reading: &'a Reading,
    pub(crate) capabilities: &'a [Capability<'a>],
    pub(crate) preferred: Vec<usize>,
}

type Results = BTreeMap<Target, Vec<Tagged>>;

impl<'a> Planner<'a> {
    fn plan(&self) -> Result<Plan, Obstacle> {
        if !self.capabilities.iter().any(Capability::is_offered) && self.reading.asks.is_empty() {
            return Err(Obstacle::NoContainers);
        }
        let asks = self.all_asks()?;
        let mut draft = Draft::new(self.request.inputs.iter().map(|i| i.tag.clone()), &self.reading.words);
        let (mut results, mut parts) = (Results::new(), Vec::new());
        for ask in &asks {
            match self.serve(ask, &asks, &mut draft, &mut results, 0) {
                Ok(written) => parts.extend(written),
                Err(_) if ask.weak && asks.len() > 1 => {}
                Err(obstacle) => return Err(obstacle),
            }
            if draft.len() >= MAX_STEPS {
                return Err(Obstacle::TooLarge(MAX_STEPS - 1));
            }
        }
        self.finish(draft, parts)
    }

    /// Writes the steps for `ask`; what it reads from another ask is written first.
    fn serve(&self, ask: &Ask, asks: &[Ask], draft: &mut Draft<'_>, results: &mut Results, depth: usize) -> Result<Vec<Tagged>, Obstacle> {
        if let Some(done) = results.get(&ask.target) {
            return Ok(done.clone());
        }
        let concept = self.concept_of(&ask.target);
        let mut extra = Vec::new();
        let mut given = subjects(ask, concept, self.reading, self.request);
        if let Some(of) = &ask.of
            && depth < asks.len()
        {
            let source = asks
                .iter()
                .find(|a| a.target == *of)
                .cloned()
                .unwrap_or_else(|| Ask { inputs: ask.inputs.clone(), ..super::intent::ask(of.clone()) });
            let read = self.serve(&source, asks, draft, results, depth + 1)?;
            if self.choose(&ask.target, &read).is_ok() {
                given = read;
            } else if !asks.iter().any(|a| a.target == *of) {
                // Its result cannot be read here: then both are asked for, side by side.
                extra = read;
            }
        }
        let mut written = extra;
        for one in self.choose_with_tables(ask, &given)? {
            written.extend(one.write(draft, self.capabilities).into_iter().take(1).map(|(_, tagged)| tagged));
        }
        results.insert(ask.target.clone(), written.clone());
        Ok(written)
    }

    /// A "summary" of a table means its statistics, unless the container was named.
    fn choose_with_tables(&self, ask: &Ask, given: &[Tagged]) -> Result<Vec<Use<'a>>, Obstacle> {
        let summary = matches!(ask.target, Target::Concept(Concept::Summary | Concept::Caption));
        let (tables, others): (Vec<Tagged>, Vec<Tagged>) = given.iter().cloned().partition(|t| summary && is_table(&t.media));
        if tables.is_empty() || self.best(Concept::Table).is_empty() || (!others.is_empty() && ask.inputs.is_empty() && !self.reading.each)
        {
            return self.choose(&ask.target, given);
        }
        let mut chosen = if others.is_empty() { Vec::new() } else { self.choose(&ask.target, &others)? };
        chosen.extend(self.choose(&Target::Concept(Concept::Table), &tables)?);
        Ok(chosen)
    }

    /// The container for `target` that needs the fewest conversions, then the surest.
    fn choose(&self, target: &Target, given: &[Tagged]) -> Result<Vec<Use<'a>>, Obstacle> {
        let candidates = self.candidates(target);
        let Some(&first) = candidates.first() else {
            return match target {
                // An image classifier is what comes nearest to "what is in this picture".
                Target::Concept(Concept::Caption) if !self.best(Concept::Digit).is_empty() => {
                    self.choose(&Target::Concept(Concept::Digit), given)
                }
                Target::Concept(concept) => Err(Obstacle::NoAbility(*concept)),
                Target::Container(_) => Err(Obstacle::NotUnderstood),
            };
        };
        let possible = candidates.iter().filter_map(|&i| uses(self.capabilities, i, given, self.reading.each, &self.preferred));
        let cost = |uses: &Vec<Use<'_>>| uses.iter().map(Use::cost).sum::<usize>();
        possible.min_by_key(cost).ok_or_else(|| {
            let attached = !self.request.inputs.is_empty() || self.reading.text == TextInPrompt::Certain;
            if attached { Obstacle::DoesNotFit(first) } else { Obstacle::NothingAttached(first) }
        })
    }

    /// The containers that may serve `target`, the surest first.
    pub(crate) fn candidates(&self, target: &Target) -> Vec<usize> {
        match target {
            Target::Container(name) => (0..self.capabilities.len()).filter(|&i| self.capabilities[i].name() == name).collect(),
            Target::Concept(Concept::Translation) => self.translators(),
            Target::Concept(concept) => self.best(*concept),
        }
    }

    pub(crate) fn best(&self, concept: Concept) -> Vec<usize> {
        let mut serving: Vec<(u32, usize)> =
            self.capabilities.iter().enumerate().filter_map(|(i, c)| Some((c.serves(concept)?, i))).collect();
        serving.sort_by_key(|(score, i)| (std::cmp::Reverse(*score), *i));
        serving.into_iter().map(|(_, i)| i).collect()
    }

    /// Translators that say something of the language asked for, or that say nothing of languages.
    fn translators(&self) -> Vec<usize> {
        let codes = |text: &str| -> Vec<&'static str> {
            let text: Vec<String> = words(text).into_iter().map(|w| w.plain).collect();
            let named = |names: &str| names.split_whitespace().any(|n| text.iter().any(|w| w == n));
            LANGUAGE_CODES
                .iter()
                .filter(|(code, names)| named(names) || text.iter().any(|w| w == code))
                .map(|(code, _)| *code)
                .collect()
        };
        let wanted = codes(&self.reading.languages.join(" "));
        let speaks = |i: &usize| {
            let manifest = self.capabilities[*i].manifest;
            let own = codes(&format!("{} {} {}", manifest.name, manifest.summary, manifest.keywords.join(" ")));
            wanted.is_empty() || own.is_empty() || own.iter().any(|c| wanted.contains(c))
        };
        self.best(Concept::Translation).into_iter().filter(speaks).collect()
    }

    pub(crate) fn concept_of(&self, target: &Target) -> Option<Concept> {
        match target {
            Target::Concept(concept) => Some(*concept),
            Target::Container(name) => self.capabilities.iter().find(|c| c.name() == name).and_then(Capability::concept),
        }
    }

    /// Containers by how much of the request's unexplained words are theirs; `sure`: only those that are meant.
    pub(crate) fn by_overlap(&self, sure: bool) -> Vec<usize> {
        let is_empty = |word: &str| self.reader.is_empty(word);
        let mut scored: Vec<(u32, usize)> = Vec::new();
        for (i, capability) in self.capabilities.iter().enumerate().filter(|(_, c)| c.is_offered()) {
            let score = overlap(&self.reading.content, capability, &is_empty);
            // One word of a summary does for a container that no concept describes; others need more.
            let enough = match (sure, capability.concepts.is_empty(), self.reading.asks.is_empty()) {
                (false, ..) => 1,
                (true, true, true) => 2,
                (true, true, false) => 3,
                (true, false, _) => 4,
            };
            if score >= enough && !(sure && self.reading.unwanted.contains(&Target::Container(capability.name().clone()))) {
                scored.push((score, i));
            }
        }
        scored.sort_by_key(|(score, i)| (std::cmp::Reverse(*score), *i));
        scored.into_iter().map(|(_, i)| i).collect()
    }

    /// The containers to name in a refusal: those asked for, those akin by words, those that take what is attached.
    fn nearest(&self, obstacle: &Obstacle) -> Vec<usize> {
        let mut near: Vec<usize> = Vec::new();
        if !matches!(obstacle, Obstacle::NoAbility(_)) {
            near.extend(self.reading.asks.iter().filter_map(|a| self.candidates(&a.target).first().copied()));
        }
        if let Obstacle::NoAbility(concept) = obstacle {
            near.extend(self.best(*concept));
        }
        near.extend(self.by_overlap(false));
        let media: Vec<MediaType> = if self.request.inputs.is_empty() {
            vec![prompt().media]
        } else {
            self.request.inputs.iter().map(|i| i.media.clone()).collect()
        };
        let takes = |c: &Capability<'_>| c.manifest.inputs.iter().any(|p| media.iter().any(|m| p.media.accepts(m)));
        let offered = |fits: bool| {
            (0..self.capabilities.len()).filter(move |&i| self.capabilities[i].is_offered() && takes(&self.capabilities[i]) == fits)
        };
        near.extend(offered(true));
        near.extend((0..self.capabilities.len()).filter(|&i| self.capabilities[i].is_offered()));
        near
    }

    /// One answer: the single result, or all of them composed.
    fn finish(&self, mut draft: Draft<'_>, parts: Vec<Tagged>) -> Result<Plan, Obstacle> {
        let mut sinks = draft.sinks(parts);
        if sinks.len() > 1 {
            let takes_all = |c: &Capability<'_>| {
                c.composes && matches!(c.manifest.inputs.as_slice(), [p] if p.many && sinks.iter().all(|s| p.media.accepts(&s.media)))
            };
            let composers: Vec<usize> = (0..self.capabilities.len()).filter(|&i| takes_all(&self.capabilities[i])).collect();
            let named = composers.iter().find(|&&i| self.capabilities[i].name().as_str() == "compose");
            let composer = *named.or(composers.first()).ok_or(Obstacle::NoComposer)?;
            let port = self.capabilities[composer].manifest.inputs[0].port.clone();
            let tags = Tags::Many(sinks.into_iter().map(|s| s.tag).collect());
            sinks = draft.add(self.capabilities, composer, [(port, tags)].into()).into_iter().take(1).map(|(_, t)| t).collect();
        }
        let answer = sinks.pop().ok_or(Obstacle::NotUnderstood)?;
        Ok(draft.finish(PLANNER, answer.tag))
    }
}
