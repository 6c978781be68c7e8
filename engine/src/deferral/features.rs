//! What an answer's tokens say about how sure the model was of them. More is always surer.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What is known of a token that the model chose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// The token.
    pub id: u32,
    /// Its natural-log probability, at most 0.
    pub logprob: f64,
    /// The entropy of the distribution it was chosen from, nats: 0 when the model saw one way to go on.
    pub entropy: f64,
}

/// A number that the tokens of an answer give.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// The mean of their log-probabilities.
    #[default]
    MeanLogprob,
    /// The smallest.
    MinLogprob,
    /// Their 10 % quantile, the nearest rank.
    P10Logprob,
    /// Their median, the lower of two.
    MedianLogprob,
    /// The mean entropy, negated: 0 is sure.
    NegativeEntropy,
    /// The share of pairs of neighbours that are not a repetition of an earlier one: a model that lost its way repeats itself.
    DistinctPairs,
}

impl Feature {
    /// Every feature.
    pub const ALL: [Self; 6] = [
        Self::MeanLogprob,
        Self::MinLogprob,
        Self::P10Logprob,
        Self::MedianLogprob,
        Self::NegativeEntropy,
        Self::DistinctPairs,
    ];

    /// Its name in configurations, model files and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::MeanLogprob => "mean_logprob",
            Self::MinLogprob => "min_logprob",
            Self::P10Logprob => "p10_logprob",
            Self::MedianLogprob => "median_logprob",
            Self::NegativeEntropy => "negative_entropy",
            Self::DistinctPairs => "distinct_pairs",
        }
    }

    /// The feature with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|feature| feature.name() == name)
    }

    /// All names, for messages.
    pub fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }

    pub(super) fn in_words(self) -> &'static str {
        match self {
            Self::MeanLogprob => "mean log-probability",
            Self::MinLogprob => "smallest log-probability",
            Self::P10Logprob => "10 % quantile of the log-probabilities",
            Self::MedianLogprob => "median log-probability",
            Self::NegativeEntropy => "negated mean entropy",
            Self::DistinctPairs => "share of distinct pairs",
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
    /// The median.
    pub median: f64,
    /// The mean entropy, nats.
    pub entropy: f64,
    /// The share of pairs of neighbours that came for the first time; 1 where there is no pair.
    pub distinct_pairs: f64,
}

impl Features {
    /// The features of these tokens; `None` of none.
    pub fn of(seen: &[Observation]) -> Option<Self> {
        let count = seen.len() as f64;
        let mut sorted: Vec<f64> = seen.iter().map(|one| one.logprob).collect();
        sorted.sort_by(f64::total_cmp);
        let rank = |share: usize| sorted.len().div_ceil(share).saturating_sub(1);
        let pairs: BTreeSet<(u32, u32)> = seen.windows(2).map(|two| (two[0].id, two[1].id)).collect();
        Some(Self {
            tokens: seen.len(),
            mean: sorted.iter().sum::<f64>() / count,
            min: *sorted.first()?,
            p10: sorted[rank(10)],
            median: sorted[rank(2)],
            entropy: seen.iter().map(|one| one.entropy).sum::<f64>() / count,
            distinct_pairs: if seen.len() < 2 { 1.0 } else { pairs.len() as f64 / (count - 1.0) },
        })
    }

    /// One of them.
    pub fn get(&self, feature: Feature) -> f64 {
        match feature {
            Feature::MeanLogprob => self.mean,
            Feature::MinLogprob => self.min,
            Feature::P10Logprob => self.p10,
            Feature::MedianLogprob => self.median,
            Feature::NegativeEntropy => -self.entropy,
            Feature::DistinctPairs => self.distinct_pairs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_what_their_names_say() {
        let seen = |n: u32| Observation { id: n % 3, logprob: -f64::from(n), entropy: f64::from(n) / 2.0 };
        let features = Features::of(&(1..=20).map(seen).collect::<Vec<_>>()).unwrap();
        assert_eq!(
            (features.tokens, features.mean, features.min, features.p10, features.median),
            (20, -10.5, -20.0, -19.0, -11.0)
        );
        assert_eq!((features.entropy, features.distinct_pairs), (5.25, 3.0 / 19.0), "1 2 0 1 2 0 …");
        let one = Features::of(&[seen(2)]).unwrap();
        assert_eq!((one.mean, one.min, one.p10, one.median, one.distinct_pairs), (-2.0, -2.0, -2.0, -2.0, 1.0));
        assert!(Features::of(&[]).is_none());
        for feature in Feature::ALL {
            assert_eq!(serde_json::to_value(feature).unwrap(), feature.name());
            assert_eq!(Feature::parse(feature.name()), Some(feature));
            assert!(Feature::names().contains(feature.name()));
        }
        assert_eq!((features.get(Feature::NegativeEntropy), features.get(Feature::MedianLogprob)), (-5.25, -11.0));
    }
}
