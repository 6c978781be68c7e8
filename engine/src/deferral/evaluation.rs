//! How well a feature tells right answers from wrong ones: the area under the ROC curve, and what is wrong among the answers
//! that are kept when only a share of them is.
//!
//! Pure arithmetic over graded answers. Beside each feature stand two rules that need no model: to keep short prompts and
//! defer long ones, and to keep at random.

use super::calibration::{Wish, choose};
use super::{Feature, Features};
use serde::{Deserialize, Serialize};

/// The shares of the prompts for which the risk is told.
pub const COVERAGES: [f64; 10] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];

/// A first pass whose answer was compared with the right one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Graded {
    /// The features up to the decision; `None` when the model said nothing.
    pub features: Option<Features>,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Whether the answer was right.
    pub right: bool,
}

/// How one rule would have chosen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Curve {
    /// What prompts are ordered by.
    pub by: String,
    /// The chance that a right answer stands before a wrong one; one half is blind. `None` when all are right or all wrong.
    pub auroc: Option<f64>,
    /// For each of [`COVERAGES`] the share of wrong answers among those kept.
    pub risk: Vec<f64>,
    /// The mean risk over all numbers of answers kept (AURC, arXiv 1901.06935's selective risk); smaller is better.
    pub mean_risk: f64,
}

/// A threshold that would have kept so many and been wrong so often.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// The feature must be at least this.
    pub threshold: f64,
    /// The share that is kept.
    pub coverage: f64,
    /// The share of wrong answers among those kept.
    pub risk: f64,
}

/// The curves of all features, of deferring by length, and of chance.
pub fn curves(graded: &[Graded]) -> Vec<Curve> {
    let mut curves: Vec<Curve> = Feature::ALL.iter().map(|&feature| curve(feature.name(), &scores(graded, feature))).collect();
    let by_length: Vec<(f64, bool)> = graded.iter().map(|one| (-(one.prompt_tokens as f64), one.right)).collect();
    curves.push(curve("prompt_length", &by_length));
    let wrong = graded.iter().filter(|one| !one.right).count() as f64 / graded.len().max(1) as f64;
    let blind = curves.first().and_then(|curve| curve.auroc).map(|_| 0.5);
    curves.push(Curve { by: "random".into(), auroc: blind, risk: vec![wrong; COVERAGES.len()], mean_risk: wrong });
    curves
}

/// The threshold that does what is wished; `None` if there is none.
pub fn choice(graded: &[Graded], feature: Feature, wish: Wish) -> Option<Threshold> {
    choose(&thresholds(graded, feature), wish)
}

/// What each possible threshold would have done, from the one that keeps least to the one that keeps most.
pub fn thresholds(graded: &[Graded], feature: Feature) -> Vec<Threshold> {
    let mut scores = scores(graded, feature);
    scores.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut kept, mut wrong) = (0, 0);
    let mut found: Vec<Threshold> = vec![];
    // Equal scores are kept or deferred together.
    for equal in scores.chunk_by(|a, b| a.0 == b.0).filter(|equal| equal[0].0.is_finite()) {
        kept += equal.len();
        wrong += equal.iter().filter(|(_, right)| !right).count();
        let (coverage, risk) = (kept as f64 / scores.len() as f64, wrong as f64 / kept as f64);
        found.push(Threshold { threshold: equal[0].0, coverage, risk });
    }
    found
}

fn scores(graded: &[Graded], feature: Feature) -> Vec<(f64, bool)> {
    // Silence is never trusted.
    let score = |one: &Graded| one.features.map_or(f64::NEG_INFINITY, |features| features.get(feature));
    graded.iter().map(|one| (score(one), one.right)).collect()
}

fn curve(by: &str, scores: &[(f64, bool)]) -> Curve {
    let mut sorted = scores.to_vec();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let wrong_of_first = expected_wrong(&sorted);
    let risk_of = |kept: usize| wrong_of_first[kept] / kept as f64;
    let count = sorted.len();
    let at = |coverage: f64| ((coverage * count as f64).round() as usize).clamp(1, count);
    let risk = if count == 0 { vec![0.0; COVERAGES.len()] } else { COVERAGES.iter().map(|&c| risk_of(at(c))).collect() };
    let mean_risk = (1..=count).map(risk_of).sum::<f64>() / count.max(1) as f64;
    Curve { by: by.into(), auroc: auroc(&sorted), risk, mean_risk }
}

/// For each count of answers kept, how many of them are wrong: within equal scores, as many as fall there on average.
fn expected_wrong(sorted: &[(f64, bool)]) -> Vec<f64> {
    let mut wrong = vec![0.0];
    for equal in sorted.chunk_by(|a, b| a.0 == b.0) {
        let before = wrong[wrong.len() - 1];
        let share = equal.iter().filter(|(_, right)| !right).count() as f64 / equal.len() as f64;
        wrong.extend((1..=equal.len()).map(|count| before + share * count as f64));
    }
    wrong
}

/// Of all pairs of a right and a wrong answer, the share in which the right one scores higher; equal scores count half.
fn auroc(sorted: &[(f64, bool)]) -> Option<f64> {
    let (mut rights, mut wins, mut wrongs) = (0.0, 0.0, 0.0);
    for equal in sorted.chunk_by(|a, b| a.0 == b.0) {
        let right = equal.iter().filter(|(_, right)| *right).count() as f64;
        let wrong = equal.len() as f64 - right;
        wins += wrong * (rights + right / 2.0);
        rights += right;
        wrongs += wrong;
    }
    (rights > 0.0 && wrongs > 0.0).then(|| wins / (rights * wrongs))
}

#[cfg(test)]
mod tests {
    use super::super::Observation;
    use super::*;
    use proptest::prelude::*;

    fn graded(mean: f64, prompt_tokens: usize, right: bool) -> Graded {
        let seen = Observation { id: 1, logprob: mean, entropy: -mean };
        Graded { features: Features::of(&[seen]), prompt_tokens, right }
    }

    #[test]
    fn a_feature_that_knows_is_perfect_and_one_that_does_not_is_chance() {
        let sure = [graded(-0.1, 9, true), graded(-0.2, 1, true), graded(-3.0, 5, false), graded(-4.0, 5, false)];
        let curves = curves(&sure);
        let names: Vec<&str> = curves.iter().map(|curve| curve.by.as_str()).collect();
        assert_eq!(names[..3], ["mean_logprob", "min_logprob", "p10_logprob"]);
        assert_eq!(names[5..], ["distinct_pairs", "prompt_length", "random"]);
        let areas: Vec<_> = curves.iter().map(|curve| curve.auroc.unwrap()).collect();
        assert_eq!(areas, [1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5]);
        assert_eq!((curves[0].risk[4], curves[0].risk[9], curves[7].risk[0]), (0.0, 0.5, 0.5));
        assert!(curves[0].mean_risk < curves[7].mean_risk);
        assert_eq!(super::curves(&sure[..2])[0].auroc, None, "all are right");
        assert!(super::curves(&[]).iter().all(|curve| curve.mean_risk == 0.0));
    }

    #[test]
    fn thresholds_keep_what_was_asked() {
        let all = [graded(-0.1, 1, true), graded(-0.2, 1, true), graded(-0.3, 1, false), graded(-0.4, 1, true)];
        let found = choice(&all, Feature::MeanLogprob, Wish::Risk(0.0)).unwrap();
        assert_eq!((found.threshold, found.coverage, found.risk), (-0.2, 0.5, 0.0));
        let found = choice(&all, Feature::MeanLogprob, Wish::Risk(0.25)).unwrap();
        assert_eq!((found.threshold, found.coverage), (-0.4, 1.0));
        let found = choice(&all, Feature::MeanLogprob, Wish::Share(0.6)).unwrap();
        assert_eq!((found.threshold, found.coverage), (-0.3, 0.75));
        let wrong = [graded(-0.1, 1, false)];
        assert_eq!(choice(&wrong, Feature::MeanLogprob, Wish::Risk(0.5)), None);
        let silent = [Graded { features: None, prompt_tokens: 1, right: false }];
        assert_eq!(choice(&silent, Feature::MeanLogprob, Wish::Share(0.1)), None);
    }

    proptest! {
        #[test]
        fn the_area_is_the_share_of_pairs(answers in proptest::collection::vec((-5..0_i32, any::<bool>()), 1..40)) {
            let all: Vec<Graded> = answers.iter().map(|&(mean, right)| graded(f64::from(mean), 1, right)).collect();
            let (mut wins, mut pairs) = (0.0, 0.0);
            for (a, _) in answers.iter().filter(|one| one.1) {
                for (b, _) in answers.iter().filter(|one| !one.1) {
                    pairs += 1.0;
                    wins += if a > b { 1.0 } else if a == b { 0.5 } else { 0.0 };
                }
            }
            let found = curves(&all)[0].auroc;
            match found {
                Some(found) => prop_assert!((found - wins / pairs).abs() < 1e-12),
                None => prop_assert_eq!(pairs, 0.0),
            }
            let everything = *curves(&all)[0].risk.last().unwrap();
            prop_assert!((everything - curves(&all).last().unwrap().mean_risk).abs() < 1e-12, "whoever keeps all is as often wrong");
        }
    }
}
