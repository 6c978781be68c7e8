//! Battery, heat and foreign load are thresholds with hysteresis, never scores: below one, a node gets nothing or little.
//!
//! What makes a node more careful holds at once. What makes it bolder waits until the level has stood for 30 s, so that a
//! reading that flickers around a threshold cannot make the fleet flicker with it.

use crate::clock::Instant;
use crate::device::{PowerSource, Readings};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Below this charge a node that does not charge is refused, percent.
pub const BATTERY_REFUSE_PERCENT: f64 = 20.0;
/// Above this charge it takes part again, percent.
pub const BATTERY_RESUME_PERCENT: f64 = 30.0;
/// Closer to the critical temperature than this a node is refused, °C.
pub const HEAT_REFUSE_MARGIN_C: f64 = 5.0;
/// Farther from it than this a node takes part again, °C.
pub const HEAT_RESUME_MARGIN_C: f64 = 12.0;
/// From this share used by others on, a node gets nothing long.
pub const FOREIGN_LOAD_HIGH: f64 = 0.95;
/// Below this share it gets everything again.
pub const FOREIGN_LOAD_LOW: f64 = 0.80;
/// How long a level stands before a lower one follows.
pub const DWELL: Duration = Duration::from_secs(30);
/// On a node that is [`Gate::Light`], no step predicted to work longer than this, seconds.
pub const LIGHT_STEP_S: f64 = 10.0;

/// What a node may be given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "level", content = "why")]
pub enum Gate {
    /// Anything.
    #[default]
    Normal,
    /// Nothing long, nothing that loads a language model.
    Light(String),
    /// Nothing.
    Refuse(String),
}

impl Gate {
    /// Its level in a word: `normal`, `light` or `refuse`.
    pub fn level(&self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Light(_) => "light",
            Self::Refuse(_) => "refuse",
        }
    }

    /// Why it is not normal.
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Normal => None,
            Self::Light(why) | Self::Refuse(why) => Some(why),
        }
    }

    fn severity(&self) -> u8 {
        match self {
            Self::Normal => 0,
            Self::Light(_) => 1,
            Self::Refuse(_) => 2,
        }
    }
}

/// A gate and what it remembers between readings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateState {
    /// What the node may be given.
    pub gate: Gate,
    /// Since when it has been at this level.
    pub since: Instant,
    /// The battery fell below the lower threshold and has not passed the upper one.
    pub battery_low: bool,
    /// The heat passed the upper threshold and has not fallen below the lower one.
    pub hot: bool,
    /// Others use the processor, and have not let go of it.
    pub crowded: bool,
}

/// The gate after new readings.
pub fn next(prev: &GateState, readings: &Readings, now: Instant) -> GateState {
    let battery_low = battery_low(prev.battery_low, readings);
    let hot = margin_c(readings).map_or(prev.hot && readings.max_c.is_some(), |margin| {
        margin < HEAT_REFUSE_MARGIN_C || (prev.hot && margin <= HEAT_RESUME_MARGIN_C)
    });
    let crowded = readings
        .foreign_load
        .is_some_and(|load| load >= FOREIGN_LOAD_HIGH || (prev.crowded && load >= FOREIGN_LOAD_LOW));
    let wanted = wanted(readings, battery_low, hot, crowded);
    let (before, after) = (prev.gate.severity(), wanted.severity());
    let held = after < before && now.since(prev.since) < DWELL;
    let gate = if held { prev.gate.clone() } else { wanted };
    let since = if held || after == before { prev.since } else { now };
    GateState { gate, since, battery_low, hot, crowded }
}

/// Whether the machine lives on its battery: no evidence for mains counts against it only where there is a battery.
pub fn on_battery(readings: &Readings) -> bool {
    match readings.power {
        PowerSource::External => false,
        PowerSource::Battery => true,
        PowerSource::Unknown => readings.battery_percent.is_some() && readings.charging != Some(true),
    }
}

fn battery_low(was: bool, readings: &Readings) -> bool {
    if !on_battery(readings) || readings.charging == Some(true) {
        return false;
    }
    match readings.battery_percent {
        Some(percent) => percent < BATTERY_REFUSE_PERCENT || (was && percent <= BATTERY_RESUME_PERCENT),
        None => was,
    }
}

/// Degrees left to the critical temperature; `None` where the machine does not say both, or says something impossible.
fn margin_c(readings: &Readings) -> Option<f64> {
    let critical = readings.critical_c.filter(|c| (40.0..=150.0).contains(c))?;
    readings.max_c.filter(|c| c.is_finite()).map(|c| critical - c)
}

fn wanted(readings: &Readings, battery_low: bool, hot: bool, crowded: bool) -> Gate {
    let figure = |value: Option<f64>, unit: &str| value.map_or_else(|| "unknown".into(), |v| format!("{v:.0}{unit}"));
    let charge = || figure(readings.battery_percent, " %");
    let heat = || format!("{} of {}", figure(readings.max_c, " °C"), figure(readings.critical_c, " °C"));
    if let Some(why) = &readings.draining {
        Gate::Refuse(why.clone())
    } else if hot {
        Gate::Refuse(format!("too hot: {}", heat()))
    } else if battery_low {
        Gate::Refuse(format!("battery at {} and not charging", charge()))
    } else if margin_c(readings).is_some_and(|margin| margin <= HEAT_RESUME_MARGIN_C) {
        Gate::Light(format!("warm: {}", heat()))
    } else if on_battery(readings) {
        Gate::Light(format!("on battery, at {}", charge()))
    } else if crowded {
        Gate::Light(format!("others use {} of the processor", figure(readings.foreign_load.map(|l| l * 100.0), " %")))
    } else {
        Gate::Normal
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: u64 = 60_000;

    fn battery(percent: f64, charging: bool) -> Readings {
        let power = if charging { PowerSource::External } else { PowerSource::Battery };
        Readings { power, battery_percent: Some(percent), charging: Some(charging), ..Readings::default() }
    }

    fn heat(max_c: f64) -> Readings {
        Readings { power: PowerSource::External, max_c: Some(max_c), critical_c: Some(100.0), ..Readings::default() }
    }

    fn load(share: f64) -> Readings {
        Readings { power: PowerSource::External, foreign_load: Some(share), ..Readings::default() }
    }

    /// The severities of a series of readings, a minute apart.
    fn levels(series: &[Readings]) -> Vec<u8> {
        let mut state = GateState::default();
        let step = |(i, readings): (usize, &Readings)| {
            state = next(&state, readings, Instant((i as u64 + 1) * MINUTE));
            state.gate.severity()
        };
        series.iter().enumerate().map(step).collect()
    }

    #[test]
    fn a_battery_refuses_below_20_and_resumes_above_30_or_when_charged() {
        let b = |percent| battery(percent, false);
        assert_eq!(levels(&[b(40.0), b(20.0), b(19.9), b(25.0), b(30.0), b(30.1)]), [1, 1, 2, 2, 2, 1]);
        assert_eq!(levels(&[b(10.0), battery(11.0, true), b(25.0)]), [2, 0, 1]);
        let unknown = Readings { battery_percent: Some(90.0), ..Readings::default() };
        assert_eq!(levels(&[unknown, Readings::default()]), [1, 0], "without a battery, unknown power is mains");
    }

    #[test]
    fn heat_refuses_above_95_of_100_and_resumes_below_88() {
        assert_eq!(levels(&[heat(80.0), heat(90.0), heat(95.5), heat(94.0), heat(88.0), heat(87.9)]), [0, 1, 2, 2, 2, 0]);
        let no_limit = Readings { critical_c: None, ..heat(99.0) };
        assert_eq!(levels(&[no_limit]), [0], "nothing is known of a limit");
    }

    #[test]
    fn foreign_load_is_light_from_95_until_below_80() {
        assert_eq!(levels(&[load(0.9), load(0.95), load(0.85), load(0.8), load(0.79)]), [0, 1, 1, 1, 0]);
    }

    #[test]
    fn care_is_taken_at_once_and_given_up_after_the_dwell() {
        let hot = next(&GateState::default(), &heat(99.0), Instant(1_000));
        assert!(matches!(hot.gate, Gate::Refuse(_)));
        let soon = next(&hot, &heat(20.0), Instant(30_999));
        assert_eq!((soon.gate.severity(), soon.since, soon.hot), (2, Instant(1_000), false));
        let later = next(&soon, &heat(20.0), Instant(31_000));
        assert_eq!((later.gate, later.since), (Gate::Normal, Instant(31_000)));
    }

    #[test]
    fn a_node_that_drains_gets_nothing_and_comes_back() {
        let drains = Readings { draining: Some("it drains on unplug".into()), ..battery(80.0, false) };
        assert_eq!(levels(&[battery(80.0, true), drains, battery(80.0, true)]), [0, 2, 0]);
    }

    #[test]
    fn a_gate_says_why() {
        let state = next(&GateState::default(), &battery(12.0, false), Instant(0));
        assert_eq!(state.gate, Gate::Refuse("battery at 12 % and not charging".into()));
    }

    proptest! {
        /// However wild the readings, a level that was entered is left for a milder one after 30 s at the soonest.
        #[test]
        fn no_level_is_left_for_a_milder_one_before_the_dwell(series in prop::collection::vec((0.0..100.0f64, any::<bool>(), 60.0..110.0f64, 1u64..40_000), 1..60)) {
            let (mut state, mut now) = (GateState::default(), Instant(0));
            for (percent, charging, max_c, wait_ms) in series {
                now = Instant(now.0 + wait_ms);
                let readings = Readings { max_c: Some(max_c), critical_c: Some(100.0), ..battery(percent, charging) };
                let after = next(&state, &readings, now);
                if after.gate.severity() < state.gate.severity() {
                    prop_assert!(now.since(state.since) >= DWELL);
                }
                if !charging && percent < BATTERY_REFUSE_PERCENT || max_c > 95.0 {
                    prop_assert!(matches!(after.gate, Gate::Refuse(_)));
                }
                state = after;
            }
        }
    }
}
