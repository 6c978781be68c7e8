//! What an operator can do to a node, and what it makes of the node's state.

use super::AdminState;
use serde::{Deserialize, Serialize};
use std::fmt;

/// An operator's word about a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeDeed {
    /// It finishes what it has and gets nothing new.
    Drain,
    /// It takes part again.
    Undrain,
    /// It may take part: it waited for that, or was quarantined.
    Approve,
    /// It gets nothing new until it is approved.
    Quarantine,
    /// It leaves for good.
    Remove,
}

impl NodeDeed {
    /// Every deed.
    pub const ALL: [Self; 5] = [Self::Drain, Self::Undrain, Self::Approve, Self::Quarantine, Self::Remove];

    /// As it is typed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Undrain => "undrain",
            Self::Approve => "approve",
            Self::Quarantine => "quarantine",
            Self::Remove => "remove",
        }
    }

    /// The deed that is typed as `text`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|deed| deed.as_str() == text)
    }

    /// What a node becomes by it; the same state again if it is done already, `None` if it does not fit the state.
    pub fn on(self, state: AdminState) -> Option<AdminState> {
        use AdminState::{Active, Draining, Pending, Quarantined, Removed};
        match (self, state) {
            (Self::Drain, Active | Draining) => Some(Draining),
            (Self::Undrain, Active | Draining) | (Self::Approve, Active | Pending | Quarantined) => Some(Active),
            (Self::Quarantine, Pending | Active | Draining | Quarantined) => Some(Quarantined),
            (Self::Remove, _) => Some(Removed),
            _ => None,
        }
    }

    /// What to do instead, for a node in a state that the deed does not fit.
    pub fn instead(self, state: AdminState) -> &'static str {
        match (self, state) {
            (_, AdminState::Removed) => "a removed node joins again with a new token",
            (Self::Drain, _) => "it gets no work as it is",
            (_, AdminState::Draining) => "`ouroctl node undrain` brings it back",
            _ => "`ouroctl node approve` lets it take part",
        }
    }
}

impl fmt::Display for NodeDeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deed_done_twice_is_done_once_and_removal_is_for_good() {
        for deed in NodeDeed::ALL {
            assert_eq!(NodeDeed::parse(deed.as_str()), Some(deed));
            for state in AdminState::ALL {
                if let Some(next) = deed.on(*state) {
                    assert_eq!(deed.on(next), Some(next), "{deed} on {state}");
                }
            }
            assert!(matches!(deed.on(AdminState::Removed), None | Some(AdminState::Removed)), "{deed}");
        }
    }

    #[test]
    fn draining_never_frees_a_node_from_quarantine() {
        assert_eq!(NodeDeed::Undrain.on(AdminState::Quarantined), None);
        assert_eq!(NodeDeed::Undrain.on(AdminState::Pending), None);
        assert_eq!(NodeDeed::Drain.on(AdminState::Quarantined), None);
    }
}
