//! `keywords`: the key phrases of a text, by Rapid Automatic Keyword Extraction.
//!
//! Rose, Engel, Cramer and Cowley, "Automatic Keyword Extraction from Individual Documents", 2010: runs of content words
//! between stop words and punctuation are candidates; a word's score is its degree over its frequency; a phrase's the sum.
//! Here a phrase counts by how often it stands in the text as well, since long one-off runs win otherwise, a part that
//! several runs share is a candidate too, and of two phrases of which one holds the other only the better is given.

use crate::stopwords::is_stopword;
use serde::Serialize;
use std::collections::HashMap;
use unicode_segmentation::UnicodeSegmentation as _;

/// Longer runs are sentences without grammar, not phrases; only what they share with others counts.
const MAX_WORDS: usize = 4;

/// What the port `keywords` gets.
#[derive(Serialize)]
struct Keywords {
    keywords: Vec<Phrase>,
}

/// A phrase as it is written first in the text.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Phrase {
    phrase: String,
    score: f64,
    count: u32,
}

/// The best phrases, best first, as JSON.
pub fn run(text: &str, count: usize) -> Vec<u8> {
    serde_json::to_vec(&Keywords { keywords: extract(text, count) }).unwrap_or_default()
}

/// Runs of content words, as written.
fn candidates(text: &str) -> Vec<Vec<&str>> {
    let (mut runs, mut run) = (vec![], vec![]);
    for piece in text.split_word_bounds() {
        if piece.chars().all(char::is_whitespace) && !piece.contains('\n') {
            continue;
        }
        let is_word = piece.chars().any(char::is_alphabetic) && piece.chars().count() > 1;
        if is_word && !is_stopword(&piece.to_lowercase()) {
            run.push(piece);
        } else if !run.is_empty() && piece != "-" {
            runs.push(std::mem::take(&mut run));
        }
    }
    runs.push(run);
    runs.retain(|r| !r.is_empty());
    runs
}

/// A phrase in lower case, and its words.
fn key(words: &[&str]) -> String {
    words.iter().map(|w| w.to_lowercase()).collect::<Vec<_>>().join(" ")
}

/// Every phrase once, in the text's order: the runs, and what stands in several of them as a part.
fn phrases<'a>(runs: &'a [Vec<&'a str>]) -> Vec<(&'a [&'a str], u32)> {
    let parts = |run: &'a Vec<&'a str>| (1..=run.len().min(MAX_WORDS)).flat_map(move |n| run.windows(n));
    let mut counts: HashMap<String, u32> = HashMap::new();
    for part in runs.iter().flat_map(parts) {
        *counts.entry(key(part)).or_default() += 1;
    }
    let mut found = vec![];
    for run in runs {
        for part in parts(run) {
            let whole = part.len() == run.len();
            let Some(count) = counts.get(&key(part)).copied().filter(|n| whole || *n > 1) else {
                continue;
            };
            counts.remove(&key(part));
            found.push((part, count));
        }
    }
    found
}

fn extract(text: &str, count: usize) -> Vec<Phrase> {
    let runs = candidates(text);
    // A word's frequency, and its degree: the words it stands with, itself included.
    let mut words: HashMap<String, (f64, f64)> = HashMap::new();
    for run in &runs {
        for word in run {
            let entry = words.entry(word.to_lowercase()).or_default();
            entry.0 += 1.0;
            entry.1 += run.len().min(MAX_WORDS) as f64;
        }
    }
    let scored = phrases(&runs).into_iter().map(|(part, count)| {
        let sum: f64 = part.iter().filter_map(|w| words.get(&w.to_lowercase())).map(|(frequency, degree)| degree / frequency).sum();
        let score = sum * (1.0 + f64::from(count).ln() * 2.0);
        Phrase { phrase: part.join(" "), score: (score * 100.0).round() / 100.0, count }
    });
    let mut scored: Vec<Phrase> = scored.collect();
    // The sort is stable: of equals, the one that stands first in the text wins.
    scored.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut best: Vec<Phrase> = vec![];
    for phrase in scored {
        let padded = |p: &Phrase| format!(" {} ", p.phrase.to_lowercase());
        let told = |b: &Phrase| padded(b).contains(&padded(&phrase)) || padded(&phrase).contains(&padded(b));
        if best.len() < count && !best.iter().any(told) {
            best.push(phrase);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        extract(text, 5).into_iter().map(|p| p.phrase).collect()
    }

    #[test]
    fn phrases_between_stop_words_win_and_repetition_counts() {
        let text = "Compatibility of systems of linear constraints over the set of natural numbers. Criteria of compatibility of a system of \
                    linear constraints are considered. Linear constraints and natural numbers are the subject.";
        let found = found(text);
        assert_eq!(found[0], "linear constraints");
        assert!(found.contains(&"natural numbers".to_string()), "{found:?}");
        assert!(found.iter().all(|p| !p.split(' ').any(is_stopword)), "{found:?}");
    }

    #[test]
    fn other_languages_and_odd_texts() {
        let german =
            "Die Energiewende braucht Speicher. Speicher und Netze sind für die Energiewende wichtig, denn ohne Speicher geht nichts.";
        assert!(found(german).iter().any(|p| p.contains("Speicher")), "{:?}", found(german));
        assert!(found("").is_empty());
        assert!(found("the of and, … 12 3").is_empty());
        assert_eq!(extract("alpha, beta; alpha", 1), [Phrase { phrase: "alpha".into(), score: 2.39, count: 2 }]);
    }
}
