//! The rules that offload a request before a single token is made: there is no point in trying.

use ouro_common::envelope::OffloadFlag;

/// What is known before the model starts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Situation {
    /// Whether there is a usable model.
    pub has_model: bool,
    /// Tokens of the templated prompt.
    pub prompt_tokens: usize,
    /// Tokens of answer there must be room for.
    pub answer_tokens: usize,
    /// The model's context.
    pub context: usize,
    /// How many inputs travel with the prompt; a text model has no means for them.
    pub inputs: usize,
    /// How long it should take until the decision, seconds; `None` when nothing was measured yet.
    pub forecast_s: Option<f64>,
    /// The time the request may take, seconds.
    pub deadline_s: f64,
    /// How long the fleet should take for the whole answer, seconds; `None` when unknown.
    pub remote_s: Option<f64>,
}

/// A request that is offloaded untried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The reason.
    pub flag: OffloadFlag,
    /// The reason in one sentence, with its numbers.
    pub why: String,
}

/// The share of the deadline that the first pass may use up to its decision.
const DEADLINE_SHARE: f64 = 0.25;

/// The first rule that forbids the local attempt; `None` when it may begin.
pub fn before_start(situation: &Situation) -> Option<Refusal> {
    let refuse = |flag, why| Some(Refusal { flag, why });
    if !situation.has_model {
        return refuse(OffloadFlag::ModelMissing, "there is no model for the first pass on this machine".into());
    }
    if situation.inputs > 0 {
        let plural = if situation.inputs == 1 { "input" } else { "inputs" };
        let why = format!("the request has {} {plural}, and the first pass reads only the prompt", situation.inputs);
        return refuse(OffloadFlag::CapabilityMissing, why);
    }
    let needed = situation.prompt_tokens.saturating_add(situation.answer_tokens);
    if needed > situation.context {
        let why = format!(
            "the prompt of {} tokens with {} for the answer does not fit the model's context of {}",
            situation.prompt_tokens, situation.answer_tokens, situation.context
        );
        return refuse(OffloadFlag::ContextTooLong, why);
    }
    let forecast = situation.forecast_s?;
    let share = DEADLINE_SHARE * situation.deadline_s;
    if forecast > share {
        let why = format!("the decision would take {forecast:.1} s, more than {share:.1} s, a quarter of the deadline");
        return refuse(OffloadFlag::TooSlow, why);
    }
    match situation.remote_s {
        Some(remote) if forecast > remote => {
            let why = format!("the decision would take {forecast:.1} s, and the fleet would have answered in {remote:.1} s");
            refuse(OffloadFlag::TooSlow, why)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fine() -> Situation {
        Situation {
            has_model: true,
            prompt_tokens: 100,
            answer_tokens: 32,
            context: 132,
            inputs: 0,
            forecast_s: Some(2.0),
            deadline_s: 8.0,
            remote_s: Some(2.0),
        }
    }

    #[test]
    fn each_rule_gives_its_flag_and_the_bounds_are_exact() {
        assert_eq!(before_start(&fine()), None);
        assert_eq!(before_start(&Situation { forecast_s: None, deadline_s: 0.0, ..fine() }), None, "unknown is no reason");
        let cases = [
            (Situation { has_model: false, inputs: 3, ..fine() }, OffloadFlag::ModelMissing, "no model"),
            (Situation { inputs: 2, ..fine() }, OffloadFlag::CapabilityMissing, "2 inputs"),
            (Situation { prompt_tokens: 101, ..fine() }, OffloadFlag::ContextTooLong, "101 tokens"),
            (Situation { prompt_tokens: usize::MAX, ..fine() }, OffloadFlag::ContextTooLong, "context of 132"),
            (Situation { deadline_s: 7.9, ..fine() }, OffloadFlag::TooSlow, "2.0 s, more than"),
            (Situation { remote_s: Some(1.9), ..fine() }, OffloadFlag::TooSlow, "1.9 s"),
        ];
        for (situation, flag, words) in cases {
            let refusal = before_start(&situation).unwrap();
            assert_eq!(refusal.flag, flag);
            assert!(refusal.why.contains(words), "{}", refusal.why);
        }
    }
}
