//! `keywords`: the key phrases of a text, by Rapid Automatic Keyword Extraction.
//!
//! Rose, Engel, Cramer and Cowley, "Automatic Keyword Extraction from Individual Documents", 2010: runs of content words
//! between stop words and punctuation are candidates; a word's score is its degree over its frequency; a phrase's the sum.
//! Here a phrase counts by how often it stands in the text as well, since long one-off runs win otherwise.

use super::parameter;
use super::stopwords::is_stopword;
use crate::runtimes::{Job, JobError};
use serde::Serialize;
use std::collections::HashMap;
use unicode_segmentation::UnicodeSegmentation as _;

/// Longer runs are sentences without grammar, not phrases.
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

/// Writes the best phrases, best first, as JSON.
pub(super) fn run(job: &Job) -> Result<(), JobError> {
    let count = parameter(job, "count", 1..=100, 10)?;
    let text = job.text("text")?;
    let keywords = extract(&text, usize::try_from(count).unwrap_or(10));
    let json = serde_json::to_vec(&Keywords { keywords }).map_err(|e| JobError::error(e.to_string()))?;
    job.write("keywords", &json)
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
    runs.retain(|r| (1..=MAX_WORDS).contains(&r.len()));
    runs
}

fn extract(text: &str, count: usize) -> Vec<Phrase> {
    let runs = candidates(text);
    // A word's frequency, and its degree: the words it stands with, itself included.
    let mut words: HashMap<String, (f64, f64)> = HashMap::new();
    for run in &runs {
        for word in run {
            let entry = words.entry(word.to_lowercase()).or_default();
            entry.0 += 1.0;
            entry.1 += run.len() as f64;
        }
    }
    let mut phrases: Vec<Phrase> = vec![];
    let mut known: HashMap<String, usize> = HashMap::new();
    for run in &runs {
        let key = run.iter().map(|w| w.to_lowercase()).collect::<Vec<_>>().join(" ");
        if let Some(&at) = known.get(&key) {
            phrases[at].count += 1;
            continue;
        }
        let score = run.iter().filter_map(|w| words.get(&w.to_lowercase())).map(|(frequency, degree)| degree / frequency).sum();
        known.insert(key, phrases.len());
        phrases.push(Phrase { phrase: run.join(" "), score, count: 1 });
    }
    for phrase in &mut phrases {
        let repeated = phrase.score * (1.0 + f64::from(phrase.count).ln() * 2.0);
        phrase.score = (repeated * 100.0).round() / 100.0;
    }
    // The sort is stable: of equals, the one that stands first in the text wins.
    phrases.sort_by(|a, b| b.score.total_cmp(&a.score));
    phrases.truncate(count);
    phrases
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phrases(text: &str) -> Vec<String> {
        extract(text, 5).into_iter().map(|p| p.phrase).collect()
    }

    #[test]
    fn phrases_between_stop_words_win_and_repetition_counts() {
        let text = "Compatibility of systems of linear constraints over the set of natural numbers. Criteria of compatibility of a system of \
                    linear constraints are considered. Linear constraints and natural numbers are the subject.";
        let found = phrases(text);
        assert_eq!(found[0], "linear constraints");
        assert!(found.contains(&"natural numbers".to_string()), "{found:?}");
        assert!(found.iter().all(|p| !p.split(' ').any(is_stopword)), "{found:?}");
    }

    #[test]
    fn other_languages_and_odd_texts() {
        let german = "Die Energiewende braucht Speicher. Speicher und Netze sind für die Energiewende wichtig, denn ohne Speicher geht nichts.";
        assert!(phrases(german).iter().any(|p| p.contains("Speicher")), "{:?}", phrases(german));
        assert!(phrases("").is_empty());
        assert!(phrases("the of and, … 12 3").is_empty());
        assert_eq!(extract("alpha, beta; alpha", 1), [Phrase { phrase: "alpha".into(), score: 2.39, count: 2 }]);
    }
}
