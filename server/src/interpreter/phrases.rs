//! A book of phrases, and where they stand in a text: longest first, never two on the same word, typing errors forgiven.
//!
//! An entry is written as words: `stem*` takes any ending, `~` up to four words between, `=word` insists on the accents,
//! `@lang` is the name of a language. A leading `?` makes it weak: it counts only if nothing stronger is found;
//! a leading `!` makes it the negation of what it means.

use super::words::{Word, plain, words};
use std::collections::{BTreeMap, BTreeSet};

/// How far a `~` reaches, in words.
const REACH: usize = 4;

/// One element of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Exact(String),
    Stem(String),
    Accented(String),
    OneOf,
    Reach,
}

#[derive(Debug, Clone)]
struct Entry<T> {
    parts: Vec<Part>,
    meaning: T,
    weak: bool,
    negated: bool,
}

/// A phrase found in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found<T> {
    /// What it means.
    pub(crate) meaning: T,
    /// The words it is made of, ascending; those that a `~` passed over are not among them.
    pub(crate) hits: Vec<usize>,
    /// It counts only if nothing stronger is found.
    pub(crate) weak: bool,
    /// It says the opposite.
    pub(crate) negated: bool,
}

impl<T> Found<T> {
    /// Its first word.
    pub(crate) fn first(&self) -> usize {
        self.hits[0]
    }
    /// Its last word.
    pub(crate) fn last(&self) -> usize {
        self.hits[self.hits.len() - 1]
    }
}

/// Phrases with their meanings, found by their first word.
#[derive(Debug, Clone)]
pub(crate) struct Book<T> {
    entries: Vec<Entry<T>>,
    by_word: BTreeMap<String, Vec<usize>>,
    by_stem: BTreeMap<String, Vec<usize>>,
    one_of: BTreeSet<String>,
    starting_with_one_of: Vec<usize>,
}

impl<T: Clone> Book<T> {
    /// An empty book; `one_of` are the plain words that `@lang` stands for.
    pub(crate) fn new(one_of: impl IntoIterator<Item = String>) -> Self {
        Self {
            entries: Vec::new(),
            by_word: BTreeMap::new(),
            by_stem: BTreeMap::new(),
            one_of: one_of.into_iter().collect(),
            starting_with_one_of: Vec::new(),
        }
    }

    /// Adds entries separated by commas, all with one meaning.
    pub(crate) fn add(&mut self, entries: &str, meaning: &T) {
        for text in entries.split(',').map(str::trim).filter(|t| !t.is_empty()) {
            let weak = text.starts_with('?');
            let negated = text.starts_with('!');
            let parts = parse(text.trim_start_matches(['?', '!']));
            let index = self.entries.len();
            match parts.first() {
                Some(Part::Exact(word)) => self.by_word.entry(word.clone()).or_default().push(index),
                Some(Part::Accented(word)) => self.by_word.entry(plain(word)).or_default().push(index),
                Some(Part::Stem(stem)) => self.by_stem.entry(stem.clone()).or_default().push(index),
                Some(Part::OneOf) => self.starting_with_one_of.push(index),
                Some(Part::Reach) | None => continue,
            }
            self.entries.push(Entry { parts, meaning: meaning.clone(), weak, negated });
        }
    }

    /// Every phrase found in `text`, overlapping ones too.
    pub(crate) fn candidates(&self, text: &[Word]) -> Vec<Found<T>> {
        let mut found = Vec::new();
        for (start, word) in text.iter().enumerate() {
            for &index in self.starting_at(word).iter() {
                let entry = &self.entries[index];
                if let Some(hits) = self.fit(&entry.parts, text, start) {
                    found.push(Found { meaning: entry.meaning.clone(), hits, weak: entry.weak, negated: entry.negated });
                }
            }
        }
        found
    }

    fn starting_at(&self, word: &Word) -> Vec<usize> {
        let mut indexes = self.by_word.get(&word.plain).cloned().unwrap_or_default();
        for (end, c) in word.plain.char_indices() {
            if let Some(more) = self.by_stem.get(&word.plain[..end + c.len_utf8()]) {
                indexes.extend(more);
            }
        }
        if self.one_of.contains(&word.plain) {
            indexes.extend(&self.starting_with_one_of);
        }
        indexes
    }

    /// The words that `parts` fall on when the first falls on `start`.
    fn fit(&self, parts: &[Part], text: &[Word], start: usize) -> Option<Vec<usize>> {
        let mut hits = Vec::with_capacity(parts.len());
        let mut reach = 0;
        let mut at = start;
        for part in parts {
            if *part == Part::Reach {
                reach = REACH;
                continue;
            }
            let word = (at..=at + reach).take_while(|&i| i == start || is_joined(text, i)).find(|&i| self.fits(part, &text[i]))?;
            hits.push(word);
            at = word + 1;
            reach = 0;
        }
        Some(hits)
    }

    fn fits(&self, part: &Part, word: &Word) -> bool {
        match part {
            Part::Exact(text) => *text == word.plain,
            Part::Stem(stem) => word.plain.starts_with(stem.as_str()),
            Part::Accented(text) => *text == word.raw,
            Part::OneOf => self.one_of.contains(&word.plain),
            Part::Reach => false,
        }
    }

    /// Every whole word (`false`) and stem (`true`) of the book: what a misspelt word may have meant.
    pub(crate) fn vocabulary(&self) -> BTreeMap<String, bool> {
        let mut all: BTreeMap<String, bool> = self.one_of.iter().map(|w| (w.clone(), false)).collect();
        for part in self.entries.iter().flat_map(|e| &e.parts) {
            match part {
                Part::Exact(word) => all.insert(word.clone(), false),
                Part::Accented(word) => all.insert(plain(word), false),
                Part::Stem(stem) => all.insert(stem.clone(), true),
                Part::OneOf | Part::Reach => None,
            };
        }
        all
    }
}

/// A phrase goes over commas (lists, relative clauses) but not over the end of a sentence.
fn is_joined(text: &[Word], i: usize) -> bool {
    text.get(i).is_some_and(|w| w.gap < super::words::Gap::Stop)
}

fn parse(entry: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    for element in entry.split_whitespace() {
        if element == "~" {
            parts.push(Part::Reach);
        } else if element == "@lang" {
            parts.push(Part::OneOf);
        } else if let Some(word) = element.strip_prefix('=') {
            parts.push(Part::Accented(word.to_string()));
        } else if let Some(stem) = element.strip_suffix('*') {
            parts.push(Part::Stem(plain(stem)));
        } else {
            parts.extend(words(element).into_iter().map(|w| Part::Exact(w.plain)));
        }
    }
    parts
}

/// Leaves of overlapping phrases the one with most words, then the strong, then the widest-spread last, then the first.
pub(crate) fn resolve<T>(mut found: Vec<Found<T>>, length: usize) -> Vec<Found<T>> {
    found.sort_by_key(|f| (std::cmp::Reverse(f.hits.len()), f.weak, f.last() - f.first(), f.first()));
    let mut taken = vec![false; length];
    found.retain(|f| {
        let free = f.hits.iter().all(|&i| !taken[i]);
        if free {
            f.hits.iter().for_each(|&i| taken[i] = true);
        }
        free
    });
    found.sort_by_key(Found::first);
    found
}
