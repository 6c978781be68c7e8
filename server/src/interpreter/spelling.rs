//! Typing errors: a word nobody knows becomes the known word it is one slip away from.
//!
//! Short words are left alone, and so is every word that is right as it stands: a correction that changes what was
//! asked is worse than none.

use super::words::Word;
use std::collections::BTreeMap;

/// How many unknown words are looked at from each end: a request is at one of them, what is between is its matter.
const LOOKED_AT: usize = 16;

/// Replaces the plain form of unknown words by what they most likely meant.
pub(crate) fn correct(text: &mut [Word], vocabulary: &BTreeMap<String, bool>, known: impl Fn(&str) -> bool) {
    let unknown = |word: &Word| {
        let length = word.plain.chars().count();
        (5..=24).contains(&length) && !is_known(&word.plain, vocabulary) && !known(&word.plain)
    };
    let mut at: Vec<usize> = (0..text.len()).filter(|&i| unknown(&text[i])).collect();
    if at.len() > 2 * LOOKED_AT {
        at.drain(LOOKED_AT..at.len() - LOOKED_AT);
    }
    for i in at {
        if let Some(meant) = nearest(&text[i].plain, vocabulary) {
            text[i].plain = meant;
        }
    }
}

fn is_known(word: &str, vocabulary: &BTreeMap<String, bool>) -> bool {
    // A stem of a few letters begins too many words to vouch for one.
    let mut stems = word.char_indices().skip(4).map(|(i, c)| &word[..i + c.len_utf8()]);
    vocabulary.contains_key(word) || stems.any(|stem| vocabulary.get(stem) == Some(&true))
}

fn nearest(word: &str, vocabulary: &BTreeMap<String, bool>) -> Option<String> {
    let letters: Vec<char> = word.chars().collect();
    let mut best: Option<(usize, String)> = None;
    for (candidate, &is_stem) in vocabulary {
        let wanted: Vec<char> = candidate.chars().collect();
        let near_start = wanted.first() == letters.first() || (wanted.len() > 1 && wanted.first() == letters.get(1));
        if wanted.len() < 5 || !near_start {
            continue;
        }
        let Some((slips, meant)) = match_with(&letters, &wanted, is_stem) else {
            continue;
        };
        if best.as_ref().is_none_or(|(least, _)| slips < *least) {
            best = Some((slips, meant));
        }
    }
    best.map(|(_, meant)| meant)
}

/// The slips between a word and a candidate, and the word without them, if they are few enough for the length.
fn match_with(letters: &[char], wanted: &[char], is_stem: bool) -> Option<(usize, String)> {
    let lengths = if is_stem { wanted.len().saturating_sub(1)..=wanted.len() + 1 } else { letters.len()..=letters.len() };
    let mut best: Option<(usize, String)> = None;
    for length in lengths.filter(|l| *l <= letters.len() && l.abs_diff(wanted.len()) <= 2) {
        let slips = distance(&letters[..length], wanted);
        let swapped = length == wanted.len() && is_swap(&letters[..length], wanted);
        let allowed = match wanted.len() {
            0..=5 => usize::from(swapped),
            6..=8 => 1,
            _ => 2,
        };
        if slips <= allowed && best.as_ref().is_none_or(|(least, _)| slips < *least) {
            best = Some((slips, wanted.iter().chain(&letters[length..]).collect()));
        }
    }
    best
}

fn is_swap(a: &[char], b: &[char]) -> bool {
    match a.iter().zip(b).position(|(x, y)| x != y) {
        Some(i) if i + 1 < a.len() => a[i] == b[i + 1] && a[i + 1] == b[i] && a[i + 2..] == b[i + 2..],
        _ => false,
    }
}

/// Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let substituted = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = substituted.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::super::words::words;
    use super::*;

    #[test]
    fn slips_are_mended_and_right_words_left_alone() {
        let vocabulary: BTreeMap<String, bool> = [("summar", true), ("language", false), ("words", false), ("sentiment", true)]
            .map(|(w, s)| (w.to_string(), s))
            .into();
        let mended = |text: &str| {
            let mut text = words(text);
            correct(&mut text, &vocabulary, |w| w == "summer");
            text.into_iter().map(|w| w.plain).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(mended("sumarize langauge wrods sentment"), "summarize language words sentiment");
        assert_eq!(mended("summer wards tonic baggage sausage"), "summer wards tonic baggage sausage");
    }
}
