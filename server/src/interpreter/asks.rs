//! From phrases to asks: each thing once, in order, with the inputs it names and the result it reads.

use super::grammar::{ARTICLES, Mark, REFERRING};
use super::lexicon::Concept;
use super::phrases::Found;
use super::reading::Meaning;
use super::scope::Scoped;
use super::words::{Gap, Word};
use ouro_common::id::Name;
use std::collections::BTreeSet;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    /// An ability, whichever container has it.
    Concept(Concept),
    /// A certain container.
    Container(Name),
}

/// One thing asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ask {
    /// What.
    pub(crate) target: Target,
    /// What it works on instead of the inputs: the result of this.
    pub(crate) of: Option<Target>,
    /// The inputs it names; empty for all that fit.
    pub(crate) inputs: Vec<usize>,
    /// It counts only if it can be served.
    pub(crate) weak: bool,
}

/// Words between a question and what it is about: "which language is the summary in".
const BEING: &str = "is are was ist sind est es is ha";

/// The asks in order, each target once, with what they work on.
pub(crate) fn asks(text: &[Word], found: &[Found<Meaning>]) -> Vec<Ask> {
    let mut asks: Vec<(usize, Ask)> = Vec::new();
    let first_ask = found.iter().position(|f| f.meaning.asks()).unwrap_or(0);
    for (k, f) in found.iter().enumerate() {
        let target = match &f.meaning {
            Meaning::Concept(concept) => Target::Concept(*concept),
            Meaning::Container(name) => Target::Container(name.clone()),
            Meaning::Mark(Mark::Result) => {
                if let [.., (_, before), (_, last)] = asks.as_mut_slice() {
                    last.of.get_or_insert_with(|| before.target.clone());
                }
                continue;
            }
            Meaning::Mark(_) | Meaning::Input(_) => continue,
        };
        if gives_text(&target) && reads_from(text, found, k) {
            if let Some((_, last)) = asks.last_mut().filter(|(_, last)| last.target != target) {
                last.of.get_or_insert(target);
            }
            continue;
        }
        if asks.iter().any(|(_, a)| a.target == target) {
            continue;
        }
        asks.push((k, Ask { target, of: None, inputs: named_inputs(text, found, k, first_ask), weak: f.weak }));
    }
    asks.into_iter().map(|(_, ask)| ask).collect()
}

/// Whether the phrase `k` names what the ask just before it is to work on: "mood of the summary".
fn reads_from(text: &[Word], found: &[Found<Meaning>], k: usize) -> bool {
    let first = found[k].first();
    let Some(before) = found[..k].iter().rev().find(|f| f.meaning.asks()) else {
        return false;
    };
    let between = before.last() + 1..first;
    let small = |i: usize, lists: &[&str]| lists.iter().any(|l| l.split_whitespace().any(|w| w == text[i].plain));
    let joined = between.clone().any(|i| {
        let marks = found.iter().filter(|f| f.hits.contains(&i)).filter_map(|f| f.meaning.mark());
        marks.into_iter().any(|m| m != Mark::Nothing) && !small(i, &[REFERRING, ARTICLES, BEING])
    });
    if between.len() > 3 || joined || between.clone().chain([first]).any(|i| text[i].gap > Gap::Space) {
        return false;
    }
    let already = found[..k].iter().any(|f| f.meaning == found[k].meaning);
    refers(text, first) || (already && !between.is_empty() && between.clone().all(|i| small(i, &[ARTICLES, BEING])))
}

/// Whether the word at `i` follows "use", "run" or the like.
pub(crate) fn is_named(text: &[Word], i: usize) -> bool {
    const USING: [&str; 12] = ["use", "using", "run", "apply", "call", "invoke", "execute", "via", "nutze", "verwende", "utilise", "usa"];
    let article = |k: usize| ARTICLES.split_whitespace().any(|a| a == text[k].plain);
    let before = if i > 1 && article(i - 1) { i.checked_sub(2) } else { i.checked_sub(1) };
    before.is_some_and(|k| USING.contains(&text[k].plain.as_str()))
}

/// Whether the result of `target` can be what another step works on.
fn gives_text(target: &Target) -> bool {
    match target {
        Target::Concept(c) => matches!(c, Concept::Summary | Concept::Keywords) || c.converts(),
        Target::Container(_) => true,
    }
}

/// The inputs named after the phrase `k` and before the next, else those the next one names, else those named first.
fn named_inputs(text: &[Word], found: &[Found<Meaning>], k: usize, first_ask: usize) -> Vec<usize> {
    let inputs_in = |range: std::ops::Range<usize>| -> Vec<usize> {
        let named = found[range].iter().filter_map(|f| if let Meaning::Input(i) = f.meaning { Some(i) } else { None });
        named.collect::<BTreeSet<_>>().into_iter().collect()
    };
    let mut from = k;
    loop {
        let next = (from + 1..found.len()).find(|&n| found[n].meaning.asks()).unwrap_or(found.len());
        let named = inputs_in(from..next);
        if !named.is_empty() || next == found.len() {
            return if named.is_empty() { inputs_in(0..first_ask) } else { named };
        }
        let one_sentence = text[found[from].first() + 1..=found[next].first()].iter().all(|w| w.gap < Gap::Stop);
        if !one_sentence {
            return inputs_in(0..first_ask);
        }
        from = next;
    }
}

/// Whether the word at `i` is what something is to be done with: "of the summary".
pub(crate) fn refers(text: &[Word], i: usize) -> bool {
    let is_one_of = |list: &str, k: usize| list.split_whitespace().any(|w| w == text[k].plain);
    let near = |k: usize| text[k].gap <= Gap::Space;
    if i == 0 || !near(i) {
        return false;
    }
    is_one_of(REFERRING, i - 1) || (i > 1 && is_one_of(ARTICLES, i - 1) && near(i - 1) && is_one_of(REFERRING, i - 2))
}
