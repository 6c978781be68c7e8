//! Text to hashed word n-gram weights, as manifests declare it (`kind = "word_ngrams"`).
//!
//! In this order: lower case; U+2019 becomes U+0027; the words are maximal runs of alphabetic or numeric characters and
//! U+0027, without the apostrophes at their ends; the first `max_words` of them; every window of `min_n` to `max_n` words,
//! joined by one space, counted in the bucket of its UTF-8 bytes' FNV-1a hash; ln(1 + count); the vector scaled to unit length.

use super::OnnxError;
use super::hashing::{Declared, fnv1a32, log1p_l2};
use ouro_common::container::InputTensor;

/// The declared parameters, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WordNgrams {
    lowercase: bool,
    min_n: usize,
    max_n: usize,
    buckets: usize,
    max_words: usize,
}

impl WordNgrams {
    pub(super) fn new(declared: &InputTensor) -> Result<Self, OnnxError> {
        let InputTensor::WordNgrams { lowercase, min_n, max_n, buckets, hash, weight, max_words, .. } = declared else {
            return Err(OnnxError::Tensors { field: "tensors.input.kind", problem: "it is not word_ngrams".into() });
        };
        Declared { min_n: *min_n, max_n: *max_n, buckets: *buckets, hash, weight }.check()?;
        if *max_words == 0 {
            let problem = "nothing of the text would be read".into();
            return Err(OnnxError::Tensors { field: "tensors.input.max_words", problem });
        }
        Ok(Self { lowercase: *lowercase, min_n: *min_n, max_n: *max_n, buckets: *buckets, max_words: *max_words })
    }

    pub(super) fn buckets(&self) -> usize {
        self.buckets
    }

    fn words(&self, text: &str) -> Vec<String> {
        let text = if self.lowercase { text.to_lowercase() } else { text.to_string() };
        let text = text.replace('\u{2019}', "'");
        let runs = text.split(|c: char| !(c.is_alphanumeric() || c == '\''));
        let words = runs.map(|run| run.trim_matches('\'')).filter(|word| !word.is_empty());
        words.take(self.max_words).map(str::to_string).collect()
    }

    /// The weights of a text, one a bucket; all zero if it has no words.
    pub(super) fn weights(&self, text: &str) -> Vec<f32> {
        let words = self.words(text);
        let mut counts = vec![0_u32; self.buckets];
        for n in self.min_n..=self.max_n {
            for window in words.windows(n) {
                counts[fnv1a32(window.join(" ").as_bytes()) as usize % self.buckets] += 1;
            }
        }
        log1p_l2(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ngrams(buckets: usize) -> WordNgrams {
        WordNgrams { lowercase: true, min_n: 1, max_n: 2, buckets, max_words: 6 }
    }

    #[test]
    fn words_are_split_as_documented() {
        let words = |text| ngrams(64).words(text);
        assert_eq!(words("I don\u{2019}t\u{a0}like 'it', \u{2018}REALLY\u{2019}."), ["i", "don't", "like", "it", "really"]);
        assert_eq!(words("x² ½ naïve-Ärger 東京"), ["x²", "½", "naïve", "ärger", "東京"]);
        assert_eq!(words("' '' -- !"), [] as [&str; 0]);
        assert_eq!(words("a b c d e f g h").len(), 6);
        assert_eq!(WordNgrams { lowercase: false, ..ngrams(64) }.words("Ab"), ["Ab"]);
    }

    #[test]
    fn windows_of_words_are_counted() {
        // "a a b": a twice, b, "a a", "a b".
        let weights = ngrams(1 << 20).weights("A, a; b");
        let (one, two) = (2_f64.ln(), 3_f64.ln());
        let length = (3.0 * one * one + two * two).sqrt();
        let found = f64::from(weights[fnv1a32(b"a") as usize % (1 << 20)]);
        assert!((found - two / length).abs() < 1e-7, "{found}");
        assert!(weights[fnv1a32(b"a b") as usize % (1 << 20)] > 0.0);
        assert_eq!(weights.iter().filter(|w| **w != 0.0).count(), 4);
    }

    proptest! {
        #[test]
        fn any_text_gives_a_unit_vector_or_none(text in "\\PC{0,40}", buckets in 1..5000_usize) {
            let ngrams = WordNgrams { max_n: 3, max_words: 20, ..ngrams(buckets) };
            let weights = ngrams.weights(&text);
            let length: f64 = weights.iter().map(|w| f64::from(*w) * f64::from(*w)).sum();
            let expected = if ngrams.words(&text).is_empty() { 0.0 } else { 1.0 };
            prop_assert_eq!(weights.len(), buckets);
            prop_assert!((length - expected).abs() < 1e-4);
        }
    }
}
