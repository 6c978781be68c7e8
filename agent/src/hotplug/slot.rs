//! Slots: where on a node a module can sit, and which of them are looked at, or wait for a person.
//!
//! A slot is the kernel's name of a block device: `nvme0n1`, `sda1`, `loop7`. A pattern names many: `loop*`, or `usb` for
//! whatever hangs on USB.

use serde::{Deserialize, Serialize};

/// The name of a slot, or the beginning of many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pattern(pub String);

impl Pattern {
    /// Whether the slot is meant; `usb` says whether it hangs on USB.
    pub fn matches(&self, slot: &str, usb: bool) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => slot.starts_with(beginning),
            None => self.0 == slot || (self.0 == "usb" && usb),
        }
    }

    /// What is wrong with it, if something is.
    pub fn problem(&self) -> Option<String> {
        let name = self.0.strip_suffix('*').unwrap_or(&self.0);
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        let empty = self.0.is_empty();
        (empty || !plain)
            .then(|| format!("{:?} is no slot; write a device's name like \"nvme0n1\", a beginning like \"loop*\", or \"usb\"", self.0))
    }
}

impl From<&str> for Pattern {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

/// Whether any of the patterns means the slot.
pub fn any(patterns: &[Pattern], slot: &str, usb: bool) -> bool {
    patterns.iter().any(|pattern| pattern.matches(slot, usb))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_names_beginnings_and_whatever_hangs_on_usb() {
        let means = |pattern: &str, slot, usb| Pattern::from(pattern).matches(slot, usb);
        assert!(means("loop7", "loop7", false) && !means("loop7", "loop70", false));
        assert!(means("loop*", "loop70", false) && means("*", "sda", false));
        assert!(means("usb", "sda1", true) && !means("usb", "sda1", false));
        assert_eq!(Pattern::from("nvme*").problem(), None);
        for bad in ["", "sd/a", "a*b", "sda 1"] {
            assert!(Pattern::from(bad).problem().is_some(), "{bad}");
        }
    }
}
