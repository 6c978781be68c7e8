//! `[first_pass]`: the small local model, and when it is trusted.

use ouro_engine::deferral::{Feature, Wish};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `[first_pass]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FirstPassConfig {
    /// Whether requests are tried here first. Default true.
    pub enabled: bool,
    /// The model, a GGUF file or a folder of SafeTensors; without one every request is offloaded with MODEL_MISSING.
    pub model: Option<PathBuf>,
    /// Threads it computes with; else all hardware threads.
    pub threads: Option<usize>,
    /// Below this the answer is offloaded; else what the calibration or the model's card says, or the engine's default.
    pub threshold: Option<f64>,
    /// What the threshold is compared with, one of [`Feature::ALL`] by name.
    pub feature: Option<String>,
    /// What `ouro-agent first-pass eval --save` wrote for this model.
    pub calibration: Option<PathBuf>,
    /// With a calibration: at most this share of the answers that are kept is wrong.
    pub risk: Option<f64>,
    /// With a calibration: at least this share of the requests is answered here.
    pub share: Option<f64>,
    /// The most tokens of a local answer. Default 512.
    pub max_tokens: u32,
}

impl Default for FirstPassConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            model: None,
            threads: None,
            threshold: None,
            feature: None,
            calibration: None,
            risk: None,
            share: None,
            max_tokens: 512,
        }
    }
}

impl FirstPassConfig {
    /// What is wanted of the calibration.
    pub fn wish(&self) -> Option<Wish> {
        self.risk.map(Wish::Risk).or(self.share.map(Wish::Share))
    }

    /// What is wrong with it.
    pub(super) fn problem(&self) -> Option<String> {
        let share = |value: Option<f64>| value.is_none_or(|value| (0.0..=1.0).contains(&value));
        if !(1..=32_768).contains(&self.max_tokens) {
            return Some("first_pass.max_tokens: it goes from 1 to 32768".into());
        }
        if self.feature.as_deref().is_some_and(|f| Feature::parse(f).is_none()) {
            return Some(format!("first_pass.feature: it is one of {}", Feature::names()));
        }
        if !share(self.risk) || !share(self.share) {
            return Some("first_pass.risk and first_pass.share: they are shares, from 0 to 1".into());
        }
        let wishes = [self.threshold.is_some(), self.risk.is_some(), self.share.is_some()];
        if wishes.iter().filter(|one| **one).count() > 1 {
            return Some("first_pass: name one of threshold, risk and share; each of them decides alone".into());
        }
        if self.wish().is_some() && self.calibration.is_none() {
            let how = "make one with `ouro-agent first-pass eval FILE.jsonl --model MODEL --save CALIBRATION`";
            return Some(format!("first_pass.risk and first_pass.share need first_pass.calibration; {how}"));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wish_at_a_time_and_none_without_a_calibration() {
        let problem = |text: &str| toml::from_str::<FirstPassConfig>(text).unwrap().problem().unwrap_or_default();
        for (text, named) in [
            ("feature = \"x\"", "distinct_pairs"),
            ("risk = 0.1", "first-pass eval"),
            ("risk = 0.1\nshare = 0.5\ncalibration = \"c\"", "one of threshold"),
            ("threshold = 0.1\nshare = 0.5\ncalibration = \"c\"", "one of threshold"),
            ("risk = 1.5\ncalibration = \"c\"", "from 0 to 1"),
            ("max_tokens = 0", "max_tokens"),
        ] {
            assert!(problem(text).contains(named), "{text}: {}", problem(text));
        }
        assert_eq!(problem("risk = 0.1\ncalibration = \"c\"\nfeature = \"min_logprob\""), "");
        let wish = |text: &str| toml::from_str::<FirstPassConfig>(text).unwrap().wish();
        assert_eq!((wish("share = 0.5"), wish("threshold = 1.0")), (Some(Wish::Share(0.5)), None));
    }
}
