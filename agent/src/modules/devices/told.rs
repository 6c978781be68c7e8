//! What people are told of a device that is no usable module, or not yet.

use crate::hotplug::plan::{Stage, Waiting};
use crate::hotplug::superblock::Probe;
use ouro_common::module::{ModuleState, Placement, sha256};

/// What is announced of a device at this stage; `None` while it is nobody's business.
pub(super) fn placement(slot: &str, stage: &Stage) -> Option<Placement> {
    let (probe, state, why) = match stage {
        Stage::Probing | Stage::Foreign | Stage::Unreadable(_) | Stage::Waiting(_, Waiting::Judgement) => return None,
        // A file system without a label shows only once it was found to be a module. There is no reason to give: it takes a moment,
        // and a device that takes longer is seen to.
        Stage::Mounting(probe) | Stage::Mounted(probe) => (probe.label.as_ref().map(|_| probe)?, ModuleState::Seen, String::new()),
        Stage::Waiting(probe, Waiting::Word) => {
            (probe, ModuleState::Seen, format!("this slot asks first: `ouroctl module release {slot}` on its node"))
        }
        Stage::Waiting(probe, Waiting::Suspect) => {
            let why = "the machine went down while it was being mounted or loaded; it is left alone until `ouroctl module release";
            (probe, ModuleState::Suspect, format!("{why} {slot}` on its node"))
        }
        Stage::Waiting(probe, Waiting::Elsewhere(at)) => {
            (probe, ModuleState::Seen, format!("it is mounted writable at {at}; unmount it there, and it is used"))
        }
        Stage::Failed(probe, problem) => (probe, ModuleState::Incomplete, problem.clone()),
    };
    Some(Placement {
        module: sha256(probe.fingerprint.as_bytes()),
        label: label(slot, probe),
        slot: slot.into(),
        state,
        why,
        read_bytes_per_s: None,
        containers: vec![],
        problems: vec![],
        origin: None,
    })
}

fn label(slot: &str, probe: &Probe) -> String {
    probe.label.clone().unwrap_or_else(|| slot.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hotplug::superblock::Filesystem;

    #[test]
    fn what_waits_says_for_what_and_what_is_none_of_ours_is_not_shown() {
        let named = || Probe { filesystem: Filesystem::Ext4, label: Some("OURO-A".into()), fingerprint: "f00d".into() };
        let told = |stage| placement("sda1", &stage).map(|p| (p.state, p.why));
        let (state, why) = told(Stage::Waiting(named(), Waiting::Word)).unwrap();
        assert!(state == ModuleState::Seen && why.contains("module release sda1"), "{why}");
        let (state, why) = told(Stage::Waiting(named(), Waiting::Suspect)).unwrap();
        assert!(state == ModuleState::Suspect && why.contains("module release sda1"), "{why}");
        assert!(told(Stage::Waiting(named(), Waiting::Elsewhere("/media/x".into()))).unwrap().1.contains("/media/x"));
        assert_eq!(told(Stage::Failed(named(), "cut off".into())).unwrap(), (ModuleState::Incomplete, "cut off".into()));
        for silent in [
            Stage::Foreign,
            Stage::Probing,
            Stage::Unreadable("no medium".into()),
            Stage::Mounting(Probe { label: None, ..named() }),
        ] {
            assert_eq!(told(silent), None);
        }
    }
}
