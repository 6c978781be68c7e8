//! Collects what is seen of each token until there are enough, judges once, and fills the report of the first pass.

use super::{DEFAULT_DECISION_TOKENS, Features, Observation, Rule};
use ouro_common::envelope::{FirstPassReport, OffloadFlag};

/// What became of a judged answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// `true`: the answer is good enough and may be shown; `false`: the request is offloaded.
    pub answer: bool,
    /// What was judged; `None` if the model said nothing.
    pub features: Option<Features>,
    /// The reason in one sentence, with its numbers.
    pub why: String,
}

/// Watches an answer being made.
#[derive(Debug, Clone)]
pub struct Judge {
    rule: Rule,
    seen: Vec<Observation>,
    verdict: Option<Verdict>,
}

impl Judge {
    /// A judge that has seen nothing.
    pub fn new(rule: Rule) -> Self {
        Self { rule, seen: Vec::new(), verdict: None }
    }

    /// Notes a token; gives the verdict at the token that makes it, and never again.
    pub fn observe(&mut self, token: Observation) -> Option<&Verdict> {
        if self.verdict.is_some() {
            return None;
        }
        self.seen.push(token);
        // By the default's count at the latest, whatever a rule says: nobody waits longer for the first word.
        let count = self.rule.tokens.clamp(1, DEFAULT_DECISION_TOKENS);
        if self.seen.len() < count { None } else { Some(self.finish()) }
    }

    /// The verdict at the end of the answer: the one that was made, or one over what there is.
    pub fn finish(&mut self) -> &Verdict {
        let (rule, seen) = (self.rule, &self.seen);
        self.verdict.get_or_insert_with(|| match Features::of(seen) {
            Some(features) => {
                let (answer, why) = rule.judge(&features);
                Verdict { answer, features: Some(features), why }
            }
            None => Verdict { answer: false, features: None, why: "the model gave no answer".into() },
        })
    }

    /// The verdict, if it was made.
    pub fn verdict(&self) -> Option<&Verdict> {
        self.verdict.as_ref()
    }
}

impl Verdict {
    /// Writes what was judged, and how, into the report that travels with the request.
    pub fn fill(&self, rule: &Rule, report: &mut FirstPassReport) {
        report.feature = Some(rule.feature.name().into());
        report.threshold = Some(rule.threshold);
        report.mean_logprob = self.features.map(|features| features.mean);
        report.min_logprob = self.features.map(|features| features.min);
        report.p10_logprob = self.features.map(|features| features.p10);
        report.mean_entropy = self.features.map(|features| features.entropy);
        report.tokens = self.features.map_or(0, |features| u32::try_from(features.tokens).unwrap_or(u32::MAX));
        report.answered = self.answer;
        report.flags = if self.answer { vec![] } else { vec![OffloadFlag::LowConfidence] };
        report.why.clone_from(&self.why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token(logprob: f64) -> Observation {
        Observation { id: 1, logprob, entropy: 0.0 }
    }

    #[test]
    fn the_decision_falls_at_the_counted_token_and_stands() {
        let mut judge = Judge::new(Rule { tokens: 3, ..Rule::default() });
        assert!(judge.observe(token(-0.1)).is_none() && judge.observe(token(-0.2)).is_none());
        assert!(judge.observe(token(-0.3)).unwrap().answer);
        let before = judge.verdict().cloned();
        assert!(judge.observe(token(-100.0)).is_none());
        assert_eq!(Some(judge.finish().clone()), before, "nothing is offloaded after it was shown");
    }

    proptest! {
        /// Whatever a rule says: one verdict, at the 32nd token at the latest, that nothing after it changes.
        #[test]
        fn the_decision_comes_once_and_in_time(tokens in prop_oneof![0..40_usize, any::<usize>()], logprobs in proptest::collection::vec(-3.0..0.0_f64, 1..80)) {
            let mut judge = Judge::new(Rule { tokens, ..Rule::default() });
            let told: Vec<usize> = (1..).zip(&logprobs).filter(|(_, l)| judge.observe(token(**l)).is_some()).map(|(count, _)| count).collect();
            let count = tokens.clamp(1, 32);
            prop_assert_eq!(told, if logprobs.len() < count { vec![] } else { vec![count] });
            let judged = &logprobs[..count.min(logprobs.len())];
            let mean = judged.iter().sum::<f64>() / judged.len() as f64;
            prop_assert!((judge.finish().features.unwrap().mean - mean).abs() < 1e-12);
        }
    }

    #[test]
    fn a_short_answer_is_judged_at_its_end_and_reported_with_its_numbers() {
        let rule = Rule::default();
        let mut judge = Judge::new(rule);
        assert!(judge.observe(token(-2.0)).is_none());
        let verdict = judge.finish().clone();
        assert_eq!(verdict.why, "the mean log-probability of the first 1 token, -2.000, is below the threshold -0.500");
        let mut report = FirstPassReport::default();
        verdict.fill(&rule, &mut report);
        assert_eq!((report.answered, report.tokens, report.mean_logprob), (false, 1, Some(-2.0)));
        assert_eq!(report.flags, [OffloadFlag::LowConfidence]);
        assert_eq!((report.feature.as_deref(), report.threshold), (Some("mean_logprob"), Some(-0.5)));

        let silent = Judge::new(rule).finish().clone();
        assert!(!silent.answer && silent.features.is_none());
    }
}
