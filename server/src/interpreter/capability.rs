//! What a container can do, read from what it says about itself: name, keywords, ports and summary.

use super::lexicon::Concept;
use super::phrases::{Book, resolve};
use super::words::{Word, words};
use ouro_common::container::{Manifest, Port};
use ouro_common::id::{Digest, Name};
use ouro_common::plan::Catalogue;
use std::collections::BTreeMap;

/// A container, and what it is good for.
#[derive(Debug, Clone)]
pub(crate) struct Capability<'a> {
    /// Its identity.
    pub(crate) digest: Digest,
    /// What it says about itself.
    pub(crate) manifest: &'a Manifest,
    /// The concepts it serves, with how surely; empty if the lexicon does not know what it does.
    pub(crate) concepts: BTreeMap<Concept, u32>,
    /// Whether it makes one answer of many parts.
    pub(crate) composes: bool,
}

impl Capability<'_> {
    /// Its name.
    pub(crate) fn name(&self) -> &Name {
        &self.manifest.name
    }

    /// Whether it is there for measuring only, and chosen only by name.
    pub(crate) fn is_noop(&self) -> bool {
        self.name().as_str() == "noop"
    }

    /// Whether rules may choose it without its name being said.
    pub(crate) fn is_offered(&self) -> bool {
        !self.composes && !self.is_noop()
    }

    /// How surely it serves `concept`.
    pub(crate) fn serves(&self, concept: Concept) -> Option<u32> {
        self.concepts.get(&concept).copied().filter(|_| self.is_offered())
    }

    /// Whether its result stands for its input, so that a chain may lead through it unasked.
    pub(crate) fn converts(&self) -> bool {
        self.is_offered() && self.manifest.inputs.len() == 1 && !self.concepts.keys().any(|c| c.analyses())
    }

    /// The concept it serves best.
    pub(crate) fn concept(&self) -> Option<Concept> {
        self.concepts.iter().max_by_key(|(c, score)| (**score, std::cmp::Reverse(**c))).map(|(c, _)| *c)
    }
}

/// The port that carries the person's words rather than the matter, beside other ports.
pub(crate) fn is_prompt_port(manifest: &Manifest, port: &Port) -> bool {
    manifest.inputs.len() > 1 && matches!(port.port.as_str(), "prompt" | "question" | "instruction" | "query" | "task")
}

/// The containers of `catalogue` by name: of several versions the highest, of several digests the smallest.
pub(crate) fn capabilities<'a>(catalogue: &'a Catalogue, book: &Book<super::reading::Meaning>) -> Vec<Capability<'a>> {
    let mut chosen: BTreeMap<&Name, (Digest, &Manifest)> = BTreeMap::new();
    for (digest, manifest) in catalogue.iter() {
        let newer = chosen.get(&manifest.name).is_none_or(|(_, known)| known.version < manifest.version);
        if newer {
            chosen.insert(&manifest.name, (*digest, manifest));
        }
    }
    chosen.into_values().map(|(digest, manifest)| describe(digest, manifest, book)).collect()
}

fn describe<'a>(digest: Digest, manifest: &'a Manifest, book: &Book<super::reading::Meaning>) -> Capability<'a> {
    let composes = manifest.inputs.iter().any(|p| p.many && p.media.main() == "*");
    let mut concepts = BTreeMap::new();
    let mut add = |text: &str, weight: u32, first_only: bool| {
        let found = concepts_in(&words(text), book);
        for concept in found.into_iter().take(if first_only { 1 } else { usize::MAX }) {
            *concepts.entry(concept).or_insert(0) += weight;
        }
    };
    add(manifest.name.as_str(), 5, false);
    manifest.outputs.iter().for_each(|p| add(p.port.as_str(), 4, true));
    manifest.keywords.iter().for_each(|k| add(k, 3, false));
    add(&manifest.summary, 2, true);
    let best = concepts.values().copied().max().unwrap_or(0);
    concepts.retain(|_, score| *score * 2 > best || *score >= 5);
    if concepts.is_empty()
        && let Some(concept) = by_ports(manifest)
    {
        concepts.insert(concept, 1);
    }
    Capability { digest, manifest, concepts, composes }
}

/// The concepts a text names, in order, weak ones only if there are no others.
fn concepts_in(text: &[Word], book: &Book<super::reading::Meaning>) -> Vec<Concept> {
    let found = resolve(book.candidates(text), text.len());
    let named = |weak: bool| found.iter().filter(move |f| f.weak == weak && !f.negated).filter_map(|f| f.meaning.concept());
    let strong: Vec<Concept> = named(false).collect();
    if strong.is_empty() { named(true).collect() } else { strong }
}

/// What the media types alone tell: text out of an image or a recording.
fn by_ports(manifest: &Manifest) -> Option<Concept> {
    let gives_text = manifest.outputs.first()?.media.main() == "text";
    match manifest.inputs.first()?.media.main() {
        "image" if gives_text => Some(Concept::Ocr),
        "audio" | "video" if gives_text => Some(Concept::Transcript),
        _ => None,
    }
}

/// How near the words of a request come to a container's own words: name and keywords count more than the summary.
pub(crate) fn overlap(asked: &[String], capability: &Capability<'_>, is_empty: &dyn Fn(&str) -> bool) -> u32 {
    let manifest = capability.manifest;
    let own = |text: &str| words(text).into_iter().map(|w| w.plain).filter(|w| !is_empty(w) && w.chars().count() > 2).collect::<Vec<_>>();
    let named: Vec<String> = own(manifest.name.as_str()).into_iter().chain(manifest.keywords.iter().flat_map(|k| own(k))).collect();
    let told: Vec<String> = own(&manifest.summary).into_iter().chain(manifest.outputs.iter().flat_map(|p| own(p.port.as_str()))).collect();
    asked
        .iter()
        .map(|word| match (named.iter().any(|n| akin(word, n)), told.iter().any(|t| akin(word, t))) {
            (true, _) => 3,
            (false, true) => 2,
            (false, false) => 0,
        })
        .sum()
}

/// Whether two words are forms of one: equal, or the same for five letters and most of their length.
fn akin(a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    let same = a.chars().zip(b.chars()).take_while(|(x, y)| x == y).count();
    let longest = a.chars().count().max(b.chars().count());
    let shortest = a.chars().count().min(b.chars().count());
    (same >= 5 && same * 10 >= longest * 6) || (same >= 4 && same == shortest && longest - shortest <= 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_a_word_are_akin_and_others_are_not() {
        for (a, b) in [("rotate", "rotates"), ("toxic", "toxicity"), ("removing", "removes"), ("blur", "blurs")] {
            assert!(akin(a, b), "{a} {b}");
        }
        for (a, b) in [("stand", "station"), ("text", "texture"), ("form", "platform"), ("contract", "contain")] {
            assert!(!akin(a, b), "{a} {b}");
        }
    }
}
