//! A calibration: what each threshold would have kept and got wrong on graded prompts, and what exactly that was found of.
//!
//! It belongs to one model file, one quantisation and one build of the engine: other bytes or other arithmetic give other
//! log-probabilities, and a threshold of theirs promises nothing. So one that does not match is not used.

use super::evaluation::{Curve, Threshold};
use super::{DEFAULT_DECISION_TOKENS, Feature, Rule};
use ouro_common::id::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a calibration belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CalibrationKey {
    /// BLAKE3 of the model's file.
    pub model: Digest,
    /// The types of its tensors, those with most bytes first.
    pub quantisation: String,
    /// [`crate::BUILD`] of the engine that ran it.
    pub engine: String,
}

/// What is wanted of a threshold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// At most this share of what is kept is wrong; as much as possible is kept.
    Risk(f64),
    /// At least this share is kept, and no more than it must.
    Share(f64),
}

/// A calibration, schema `ouroboros.calibration/1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Always [`Calibration::SCHEMA`].
    pub schema: String,
    /// What it belongs to.
    pub key: CalibrationKey,
    /// After how many tokens it was decided.
    pub tokens: usize,
    /// On how many prompts it was found.
    pub prompts: usize,
    /// How many were answered rightly.
    pub right: usize,
    /// The chance that a right answer stands before a wrong one, by feature; empty when all are right or all wrong.
    pub auroc: BTreeMap<Feature, f64>,
    /// By feature, thresholds from the one that keeps least to the one that keeps most.
    pub thresholds: BTreeMap<Feature, Vec<Threshold>>,
}

impl Calibration {
    /// The schema's name and version.
    pub const SCHEMA: &'static str = "ouroboros.calibration/1";

    /// Notes the areas of these curves.
    #[must_use]
    pub fn with_areas(mut self, curves: &[Curve]) -> Self {
        let area = |curve: &Curve| Some((Feature::parse(&curve.by)?, curve.auroc?));
        self.auroc = curves.iter().filter_map(area).collect();
        self
    }

    /// Why it is not for this model and engine; `None` when it is.
    pub fn mismatch(&self, key: &CalibrationKey) -> Option<String> {
        let differs = |what: &str, of: &str, is: &str| (of != is).then(|| format!("the calibration is of {what} {of}, not of {is}"));
        if self.schema != Self::SCHEMA {
            return Some(format!("the calibration has the form {}, not {}", self.schema, Self::SCHEMA));
        }
        if !(1..=DEFAULT_DECISION_TOKENS).contains(&self.tokens) {
            return Some(format!(
                "the calibration is of {} tokens, and the decision falls by token {DEFAULT_DECISION_TOKENS}",
                self.tokens
            ));
        }
        differs("the model", &self.key.model.to_string(), &key.model.to_string())
            .or_else(|| differs("the quantisation", &self.key.quantisation, &key.quantisation))
            .or_else(|| differs("the engine", &self.key.engine, &key.engine))
    }

    /// The rule that does what is wished, by this feature or by the one that told right from wrong best. Where no threshold does, a
    /// rule that keeps nothing.
    pub fn rule(&self, feature: Option<Feature>, wish: Wish) -> Rule {
        let best = self.auroc.iter().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(a.0))).map(|(feature, _)| *feature);
        let feature = feature.or(best).unwrap_or_default();
        let found = self.thresholds.get(&feature).and_then(|thresholds| choose(thresholds, wish));
        Rule { feature, threshold: found.map_or(f64::MAX, |found| found.threshold), tokens: self.tokens.max(1) }
    }
}

/// The threshold that does what is wished, of any number.
pub(super) fn choose(thresholds: &[Threshold], wish: Wish) -> Option<Threshold> {
    let coverage = |a: &&Threshold, b: &&Threshold| a.coverage.total_cmp(&b.coverage);
    match wish {
        Wish::Risk(risk) => thresholds.iter().filter(|choice| choice.risk <= risk).max_by(coverage),
        Wish::Share(share) => thresholds.iter().filter(|choice| choice.coverage >= share).min_by(coverage),
    }
    .copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> CalibrationKey {
        CalibrationKey { model: Digest::blake3(b"m"), quantisation: "Q4_K".into(), engine: "e 1".into() }
    }

    fn calibration() -> Calibration {
        let at = |threshold, coverage, risk| Threshold { threshold, coverage, risk };
        Calibration {
            schema: Calibration::SCHEMA.into(),
            key: key(),
            tokens: 16,
            prompts: 100,
            right: 70,
            auroc: BTreeMap::from([(Feature::MeanLogprob, 0.8), (Feature::NegativeEntropy, 0.9)]),
            thresholds: BTreeMap::from([
                (Feature::MeanLogprob, vec![at(-0.1, 0.2, 0.0), at(-0.5, 0.6, 0.1), at(-2.0, 1.0, 0.3)]),
                (Feature::NegativeEntropy, vec![at(-0.2, 0.5, 0.02), at(-3.0, 1.0, 0.3)]),
            ]),
        }
    }

    #[test]
    fn a_wish_finds_its_threshold_and_what_cannot_be_had_keeps_nothing() {
        let rule = calibration().rule(None, Wish::Risk(0.05));
        assert_eq!(rule, Rule { feature: Feature::NegativeEntropy, threshold: -0.2, tokens: 16 }, "the feature that tells best");
        assert_eq!(calibration().rule(Some(Feature::MeanLogprob), Wish::Risk(0.1)).threshold, -0.5);
        assert_eq!(calibration().rule(Some(Feature::MeanLogprob), Wish::Share(0.3)).threshold, -0.5);
        assert_eq!(calibration().rule(Some(Feature::MinLogprob), Wish::Share(0.3)).threshold, f64::MAX, "nothing is known of it");
        assert_eq!(calibration().rule(Some(Feature::NegativeEntropy), Wish::Risk(0.01)).threshold, f64::MAX);
    }

    #[test]
    fn it_is_for_one_model_and_one_engine_alone() {
        assert_eq!(calibration().mismatch(&key()), None);
        let of = |key| calibration().mismatch(&key).unwrap();
        assert!(of(CalibrationKey { engine: "e 2".into(), ..key() }).contains("of the engine e 1, not of e 2"));
        assert!(of(CalibrationKey { quantisation: "F16".into(), ..key() }).contains("Q4_K, not of F16"));
        for tokens in [0, 33] {
            let late = Calibration { tokens, ..calibration() }.mismatch(&key()).unwrap();
            assert!(late.contains(&format!("of {tokens} tokens")), "{late}");
        }
        assert!(of(CalibrationKey { model: Digest::blake3(b"n"), ..key() }).contains("the model"));
        let read: Calibration = serde_json::from_str(&serde_json::to_string(&calibration()).unwrap()).unwrap();
        assert_eq!(read, calibration());
    }
}
