//! `[devices]`: which slots are looked at for modules, which of them ask first, and whose signature is asked for.

use crate::hotplug::slot::Pattern;
use ouro_common::module::TrustPolicy;
use serde::{Deserialize, Serialize};

/// `[devices]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DevicesConfig {
    /// Slots that are looked at: a device's name (`nvme0n1p1`), a beginning (`loop*`), or `usb`. None: no device is ever touched.
    /// Default `nvme*`, `sd*`, `mmcblk*`, `vd*`, `loop*`.
    pub watch: Vec<Pattern>,
    /// Of those, the ones whose modules wait for `ouroctl module release`. Default `usb`.
    pub ask: Vec<Pattern>,
    /// What is demanded of the signature of a module on a device: `enforce`, `warn` or `off`. Default `enforce`.
    pub trust: TrustPolicy,
    /// The same for the folders that `modules` names. Default `off`: whoever writes there is trusted already.
    pub trust_folders: TrustPolicy,
    /// How fast a module's files are hashed in the background, bytes per second; 0: only before they are used. Default 64 MiB.
    pub verify_bytes_per_s: u64,
    /// What happens to the PCIe slot of a module that no step wants for a while: `off` (nothing), `remove` (the card is taken out of
    /// the kernel, and the port's link can sleep) or `slot` (the slot's power is switched off as well, where it can be). The next
    /// step wakes it. Default `off`.
    pub power_down: PowerDown,
    /// After how many seconds without a step that happens. Default 900.
    pub power_down_after_s: u64,
}

/// `devices.power_down`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PowerDown {
    /// Nothing.
    #[default]
    Off,
    /// The card is taken out of the kernel.
    Remove,
    /// The slot's power is switched off as well.
    Slot,
}

impl Default for DevicesConfig {
    fn default() -> Self {
        Self {
            watch: ["nvme*", "sd*", "mmcblk*", "vd*", "loop*"].map(Pattern::from).to_vec(),
            ask: vec!["usb".into()],
            trust: TrustPolicy::Enforce,
            trust_folders: TrustPolicy::Off,
            verify_bytes_per_s: 64 << 20,
            power_down: PowerDown::Off,
            power_down_after_s: 900,
        }
    }
}

impl DevicesConfig {
    /// What is wrong with it, if something is.
    pub(super) fn problem(&self) -> Option<String> {
        let named = |key: &'static str, list: &[Pattern]| list.iter().find_map(Pattern::problem).map(|p| format!("devices.{key}: {p}"));
        named("watch", &self.watch).or_else(|| named("ask", &self.ask))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_named_as_the_kernel_does_and_sticks_on_usb_ask() {
        let default = DevicesConfig::default();
        assert_eq!((default.ask.clone(), default.trust, default.problem()), (vec!["usb".into()], TrustPolicy::Enforce, None));
        assert_eq!(default.power_down, PowerDown::Off, "nobody's card is touched unasked");
        let wrong = DevicesConfig { ask: vec!["sd/a".into()], ..default };
        assert!(wrong.problem().unwrap().starts_with("devices.ask"));
    }
}
