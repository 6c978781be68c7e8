//! `summarize`: the sentences of a text that carry most of it, in their order. Extractive: it never invents a word.
//!
//! A sentence scores by the mean frequency of its content words (SumBasic: Nenkova and Vanderwende, 2005; a picked
//! sentence's words count less afterwards, so that the summary does not say the same thing twice), and by its position:
//! texts say first what they are about. The whole text is read; the time grows with its length times the sentences picked.

use crate::stopwords::is_stopword;
use std::collections::HashMap;
use unicode_segmentation::UnicodeSegmentation as _;

/// The picked sentences, one a line; a third of them, at most 5, where no number is asked for.
pub fn run(text: &str, sentences: Option<usize>) -> String {
    pick(text, sentences).join("\n")
}

/// A sentence's content words as numbers, each once.
struct Sentence<'a> {
    text: &'a str,
    words: Vec<usize>,
}

/// The sentences, split at the marks Unicode knows and at empty lines; and how often each content word occurs.
fn read(text: &str) -> (Vec<Sentence<'_>>, Vec<f64>) {
    let (mut numbers, mut counts) = (HashMap::new(), vec![]);
    let mut sentences = vec![];
    let paragraphs = text.split("\n\n").flat_map(str::unicode_sentences);
    for sentence in paragraphs.map(str::trim).filter(|s| !s.is_empty()) {
        let mut words = vec![];
        for word in sentence.unicode_words().map(str::to_lowercase) {
            if is_stopword(&word) || word.chars().count() < 2 {
                continue;
            }
            let number = *numbers.entry(word).or_insert_with(|| {
                counts.push(0.0);
                counts.len() - 1
            });
            counts[number] += 1.0;
            words.push(number);
        }
        words.sort_unstable();
        words.dedup();
        sentences.push(Sentence { text: sentence, words });
    }
    (sentences, counts)
}

fn pick(text: &str, wanted: Option<usize>) -> Vec<String> {
    let (sentences, counts) = read(text);
    let wanted = wanted.unwrap_or(sentences.len().div_ceil(3).min(5)).min(sentences.len());
    let total: f64 = counts.iter().sum::<f64>().max(1.0);
    let mut weight: Vec<f64> = counts.iter().map(|c| c / total).collect();
    let mut picked = vec![];
    while picked.len() < wanted {
        let open = sentences.iter().enumerate().filter(|(i, _)| !picked.contains(i));
        let scored = open.map(|(i, s)| (i, score(s, &weight, i, sentences.len())));
        // Of equals the earlier: `max_by` keeps the last, so the order is turned round.
        let Some((best, _)) = scored.rev().max_by(|a, b| a.1.total_cmp(&b.1)) else {
            break;
        };
        for word in &sentences[best].words {
            weight[*word] *= weight[*word];
        }
        picked.push(best);
    }
    picked.sort_unstable();
    let one_line = |s: &str| s.split_whitespace().collect::<Vec<_>>().join(" ");
    picked.into_iter().map(|i| one_line(sentences[i].text)).collect()
}

fn score(sentence: &Sentence<'_>, weight: &[f64], position: usize, of: usize) -> f64 {
    if sentence.words.is_empty() {
        return 0.0;
    }
    let sum: f64 = sentence.words.iter().map(|w| weight[*w]).sum();
    // A mean over few words would let "Yes, solar." beat every sentence that says something.
    let mean = sum / (sentence.words.len() as f64).max(5.0);
    let place = if position == 0 { 1.5 } else { 1.2 - 0.2 * position as f64 / of as f64 };
    mean * place
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    const TEXT: &str = "Solar power grew fast last year. Many people like cake. Solar panels now give a fifth of the power in summer. \
        The weather was mild. Batteries store solar power for the night. A dog slept.";

    #[test]
    fn sentences_about_the_subject_are_picked_in_their_order() {
        let summary = pick(TEXT, Some(3));
        assert_eq!(summary.len(), 3);
        assert!(summary.iter().all(|s| s.contains("olar")), "{summary:?}");
        let at: Vec<_> = summary.iter().map(|s| TEXT.find(s.as_str()).unwrap()).collect();
        assert!(at.is_sorted(), "{summary:?}");
    }

    #[test]
    fn short_and_empty_texts_are_what_they_are() {
        assert!(pick("", None).is_empty());
        assert_eq!(pick("One line", Some(9)), ["One line"]);
        assert_eq!(pick("It is.\nSo is it.", None).len(), 1);
    }

    #[test]
    fn the_end_of_a_long_text_is_read_too_and_in_time() {
        let filler = "The committee met again and discussed the agenda of the meeting at length. ".repeat(20_000);
        let text = format!("{filler} Quartz quartz quartz crystals crystals fail fail when heated heated beyond quartz limits limits.");
        let start = Instant::now();
        let summary = pick(&text, Some(5));
        assert!(summary.last().unwrap().contains("Quartz"), "{summary:?}");
        assert!(start.elapsed().as_secs() < 20, "1.5 MB took {:?}", start.elapsed());
    }
}
