//! What a node really did corrects what was predicted of it: an exponentially weighted mean of actual / predicted.
//!
//! The mean, not that of logarithms: the seconds of a queue add up as means, and a median run is shorter.
//!
//! Slowness is believed without limit, speed is not: a node that claims to be fast gains at most a factor of four, and what it says
//! of its runs is held against the server's own clock.

use super::{Residuals, Terms};
use std::collections::BTreeMap;

/// The weight of the newest run.
const ALPHA: f64 = 1.0 / 8.0;
/// A correction never makes a prediction shorter than a quarter.
const FASTEST: f64 = -1.386_294_361_119_890_6; // −ln 4
/// One run counts as at most so many times its prediction; slowness that stays is believed all the same.
const LARGEST: f64 = 16.0;
/// A phase predicted to take less than this teaches nothing: its ratio is noise of the scheduler and the clock, seconds.
const SHORTEST_S: f64 = 0.001;
/// Unless it took so long: that is no noise, and a node that claims to need no time at all must not go uncorrected, seconds.
const NOTICED_S: f64 = 0.1;
/// What a run takes beside its phases on a busy machine, folders, processes and messages, seconds: no sign of a lie.
const BESIDE_S: f64 = 0.5;
/// A node that was seen to take more than so many times what it says is not believed.
const UNDERSTATED: f64 = 4.0;

/// What the phases of a run took, seconds; what was not measured is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ActualPhases {
    /// Loading the container.
    pub plug_s: Option<f64>,
    /// The prompt phase, or the whole run where nothing is decoded.
    pub pre_s: Option<f64>,
    /// Decoding.
    pub dec_s: Option<f64>,
    /// Prompt phase and decoding together; used where they were not measured apart.
    pub run_s: Option<f64>,
}

impl ActualPhases {
    /// From what a node reports with a result, ms by phase: `plug`, `run`, and where it has them `pre` and `dec`.
    pub fn from_ms(phases_ms: &BTreeMap<String, f64>) -> Self {
        let seconds = |phase: &str| phases_ms.get(phase).map(|ms| ms / 1e3).filter(|s| s.is_finite() && *s >= 0.0);
        Self { plug_s: seconds("plug"), pre_s: seconds("pre"), dec_s: seconds("dec"), run_s: seconds("run") }
    }

    /// These phases, unless the server saw the step take `seen_s` seconds without its transfers and they explain less than a quarter
    /// of that: then what it saw counts as the run.
    #[must_use]
    pub fn as_seen(self, seen_s: f64) -> Self {
        let run_s = self.run_s.unwrap_or(self.pre_s.unwrap_or(0.0) + self.dec_s.unwrap_or(0.0));
        let told_s = self.plug_s.unwrap_or(0.0) + run_s;
        if seen_s.is_finite() && seen_s > BESIDE_S + UNDERSTATED * told_s {
            return Self { run_s: Some(seen_s - self.plug_s.unwrap_or(0.0)), pre_s: None, dec_s: None, ..self };
        }
        self
    }
}

/// `predicted_s` already carries e^r, so the new mean of actual / uncorrected is e^r·(1 + α·(actual / predicted − 1)).
fn corrected(r: f64, predicted_s: f64, actual_s: Option<f64>) -> f64 {
    let r = if r.is_finite() { r } else { 0.0 };
    match actual_s {
        Some(actual_s) if actual_s.is_finite() && predicted_s.is_finite() && tells(predicted_s, actual_s) => {
            (r + (ALPHA * ((actual_s.max(SHORTEST_S) / predicted_s).min(LARGEST) - 1.0)).ln_1p()).max(FASTEST)
        }
        _ => r,
    }
}

fn tells(predicted_s: f64, actual_s: f64) -> bool {
    predicted_s >= SHORTEST_S || (predicted_s > 0.0 && actual_s >= NOTICED_S)
}

impl Residuals {
    /// The corrections after one more run, whose prediction was made with the corrections of that time.
    ///
    /// A phase that was predicted or measured as nothing keeps its correction.
    #[must_use]
    pub fn learn(&self, predicted: &Terms, actual: &ActualPhases) -> Self {
        // Where only the sum is known, both phases share its error.
        let share = actual.run_s.map(|run| run / (predicted.pre_s + predicted.dec_s)).filter(|s| s.is_finite());
        let part = |own: Option<f64>, predicted_s: f64| own.or_else(|| share.map(|s| s * predicted_s));
        Self {
            plug: corrected(self.plug, predicted.plug_s, actual.plug_s),
            pre: corrected(self.pre, predicted.pre_s, part(actual.pre_s, predicted.pre_s)),
            dec: corrected(self.dec, predicted.dec_s, part(actual.dec_s, predicted.dec_s)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(r: &Residuals) -> Terms {
        Terms { plug_s: 2.0 * r.plug.exp(), pre_s: 1.0 * r.pre.exp(), dec_s: 4.0 * r.dec.exp(), ..Terms::default() }
    }

    #[test]
    fn predictions_come_to_meet_what_a_node_really_does() {
        let mut r = Residuals::default();
        let actual = ActualPhases { plug_s: Some(3.0), run_s: Some(50.0), ..ActualPhases::default() };
        for _ in 0..100 {
            r = r.learn(&terms(&r), &actual);
        }
        let learnt = terms(&r);
        assert!((learnt.plug_s - 3.0).abs() < 0.01 && (learnt.pre_s + learnt.dec_s - 50.0).abs() < 0.1, "{learnt:?}");
    }

    #[test]
    fn who_claims_to_need_no_time_is_corrected_by_what_it_takes() {
        let at_once = |r: &Residuals| Terms { pre_s: 1e-5 * r.pre.exp(), ..Terms::default() };
        let after = |seconds| {
            let run = ActualPhases { run_s: Some(seconds), ..ActualPhases::default() };
            (0..200).fold(Residuals::default(), |r, _| r.learn(&at_once(&r), &run))
        };
        assert!((at_once(&after(1.5)).pre_s - 1.5).abs() < 0.01);
        assert_eq!(after(0.05), Residuals::default(), "some milliseconds beside a prediction of none are noise");
    }

    #[test]
    fn slowness_is_believed_without_limit_and_speed_up_to_four_times() {
        let run = |seconds| ActualPhases { pre_s: Some(seconds), ..ActualPhases::default() };
        let after = |seconds| (0..400).fold(Residuals::default(), |r, _| r.learn(&terms(&r), &run(seconds)));
        assert!(terms(&after(1e6)).pre_s > 0.99e6);
        assert!((terms(&after(1e-9)).pre_s - 0.25).abs() < 1e-9);
    }

    #[test]
    fn a_node_that_understates_its_runs_is_known_by_the_server_s_clock() {
        let told = ActualPhases { run_s: Some(0.001), ..ActualPhases::default() };
        assert_eq!(told.as_seen(10.0).run_s, Some(10.0));
        assert_eq!(ActualPhases::default().as_seen(2.0).run_s, Some(2.0), "nor does silence help");
        let apart = ActualPhases { pre_s: Some(0.1), dec_s: Some(0.2), plug_s: Some(1.0), run_s: None };
        assert_eq!(apart.as_seen(9.0), ActualPhases { run_s: Some(8.0), plug_s: Some(1.0), ..ActualPhases::default() });
        for honest in [0.4, -1.0, f64::NAN] {
            assert_eq!(told.as_seen(honest), told, "{honest}");
        }
        assert_eq!(apart.as_seen(5.0), apart, "a busy machine takes its time");
    }

    #[test]
    fn the_mean_run_is_met_and_not_the_median() {
        let mut r = Residuals::default();
        let mut met = Vec::new();
        for n in 0..4000 {
            let dec_s = if n % 4 == 0 { 16.0 } else { 4.0 };
            r = r.learn(&terms(&r), &ActualPhases { dec_s: Some(dec_s), ..ActualPhases::default() });
            met.push(terms(&r).dec_s);
        }
        let mean = met[400..].iter().sum::<f64>() / 3600.0;
        assert!((mean - 7.0).abs() < 0.2, "{mean}");
    }

    #[test]
    fn one_run_counts_an_eighth_and_nonsense_counts_nothing() {
        let r = Residuals::default();
        let twice = ActualPhases { dec_s: Some(8.0), ..ActualPhases::default() };
        assert!((r.learn(&terms(&r), &twice).dec - 1.125f64.ln()).abs() < 1e-12);
        for bad in [f64::NAN, f64::INFINITY] {
            let actual = ActualPhases { plug_s: Some(bad), run_s: Some(bad), ..ActualPhases::default() };
            assert_eq!(r.learn(&terms(&r), &actual), r);
        }
        assert_eq!(r.learn(&Terms::default(), &twice), r, "nothing was predicted");
        let reported = BTreeMap::from([("run".to_string(), 50.0), ("plug".to_string(), -1.0)]);
        assert_eq!(ActualPhases::from_ms(&reported), ActualPhases { run_s: Some(0.05), ..ActualPhases::default() });
    }
}
