//! Text to hashed character n-gram weights, as manifests declare it (`kind = "char_ngrams"`).
//!
//! In this order: the first `max_chars` scalar values; lower case; each run of white space one space, none at the ends; one
//! space before and after; every window of `min_n` to `max_n` scalar values counted in the bucket of its UTF-8 bytes' FNV-1a
//! hash; ln(1 + count); the vector scaled to unit length. The model's own training code does the same, to the bit.

use super::OnnxError;
use super::hashing::{Declared, fnv1a32, log1p_l2};
use ouro_common::container::InputTensor;

/// The declared parameters, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CharNgrams {
    lowercase: bool,
    min_n: usize,
    max_n: usize,
    buckets: usize,
    max_chars: usize,
}

impl CharNgrams {
    pub(super) fn new(declared: &InputTensor) -> Result<Self, OnnxError> {
        let InputTensor::CharNgrams { lowercase, min_n, max_n, buckets, hash, weight, max_chars, .. } = declared else {
            return Err(OnnxError::Tensors { field: "tensors.input.kind", problem: "it is not char_ngrams".into() });
        };
        Declared { min_n: *min_n, max_n: *max_n, buckets: *buckets, hash, weight }.check()?;
        if *max_chars == 0 {
            let problem = "nothing of the text would be read".into();
            return Err(OnnxError::Tensors { field: "tensors.input.max_chars", problem });
        }
        Ok(Self { lowercase: *lowercase, min_n: *min_n, max_n: *max_n, buckets: *buckets, max_chars: *max_chars })
    }

    pub(super) fn buckets(&self) -> usize {
        self.buckets
    }

    fn normalise(&self, text: &str) -> String {
        let read: String = text.chars().take(self.max_chars).collect();
        let read = if self.lowercase { read.to_lowercase() } else { read };
        let words: Vec<&str> = read.split_whitespace().collect();
        format!(" {} ", words.join(" "))
    }

    /// The weights of a text, one a bucket.
    pub(super) fn weights(&self, text: &str) -> Vec<f32> {
        let text = self.normalise(text);
        let mut starts: Vec<usize> = text.char_indices().map(|(start, _)| start).collect();
        starts.push(text.len());
        let mut counts = vec![0_u32; self.buckets];
        for n in self.min_n..=self.max_n {
            for window in starts.windows(n + 1) {
                counts[fnv1a32(&text.as_bytes()[window[0]..window[n]]) as usize % self.buckets] += 1;
            }
        }
        log1p_l2(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ngrams(buckets: usize) -> CharNgrams {
        CharNgrams { lowercase: true, min_n: 1, max_n: 2, buckets, max_chars: 8 }
    }

    #[test]
    fn text_is_normalised_in_the_documented_order() {
        let ngrams = ngrams(64);
        assert_eq!(ngrams.normalise("\u{3000}A\t\n B  rest is cut"), " a b ");
        assert_eq!(ngrams.normalise(" \n "), "  ");
        assert_eq!(ngrams.normalise("İΣ"), " i\u{307}ς ");
        assert_eq!(CharNgrams { lowercase: false, ..ngrams }.normalise("Ab"), " Ab ");
    }

    #[test]
    fn counts_become_logarithms_of_unit_length() {
        // " a ": the windows are " ", "a", " ", " a", "a ".
        let weights = ngrams(1 << 20).weights("A");
        let mut found: Vec<f32> = weights.into_iter().filter(|w| *w != 0.0).collect();
        found.sort_by(f32::total_cmp);
        let (one, two) = (2_f64.ln(), 3_f64.ln());
        let length = (3.0 * one * one + two * two).sqrt();
        for (found, expected) in found.iter().zip([one, one, one, two]) {
            assert!((f64::from(*found) - expected / length).abs() < 1e-7, "{found}");
        }
        assert_eq!(found.len(), 4);
    }

    proptest! {
        #[test]
        fn any_text_gives_a_unit_vector(text in "\\PC{0,30}", buckets in 1..5000_usize) {
            let weights = CharNgrams { max_n: 3, max_chars: 20, ..ngrams(buckets) }.weights(&text);
            prop_assert_eq!(weights.len(), buckets);
            let length: f64 = weights.iter().map(|w| f64::from(*w) * f64::from(*w)).sum();
            prop_assert!((length - 1.0).abs() < 1e-4);
        }
    }
}
