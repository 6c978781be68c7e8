//! What is judged and against what: a feature of the log-probabilities, a threshold, and after how many tokens.

use crate::gguf::{Gguf, GgufError, GgufProblem};
use serde::{Deserialize, Serialize};

/// After so many tokens the decision is made; an answer that ends earlier is judged at its end.
pub const DEFAULT_DECISION_TOKENS: usize = 32;
/// The mean log-probability below which an answer is not trusted when neither the model nor the configuration says
/// otherwise: tokens that on average have less than 61 % of the model's own belief (e^-0.5).
pub const DEFAULT_THRESHOLD: f64 = -0.5;

/// A number that the log-probabilities of an answer give.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// Their mean.
    #[default]
    MeanLogprob,
    /// The smallest.
    MinLogprob,
    /// Their 10 % quantile, the nearest rank.
    P10Logprob,
}

impl Feature {
    /// Every feature.
    pub const ALL: [Self; 3] = [Self::MeanLogprob, Self::MinLogprob, Self::P10Logprob];

    /// Its name in configurations, model files and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::MeanLogprob => "mean_logprob",
            Self::MinLogprob => "min_logprob",
            Self::P10Logprob => "p10_logprob",
        }
    }

    /// The feature with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|feature| feature.name() == name)
    }

    fn in_words(self) -> &'static str {
        match self {
            Self::MeanLogprob => "mean log-probability",
            Self::MinLogprob => "smallest log-probability",
            Self::P10Logprob => "10 % quantile of the log-probabilities",
        }
    }
}

/// The features of some tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Features {
    /// How many tokens.
    pub tokens: usize,
    /// The mean of their log-probabilities.
    pub mean: f64,
    /// The smallest.
    pub min: f64,
    /// The 10 % quantile.
    pub p10: f64,
}

impl Features {
    /// The features of these log-probabilities; `None` of none.
    pub fn of(logprobs: &[f64]) -> Option<Self> {
        let mut sorted = logprobs.to_vec();
        sorted.sort_by(f64::total_cmp);
        let rank = sorted.len().div_ceil(10).saturating_sub(1);
        let mean = sorted.iter().sum::<f64>() / sorted.len() as f64;
        Some(Self { tokens: sorted.len(), mean, min: *sorted.first()?, p10: *sorted.get(rank)? })
    }

    /// One of them.
    pub fn get(&self, feature: Feature) -> f64 {
        match feature {
            Feature::MeanLogprob => self.mean,
            Feature::MinLogprob => self.min,
            Feature::P10Logprob => self.p10,
        }
    }
}

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
    use super::*;
    use crate::gguf::writer::GgufWriter;
    use crate::tokens::tests::open;
    use proptest::prelude::*;

    #[test]
    fn features_are_what_their_names_say() {
        let logprobs: Vec<f64> = (1..=20).map(|n| -f64::from(n)).collect();
        let features = Features::of(&logprobs).unwrap();
        assert_eq!(features, Features { tokens: 20, mean: -10.5, min: -20.0, p10: -19.0 });
        assert_eq!(Features::of(&[-2.0]).unwrap(), Features { tokens: 1, mean: -2.0, min: -2.0, p10: -2.0 });
        assert!(Features::of(&[]).is_none());
    }

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
        for feature in Feature::ALL {
            assert_eq!(serde_json::to_value(feature).unwrap(), feature.name());
        }
    }

    proptest! {
        #[test]
        fn surer_tokens_never_turn_an_answer_into_an_offload(logprobs in proptest::collection::vec(-9.0..0.0_f64, 1..40), by in 0.0..1.0_f64, threshold in -9.0..0.0_f64) {
            let surer: Vec<f64> = logprobs.iter().map(|l| l * by).collect();
            for feature in Feature::ALL {
                let rule = Rule { feature, threshold, ..Rule::default() };
                let (before, _) = rule.judge(&Features::of(&logprobs).unwrap());
                let (after, _) = rule.judge(&Features::of(&surer).unwrap());
                prop_assert!(after || !before);
            }
        }
    }
}
