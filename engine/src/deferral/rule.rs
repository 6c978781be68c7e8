//! What is judged and against what: a feature of the log-probabilities, a threshold, and after how many tokens.

use super::{Feature, Features};
use crate::gguf::{Gguf, GgufError, GgufProblem};
use serde::{Deserialize, Serialize};

/// After so many tokens the decision is made; an answer that ends earlier is judged at its end.
pub const DEFAULT_DECISION_TOKENS: usize = 32;
/// The mean log-probability below which an answer is not trusted when neither the model nor the configuration says
/// otherwise: tokens that on average have less than 61 % of the model's own belief (e^-0.5).
pub const DEFAULT_THRESHOLD: f64 = -0.5;

/// When to trust an answer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What is compared.
    pub feature: Feature,
    /// The answer is trusted if the feature is at least this.
    pub threshold: f64,
    /// After how many tokens; at least 1.
    pub tokens: usize,
}

impl Default for Rule {
    fn default() -> Self {
        Self { feature: Feature::default(), threshold: DEFAULT_THRESHOLD, tokens: DEFAULT_DECISION_TOKENS }
    }
}

impl Rule {
    /// The rule a model was calibrated with, `ouroboros.first_pass.feature` and `ouroboros.first_pass.threshold` in its
    /// metadata; the default where it has none.
    pub fn from_gguf(file: &Gguf) -> Result<Self, GgufError> {
        let mut rule = Self::default();
        let key = "ouroboros.first_pass.feature";
        if let Some(name) = file.text(key)? {
            rule.feature = Feature::parse(name).ok_or_else(|| {
                let expected = format!("the features are {}", Feature::ALL.map(Feature::name).join(", "));
                file.error(key, GgufProblem::OutOfRange { value: name.to_string(), expected })
            })?;
        }
        if let Some(threshold) = file.number("ouroboros.first_pass.threshold")? {
            rule.threshold = threshold;
        }
        Ok(rule)
    }

    /// Whether such an answer is trusted, and the sentence that says so with its numbers.
    pub fn judge(&self, features: &Features) -> (bool, String) {
        let value = features.get(self.feature);
        let trusted = value >= self.threshold;
        let relation = if trusted { "is at least" } else { "is below" };
        let (words, tokens) = (self.feature.in_words(), features.tokens);
        let plural = if tokens == 1 { "token" } else { "tokens" };
        let why = format!("the {words} of the first {tokens} {plural}, {value:.3}, {relation} the threshold {:.3}", self.threshold);
        (trusted, why)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Observation;
    use super::*;
    use crate::gguf::writer::GgufWriter;
    use crate::tokens::tests::open;
    use proptest::prelude::*;

    #[test]
    fn a_model_brings_its_own_rule() {
        let mut writer = GgufWriter::new();
        assert_eq!(Rule::from_gguf(&open(&writer)).unwrap(), Rule::default());
        writer.string("ouroboros.first_pass.feature", "min_logprob");
        writer.f32("ouroboros.first_pass.threshold", -1.5);
        let rule = Rule::from_gguf(&open(&writer)).unwrap();
        assert_eq!((rule.feature, rule.threshold, rule.tokens), (Feature::MinLogprob, -1.5, 32));
        writer.string("ouroboros.first_pass.feature", "mood");
        let error = Rule::from_gguf(&open(&writer)).unwrap_err().to_string();
        assert!(error.contains("mood") && error.contains("p10_logprob"), "{error}");
    }

    proptest! {
        #[test]
        fn surer_tokens_never_turn_an_answer_into_an_offload(logprobs in proptest::collection::vec(-9.0..0.0_f64, 1..40), by in 0.0..1.0_f64, threshold in -9.0..0.0_f64) {
            let seen = |by: f64| -> Vec<Observation> {
                logprobs.iter().map(|l| Observation { id: 7, logprob: l * by, entropy: -l * by }).collect()
            };
            for feature in Feature::ALL {
                let rule = Rule { feature, threshold, ..Rule::default() };
                let (before, _) = rule.judge(&Features::of(&seen(1.0)).unwrap());
                let (after, _) = rule.judge(&Features::of(&seen(by)).unwrap());
                prop_assert!(after || !before);
            }
        }
    }
}
