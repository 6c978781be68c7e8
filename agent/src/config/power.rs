//! `[power]`: what a pulled cable means for the work of this node.

use serde::{Deserialize, Serialize};

/// `[power]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PowerConfig {
    /// What this node takes while it runs on its battery: `light` (nothing long, no model load) or `drain` (nothing new at all;
    /// what runs ends, what waits goes back). Default `light`.
    pub on_unplug: OnUnplug,
}

/// `power.on_unplug`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUnplug {
    /// Short steps only.
    #[default]
    Light,
    /// Nothing new.
    Drain,
}

impl OnUnplug {
    /// Why the node wants nothing new now, if it does.
    pub fn draining(self, on_battery: bool) -> Option<String> {
        (self == Self::Drain && on_battery).then(|| "on battery, and its agent.toml says to drain then".to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_drain_drains_and_only_on_battery() {
        assert!(OnUnplug::Drain.draining(true).is_some());
        assert_eq!((OnUnplug::Drain.draining(false), OnUnplug::Light.draining(true)), (None, None));
    }

    #[test]
    fn the_key_is_read_and_another_word_is_not() {
        let read = |text: &str| toml::from_str::<PowerConfig>(text);
        assert_eq!(read("on_unplug = \"drain\"").unwrap().on_unplug, OnUnplug::Drain);
        assert_eq!(read("").unwrap().on_unplug, OnUnplug::Light);
        let refused = read("on_unplug = \"panic\"").unwrap_err().to_string();
        assert!(refused.contains("light") && refused.contains("drain"), "{refused}");
    }
}
